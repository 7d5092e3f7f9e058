"""TPF108: gradients are asked for something that is not a list of variables."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.names import dotted_name
from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.codemods.edits import Delete, Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule
from tapefix.rules.partly_watched import watching_by_itself

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import GradientCall, Tape


class WrongSources(Rule):
    """The sources of a gradient are a model, its weights as arrays, or a watched list, instead of its variables.

    What it finds:
        `tape.gradient(loss, model)`, `tape.gradient(loss, model.get_weights())`,
        `tape.gradient(loss, model.trainable_variables())`, `tape.watch(model.trainable_variables)`, `model.variables`
        where some are not trained, lists of lists, and `tape.gradient(variables, loss)`.

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
            yield from self._swapped(module, gradient)
            yield from self._nested(module, gradient)
            yield from self._all_variables(module, gradient)
            if gradient.tape is not None:
                yield from self._other_model(module, gradient, gradient.tape)
                if module.measured is not None:
                    yield from self._other_network(module, gradient, gradient.tape)
        if module.keras >= 3:
            for tape in module.tapes.tapes:
                for watch in tape.watches:
                    yield from self._watch(module, watch, tape)

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

    def _swapped(self, module: Module, gradient: GradientCall) -> Iterator[Finding]:
        """`tape.gradient(variables, loss)`."""
        target, sources = gradient.target, gradient.sources
        if not _is_list_of_variables(module, target) or _is_list_of_variables(module, sources):
            return
        if not isinstance(sources, ast.Name) or gradient.tape is None:
            return
        block = gradient.tape.block
        if not any(module.inside(d.node, block) for d in module.definitions(sources)):
            return
        swap = (
            ReplaceExpression(module.span(target), "$other", {"other": module.span(sources)}),
            ReplaceExpression(module.span(sources), "$other", {"other": module.span(target)}),
        )
        yield self.finding(
            module,
            gradient.call,
            "The arguments are the wrong way round: gradient takes what is differentiated first, then the variables.",
            label="variables, then the loss",
            candidates=[Candidate("swap the arguments", swap, keeps_value=False)],
        )

    def _nested(self, module: Module, gradient: GradientCall) -> Iterator[Finding]:
        """A list of lists of variables, which is then zipped with the gradients as if it were flat."""
        for made in (o for o in module.objects.origins(gradient.sources) if isinstance(o, ast.List)):
            if len(made.elts) < 2 or not all(_is_list_of_variables(module, e) for e in made.elts):
                continue
            text = module.source(gradient.sources)
            zips = [
                c
                for c in module.calls
                if module.call_name(c) == "zip"
                and module.function(c) is module.function(gradient.call)
                and any(module.source(a) == text for a in c.args)
            ]
            if not zips:
                continue
            lists = [made, *(a for c in zips for a in c.args if isinstance(a, ast.List) and module.source(a) == text)]
            flat = " + ".join(module.source(e) for e in made.elts)
            yield self.finding(
                module,
                made,
                "This is a list of lists: the gradients come in lists, too, and the optimiser gets pairs of lists.",
                label="lists of variables in a list",
                candidates=[
                    Candidate(
                        "make it one flat list",
                        tuple(ReplaceExpression(module.span(one), flat) for one in dict.fromkeys(lists)),
                        keeps_value=False,
                    )
                ],
            )

    @staticmethod
    def _is_own_list(module: Module, made: ast.Attribute) -> bool:
        """Is `variables` what a class of this file says it is, as a class without Keras must?"""
        classes = [module.objects.instance_class(origin) for origin in module.objects.origins(made.value)]
        return any(
            owner is not None
            and (module.classes.method(owner, made.attr) or (owner, made.attr) in module.classes.attribute_writes)
            for owner in classes
        )

    def _all_variables(self, module: Module, gradient: GradientCall) -> Iterator[Finding]:
        """`model.variables`, with the moving averages and seeds that nobody trains."""
        sources = gradient.sources
        origins = [sources] if isinstance(sources, ast.Attribute) else module.objects.origins(sources)
        for made in origins:
            if not (isinstance(made, ast.Attribute) and made.attr in ("variables", "weights")):
                continue
            if module.kinds.of(made.value) not in ("model", "layer") or self._is_own_list(module, made):
                continue
            text = module.source(made)
            places = [made]
            if made is sources:
                places += [
                    a
                    for c in module.calls
                    if module.call_name(c) == "zip" and module.function(c) is module.function(made)
                    for a in c.args
                    if isinstance(a, ast.Attribute) and module.source(a) == text and a is not made
                ]
            yield self.finding(
                module,
                made,
                f"`{text}` also holds what is not trained (moving averages, seeds), whose gradients are None.",
                label="all variables, not the trainable ones alone",
                candidates=[
                    Candidate(
                        "ask for the trainable variables",
                        tuple(
                            ReplaceExpression(module.span(p), "$m.trainable_variables", {"m": module.span(p.value)})
                            for p in places
                        ),
                    )
                ],
                certain=False,
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
        called = {text: func for text, func in called.items() if dotted_name(func) is not None}
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

    def _other_network(self, module: Module, gradient: GradientCall, tape: Tape) -> Iterator[Finding]:
        """What a run has measured: none of the sources has a part in the target."""
        from tapefix.rules._other_sources import candidates, is_starved

        found = list(candidates(module, gradient, tape)) if is_starved(module, gradient) else []
        if found:
            yield self.finding(
                module,
                gradient.sources,
                f"Gradients are asked for `{module.source(gradient.sources)}`, but the optimiser or the loss has other "
                "variables, as the run shows.",
                label="another model's variables",
                candidates=found,
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

    def _watch(self, module: Module, watch: ast.Call, tape: Tape) -> Iterator[Finding]:
        """`tape.watch(model.trainable_variables)`."""
        statement = module.parent(watch)
        if len(watch.args) != 1 or not isinstance(statement, ast.Expr):
            return
        origins = module.objects.origins(watch.args[0])
        if not origins or not all(
            isinstance(o, ast.Attribute) and o.attr in VARIABLE_LISTS and module.kinds.is_keras(o.value)
            for o in origins
        ):
            return
        edits: list[Edit] = [Delete(module.span(statement))]
        if any(k.arg == "watch_accessed_variables" for k in tape.call.keywords):
            edits.append(watching_by_itself(module, tape))
        yield self.finding(
            module,
            watch,
            "Trainable variables are watched by themselves, and watching a list of Keras variables raises "
            "a ValueError.",
            label="not needed",
            candidates=[Candidate("remove the call", tuple(edits))],
        )


def _is_list_of_variables(module: Module, node: ast.expr) -> bool:
    """`net.trainable_variables`, also behind a name."""
    origins = [node] if isinstance(node, ast.Attribute) else module.objects.origins(node)
    return bool(origins) and all(isinstance(o, ast.Attribute) and o.attr in VARIABLE_LISTS for o in origins)
