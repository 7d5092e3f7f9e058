"""TPF613: a softmax over a single unit, which is always 1."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Layers whose units (or filters) are the last axis, over which their activation is taken.
_LAYERS = {"Dense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"}


class SoftmaxOfOne(Rule):
    """A softmax is taken over a single unit.

    What it finds:
        `Dense(1, activation="softmax")`, and the same of a convolution with one filter.

    Why the gradient stops:
        A softmax divides by the sum over the units. Over one unit it is 1, whatever the input is, and its gradient is
        zero.

    Example:
        ```python
        import tensorflow as tf

        layers = tf.keras.layers
        model = tf.keras.Sequential([tf.keras.Input((2,)), layers.Dense(1, activation="softmax")])
        model.compile(optimizer="sgd", loss="binary_crossentropy")
        model.fit(tf.random.normal([8, 2]), tf.zeros([8, 1]), verbose=0)
        ```

    Fix safety:
        Safe: what a single unit can say is the probability of one of two classes, which is a sigmoid.
    """

    code = "TPF613"
    name = "softmax-of-one"
    safety = "safe"
    tokens = ("softmax",)

    def check(self, module: Module) -> Iterator[Finding]:
        for call in module.calls:
            name = module.call_name(call) or ""
            layer = name.rpartition(".")[2]
            if not name.startswith("keras.layers.") or layer not in _LAYERS or not self._is_one(module, call):
                continue
            activation = argument(call, 1 if layer == "Dense" else 99, "activation")
            edit = self._sigmoid(module, activation) if activation is not None else None
            if activation is not None and edit is not None:
                yield self.finding(
                    module,
                    activation,
                    "The softmax of a single unit is 1, whatever the unit is: its gradient is zero.",
                    label="over one unit",
                    candidates=[Candidate("use a sigmoid", (edit,), keeps_value=False)],
                )

    @staticmethod
    def _is_one(module: Module, call: ast.Call) -> bool:
        units = argument(call, 0, "units") or argument(call, 0, "filters")
        origins = module.objects.origins(units) if units is not None else []
        return bool(origins) and all(isinstance(o, ast.Constant) and o.value == 1 for o in origins)

    @staticmethod
    def _sigmoid(module: Module, activation: ast.expr) -> ReplaceExpression | None:
        span = module.span(activation)
        if isinstance(activation, ast.Constant):
            quote = module.source(activation)[:1]
            return ReplaceExpression(span, f"{quote}sigmoid{quote}") if activation.value == "softmax" else None
        name = module.name(activation) or ""
        if name not in ("tf.nn.softmax", "keras.activations.softmax", "keras.ops.softmax"):
            return None
        if isinstance(activation, ast.Attribute):
            return ReplaceExpression(span, "$package.sigmoid", {"package": module.span(activation.value)})
        return ReplaceExpression(span, '"sigmoid"')
