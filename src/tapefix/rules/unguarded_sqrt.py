"""TPF602: a root of a value that can be 0."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._numeric import Risk, in_branch, measured_bad, measured_numeric, other_bound, unguarded, worth_a_look
from tapefix.rules._spelling import Spelling
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_ROOTS = ("sqrt", "rsqrt")
_NORMS = ("norm", "reduce_euclidean_norm")
_DEVIATIONS = {"reduce_std": "math.reduce_variance", "std": "var"}


class UnguardedSqrt(Rule):
    """A square root, a norm or a standard deviation is taken where the value can be 0.

    What it finds:
        `tf.sqrt(tf.reduce_sum(tf.square(a - b)))`, `tf.norm(a - b)`, `x ** 0.5`, `tf.math.reduce_std(x)` without an
        epsilon under the root: distances of equal points, gradient penalties, deviations of constant batches.

    Why the gradient stops:
        The slope of a root at 0 is infinite. Times the 0 that comes next in the chain it is NaN, and every weight
        with it.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable([[1.0], [2.0]])
        a, b = tf.constant([[1.0, 2.0], [3.0, 1.0]]), tf.constant([[1.0, 2.0], [0.0, 1.0]])
        with tf.GradientTape() as tape:
            distance = tf.sqrt(tf.reduce_sum(tf.square(a @ w - b @ w), axis=1))
            loss = tf.reduce_mean(distance)
        gradients = tape.gradient(loss, [w])
        ```

    Fix safety:
        Safe: 1e-12 under the root changes distances by a millionth at most.
    """

    code = "TPF602"
    name = "unguarded-sqrt"
    safety = "safe"
    tokens = ("sqrt(", "norm(", "std(", "0.5", "1 / 2", "1/2")

    def check(self, module: Module) -> Iterator[Finding]:
        if not worth_a_look(module):
            return
        for first, group in unguarded(module, self._risks(module)):
            edits: list[Edit] = []
            for risk in group:
                edits += self._edits(module, risk)
            yield self.finding(
                module,
                first.node,
                "The slope of a root is infinite at 0: where the value is exactly 0, the gradient is NaN.",
                label="can be the root of 0",
                candidates=[Candidate("put an epsilon under the root", tuple(edits))],
                notes=[(risk.node, "and here") for risk in group if risk is not first],
                certain=False,
                numeric=True,
            )

    @staticmethod
    def _risks(module: Module) -> Iterator[Risk]:
        measured = measured_numeric(module)
        for call in module.calls:
            operation = module.op(call)
            if not call.args or isinstance(call.args[0], ast.Starred):
                continue
            inner = call.args[0]
            if operation in _ROOTS or (
                operation in ("pow", "power") and len(call.args) == 2 and _is_half(module, call.args[1])
            ):
                found = module.ranges.of(inner)
                # TensorFlow's gradient of a root is 0 where nothing comes back from above, as in a branch of tf.where.
                if (
                    found.positive
                    or (found.guarded and not (measured and measured_bad(module, call)))
                    or in_branch(module, call)
                ):
                    continue
                yield Risk(call, inner, found)
            elif (operation in _NORMS and _is_euclidean(call, operation)) or operation in _DEVIATIONS:
                yield Risk(call, inner, module.ranges.of(inner))
        for node in module.all(ast.BinOp):
            assert isinstance(node, ast.BinOp)
            if isinstance(node.op, ast.Pow) and _is_half(module, node.right):
                found = module.ranges.of(node.left)
                if not found.positive and not found.guarded:
                    yield Risk(node, node.left, found)

    @staticmethod
    def _edits(module: Module, risk: Risk) -> list[Edit]:
        node, span = risk.node, module.span(risk.argument)
        spelling = Spelling(module, node)
        small = spelling.epsilon if spelling.backend else "1e-12"
        operation = module.op(node)
        if isinstance(node, ast.Call) and operation in (*_NORMS, *_DEVIATIONS):
            axis = argument(node, 2 if operation == "norm" else 1, "axis")
            keep = argument(node, 3 if operation == "norm" else 2, "keepdims")
            parts = {"x": span}
            rest = ""
            for name, value in (("axis", axis), ("keepdims", keep)):
                if value is not None:
                    parts[name] = module.span(value)
                    rest += f", {name}=${name}"
            if operation in _NORMS:
                inner = f"{spelling.op('reduce_sum')}({spelling.op('square')}($x){rest})"
            elif operation == "std":
                inner = f"{spelling.prefix}.var($x{rest})"
            else:
                inner = f"{spelling.op('math.reduce_variance')}($x{rest})"
            return [
                ReplaceExpression(module.span(node), f"{spelling.op('sqrt')}({inner} + {small})", parts),
                *spelling.imports,
            ]
        bounded = other_bound(module, risk.argument, small, None)
        if bounded:
            return bounded
        if _is_input_gradient(module, risk.argument):
            return [ReplaceExpression(span, f"$x + {small}", {"x": span})]
        return [ReplaceExpression(span, spelling.at_least("$x", small), {"x": span}), *spelling.imports]


def _is_half(module: Module, node: ast.expr) -> bool:
    return module.ranges.of(node).constant == 0.5


def _is_euclidean(call: ast.Call, operation: str) -> bool:
    order = argument(call, 1, "ord") if operation == "norm" else None
    return order is None or (isinstance(order, ast.Constant) and order.value in (None, 2, "euclidean", "fro", 2.0))


def _is_input_gradient(module: Module, node: ast.expr) -> bool:
    """Is the root taken of a gradient, as in a gradient penalty?"""
    calls = {gradient.call for gradient in module.tapes.gradients}
    return bool(calls) and not calls.isdisjoint(module.flow.backward([node]))
