"""TPF410: a pair of inputs and targets handed over as the input alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_METHODS = ("train_on_batch", "test_on_batch", "fit")


class PackedBatch(Rule):
    """A pair (inputs, targets) is passed as one argument, so that both count as inputs.

    What it finds:
        `model.train_on_batch(batch)` or `model.fit((x, y))`, where the argument is a pair and no targets are given.

    Why the gradient stops:
        Keras takes the whole pair for the input and None for the target: the loss is never computed.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        model.compile(optimizer="sgd", loss="mse")


        def next_batch():
            x = tf.random.normal([4, 2])
            return x, tf.reduce_sum(x, axis=1, keepdims=True)


        for _ in range(3):
            batch = next_batch()
            model.train_on_batch(batch)
        ```

    Fix safety:
        Safe: `*batch` passes the inputs and the targets each in their place.
    """

    code = "TPF410"
    name = "packed-batch"
    safety = "safe"
    tokens = ("_on_batch(", ".fit(")

    def check(self, module: Module) -> Iterator[Finding]:
        for call in module.calls:
            func = call.func
            if not (isinstance(func, ast.Attribute) and func.attr in _METHODS and len(call.args) == 1):
                continue
            pair = call.args[0]
            if isinstance(pair, ast.Starred) or any(k.arg in ("y", None) for k in call.keywords):
                continue
            if not isinstance(pair, (ast.Name, ast.Tuple, ast.Call, ast.Attribute)) or not self._is_pair(module, pair):
                continue
            if not self._wants_targets(module, func.value):
                continue
            if isinstance(pair, ast.Tuple):
                names = ", ".join(module.source(e) for e in pair.elts)
                others = "".join(f", {k.arg}={module.source(k.value)}" for k in call.keywords)
                edit = ReplaceExpression(module.span(call), f"$method({names}{others})", {"method": module.span(func)})
            else:
                others = "".join(f", {k.arg}={module.source(k.value)}" for k in call.keywords)
                parts = {"method": module.span(func), "pair": module.span(pair)}
                edit = ReplaceExpression(module.span(call), f"$method(*$pair{others})", parts)
            yield self.finding(
                module,
                pair,
                f"{func.attr} takes inputs and targets as two arguments: here the pair of both is "
                "taken for the inputs, and there are no targets.",
                label="a pair of inputs and targets",
                candidates=[Candidate("unpack the pair", (edit,), keeps_value=False)],
            )

    # -------------------------------------------------------------- what is passed

    def _is_pair(self, module: Module, node: ast.expr) -> bool:
        """Is every value that `node` may have a pair of two different things?"""
        found: list[ast.AST] = []
        for origin in self._origins(module, node):
            if (
                not isinstance(origin, ast.Tuple)
                or len(origin.elts) != 2
                or any(isinstance(e, ast.Starred) for e in origin.elts)
            ):
                return False
            found.append(origin)
        return bool(found)

    def _origins(self, module: Module, node: ast.expr) -> list[ast.AST]:
        if isinstance(node, ast.Call) and module.call_name(node) == "next" and node.args:
            return self._yielded(module, node.args[0])
        if isinstance(node, ast.Name):
            definitions = module.definitions(node)
            if len(definitions) == 1 and definitions[0].value is not None and not definitions[0].path:
                value = definitions[0].value
                if definitions[0].kind == "loop":
                    return self._yielded(module, value)
                if isinstance(value, ast.Call) and module.call_name(value) == "next" and value.args:
                    return self._yielded(module, value.args[0])
        # A generator itself is no pair, though what it yields is.
        return [o for o in module.objects.origins(node) if not isinstance(module.parent(o), ast.Yield)]

    def _yielded(self, module: Module, iterator: ast.expr) -> list[ast.AST]:
        """What a generator function of this module yields, or a data set of pairs holds."""
        found: list[ast.AST] = []
        for origin in [iterator, *module.objects.origins(iterator)]:
            if not isinstance(origin, ast.Call):
                continue
            for callee in module.objects.callees(origin):
                yields = [n for n in module.each(ast.Yield) if module.function(n) is callee]
                found += [n.value for n in yields if n.value is not None]
            while isinstance(origin, ast.Call) and isinstance(origin.func, ast.Attribute):
                if origin.func.attr == "from_tensor_slices" and origin.args:
                    return [origin.args[0]]
                if origin.func.attr not in ("batch", "shuffle", "prefetch", "repeat", "cache", "take"):
                    break
                inner = module.objects.origins(origin.func.value)
                origin = inner[0] if len(inner) == 1 else origin.func.value
        return found or [iterator]

    # -------------------------------------------------------------- the model

    def _wants_targets(self, module: Module, model: ast.expr) -> bool:
        """Was the model compiled with a loss, and does it take one input?"""
        if "add_loss" in module.text or "def train_step" in module.text:
            return False
        if not any(
            isinstance(c.func, ast.Attribute)
            and c.func.attr == "compile"
            and (len(c.args) > 1 or any(k.arg == "loss" for k in c.keywords))
            for c in module.calls
        ):
            return False
        for origin in module.objects.origins(model):
            name = module.call_name(origin) or ""
            if name.rpartition(".")[2] == "Model" and isinstance(origin, ast.Call):
                inputs = (
                    origin.args[0]
                    if origin.args
                    else next((k.value for k in origin.keywords if k.arg == "inputs"), None)
                )
                if inputs is None or isinstance(inputs, (ast.List, ast.Tuple, ast.Dict)):
                    return False
                if any(isinstance(o, (ast.List, ast.Tuple, ast.Dict)) for o in module.objects.origins(inputs)):
                    return False
            elif name.rpartition(".")[2] != "Sequential":
                return False
        return bool(module.objects.origins(model))
