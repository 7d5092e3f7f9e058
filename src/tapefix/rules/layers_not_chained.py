"""TPF411: layers that all get the same input, each overwriting the result of the one before."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def
from tapefix.codemods.edits import Edit, Insert, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Layers that are called for their side effect, too.
_EFFECT_LAYERS = ("keras.layers.ActivityRegularization", "keras.layers.TFSMLayer")


class LayersNotChained(Rule):
    """The result of a layer is overwritten, or thrown away, before anything reads it.

    What it finds:
        `h = self.dense1(x)` followed by `h = self.dense2(x)`, in `call` or where a functional model is built; and a
        layer that `call` runs as a bare statement, so that its result goes nowhere.

    Why the gradient stops:
        Only the last layer is on a path to the loss. The gradients of the others are None.

    Example:
        ```python
        import tensorflow as tf


        class Net(tf.keras.Model):
            def __init__(self):
                super().__init__()
                self.hidden = tf.keras.layers.Dense(8)
                self.out = tf.keras.layers.Dense(1)

            def call(self, x):
                h = self.hidden(x)
                h = self.out(x)
                return h


        model = Net()
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(tf.ones([4, 2]))))
        gradients = tape.gradient(loss, model.trainable_variables)
        ```

    Fix safety:
        Safe: a layer that was made and called was meant to take part. Each layer gets the result of the one before.
    """

    code = "TPF411"
    name = "layers-not-chained"
    safety = "safe"
    tokens = ("def call", "def __call__", "Input(")

    def check(self, module: Module) -> Iterator[Finding]:
        seen: set[ast.stmt] = set()
        for statement in module.all(ast.Assign):
            assert isinstance(statement, ast.Assign)
            if statement in seen or not self._overwritten(module, statement):
                continue
            chain = self._chain(module, statement)
            if chain is None or not self._is_network(module, statement):
                continue
            seen.update(chain)
            target = statement.targets[0].id  # type: ignore[attr-defined]
            edits = tuple(ReplaceExpression(module.span(later.value.args[0]), target) for later in chain[1:])  # type: ignore[attr-defined]
            data = module.source(statement.value.args[0])  # type: ignore[attr-defined]
            yield self.finding(
                module,
                statement,
                "What this layer computes is overwritten before anything reads it: the next layer "
                f"gets {data} again, so only the last one trains.",
                label=f"{target} is not read",
                candidates=[Candidate(f"give each layer the {target} of the one before", edits, keeps_value=False)],
                notes=[(later, f"overwrites {target}") for later in chain[1:2]],
            )
        yield from self._in_loops(module)
        yield from self._bare(module)

    # -------------------------------------------------------------- results that are overwritten

    def _call(self, module: Module, statement: ast.stmt) -> tuple[str, str, Def] | None:
        """Target, first argument and definition of `h = layer(x)`."""
        if not (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            return None
        value = statement.value
        if not (isinstance(value, ast.Call) and value.args and isinstance(value.args[0], ast.Name)):
            return None
        bound = module.reaching.bindings.get(statement.targets[0], [])
        return (statement.targets[0].id, value.args[0].id, bound[0]) if bound else None

    def _overwritten(self, module: Module, statement: ast.Assign) -> bool:
        made = self._call(module, statement)
        if made is None or made[0].startswith("_") or made[2].uses or made[0] == made[1]:
            return False
        return not any(made[2] in d.previous for d in made[2].scope.defs.get(made[0], ()))

    def _chain(self, module: Module, first: ast.Assign) -> list[ast.Assign] | None:
        """The statements right after `first` that give the same name the result of another layer on the same input."""
        made = self._call(module, first)
        block = module.block(first)
        chain = [first]
        for later in block[block.index(first) + 1 :]:
            other = self._call(module, later)
            if other is None or made is None or other[:2] != made[:2] or not self._same_value(module, first, later):
                break
            assert isinstance(later, ast.Assign)
            chain.append(later)
            if other[2].uses:
                break
        if len(chain) < 2 or not all(self._is_layer(module, link.value) for link in chain):
            return None
        layers = {ast.unparse(link.value.func) for link in chain if not isinstance(link.value.func, ast.Call)}  # type: ignore[attr-defined]
        inline = sum(isinstance(link.value.func, ast.Call) for link in chain)  # type: ignore[attr-defined]
        return chain if len(layers) + inline == len(chain) else None

    def _same_value(self, module: Module, first: ast.Assign, later: ast.stmt) -> bool:
        one, two = first.value.args[0], later.value.args[0]  # type: ignore[attr-defined]
        return module.definitions(one) == module.definitions(two)

    def _is_layer(self, module: Module, call: ast.expr) -> bool:
        return isinstance(call, ast.Call) and module.training.is_forward(call)

    def _is_network(self, module: Module, statement: ast.stmt) -> bool:
        """In `call` of a layer or model, or where a functional model is built from Input."""
        function = module.function(statement)
        owner = module.method_class(function) if function is not None else None
        if owner is not None and getattr(function, "name", "") in ("call", "__call__"):
            return module.classes.kind(owner) in ("layer", "model", "module")
        data = statement.value.args[0]  # type: ignore[attr-defined]
        inline = isinstance(statement.value.func, ast.Call)  # type: ignore[attr-defined]
        names = [module.call_name(origin) for origin in module.objects.origins(data)]
        return inline and any(name in ("keras.Input", "keras.layers.Input") for name in names)

    def _in_loops(self, module: Module) -> Iterator[Finding]:
        """`for layer in self.layers: y = layer(x)`: every layer gets x, only the last y counts."""
        for loop in module.each(ast.For):
            made = self._call(module, loop.body[0]) if len(loop.body) == 1 and not loop.orelse else None
            if made is None or made[0] == made[1] or not isinstance(loop.target, ast.Name):
                continue
            statement = loop.body[0]
            call = statement.value  # type: ignore[attr-defined]
            if not isinstance(call.func, ast.Name) or call.func.id != loop.target.id or made[0].startswith("_"):
                continue
            function = module.function(loop)
            owner = module.method_class(function) if function is not None else None
            if owner is None or module.classes.kind(owner) not in ("layer", "model", "module"):
                continue
            if getattr(function, "name", "") not in ("call", "__call__") or not self._is_layer(module, call):
                continue
            outside = [u for u in made[2].uses if not module.inside(u, loop)]
            if not outside or len(outside) != len(made[2].uses):
                continue
            target, data = made[0], made[1]
            edits: tuple[Edit, ...] = (ReplaceExpression(module.span(call.args[0]), target),)
            before = [d for d in made[2].scope.defs.get(target, ()) if getattr(d.node, "lineno", 0) < loop.lineno]
            if not before:
                edits = (Insert(module.span(loop), "before", f"{target} = {data}"), *edits)
            yield self.finding(
                module,
                statement,
                f"Every layer of the loop gets {data}, and each overwrites the {target} of the one before: "
                "only the last one trains.",
                label=f"overwrites {target}",
                candidates=[Candidate(f"give each layer the {target} of the one before", edits, keeps_value=False)],
                certain=not before,
            )

    # -------------------------------------------------------------- results that are thrown away

    def _bare(self, module: Module) -> Iterator[Finding]:
        """`self.dense(x)` as a statement of its own in the middle of `call`."""
        for statement in module.all(ast.Expr):
            call = statement.value  # type: ignore[attr-defined]
            function = module.function(statement)
            if not (
                isinstance(call, ast.Call)
                and len(call.args) == 1
                and isinstance(call.args[0], ast.Name)
                and isinstance(call.func, ast.Attribute)
            ):
                continue
            if getattr(function, "name", "") != "call" or not module.classes.is_self(call.func.value):
                continue
            name = call.args[0].id
            names = [module.call_name(origin) or "" for origin in module.objects.origins(call.func)]
            if not names or not all(n.startswith("keras.layers.") and n not in _EFFECT_LAYERS for n in names):
                continue
            assert isinstance(statement, ast.stmt) and function is not None
            if not self._read_later(module, statement, name):
                continue
            span = module.span(statement)
            edits: tuple[Edit, ...] = (ReplaceStatement(span, f"{name} = $call", {"call": module.span(call)}),)
            yield self.finding(
                module,
                statement,
                f"The result of {module.source(call.func)} is thrown away, so this layer is on no path to the loss.",
                label="the result goes nowhere",
                candidates=[Candidate(f"assign the result to {name}", edits, keeps_value=False)],
            )

    def _read_later(self, module: Module, statement: ast.stmt, name: str) -> bool:
        block = module.block(statement)
        rest = block[block.index(statement) + 1 :]
        return any(
            isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load)
            for later in rest
            for n in ast.walk(later)
        )
