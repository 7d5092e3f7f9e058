"""TPF413: a discriminator that stays frozen in its own training step."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Edit, Insert
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_STEPS = ("train_on_batch", "fit")


class FrozenDiscriminator(Rule):
    """A network is frozen for the model that contains it, and then trained by itself while it is still frozen.

    What it finds:
        `discriminator.trainable = False` after its `compile`, a second model built on it, and later steps of both,
        where Keras 3 is installed and nothing sets `trainable` back to True.

    Why the gradient stops:
        Keras 2 kept the list of weights from `compile`. Keras 3 reads `trainable` at every step, so the network has
        no trainable weights in its own step, either: it keeps its random weights, with only a warning.

    Example:
        ```python
        import tensorflow as tf

        keras = tf.keras
        generator = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        discriminator = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
        discriminator.compile(optimizer="adam", loss="binary_crossentropy")
        discriminator.trainable = False
        noise = keras.Input((2,))
        gan = keras.Model(noise, discriminator(generator(noise)))
        gan.compile(optimizer="adam", loss="binary_crossentropy")
        for _ in range(3):
            discriminator.train_on_batch(tf.ones([4, 3]), tf.ones([4, 1]))
            gan.train_on_batch(tf.ones([4, 2]), tf.ones([4, 1]))
        ```

    Fix safety:
        Safe: the network is trainable in its own step and frozen in the other, as Keras 2 had it.
    """

    code = "TPF413"
    name = "frozen-discriminator"
    safety = "safe"
    tokens = (".trainable = False", ".trainable=False")

    def check(self, module: Module) -> Iterator[Finding]:
        if module.keras < 3:
            return
        for freeze in module.all(ast.Assign):
            assert isinstance(freeze, ast.Assign)
            network = self._frozen(module, freeze)
            if network is None:
                continue
            taken = self._steps(module)
            steps = [c for c, model in taken if self._same(module, model, network)]
            if not steps or self._thawed(module, network):
                continue
            stacks = [c for c, model in taken if c not in steps and self._contains(module, model, network)]
            steps = [c for c in steps if self._follows(module, c, freeze)]
            if (
                not steps
                or not self._alternate(module, steps, stacks, freeze)
                or not self._is_compiled(module, network)
            ):
                continue
            name = module.source(steps[0].func.value)  # type: ignore[attr-defined]
            yield self.finding(
                module,
                steps[0],
                f"{name} is still frozen in its own training step: Keras 3 reads trainable at every step, "
                "not when the model is compiled.",
                label="trains nothing",
                candidates=[
                    Candidate(
                        "unfreeze it for its own step and freeze it for the other",
                        self._edits(module, steps, stacks),
                        trains_more=True,
                    )
                ],
                notes=[(freeze, "frozen here")],
                silent=True,
            )

    def _frozen(self, module: Module, node: ast.Assign) -> ast.expr | None:
        target = node.targets[0]
        if not (
            isinstance(target, ast.Attribute)
            and target.attr == "trainable"
            and isinstance(node.value, ast.Constant)
            and node.value.value is False
        ):
            return None
        value = target.value
        if isinstance(value, ast.Name):
            # `for layer in discriminator.layers: layer.trainable = False`
            for definition in module.definitions(value):
                if (
                    definition.kind == "loop"
                    and isinstance(definition.value, ast.Attribute)
                    and definition.value.attr == "layers"
                ):
                    return definition.value.value
        return value

    def _steps(self, module: Module) -> list[tuple[ast.Call, ast.expr]]:
        """The training steps in the file, with the model that each trains."""
        found = [(c, c.func.value) for c in module.calls if isinstance(c.func, ast.Attribute) and c.func.attr in _STEPS]
        return [(call, model) for call, model in found if module.kinds.of(model) == "model"]

    def _same(self, module: Module, one: ast.expr, two: ast.expr) -> bool:
        return module.objects.same(one, two)

    def _thawed(self, module: Module, network: ast.expr) -> bool:
        """Does anything set `trainable` of this network to something else than False?"""
        for node in module.all(ast.Assign):
            assert isinstance(node, ast.Assign)
            for target in node.targets:
                if (
                    isinstance(target, ast.Attribute)
                    and target.attr == "trainable"
                    and not (isinstance(node.value, ast.Constant) and node.value.value is False)
                ):
                    return True
        return any(isinstance(c.func, ast.Name) and c.func.id == "setattr" for c in module.calls)

    def _contains(self, module: Module, stack: ast.expr, network: ast.expr) -> bool:
        """Is `stack` a model in which `network` is called, or which holds it in a Sequential?"""
        for origin in module.objects.origins(stack):
            if not isinstance(origin, ast.Call):
                continue
            inner = [n for n in ast.walk(origin) if isinstance(n, (ast.Name, ast.Attribute))]
            if any(self._same(module, n, network) for n in inner):
                return True
            values = module.flow.backward([*origin.args, *[k.value for k in origin.keywords]])
            if any(isinstance(v, ast.Call) and self._same(module, v.func, network) for v in values):
                return True
            for call in module.calls:
                if not (isinstance(call.func, ast.Attribute) and call.func.attr == "add" and call.args):
                    continue
                if origin in module.objects.origins(call.func.value) and self._same(module, call.args[0], network):
                    return True
        return False

    def _follows(self, module: Module, step: ast.Call, freeze: ast.Assign) -> bool:
        """Can the step run after the network was frozen? (A teacher is trained first and frozen then.)"""
        if module.function(step) is not module.function(freeze) or step.lineno > freeze.lineno:
            return True
        return any(
            isinstance(above, (ast.For, ast.While)) and module.inside(freeze, above) for above in module.ancestors(step)
        )

    def _alternate(self, module: Module, steps: list[ast.Call], stacks: list[ast.Call], freeze: ast.Assign) -> bool:
        """Do the two take turns: in one function, in one loop, or in methods of one class?"""
        for one in steps:
            for two in stacks:
                function, other = module.function(one), module.function(two)
                if function is other and (function is not None or self._share_loop(module, one, two)):
                    return True
                owner = module.class_of(one)
                if owner is not None and owner is module.class_of(two) and owner is module.class_of(freeze):
                    return True
                for site in module.results.calls_of(function) if function is not None else [one]:
                    for place in module.results.calls_of(other) if other is not None else [two]:
                        if self._share_loop(module, site, place):
                            return True
        return False

    def _share_loop(self, module: Module, one: ast.AST, two: ast.AST) -> bool:
        return any(
            isinstance(above, (ast.For, ast.While)) and module.inside(two, above) for above in module.ancestors(one)
        )

    def _is_compiled(self, module: Module, network: ast.expr) -> bool:
        return any(
            isinstance(c.func, ast.Attribute) and c.func.attr == "compile" and self._same(module, c.func.value, network)
            for c in module.calls
        )

    def _edits(self, module: Module, steps: list[ast.Call], stacks: list[ast.Call]) -> tuple[Edit, ...]:
        """`trainable = True` before its own steps in each block, `False` before those of the other."""
        edits: list[Edit] = []
        blocks: list[list[ast.stmt]] = []
        for call in [*steps, *stacks]:
            block = self._common_block(module, module.statement(call), [*steps, *stacks])
            if block not in blocks:
                blocks.append(block)
        for block in blocks:
            state: bool | None = None
            for statement in block:
                inside = [call for call in [*steps, *stacks] if module.inside(call, statement)]
                if not inside:
                    continue
                wanted = inside[0] in steps
                if wanted is not state:
                    # The name of the network as this place writes it.
                    spelled = self._spelled(module, steps, stacks, inside[0])
                    if spelled is not None:
                        edits.append(Insert(module.span(statement), "before", f"{spelled}.trainable = {wanted}"))
                state = wanted
        return tuple(edits)

    def _common_block(self, module: Module, statement: ast.stmt, calls: list[ast.Call]) -> list[ast.stmt]:
        """The innermost block around `statement` in which steps of both kinds stand, or its own block."""
        own = module.block(statement)
        above: ast.AST | None = statement
        while isinstance(above, ast.stmt) and not isinstance(
            above, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        ):
            block = module.block(above)
            inside = [call for call in calls if any(module.inside(call, s) for s in block)]
            if len({module.source(call.func.value) for call in inside}) > 1:  # type: ignore[attr-defined]
                return block
            above = module.parent(above)
        return own

    def _spelled(self, module: Module, steps: list[ast.Call], stacks: list[ast.Call], here: ast.Call) -> str | None:
        if here in steps:
            return module.source(here.func.value)  # type: ignore[attr-defined]
        near = [c for c in steps if module.function(c) is module.function(here)]
        if near:
            return module.source(near[0].func.value)  # type: ignore[attr-defined]
        text = module.source(steps[0].func.value)  # type: ignore[attr-defined]
        known = text.startswith("self.") or module.scope(here).lookup(text.split(".")[0])
        return text if known else None
