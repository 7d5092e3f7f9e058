"""TPF611: a guard against log(0) or division by 0 that guards nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Edit, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules._numeric import discarded_guards, guarded_in_vain, matters, one_minus, surely_matters, worth_a_look
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_RISKY = ("log", "log2", "log10", "sqrt", "rsqrt", "pow", "reciprocal", "divide", "truediv")
# Below this a number added to 1 is lost in float32.
_ABSORBED = 6e-8


class UselessGuard(Rule):
    """A clip or an epsilon that guards nothing.

    What it finds:
        `tf.clip_by_value(p, 1e-7, 1.0)` as a statement of its own, whose result is thrown away, before `log(p)`; and
        `log(1 - p + 1e-8)`.

    Why the gradient stops:
        Tensors are never changed in place, so the log still sees 0. In a graph (`tf.function`, `fit`) TensorFlow
        folds `1 - p + 1e-8` into `(1 + 1e-8) - p`, and 1 + 1e-8 is 1 in float32.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable(1.0)
        x, y = tf.constant([-200.0, 40.0]), tf.constant([1.0, 1.0])
        with tf.GradientTape() as tape:
            p = tf.nn.relu(w * x)
            tf.clip_by_value(p, 1e-7, 100.0)
            loss = -tf.reduce_mean(y * tf.math.log(p))
        gradients = tape.gradient(loss, [w])
        ```

    Fix safety:
        Safe: it does what the author has written down.
    """

    code = "TPF611"
    name = "useless-guard"
    safety = "safe"
    tokens = ("clip", "maximum(", "1e-", "1.0e-")

    def check(self, module: Module) -> Iterator[Finding]:
        yield from self._discarded(module)
        if worth_a_look(module):
            yield from self._absorbed(module)

    def _discarded(self, module: Module) -> Iterator[Finding]:
        guards = discarded_guards(module)
        for statement in guards:
            call = statement.value
            assert isinstance(call, ast.Call)
            name = call.args[0]
            assert isinstance(name, ast.Name)
            used = [node for node, inner in self._operations(module) if guarded_in_vain(module, inner) is statement]
            if not used:
                continue
            template = f"{name.id} = $call"
            yield self.finding(
                module,
                statement,
                f"The result of this clip is thrown away: tensors do not change in place, {name.id} stays as it was.",
                label="has no effect",
                candidates=[
                    Candidate(
                        "keep the result",
                        (ReplaceStatement(module.span(statement), template, {"call": module.span(call)}),),
                    )
                ],
                notes=[(used[0], "not guarded")],
                certain=any(
                    surely_matters(module, node, inner) for node, inner in self._operations(module) if node in used
                ),
                numeric=True,
            )

    def _absorbed(self, module: Module) -> Iterator[Finding]:
        for node, inner in self._operations(module):
            small = _epsilon_beside_one_minus(module, inner)
            if small is None or not matters(module, node, inner):
                continue
            edits: tuple[Edit, ...] = (ReplaceExpression(module.span(small), "1e-7"),)
            yield self.finding(
                module,
                node,
                "In a graph this epsilon is added to the 1 first, where float32 loses it: the value can still be 0.",
                label="the epsilon is too small beside 1",
                candidates=[Candidate("use an epsilon that float32 keeps", edits)],
                certain=False,
                numeric=True,
            )

    @staticmethod
    def _operations(module: Module) -> Iterator[tuple[ast.expr, ast.expr]]:
        """Operations that must not see 0, with the argument in question."""
        for call in module.calls:
            operation = module.op(call)
            if operation in _RISKY and call.args and not isinstance(call.args[0], ast.Starred):
                position = 1 if operation in ("divide", "truediv") and len(call.args) > 1 else 0
                yield call, call.args[position]
        for node in module.all(ast.BinOp):
            assert isinstance(node, ast.BinOp)
            if isinstance(node.op, ast.Div):
                yield node, node.right
            elif isinstance(node.op, ast.Pow) and not isinstance(node.left, ast.Constant):
                yield node, node.left


def _epsilon_beside_one_minus(module: Module, node: ast.expr) -> ast.expr | None:
    """`1e-8` of `1 - p + 1e-8`, also as `1e-8 + (1 - p)` and with the epsilon next to the 1."""
    if not isinstance(node, ast.BinOp):
        return None
    if isinstance(node.op, ast.Add):
        for small, other in ((node.right, node.left), (node.left, node.right)):
            if _is_absorbed(module, small) and one_minus(other) is not None:
                return small
    if isinstance(node.op, ast.Sub) and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Add):
        # 1 + 1e-10 - p
        for small, one in ((node.left.right, node.left.left), (node.left.left, node.left.right)):
            if _is_absorbed(module, small) and isinstance(one, ast.Constant) and one.value == 1:
                return small
    return None


def _is_absorbed(module: Module, node: ast.expr) -> bool:
    value = module.ranges.of(node).constant
    return value is not None and 0 < value < _ABSORBED and not isinstance(node, ast.Call)
