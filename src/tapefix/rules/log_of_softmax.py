"""TPF606: the log of a softmax."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.findings import Finding
from tapefix.rules._logs import TOKENS, clipped, inward, log_space, risky_logs
from tapefix.rules._numeric import by_function, leader, surely_matters
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class LogOfSoftmax(Rule):
    """The log of a softmax is computed in two steps.

    What it finds:
        `tf.math.log(tf.nn.softmax(logits))`, also where the softmax stands some lines above.

    Why the gradient stops:
        The softmax of an unlikely class is exactly 0 in float32, its log is -inf, and the gradient NaN.
        `tf.nn.log_softmax` computes the same without ever forming that 0.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable([[90.0, -90.0]])
        x, y = tf.constant([[1.0], [-1.0]]), tf.constant([[0.0, 1.0], [0.0, 1.0]])
        with tf.GradientTape() as tape:
            p = tf.nn.softmax(x @ w)
            loss = -tf.reduce_mean(tf.reduce_sum(y * tf.math.log(p), axis=-1))
        gradients = tape.gradient(loss, [w])
        ```

    Fix safety:
        Safe: the value is the same wherever it was finite.
    """

    code = "TPF606"
    name = "log-of-softmax"
    safety = "safe"
    tokens = TOKENS

    def check(self, module: Module) -> Iterator[Finding]:
        if "softmax" not in module.text:
            return
        risks = [risk for risk in risky_logs(module) if inward(module, risk) == {"softmax"}]
        for group in by_function(module, risks):
            first = leader(module, group)
            better = log_space(module, group, "use log_softmax")
            yield self.finding(
                module,
                first.node,
                "The softmax of an unlikely class is exactly 0 in float32; its log is -inf and its gradient NaN.",
                label="log of a softmax",
                candidates=[c for c in (better, clipped(module, group)) if c is not None],
                notes=[(risk.node, "and here") for risk in group if risk is not first],
                certain=all(surely_matters(module, risk.node, risk.argument) for risk in group),
                numeric=True,
            )
