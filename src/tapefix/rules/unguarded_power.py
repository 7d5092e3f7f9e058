"""TPF604: a fractional or negative power of a value that can be 0."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.findings import Finding
from tapefix.rules._logs import clipped
from tapefix.rules._numeric import Risk, measured_bad, measured_numeric, one_minus, unguarded, worth_a_look
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class UnguardedPower(Rule):
    """A value that can be 0 is raised to a power below 1.

    What it finds:
        `x ** 0.4`, `(1 - p) ** gamma` with a gamma below 1, `x ** -1` and `tf.pow` alike, where x can be 0.

    Why the gradient stops:
        The slope of x ** a at 0 is infinite for a below 1; times 0 it is NaN.

    Example:
        ```python
        import tensorflow as tf

        gain = tf.Variable([1.0, 1.0])
        light = tf.constant([[0.0, 0.5], [0.2, 0.0]])
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.relu(light * gain) ** 0.4)
        gradients = tape.gradient(loss, [gain])
        ```

    Fix safety:
        Safe: values above 1e-7 are as before.
    """

    code = "TPF604"
    name = "unguarded-power"
    safety = "safe"
    tokens = ("**", "pow(", "power(")

    def check(self, module: Module) -> Iterator[Finding]:
        if not worth_a_look(module):
            return
        for first, group in unguarded(module, self._risks(module)):
            yield self.finding(
                module,
                first.node,
                "The slope of a power below 1 is infinite at 0: where the base is exactly 0, the gradient is NaN.",
                label="the base can be 0",
                candidates=[clipped(module, group, "power")],
                notes=[(risk.node, "and here") for risk in group if risk is not first],
                certain=False,
                numeric=True,
            )

    def _risks(self, module: Module) -> Iterator[Risk]:
        for node in module.all(ast.BinOp):
            assert isinstance(node, ast.BinOp)
            if isinstance(node.op, ast.Pow) and self._is_risk(module, node, node.left, node.right):
                yield Risk(node, node.left, module.ranges.of(node.left))
        for call in module.calls:
            if module.op(call) in ("pow", "power") and len(call.args) == 2 and self._is_risk(module, call, *call.args):
                yield Risk(call, call.args[0], module.ranges.of(call.args[0]))

    @staticmethod
    def _is_risk(module: Module, node: ast.expr, base: ast.expr, exponent: ast.expr) -> bool:
        power = module.ranges.of(exponent)
        constant = power.constant
        if constant is not None and (constant == 0.5 or (constant >= 1 and constant % 1 == 0)):
            return False
        found = module.ranges.of(base)
        blamed = measured_numeric(module) and measured_bad(module, node)
        if found.zero_free or found.constant is not None or (found.guarded and not blamed):
            return False
        if power.low >= 1:
            return blamed
        if power.unknown:
            # An exponent that nothing is known of: worth a look where the base is a probability, or a run says so.
            return found.probability or one_minus(base) is not None or blamed
        return power.low < 1
