"""TPF614: minus infinity as a fill for what a softmax is to leave out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._numeric import measured_numeric
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_INFINITE = {"np.inf", "np.Inf", "np.infty", "np.PINF", "math.inf", "np.NINF"}
_NEGATIVE = {"np.NINF"}
# Of these numbers, a sum with another of its kind is infinite.
_LOWEST = {"tf.float32.min", "tf.float64.min"}
_FILLS = {"where", "switch", "fill", "full", "full_like", "constant", "convert_to_tensor", "cast", "multiply", "add"}
# What takes the exponentials of its argument, or takes them together.
_DIVIDE = ("softmax", "Softmax", "logsumexp", "entropy", "exp(")


class InfiniteFill(Rule):
    """What a softmax is to leave out is filled with minus infinity.

    What it finds:
        `tf.where(mask, scores, -np.inf)`, `scores + (1 - mask) * float("-inf")` and `scores + (1 - mask) *
        tf.float32.min` before a softmax, in code whose values or gradients a run has measured NaN.

    Why the gradient stops:
        Where everything is left out, softmax divides 0 by 0. A mask of zeros times infinity is NaN everywhere, and
        the probability 0 times its logarithm is, too.

    Example:
        ```python
        import numpy as np
        import tensorflow as tf

        w = tf.Variable(tf.ones([2, 3]))
        mask = tf.constant([[True, False, True], [False, False, False]])
        with tf.GradientTape() as tape:
            weights = tf.nn.softmax(tf.where(mask, w, -np.inf))
            loss = tf.reduce_sum(weights * weights)
        gradients = tape.gradient(loss, [w])
        ```

    Fix safety:
        Safe: exp(-1e9) is 0, too, and where everything is left out all weights are the same.
    """

    code = "TPF614"
    name = "infinite-fill"
    safety = "safe"
    tokens = ("inf", "INF", "Inf", ".min")

    def check(self, module: Module) -> Iterator[Finding]:
        if module.measured is not None and not measured_numeric(module):
            return
        if not any(word in module.text for word in _DIVIDE):
            return
        groups: dict[ast.AST | None, list[tuple[ast.expr, str]]] = {}
        for node in module.all(ast.Attribute, ast.Call, ast.UnaryOp, ast.Name):
            assert isinstance(node, ast.expr)
            written = _finite(module, node) if self._fills(module, node) else None
            if written is not None:
                groups.setdefault(module.function(node), []).append((node, written))
        for found in groups.values():
            edits: list[Edit] = [ReplaceExpression(module.span(node), written) for node, written in found]
            yield self.finding(
                module,
                found[0][0],
                "Where a softmax gets nothing but minus infinity it divides 0 by 0, and 0 times infinity is NaN.",
                label="infinite",
                candidates=[Candidate("fill with a large finite number", tuple(edits))],
                notes=[(node, "and here") for node, _ in found[1:]],
                certain=False,
                numeric=True,
            )

    @staticmethod
    def _fills(module: Module, node: ast.expr) -> bool:
        """Is it a branch of tf.where, a fill or a factor of tensors, while gradients are recorded?"""
        above = module.parent(node)
        if isinstance(above, ast.Call):
            fills = (module.op(above) or "") in _FILLS and node in above.args
        else:
            fills = isinstance(above, ast.BinOp) and isinstance(above.op, (ast.Add, ast.Sub, ast.Mult))
        return fills and module.training.is_recorded(node)


def _finite(module: Module, node: ast.expr) -> str | None:
    """The number to write in place of an infinite one: `-1e9` for `-np.inf`; None where it is finite."""
    sign = _sign(module, node)
    return None if sign is None else "1e9" if sign > 0 else "-1e9"


def _sign(module: Module, node: ast.expr, depth: int = 3) -> int | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _sign(module, node.operand, depth)
        return None if inner is None else -inner
    if isinstance(node, ast.Call):
        text = node.args[0] if module.call_name(node) in ("float", "np.float32") and len(node.args) == 1 else None
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and "inf" in text.value.lower():
            return -1 if text.value.strip().startswith("-") else 1
        return None
    name = module.name(node)
    if name in _INFINITE:
        return -1 if name in _NEGATIVE else 1
    if name in _LOWEST or (isinstance(node, ast.Attribute) and ast.unparse(node).endswith(".dtype.min")):
        return -1
    values: list[ast.expr | None] = []
    if isinstance(node, ast.Name):
        values = [d.value if d.kind == "assign" and not d.path else None for d in module.definitions(node)]
    elif isinstance(node, ast.Attribute):
        values = [value for value, _ in module.objects.attribute_values(node)]
    alone = values[0] if len(values) == 1 and depth else None
    return _sign(module, alone, depth - 1) if alone is not None else None
