"""TPF610: an arc function at the edge of its domain, or an exp that overflows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._numeric import Risk, measured_bad, measured_numeric, other_bound, unguarded, worth_a_look
from tapefix.rules._spelling import Spelling
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_ARCS = {"acos", "asin", "atanh", "arccos", "arcsin", "arctanh", "erfinv", "acosh"}


class DomainEdges(Rule):
    """An arc function is taken at 1 or -1, or exp of a number above 88.

    What it finds:
        `tf.acos(tf.reduce_sum(a * b, -1))`, `tf.asin`, `tf.atanh` without a clip inside, and, where a run shows that
        it overflows, `tf.exp(x)`.

    Why the gradient stops:
        The slope of acos, asin and atanh is infinite at 1 and -1, and beyond they are NaN; rounding alone takes the
        cosine of two equal unit vectors there. exp(89) is infinite in float32.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable([1.0, 0.0])
        goal = tf.constant([[1.0, 0.0], [0.0, 1.0]])
        with tf.GradientTape() as tape:
            cosine = tf.reduce_sum(w * goal, axis=-1)
            loss = tf.reduce_mean(tf.acos(cosine))
        gradients = tape.gradient(loss, [w])
        ```

    Fix safety:
        Safe: angles change by a thousandth at most. The bound is 1 - 1e-6, since 1 - 1e-8 is 1 in float32.
    """

    code = "TPF610"
    name = "domain-edge"
    safety = "safe"
    tokens = (*(f"{name}(" for name in sorted(_ARCS)), "exp(")

    def check(self, module: Module) -> Iterator[Finding]:
        if not worth_a_look(module):
            return
        for first, group in unguarded(module, self._risks(module)):
            edits: list[Edit] = []
            for risk in group:
                edits += self._edits(module, risk)
            overflow = module.op(first.node) == "exp"
            candidates = [Candidate("keep the argument where the slope is finite", tuple(edits))]
            made = {place for risk in group for place in self._layer_calls(module, risk.argument)}
            if overflow and len(made) == 1:
                candidates.append(self._narrower(module, made.pop()))
            yield self.finding(
                module,
                first.node,
                "exp overflows above 88 in float32, and what comes after is infinite or NaN."
                if overflow
                else "The slope is infinite at the edge of the domain, and beyond it the value is NaN.",
                label="can overflow" if overflow else "can be at the edge of its domain",
                candidates=candidates,
                notes=[(risk.node, "and here") for risk in group if risk is not first],
                certain=False,
                numeric=True,
            )

    @staticmethod
    def _risks(module: Module) -> Iterator[Risk]:
        overflowing = measured_numeric(module)
        for call in module.calls:
            operation = module.op(call)
            if not call.args or isinstance(call.args[0], ast.Starred):
                continue
            found = module.ranges.of(call.args[0])
            if operation in _ARCS:
                edge = found.low <= 1 if operation == "acosh" else (found.low <= -1 or found.high >= 1)
                if edge and not found.guarded:
                    yield Risk(call, call.args[0], found)
            elif operation == "exp" and overflowing and found.high > 88 and measured_bad(module, call):
                yield Risk(call, call.args[0], found)

    @staticmethod
    def _layer_calls(module: Module, node: ast.expr) -> Iterator[ast.expr]:
        """Where a layer makes the one value that the argument of an exp is a multiple of, or the value itself."""
        while isinstance(node, (ast.BinOp, ast.UnaryOp)):
            if isinstance(node, ast.UnaryOp):
                node = node.operand
            elif isinstance(node.op, (ast.Mult, ast.Div)) and module.ranges.of(node.left).constant is not None:
                node = node.right
            elif isinstance(node.op, (ast.Mult, ast.Div)) and module.ranges.of(node.right).constant is not None:
                node = node.left
            else:
                return
        origins = [o for o in module.objects.origins(node) if isinstance(o, ast.Call)]
        if len(origins) == 1 and module.training.is_forward(origins[0]):
            yield origins[0]

    @staticmethod
    def _narrower(module: Module, layer_call: ast.expr) -> Candidate:
        """The logarithm (of a variance, of a rate) kept between -20 and 20 where a layer makes it.

        What is computed from exp(80) overflows as soon as it is squared. Clipped at its origin, all that reads it sees
        the same number; clipped in one exp only, the other terms of a likelihood would run away.
        """
        spelling = Spelling(module, layer_call)
        span = module.span(layer_call)
        edit = ReplaceExpression(span, spelling.clip("$x", "-20.0", "20.0"), {"x": span})
        return Candidate("keep the logarithm between -20 and 20 where it is made", (edit, *spelling.imports))

    @staticmethod
    def _edits(module: Module, risk: Risk) -> list[Edit]:
        spelling = Spelling(module, risk.node)
        span = module.span(risk.argument)
        operation = module.op(risk.node)
        if operation == "exp":
            return [ReplaceExpression(span, f"{spelling.op('minimum')}($x, 80.0)", {"x": span}), *spelling.imports]
        if operation == "acosh":
            return [ReplaceExpression(span, spelling.at_least("$x", "1 + 1e-6"), {"x": span}), *spelling.imports]
        again = other_bound(module, risk.argument, "-1 + 1e-6", "1 - 1e-6")
        if again:
            return again
        return [ReplaceExpression(span, spelling.clip("$x", "-1 + 1e-6", "1 - 1e-6"), {"x": span}), *spelling.imports]
