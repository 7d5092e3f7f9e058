"""TPF304: the sign of a value between the variables and the loss."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._soft import Cut, cuts, first_argument, in_layer, starves, straight_through
from tapefix.rules._spelling import Spelling
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class Sign(Rule):
    """The sign of a value is taken on its way from the variables to the loss.

    What it finds:
        `tf.sign(prediction)` as a term of a loss: direction and hinge penalties. The sign of labels is right, and so
        is a sign that only weighs a differentiable value.

    Why the gradient stops:
        A sign is flat on both sides of 0, so its gradient is 0 (not None): nothing warns, and the term trains nothing.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable([0.3, -0.2])
        truth = tf.constant([1.0, 1.0])
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.sign(truth) - tf.sign(w)))
        gradients = tape.gradient(loss, [w])
        ```

    Fix safety:
        Unsafe: tanh is the smooth form of the sign; for values far from 0 both are the same. In a layer, whose codes
        or weights are to be binary, the straight-through estimator keeps the value.
    """

    code = "TPF304"
    name = "sign"
    safety = "unsafe"
    tokens = ("sign",)

    def check(self, module: Module) -> Iterator[Finding]:
        for cut in cuts(module, "sign"):
            assert isinstance(cut.node, ast.Call)
            certain = cut.certain or (cut.effect == "layer" and _leaves_zeros(module))
            yield self.finding(
                module,
                cut.node,
                f"The gradient of sign is zero everywhere: {starves(cut)}.",
                label="no gradient passes here",
                candidates=self._candidates(module, cut, cut.node),
                certain=certain,
                silent=certain,
            )

    @staticmethod
    def _candidates(module: Module, cut: Cut, call: ast.Call) -> list[Candidate]:
        spelling = Spelling(module, call)
        tanh = spelling.op("tanh")
        edits = (ReplaceExpression(module.span(call.func), tanh), *spelling.imports)
        smooth = Candidate(f"use {tanh}, the smooth form", edits, safe=False)
        inner = first_argument(call)
        if inner is None or not (cut.effect in ("layer", "weight") or in_layer(module, call)):
            return [smooth]
        # The codes and weights of a binary network are to stay -1 and 1.
        outside = module.op(call) is None
        passing = straight_through(module, call, inner, spelling, f"{spelling.op('sign')}($x)" if outside else None)
        title = "take the sign forwards, pass the gradient backwards (straight-through estimator)"
        estimator = Candidate(title, passing, safe=False, keeps_value=True) if passing is not None else None
        return [estimator, smooth] if estimator is not None else [smooth]


def _leaves_zeros(module: Module) -> bool:
    """Does a run show a gradient that is exactly zero, as it is behind a sign, and not None?"""
    run = module.measured
    return run is not None and any(s.state == "zero" for gradient in run.gradients for s in gradient.sources)
