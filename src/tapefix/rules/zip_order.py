"""TPF406: gradients and variables zipped the wrong way round."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class ZipOrder(Rule):
    """Variables and gradients are zipped in the wrong order.

    What it finds:
        `optimizer.apply_gradients(zip(variables, gradients))`.

    Why the gradient stops:
        `apply_gradients` takes pairs of (gradient, variable). The other way round the optimiser tries to update the
        gradients and fails with an AttributeError.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        optimizer = tf.keras.optimizers.SGD(0.1)
        x, y = tf.ones([4, 2]), tf.ones([4, 1])
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(model.trainable_variables, gradients))
        ```

    Fix safety:
        Safe: the other order has no meaning.
    """

    code = "TPF406"
    name = "swapped-zip"
    safety = "safe"
    tokens = ("apply_gradients",)

    def check(self, module: Module) -> Iterator[Finding]:
        for call in module.calls:
            if not (isinstance(call.func, ast.Attribute) and call.func.attr == "apply_gradients" and call.args):
                continue
            pairs = call.args[0]
            if not (isinstance(pairs, ast.Call) and module.call_name(pairs) == "zip" and len(pairs.args) == 2):
                continue
            first, second = pairs.args
            if self._are_gradients(module, second) and not self._are_gradients(module, first):
                swap = (
                    ReplaceExpression(module.span(first), "$other", {"other": module.span(second)}),
                    ReplaceExpression(module.span(second), "$other", {"other": module.span(first)}),
                )
                yield self.finding(
                    module,
                    pairs,
                    "apply_gradients takes (gradient, variable) pairs, but here the variables come first.",
                    label="variables, then gradients",
                    candidates=[Candidate("zip the gradients first", swap)],
                )

    @staticmethod
    def _are_gradients(module: Module, node: ast.expr) -> bool:
        return any(
            isinstance(origin, ast.Call) and any(gradient.call is origin for gradient in module.tapes.gradients)
            for origin in module.objects.origins(node)
        )
