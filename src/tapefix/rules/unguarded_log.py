"""TPF601: the log of a value that can be 0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.findings import Candidate, Finding
from tapefix.rules._deviations import scale_candidates
from tapefix.rules._logs import TOKENS, clipped, inward, is_certain, log_space, risky_logs, softened
from tapefix.rules._numeric import Risk, by_function, leader
from tapefix.rules._squashed import unscaled
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class UnguardedLog(Rule):
    """A log is taken of a value that can be 0.

    What it finds:
        `tf.math.log(p)` in a loss, where p is a probability, a prediction or a sum that can be 0 and that nothing
        keeps away from it.

    Why the gradient stops:
        log(0) is -inf and its slope 1/0 is infinite: times a factor 0 that is NaN, and from the next step on every
        weight is NaN. A sigmoid or softmax is exactly 0 or 1 in float32 as soon as the network is sure.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((1,)), tf.keras.layers.Dense(1, activation="sigmoid")])
        x, y = tf.constant([[400.0], [-400.0], [0.5]]), tf.constant([[1.0], [0.0], [1.0]])
        with tf.GradientTape() as tape:
            p = model(x)
            loss = -tf.reduce_mean(y * tf.math.log(p) + (1 - y) * tf.math.log(1 - p))
        gradients = tape.gradient(loss, model.trainable_variables)
        ```

    Fix safety:
        Safe: probabilities between 1e-7 and 1 keep their value. A softplus in place of a clip, for outputs that may
        be negative, changes what is computed and is unsafe.
    """

    code = "TPF601"
    name = "unguarded-log"
    safety = "safe"
    tokens = TOKENS

    def check(self, module: Module) -> Iterator[Finding]:
        risks = [(risk, inward(module, risk)) for risk in risky_logs(module)]
        left = [risk for risk, kinds in risks if not _is_of_another_rule(kinds)]
        taken_inwards = {id(risk) for risk, kinds in risks if kinds}
        for group in by_function(module, left):
            sure = [risk for risk in group if is_certain(module, risk)]
            unsure = [risk for risk in group if risk not in sure]
            for risks_, certain in ((sure, True), (unsure, False)):
                if risks_:
                    yield self._finding(module, risks_, certain, [r for r in risks_ if id(r) in taken_inwards])

    def _finding(self, module: Module, risks: list[Risk], certain: bool, inwards: list[Risk]) -> Finding:
        first = leader(module, risks)
        candidates: list[Candidate | None] = [unscaled(module, risks), *scale_candidates(module, risks)]
        candidates.append(clipped(module, risks))
        if inwards:
            candidates.insert(0, log_space(module, inwards, "stay in log space, where nothing underflows"))
        candidates.append(softened(module, risks))
        what = "a prediction that can be 0" if certain else "a value that can be 0"
        return self.finding(
            module,
            first.node,
            f"The log is taken of {what}: there it is -inf, and its gradient is infinite or NaN.",
            label="can be log(0)",
            candidates=[c for c in candidates if c is not None],
            notes=[(risk.node, "and here") for risk in risks if risk is not first],
            certain=certain,
            numeric=True,
        )


def _is_of_another_rule(kinds: frozenset[str]) -> bool:
    return kinds in ({"softmax"}, {"sigmoid"}, {"exp"}) or kinds == {"exp", "sum"}
