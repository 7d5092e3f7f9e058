"""TPF301: rounding between the variables and the loss."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._positions import interpolated
from tapefix.rules._soft import (
    Cut,
    comparison_around,
    counts,
    cuts,
    draws,
    first_argument,
    in_layer,
    starves,
    straight_through,
    together,
)
from tapefix.rules._spelling import Spelling
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_IN_TENSORFLOW = {
    "floor": "floor", "ceil": "math.ceil", "round": "round", "rint": "math.rint", "around": "round",
    "trunc": "math.floor", "fix": "math.floor",
}  # fmt: skip


class Rounding(Rule):
    """A value is rounded on its way from the variables to the loss.

    What it finds:
        `tf.round`, `tf.floor`, `tf.math.ceil`, `K.round`, `np.floor`, `np.rint`, `//` in a loss or a layer, as in a
        Dice or F1 loss of rounded predictions.

    Why the gradient stops:
        A rounded value does not change when its argument changes a little: TensorFlow gives the gradient None.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1, activation="sigmoid")])
        x, y = tf.random.normal([8, 2]), tf.ones([8, 1])
        with tf.GradientTape() as tape:
            mask = tf.round(model(x))
            loss = 1 - 2 * tf.reduce_sum(mask * y) / (tf.reduce_sum(mask) + tf.reduce_sum(y))
        gradients = tape.gradient(loss, model.trainable_variables)
        ```

    Fix safety:
        Unsafe: a loss of the values before rounding is another loss; the straight-through estimator keeps the value
        and lets the gradient pass as if nothing had been rounded.
    """

    code = "TPF301"
    name = "rounding"
    safety = "unsafe"
    tokens = ("round", "floor", "ceil", "rint", "//", "trunc", "fix(")

    def check(self, module: Module) -> Iterator[Finding]:
        found = []
        for cut in cuts(module, "rounding"):
            inner = first_argument(cut.node)
            if inner is not None and comparison_around(module, cut.node) is None:
                chosen = counts(module, cut)
                candidates = interpolated(module, cut.node) if chosen else self._candidates(module, cut, inner)
                found.append((cut, cut.node, candidates))
        for cut, place, candidates, others in together(module, found):
            yield self.finding(
                module,
                place,
                f"Rounding has no gradient: {starves(cut)}.",
                label="no gradient passes here",
                candidates=candidates,
                notes=[(other, "and here") for other in others],
                certain=cut.certain,
                silent=cut.silent,
                advice="Compute the loss from the values before they are rounded.",
            )

    @staticmethod
    def _candidates(module: Module, cut: Cut, inner: ast.expr) -> list[Candidate]:
        node, span, part = cut.node, module.span(cut.node), {"x": module.span(inner)}
        found = []
        operation = (
            (module.numpy_op(node) or (module.call_name(node) or "").removeprefix("math."))
            if isinstance(node, ast.Call)
            else ""
        )
        outside = operation if module.op(node) is None else ""
        spelling = Spelling(module, node)
        written = None
        if outside in _IN_TENSORFLOW and isinstance(node, ast.Call):
            name = spelling.op(_IN_TENSORFLOW[outside])
            written = f"{name}($x)"
            edits: tuple[Edit, ...] = (ReplaceExpression(module.span(node.func), name), *spelling.imports)
            found.append(Candidate(f"use {name}", edits, needs_proof=True))
        if isinstance(node, ast.BinOp):
            both = {"x": module.span(node.left), "y": module.span(node.right)}
            return [Candidate("divide without rounding", (ReplaceExpression(span, "$x / $y", both),), safe=False)]
        removal = Candidate("use the value before it is rounded", (ReplaceExpression(span, "$x", part),), safe=False)
        passing = straight_through(module, node, inner, spelling, written)
        ladder = [removal]
        if passing is not None:
            estimator = Candidate(
                "round forwards, pass the gradient backwards (straight-through estimator)",
                passing,
                safe=False,
                keeps_value=True,
            )
            # Rounded predictions inside a loss are a metric's way to count: the soft form is what is meant. A layer's
            # codes, and a loss that is rounded as a whole, are to stay the numbers that they are.
            keeps = cut.effect in ("layer", "weight") or in_layer(module, node) or _is_aggregate(module, inner)
            # Noise under a floor makes it a draw, of 0 or 1 say: without the floor nothing is drawn any more.
            drawn = draws(module, inner)
            ladder = [estimator] if drawn else [estimator, removal] if keeps else [removal, estimator]
        return [*found, *ladder]


def _is_aggregate(module: Module, node: ast.expr) -> bool:
    """Is the value a mean or a sum already, as a loss is?"""
    origins = module.objects.origins(node) if isinstance(node, ast.Name) else [node]
    names = ((module.op(n) or module.numpy_op(n) or "") for origin in origins for n in ast.walk(origin))
    return any(name.startswith("reduce_") or name in ("mean", "sum", "average") for name in names)
