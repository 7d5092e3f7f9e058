"""TPF108: gradients are asked for something that is not a list of variables."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.codemods.edits import Delete, Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import GradientCall, Tape


class WrongSources(Rule):
    """The sources of a gradient are a model, its weights as arrays, or a watched list, instead of its variables.

    What it finds:
        `tape.gradient(loss, model)`, `tape.gradient(loss, model.get_weights())`,
        `tape.gradient(loss, model.trainable_variables())` and `tape.watch(model.trainable_variables)`.

    Why the gradient stops:
        A tape gives gradients of variables and tensors. It knows nothing of model objects, and `get_weights()`
        returns NumPy copies. Trainable variables are watched without being asked for; watching a list of Keras
        variables raises a ValueError.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        optimizer = tf.keras.optimizers.SGD(0.1)
        x, y = tf.ones([4, 2]), tf.ones([4, 1])
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y))
        gradients = tape.gradient(loss, model)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        ```

    Fix safety:
        Safe: the variables of the same model are asked for.
    """

    code = "TPF108"
    name = "wrong-sources"
    safety = "safe"
    tokens = ("GradientTape",)

    def check(self, module: Module) -> Iterator[Finding]:
        for gradient in module.tapes.gradients:
            yield from self._sources(module, gradient.sources)
            if gradient.tape is not None:
                yield from self._other_model(module, gradient, gradient.tape)
        if module.keras >= 3:
            for tape in module.tapes.tapes:
                accessed = [k.value for k in tape.call.keywords if k.arg == "watch_accessed_variables"]
                for watch in tape.watches:
                    yield from self._watch(module, watch, bool(accessed))

    def _sources(self, module: Module, sources: ast.expr) -> Iterator[Finding]:
        if isinstance(sources, ast.List) and len(sources.elts) == 1 and self._is_model(module, sources.elts[0]):
            edit = ReplaceExpression(
                module.span(sources), "$model.trainable_variables", {"model": module.span(sources.elts[0])}
            )
            yield self._found(module, sources, "a model", (edit, *self._zipped(module, sources, None)))
        elif self._is_model(module, sources):
            edit = ReplaceExpression(
                module.span(sources), "$model.trainable_variables", {"model": module.span(sources)}
            )
            yield self._found(module, sources, "a model", (edit, *self._zipped(module, sources, None)))
            return
        for origin in module.objects.origins(sources):
            if not (isinstance(origin, ast.Call) and isinstance(origin.func, ast.Attribute)) or origin.args:
                continue
            if origin.func.attr == "get_weights" and module.kinds.of(origin.func.value) in ("model", "layer"):
                edits = [
                    ReplaceExpression(
                        module.span(origin), "$model.trainable_variables", {"model": module.span(origin.func.value)}
                    )
                ]
                yield self._found(
                    module, origin, "a list of NumPy arrays", (*edits, *self._zipped(module, origin, "get_weights"))
                )
            elif origin.func.attr in ("trainable_variables", "trainable_weights"):
                edits = [ReplaceExpression(module.span(origin), "$list", {"list": module.span(origin.func)})]
                yield self._found(
                    module, origin, "a list that is called", (*edits, *self._zipped(module, origin, origin.func.attr))
                )

    def _other_model(self, module: Module, gradient: GradientCall, tape: Tape) -> Iterator[Finding]:
        """The variables of a model that has no part in the loss, where another model has."""
        roads = module.recordings[gradient][1]
        if len(roads) != 1 or not roads[0].unit.model or roads[0].marks or roads[0].opaque:
            return
        unit = roads[0].unit
        if not module.inside(unit.node, gradient.sources):
            return
        called: dict[str, ast.expr] = {}
        for statement in tape.block.body:
            for node in ast.walk(statement):
                if (
                    isinstance(node, ast.Call)
                    and module.training.is_forward(node)
                    and module.kinds.of(node.func) == "model"
                ):
                    called[ast.unparse(node.func)] = node.func
        called = {text: func for text, func in called.items() if _is_plain(func)}
        if len(called) != 1 or unit.text in called:
            return
        other = next(iter(called))
        edits: list[Edit] = [ReplaceExpression(module.span(unit.node), other)]
        for call in module.calls:
            if module.call_name(call) == "zip" and module.function(call) is module.function(gradient.call):
                for argument in call.args:
                    if ast.unparse(argument) == ast.unparse(gradient.sources):
                        edits += [
                            ReplaceExpression(module.span(n), other)
                            for n in ast.walk(argument)
                            if isinstance(n, ast.expr) and ast.unparse(n) == unit.text and n is not unit.node
                        ]
        yield self.finding(
            module,
            gradient.sources,
            f"The loss is computed by `{other}`, but gradients are asked for the variables of "
            f"`{unit.text}`, which has no part in it.",
            label="another model's variables",
            notes=[(called[other], "this model computes the loss")],
            candidates=[Candidate(f"ask for the variables of {other}", tuple(edits), safe=False, keeps_value=True)],
            certain=False,
        )

    def _found(self, module: Module, node: ast.AST, what: str, edits: tuple[Edit, ...]) -> Finding:
        return self.finding(
            module,
            node,
            f"Gradients are asked with respect to {what}, not to variables: a tape gives none for it.",
            label="not a list of variables",
            candidates=[Candidate("ask for the trainable variables", edits)],
        )

    @staticmethod
    def _is_model(module: Module, node: ast.expr) -> bool:
        if not isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            return False
        if isinstance(node, ast.Attribute) and (
            node.attr in VARIABLE_LISTS or node.attr in ("input", "inputs", "output", "outputs", "kernel", "bias")
        ):
            return False
        if module.classes.is_self(node):
            owner = module.class_of(node)
            return owner is not None and module.classes.kind(owner) in ("model", "layer")
        origins = module.objects.origins(node)
        if isinstance(node, ast.Name) and not all(
            module.kinds.made(o) in ("model", "layer") for o in origins if isinstance(o, ast.Call)
        ):
            return False
        return module.kinds.of(node) in ("model", "layer")

    @staticmethod
    def _zipped(module: Module, node: ast.expr, method: str | None) -> list[Edit]:
        """The same thing where it is zipped with the gradients."""
        found: list[Edit] = []
        wanted = ast.unparse(node)
        for call in module.calls:
            if (
                module.call_name(call) != "zip"
                or len(call.args) != 2
                or module.function(call) is not module.function(node)
            ):
                continue
            for argument in call.args:
                if argument is node or ast.unparse(argument) != wanted:
                    continue
                if method is None:
                    found.append(
                        ReplaceExpression(
                            module.span(argument), "$model.trainable_variables", {"model": module.span(argument)}
                        )
                    )
                elif isinstance(argument, ast.Call) and isinstance(argument.func, ast.Attribute):
                    if method == "get_weights":
                        found.append(
                            ReplaceExpression(
                                module.span(argument), "$m.trainable_variables", {"m": module.span(argument.func.value)}
                            )
                        )
                    else:
                        found.append(
                            ReplaceExpression(module.span(argument), "$list", {"list": module.span(argument.func)})
                        )
        return found

    def _watch(self, module: Module, watch: ast.Call, chosen: bool) -> Iterator[Finding]:
        """`tape.watch(model.trainable_variables)`."""
        statement = module.parent(watch)
        if len(watch.args) != 1 or not isinstance(statement, ast.Expr):
            return
        origins = module.objects.origins(watch.args[0])
        if not origins or not all(
            isinstance(o, ast.Attribute) and o.attr in VARIABLE_LISTS and _is_keras(module, o.value) for o in origins
        ):
            return
        candidates = [] if chosen else [Candidate("remove the call", (Delete(module.span(statement)),))]
        yield self.finding(
            module,
            watch,
            "Trainable variables are watched by themselves, and watching a list of Keras variables raises "
            "a ValueError.",
            label="not needed",
            candidates=candidates,
            advice="" if candidates else "Watch `v.value` of each variable.",
        )


def _is_plain(node: ast.expr) -> bool:
    """A name, or attributes of one."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _is_keras(module: Module, node: ast.expr) -> bool:
    """Does the text show that this is made by Keras? (Other libraries have lists of the same name.)"""
    if module.classes.is_self(node):
        owner = module.class_of(node)
        return owner is not None and module.classes.kind(owner) in ("model", "layer")
    origins = module.objects.origins(node)
    return bool(origins) and all(module.kinds.made(o) in ("model", "layer") for o in origins)
