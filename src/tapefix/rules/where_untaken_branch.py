"""TPF605: tf.where with an operation that overflows or fails in the branch that is not taken."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.intervals import INF, Range, combine
from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._numeric import in_double, matters, speaks_of, worth_a_look
from tapefix.rules._spelling import Spelling
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_AT_ZERO = ("acos", "asin", "atanh", "arccos", "arcsin", "arctanh")
_COMPARISONS = {"greater": ">", "greater_equal": ">", "less": "<", "less_equal": "<"}


class WhereUntakenBranch(Rule):
    """`tf.where` does not keep the gradient of the branch that is not taken away.

    What it finds:
        `tf.where(x > 0, tf.math.log(x), 0.0)` and `tf.where(x > 20, x, tf.math.log(1 + tf.exp(x)))`: a log, exp,
        power, quotient or arc function inside a branch whose condition was to protect it.

    Why the gradient stops:
        Both branches are computed and differentiated. The one that is not taken gets the gradient 0, but 0 times
        infinity is NaN.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable([1.0, 2.0, 0.0])
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.where(w > 0.0, w * tf.math.log(w), 0.0))
        gradients = tape.gradient(loss, [w])
        ```

    Fix safety:
        Safe: where the branch is taken, its value is the same.
    """

    code = "TPF605"
    name = "where-untaken-branch"
    safety = "safe"
    tokens = ("where(", "switch(")

    def check(self, module: Module) -> Iterator[Finding]:
        if not worth_a_look(module):
            return
        for call in module.calls:
            if module.op(call) not in ("where", "switch") or len(call.args) != 3:
                continue
            risks = [
                (bad, inner, taken)
                for taken, branch in ((True, call.args[1]), (False, call.args[2]))
                for bad, inner in self._operations(module, branch)
                if not _is_guarded(module, call, inner)
                and speaks_of(module, call.args[0], inner)
                and (matters(module, bad, inner) or _weighs(module, call, branch))
            ]
            if not risks:
                continue
            edits: list[Edit] = []
            for bad, inner, taken in risks:
                edits += self._guard(module, call, bad, inner, taken)
            bad = risks[0][0]
            yield self.finding(
                module,
                bad,
                "tf.where also differentiates the branch that is not taken, and 0 times its infinite slope is NaN.",
                label="also computed where the other branch is taken",
                candidates=[Candidate("guard the argument inside the branch", tuple(edits))],
                notes=[(other, "and here") for other, _, _ in risks if other is not bad],
                certain=False,
                numeric=True,
            )

    @staticmethod
    def _operations(module: Module, branch: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
        """The operations of a branch that can fail, with the argument at which they do; also through one name."""
        places = [branch]
        if isinstance(branch, ast.Name):
            definitions = module.definitions(branch)
            if (
                len(definitions) == 1
                and definitions[0].kind == "assign"
                and not definitions[0].path
                and definitions[0].value is not None
            ):
                places.append(definitions[0].value)
        for place in places:
            for node in ast.walk(place):
                if isinstance(node, ast.Call) and node.args:
                    operation, inner = module.op(node), node.args[0]
                    found = module.ranges.of(inner)
                    if (
                        (operation == "exp" and found.high > 88)
                        or (operation in ("log", "pow", "power") and found.low <= 0 and not _is_kept(module, inner))
                        or (operation == "log1p" and found.low <= -1 and not isinstance(inner, ast.Call))
                        or (operation in (*_AT_ZERO, "lgamma") and not found.guarded)
                    ):
                        yield node, inner
                    elif (
                        operation in ("divide", "truediv")
                        and len(node.args) == 2
                        and not module.ranges.of(node.args[1]).zero_free
                    ):
                        yield node, node.args[1]
                elif (
                    isinstance(node, ast.BinOp)
                    and isinstance(node.op, ast.Div)
                    and not isinstance(node.right, ast.Constant)
                ):
                    found = module.ranges.of(node.right)
                    if not found.zero_free and not _is_kept(module, node.right):
                        yield node, node.right
                elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
                    power, base = module.ranges.of(node.right).constant, module.ranges.of(node.left)
                    if (power is None or power < 1) and not base.positive and not _is_kept(module, node.left):
                        yield node, node.left

    @staticmethod
    def _guard(module: Module, call: ast.Call, bad: ast.expr, inner: ast.expr, taken: bool) -> list[Edit]:
        spelling = Spelling(module, call)
        span = module.span(inner)
        compared = _comparison(module, call.args[0])
        if compared is not None:
            value, sign, bound = compared
            limit = module.ranges.of(bound)
            # The side of the bound on which this branch is taken.
            above = (sign == ">") == taken
            side = Range(limit.low, INF) if above else Range(-INF, limit.high)
            here = [n for n in ast.walk(inner) if isinstance(n, ast.expr) and ast.dump(n) == ast.dump(value)]
            overflow = here == [inner] and not above and module.op(bad) == "exp"
            if (
                here
                and not in_double(module)
                and (overflow or _holds(module, bad, _within(module, inner, value, side)))
            ):
                function = spelling.op("maximum" if above else "minimum")
                edits: list[Edit] = []
                for node in here:
                    parts = {"x": module.span(node), "t": module.span(bound)}
                    edits.append(ReplaceExpression(parts["x"], f"{function}($x, $t)", parts))
                return [*edits, *spelling.imports]
        condition = call.args[0]
        where = spelling.op("where")
        # A number at which the operation and its slope are finite: log, powers and quotients at 1, arc functions at 0.
        harmless = spelling.op("zeros_like" if module.op(bad) in _AT_ZERO else "ones_like")
        parts = {"x": span, "c": module.span(condition)}
        text = f"{where}($c, $x, {harmless}($x))" if taken else f"{where}($c, {harmless}($x), $x)"
        return [ReplaceExpression(span, text, parts), *spelling.imports]


def _is_guarded(module: Module, call: ast.Call, inner: ast.expr) -> bool:
    """Is the argument already chosen by the same condition (the double tf.where)?"""
    if not isinstance(inner, ast.Call) or module.op(inner) != "where" or len(inner.args) != 3:
        return False
    return ast.dump(inner.args[0]) == ast.dump(call.args[0])


def _weighs(module: Module, call: ast.Call, branch: ast.expr) -> bool:
    """Is the branch a product with something trainable: of data, too, NaN times the gradient 0 is NaN?"""
    return module.training.is_recorded(call) and branch in module.flow.learned


def _is_kept(module: Module, value: ast.expr) -> bool:
    """Is a value kept away from trouble on both sides of the condition, unlike `x + 1` of any x?"""
    if not module.ranges.of(value).guarded:
        return False
    if isinstance(value, ast.Name):
        found = [d.value for d in module.definitions(value) if d.kind == "assign" and not d.path]
        return len(found) != 1 or found[0] is None or _is_kept(module, found[0])
    if isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Add, ast.Sub)):
        sides = [module.ranges.of(side) for side in (value.left, value.right)]
        return not any(side.unknown and not side.guarded for side in sides)
    return True


def _within(module: Module, node: ast.expr, value: ast.expr, side: Range) -> Range:
    """The range of an expression where `value`, which occurs in it, stays on one side of a bound."""
    if ast.dump(node) == ast.dump(value):
        return side
    if isinstance(node, ast.BinOp):
        return combine(node.op, *(_within(module, part, value, side) for part in (node.left, node.right)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _within(module, node.operand, value, side)
        return Range(-inner.high, -inner.low)
    return module.ranges.of(node)


def _holds(module: Module, bad: ast.expr, found: Range) -> bool:
    """Is an operation fine at all of these arguments?"""
    operation = module.op(bad)
    if operation == "exp":
        return found.high <= 88
    if operation == "log1p":
        return found.low > -1
    if operation in _AT_ZERO:
        return found.low > -1 and found.high < 1
    if operation in ("divide", "truediv") or (isinstance(bad, ast.BinOp) and isinstance(bad.op, ast.Div)):
        return found.zero_free
    return found.positive


def _comparison(module: Module, node: ast.expr) -> tuple[ast.expr, str, ast.expr] | None:
    """`x > t` as (x, ">", t)."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        sign = (
            ">"
            if isinstance(node.ops[0], (ast.Gt, ast.GtE))
            else "<"
            if isinstance(node.ops[0], (ast.Lt, ast.LtE))
            else None
        )
        return (node.left, sign, node.comparators[0]) if sign else None
    if isinstance(node, ast.Call) and len(node.args) == 2 and (sign := _COMPARISONS.get(module.op(node) or "")):
        return node.args[0], sign, node.args[1]
    return None
