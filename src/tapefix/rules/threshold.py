"""TPF302: a comparison between the variables and the loss."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding, Span
from tapefix.rules._soft import (
    Cut,
    agreement,
    comparison_around,
    counts,
    cuts,
    first_argument,
    is_turned_round,
    operands,
    starves,
    step_forms,
    through_casts,
    together,
)
from tapefix.rules._soft_logic import passing, placed
from tapefix.rules._spelling import Spelling
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class Threshold(Rule):
    """A value is compared on its way from the variables to the loss.

    What it finds:
        `tf.cast(p > 0.5, tf.float32)`, `tf.where(p > 0.5, 1.0, 0.0)`, `K.equal(y_true, K.round(y_pred))` as (part of)
        a loss: accuracy, F1 and other counts. A comparison that weighs or masks a differentiable value is right.

    Why the gradient stops:
        The result of a comparison jumps between two values and is flat elsewhere: TensorFlow gives the gradient None.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1, activation="sigmoid")])
        x, y = tf.random.normal([8, 2]), tf.constant([[0.0], [1.0]] * 4)
        with tf.GradientTape() as tape:
            hits = tf.cast(model(x) > 0.5, tf.float32) * y
            loss = 1 - tf.reduce_sum(hits) / tf.reduce_sum(y)
        gradients = tape.gradient(loss, model.trainable_variables)
        ```

    Fix safety:
        Unsafe: probabilities or a steep sigmoid in place of the step make another loss, with the same best point.
    """

    code = "TPF302"
    name = "threshold"
    safety = "unsafe"
    tokens = (">", "<", "==", "greater", "less", "equal")

    def check(self, module: Module) -> Iterator[Finding]:
        found = []
        for cut in cuts(module, "comparison", "rounding"):
            test = comparison_around(module, cut.node)
            if cut.kind == "rounding" and test is None:
                continue
            place = test if test is not None and cut.kind == "rounding" else cut.node
            found.append((cut, place, [] if counts(module, cut) else self._candidates(module, cut, test)))
        for cut, place, candidates, others in together(module, found):
            yield self.finding(
                module,
                place,
                f"A comparison has no gradient: {starves(cut)}.",
                label="no gradient passes here",
                candidates=candidates,
                notes=[(other, "and here") for other in others],
                certain=cut.certain,
                silent=cut.silent,
                advice="Use a loss that is smooth in the prediction (a cross entropy), and keep this as a metric.",
            )

    def _candidates(self, module: Module, cut: Cut, test: ast.expr | None) -> list[Candidate]:
        spelling = Spelling(module, test if test is not None else cut.node)
        sides = operands(module, cut.node)
        if test is None and sides is not None and sides[2] in ("==", "!="):
            test = cut.node
        if test is not None:
            return self._agreements(module, cut, test, spelling)
        kept = passing(module, cut.node, spelling)
        title = "compare forwards, pass the gradient of a steep sigmoid backwards (straight-through estimator)"
        first = [Candidate(title, kept, safe=False, keeps_value=True)] if kept is not None else []
        return first + [
            Candidate(title, (*placed(module, cut.node, text, parts, spelling), *spelling.imports), safe=False)
            for title, text, parts in step_forms(module, cut.node, spelling)
        ]

    @staticmethod
    def _agreements(module: Module, cut: Cut, test: ast.expr, spelling: Spelling) -> list[Candidate]:
        sides = operands(module, test)
        if sides is None or is_turned_round(module, test) != (sides[2] == "=="):
            return []  # a loss that grows with the number of hits: what is meant cannot be known
        made = agreement(module, test, spelling)
        if made is None:
            return []
        text, parts = made
        edits: list[Edit] = placed(module, test, text, parts, spelling)
        if cut.node is not test:
            softened: str | None = "$x"
            inner = first_argument(cut.node)
            own: dict[str, Span] = {"x": module.span(inner)} if inner is not None else {}
            if cut.kind == "comparison":
                forms = step_forms(module, cut.node, spelling)
                softened, own = (forms[0][1], forms[0][2]) if forms else (None, {})
            if softened is None or not own:
                return []
            # The casts around it go with the equality test, unless they stand elsewhere.
            place = cut.node if module.inside(cut.node, test) else through_casts(module, cut.node)
            edits.append(ReplaceExpression(module.span(place), softened, own))
        return [Candidate("measure how far prediction and target are apart", (*edits, *spelling.imports), safe=False)]
