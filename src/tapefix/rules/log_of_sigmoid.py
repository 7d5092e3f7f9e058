"""TPF607: the log of a sigmoid, or of one minus a sigmoid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.findings import Finding
from tapefix.rules._logs import TOKENS, clipped, inward, log_space, risky_logs
from tapefix.rules._numeric import by_function, leader, surely_matters
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class LogOfSigmoid(Rule):
    """The log of a sigmoid is computed in two steps.

    What it finds:
        `tf.math.log(tf.sigmoid(z))` and `tf.math.log(1 - tf.sigmoid(z))`, also where the sigmoid stands some lines
        above: the binary cross entropy by hand.

    Why the gradient stops:
        In float32 a sigmoid is exactly 1 from about 17 on, and 0 below about -104. One of the two logs is then -inf,
        and -inf times a label of 0 is NaN. `tf.math.log_sigmoid` computes the same without that.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable(2.0)
        x, y = tf.constant([-30.0, 40.0]), tf.constant([0.0, 1.0])
        with tf.GradientTape() as tape:
            p = tf.sigmoid(w * x)
            loss = -tf.reduce_mean(y * tf.math.log(p) + (1 - y) * tf.math.log(1 - p))
        gradients = tape.gradient(loss, [w])
        ```

    Fix safety:
        Safe: log(1 - sigmoid(z)) is log_sigmoid(-z), and the value is the same wherever it was finite.
    """

    code = "TPF607"
    name = "log-of-sigmoid"
    safety = "safe"
    tokens = TOKENS

    def check(self, module: Module) -> Iterator[Finding]:
        if "sigmoid" not in module.text:
            return
        risks = [risk for risk in risky_logs(module) if inward(module, risk) == {"sigmoid"}]
        for group in by_function(module, risks):
            first = leader(module, group)
            better = log_space(module, group, "use log_sigmoid")
            yield self.finding(
                module,
                first.node,
                "A sigmoid is exactly 0 or 1 in float32 for large inputs; then this log is -inf and its gradient NaN.",
                label="log of a sigmoid",
                candidates=[c for c in (better, clipped(module, group)) if c is not None],
                notes=[(risk.node, "and here") for risk in group if risk is not first],
                certain=all(surely_matters(module, risk.node, risk.argument) for risk in group),
                numeric=True,
            )
