"""TPF507: a Keras weight overwritten by a tensor in the forward pass or the update step."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_METHODS: dict[type[ast.operator], str] = {ast.Sub: "assign_sub", ast.Add: "assign_add"}


class WeightOverwritten(Rule):
    """A weight of a Keras object is replaced by a plain tensor.

    What it finds:
        `self.w -= step` and `self.w = self.w - step` outside of `__init__` and `build`, where `self.w` was made with
        `add_weight` or is a variable of Keras.

    Why the gradient stops:
        The attribute holds a tensor from then on. The weight itself never changes, and the forward pass uses a
        constant, so the gradient of the weight is None.

    Example:
        ```python
        import tensorflow as tf


        class Scale(tf.keras.layers.Layer):
            def build(self, input_shape):
                self.w = self.add_weight(name="w", shape=(), initializer="ones")

            def call(self, inputs):
                return self.w * inputs

            def shrink(self, rate):
                self.w -= rate * self.w


        layer = Scale()
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(layer(tf.ones([4, 3])))
            gradients = tape.gradient(loss, layer.trainable_variables)
            layer.shrink(0.1)
        ```

    Fix safety:
        Safe: `assign_sub` and `assign_add` change the weight itself.
    """

    code = "TPF507"
    name = "weight-overwritten"
    safety = "safe"
    tokens = ("add_weight", "Variable(")

    def check(self, module: Module) -> Iterator[Finding]:
        for node in module.all(ast.Assign, ast.AugAssign):
            assert isinstance(node, (ast.Assign, ast.AugAssign))
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if not (isinstance(target, ast.Attribute) and module.classes.is_self(target.value)):
                continue
            amount, operator = self._step(node, target)
            if amount is None or operator not in _METHODS:
                continue
            owner, function = module.class_of(node), module.function(node)
            if owner is None or getattr(function, "name", "") in ("__init__", "build", "reset_state"):
                continue
            if module.classes.kind(owner) not in ("layer", "model", "metric") or not self._is_weight(
                module, owner, target.attr
            ):
                continue
            method = _METHODS[operator]
            text = module.source(target)
            edit = ReplaceStatement(module.span(node), f"{text}.{method}($amount)", {"amount": module.span(amount)})
            yield self.finding(
                module,
                node,
                f"{text} is a weight and becomes a plain tensor here: the weight itself does not "
                "change, and is not used any more.",
                label="replaces the weight",
                candidates=[Candidate(f"change it with {method}", (edit,), keeps_value=False)],
                silent=True,
            )

    def _step(
        self, node: ast.Assign | ast.AugAssign, target: ast.Attribute
    ) -> tuple[ast.expr | None, type[ast.operator] | None]:
        if isinstance(node, ast.AugAssign):
            return node.value, type(node.op)
        value = node.value
        if isinstance(value, ast.BinOp) and ast.unparse(value.left) == ast.unparse(target):
            return value.right, type(value.op)
        return None, None

    def _is_weight(self, module: Module, owner: ast.ClassDef, name: str) -> bool:
        """Is the attribute made with add_weight, or as a Keras variable, and never as anything else but by steps?"""
        for holder in module.classes.bases(owner):
            for value, path in module.classes.attribute_writes.get((holder, name), []):
                made = isinstance(value, ast.Call) and not path
                if made and isinstance(value.func, ast.Attribute) and value.func.attr in ("add_weight", "add_variable"):  # type: ignore[attr-defined]
                    return True
                if made and module.call_name(value) == "keras.Variable":
                    return True
        return False
