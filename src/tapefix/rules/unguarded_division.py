"""TPF603: a division by a value that can be 0."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Edit, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules._logs import risky_logs
from tapefix.rules._numeric import (
    Risk,
    behind,
    by_function,
    is_guarded_elsewhere,
    leader,
    matters,
    measured_bad,
    measured_numeric,
    other_bound,
    worth_a_look,
)
from tapefix.rules._spelling import Spelling
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.scopes import Def

_DIVISIONS = ("divide", "truediv", "div", "realdiv")
_BY_OTHER_RULES = ("sqrt", "norm", "reduce_euclidean_norm", "reduce_std", "std")
# Zero only where they underflow.
_POSITIVE = ("exp", "softplus")
_ZEROS = ("zeros", "Zeros", "zeros_like")


class UnguardedDivision(Rule):
    """A division by a value that can be 0.

    What it finds:
        `2 * intersection / (sum(a) + sum(b))`, `sum(loss * mask) / sum(mask)`, `x / sum(x)` without an epsilon: empty
        masks, slices without labels, groups without members. Also a division by a weight that starts at 0.

    Why the gradient stops:
        0 / 0 is NaN, and the slope of 1 / x at 0 is infinite.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable([[0.5]])
        x, mask = tf.constant([[[1.0], [2.0]], [[3.0], [4.0]]]), tf.constant([[[1.0], [1.0]], [[0.0], [0.0]]])
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(x @ w) * mask, axis=[1, 2])
            loss = tf.reduce_mean(total / tf.reduce_sum(mask, axis=[1, 2]))
        gradients = tape.gradient(loss, [w])
        ```

    Fix safety:
        Safe: an epsilon of 1e-7 does not change quotients of ordinary size. Where the denominator is a weight that
        starts at 0 there is advice only: another start, or another parametrisation, is a decision about the model.
    """

    code = "TPF603"
    name = "unguarded-division"
    safety = "safe"
    tokens = ("/", "divide(", "truediv(", "reciprocal(", "div(")

    def check(self, module: Module) -> Iterator[Finding]:
        if not worth_a_look(module):
            return
        divisions = list(self._divisions(module))
        if not divisions:
            return
        risks: list[Risk] = []
        weights: list[Risk] = []
        for node, numerator, denominator in divisions:
            found = module.ranges.of(denominator)
            if (
                found.zero_free
                or found.constant is not None
                or not (module.training.is_recorded(node) or measured_bad(module, node))
            ):
                continue
            if found.guarded and not (measured_numeric(module) and measured_bad(module, node)):
                continue
            if _is_zero_weight(module, denominator):
                weights.append(Risk(node, denominator, found))
            elif _can_vanish(module, denominator) and (
                matters(module, node, denominator) or matters(module, node, numerator)
            ):
                risks.append(Risk(node, denominator, found))
        if weights:
            yield self._advice(module, weights)
            owners = {module.class_of(risk.node) or module.function(risk.node) for risk in weights}
            risks = [r for r in risks if (module.class_of(r.node) or module.function(r.node)) not in owners]
        logged = {
            d
            for risk in risky_logs(module)
            for n in ast.walk(risk.argument)
            if isinstance(n, ast.Name)
            for d in module.definitions(n)
        }
        risks = [r for r in risks if not is_guarded_elsewhere(module, r) and not _names(module, r.argument) & logged]
        for group in by_function(module, risks):
            first = leader(module, group)
            candidates = self._candidates(module, group)
            yield self.finding(
                module,
                first.node,
                "The denominator can be 0: then the quotient is NaN or infinite, and its gradient with it.",
                label="can be a division by 0",
                candidates=candidates,
                notes=[(risk.node, "and here") for risk in group if risk is not first],
                certain=False,
                numeric=True,
                advice="" if candidates else "Let the temperature end above 0: max(0.1, ...), say.",
            )

    @staticmethod
    def _divisions(module: Module) -> Iterator[tuple[ast.expr, ast.expr, ast.expr]]:
        for node in module.all(ast.BinOp):
            assert isinstance(node, ast.BinOp)
            if isinstance(node.op, ast.Div) and not isinstance(node.right, ast.Constant):
                yield node, node.left, node.right
        for statement in module.all(ast.AugAssign):
            assert isinstance(statement, ast.AugAssign)
            if (
                isinstance(statement.op, ast.Div)
                and not isinstance(statement.value, ast.Constant)
                and isinstance(statement.target, ast.Name)
            ):
                yield statement.value, statement.value, statement.value
        for call in module.calls:
            operation = module.op(call)
            if (
                operation in _DIVISIONS
                and len(call.args) >= 2
                and not any(isinstance(a, ast.Starred) for a in call.args)
            ):
                yield call, call.args[0], call.args[1]
            elif operation == "reciprocal" and call.args:
                yield call, call.args[0], call.args[0]

    def _advice(self, module: Module, weights: list[Risk]) -> Finding:
        first = leader(module, weights)
        return self.finding(
            module,
            first.node,
            "The denominator is a weight that starts at 0, so that the first quotient is already infinite or NaN.",
            label="division by a weight that is 0 at the start",
            notes=[(risk.node, "and here") for risk in weights if risk is not first],
            certain=False,
            numeric=True,
            advice="Start the weight at ones, or train its logarithm and divide by exp of that.",
        )

    @staticmethod
    def _candidates(module: Module, group: list[Risk]) -> list[Candidate]:
        added: list[Edit] = []
        replaced: list[Edit] = []
        for risk in group:
            node, span = risk.node, module.span(risk.argument)
            call = node if isinstance(node, ast.Call) else _near_call(module, node)
            spelling = Spelling(module, call)
            bounded = other_bound(module, risk.argument, spelling.epsilon, None)
            added += bounded or [ReplaceExpression(span, f"$x + {spelling.epsilon}", {"x": span})]
            divide = spelling.op("math.divide_no_nan")
            if isinstance(node, ast.BinOp):
                parts = {"a": module.span(node.left), "b": span}
                replaced += [ReplaceExpression(module.span(node), f"{divide}($a, $b)", parts), *spelling.imports]
            elif isinstance(node, ast.Call) and len(node.args) >= 2:
                parts = {"a": module.span(node.args[0]), "b": span}
                replaced += [ReplaceExpression(module.span(node), f"{divide}($a, $b)", parts), *spelling.imports]
            else:
                statement = module.statement(node)
                if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
                    name = statement.target.id
                    replaced += [
                        ReplaceStatement(module.span(statement), f"{name} = {divide}({name}, $b)", {"b": span}),
                        *spelling.imports,
                    ]
        epsilon = Candidate("add an epsilon to the denominator", tuple(added))
        no_nan = Candidate("use divide_no_nan, which gives 0 for a division by 0", tuple(replaced))
        sums = all(risk.range.low >= 0 or _is_sum(module, risk.argument) for risk in group)
        candidates = [epsilon, no_nan] if sums else [no_nan, epsilon]
        if any(_is_tempered(module, risk) for risk in group):
            return []  # where the schedule should stop is for the author to say
        return [candidate for candidate in candidates if candidate.edits]


def _is_tempered(module: Module, risk: Risk) -> bool:
    """`softmax(scores / temperature)`, where the temperature is a number that comes from elsewhere."""
    if not isinstance(risk.argument, (ast.Name, ast.Attribute)):
        return False
    if any(module.op(origin) is not None for origin in module.objects.origins(risk.argument)):
        return False
    above = module.parent(risk.node)
    return isinstance(above, ast.Call) and module.op(above) in ("softmax", "log_softmax")


def _can_vanish(module: Module, denominator: ast.expr) -> bool:
    """Is the denominator something that data or weights can make 0, rather than a setting or a size?"""
    base = behind(module, denominator)
    operation = module.op(base) or ""
    if operation in _BY_OTHER_RULES or _sums_exponentials(module, base):
        return False
    if operation in _POSITIVE and not measured_bad(module, denominator):
        return False
    found = module.ranges.of(denominator)
    if denominator in module.flow.learned or measured_bad(module, denominator):
        return True
    # A scale of the data that was computed once, before the training, is a setting as well.
    return (found.low == 0 or _is_sum(module, denominator)) and module.training.is_recorded(base)


def _is_sum(module: Module, node: ast.expr, depth: int = 4) -> bool:
    """Is the denominator made of sums over elements, which are not negative where the code is right?"""
    if depth <= 0:
        return False
    if isinstance(node, ast.BinOp):
        return _is_sum(module, node.left, depth - 1) or _is_sum(module, node.right, depth - 1)
    base = behind(module, node)
    if base is not node and isinstance(base, ast.BinOp):
        return _is_sum(module, base, depth - 1)
    return module.op(base) in ("reduce_sum", "sum")


def _sums_exponentials(module: Module, node: ast.expr) -> bool:
    """The denominator of a softmax by hand, which is another rule's."""
    if not (isinstance(node, ast.Call) and node.args and module.op(node) in ("reduce_sum", "sum")):
        return False
    return module.op(behind(module, node.args[0])) == "exp"


def _names(module: Module, node: ast.expr) -> set[Def]:
    return {d for n in ast.walk(node) if isinstance(n, ast.Name) for d in module.definitions(n)}


def _is_zero_weight(module: Module, denominator: ast.expr) -> bool:
    """Is the denominator a variable that is initialised with zeros?"""
    for origin in module.objects.origins(denominator):
        if isinstance(origin, ast.Call) and module.kinds.made(origin) == "variable":
            for value in [
                *origin.args,
                *[k.value for k in origin.keywords if k.arg in ("initializer", "initial_value", None)],
            ]:
                if isinstance(value, ast.Constant) and (
                    value.value == "zeros" or (isinstance(value.value, float) and value.value == 0)
                ):
                    return True
                name = module.call_name(value) or module.name(value) or ""
                if name.rpartition(".")[2] in _ZEROS:
                    return True
    return False


def _near_call(module: Module, node: ast.expr) -> ast.AST | None:
    """A call of the same function that shows in which dialect (tf, K, ops) it is written."""
    function = module.function(node)
    calls = [c for c in module.calls if module.function(c) is function and module.op(c) is not None]
    return next(iter(calls), None)
