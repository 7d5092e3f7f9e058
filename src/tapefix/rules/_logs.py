"""The logs of a module that can meet 0: which they are, and the repairs that the rules about them share."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate
from tapefix.rules._log_space import LogSpace
from tapefix.rules._numeric import (
    Risk,
    behind,
    in_double,
    is_guarded_elsewhere,
    is_prediction,
    matters,
    measured_bad,
    measured_numeric,
    one_minus,
    only_values_are_bad,
    other_bound,
    rebind,
    surely_matters,
    worth_a_look,
)
from tapefix.rules._spelling import Spelling

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_EPSILON = re.compile(r"^_?(eps\w*|epsilon|tiny|small\w*|smooth)$", re.IGNORECASE)
LOGS = ("log", "log2", "log10", "log1p")
TOKENS = ("log(", "log1p(", "log2(", "log10(")


_found: WeakKeyDictionary[Module, list[Risk]] = WeakKeyDictionary()


def risky_logs(module: Module) -> list[Risk]:
    """Logs on the way to a loss whose argument may be 0. Several rules ask; the answer is kept with the module."""
    known = _found.get(module)
    if known is None:
        known = _found[module] = _risky_logs(module)
    return known


def _risky_logs(module: Module) -> list[Risk]:
    found = []
    for call in module.calls:
        operation = module.op(call)
        if operation not in LOGS or len(call.args) < 1 or isinstance(call.args[0], ast.Starred):
            continue
        inner = call.args[0]
        range_ = module.ranges.of(inner)
        edge = -1.0 if operation == "log1p" else 0.0
        if range_.low > edge or (
            operation == "log1p" and range_.low == float("-inf") and not measured_bad(module, call)
        ):
            continue
        negative = range_.low < 0 and only_values_are_bad(module)
        if range_.guarded and not negative and not (measured_numeric(module) and measured_bad(module, call)):
            continue
        risk = Risk(call, inner, range_)
        if worth_a_look(module) and not is_guarded_elsewhere(module, risk) and matters(module, call, inner):
            found.append(risk)
    return found


def inward(module: Module, risk: Risk) -> frozenset[str]:
    """What the log could be taken through (see LogSpace)."""
    if module.op(risk.node) != "log":
        return frozenset()
    return LogSpace(module, Spelling(module)).kinds(risk.argument)


def is_certain(module: Module, risk: Risk) -> bool:
    """Does the text alone show that the argument is a probability, or any number, right from a model?"""
    inner = risk.argument
    complement = one_minus(inner)
    if module.op(risk.node) == "log1p":
        complement = inner.operand if isinstance(inner, ast.UnaryOp) and isinstance(inner.op, ast.USub) else None
        if complement is None:
            return False
    value = complement if complement is not None else inner
    range_ = module.ranges.of(value)
    if range_.guarded or in_double(module) or not surely_matters(module, risk.node, inner):
        return False
    if range_.source in ("softmax", "sigmoid"):
        return True
    if range_.source == "output":
        return complement is None and (is_prediction(module, value) or isinstance(behind(module, value), ast.Call))
    # A part of a prediction may have an activation of its own (mean and deviation): a run must tell.
    whole = not any(isinstance(n, ast.Subscript) for n in ast.walk(value)) and is_prediction(module, value)
    if range_.source in ("", "prediction") and whole and not _is_split(module, value):
        return True
    return range_.source in ("", "prediction", "output") and _is_told(module, risk, value)


def _is_told(module: Module, risk: Risk, value: ast.expr) -> bool:
    """Does the function around a log say that its argument is a probability that can be 0?

    It takes the log of p and of 1 - p; it guards another of its logs; it has an epsilon that it does not use; or it
    multiplies the log of what was divided by its own sum with the labels.
    """
    function = module.function(risk.node)
    if function is None or not isinstance(value, ast.Name) or _EPSILON.search(value.id):
        return False
    # Where many factors underflow together, a clip stops all learning.
    if any(
        module.op(v) in ("reduce_prod", "prod", "cumprod")
        for v in module.flow.backward([value])
        if isinstance(v, ast.Call)
    ):
        return False
    others = [c for c in module.calls if c is not risk.node and module.function(c) is function]
    logs = [c.args[0] for c in others if module.op(c) == "log" and c.args]
    pairs = [one_minus(a) if one_minus(risk.argument) is None else a for a in logs]
    if any(isinstance(p, ast.Name) and module.definitions(p) == module.definitions(value) for p in pairs):
        return True
    if any(_is_guarded(module, a) for a in logs):
        return True
    return _has_unused_epsilon(module, function) or _is_crossed(module, risk)


def _is_guarded(module: Module, argument: ast.expr) -> bool:
    """Is this kept away from 0 by a clip or an epsilon, written for that?"""
    if isinstance(argument, ast.BinOp) and isinstance(argument.op, ast.Add):
        small = [n for n in (argument.left, argument.right) if _is_small(module, n)]
        return bool(small)
    value = one_minus(argument) or argument
    if isinstance(value, ast.Name):
        made = [d.value for d in module.definitions(value) if d.value is not None and not d.path]
        value = made[0] if len(made) == 1 else value
    return module.op(value) in ("clip", "clip_by_value", "maximum") and _keeps_learned(module, value)


def _keeps_learned(module: Module, call: ast.expr) -> bool:
    return isinstance(call, ast.Call) and bool(call.args) and call.args[0] in module.flow.learned


def _is_small(module: Module, node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, float) and 0 < node.value < 1e-3
    name = module.name(node.func if isinstance(node, ast.Call) else node) or ast.unparse(node)
    return bool(_EPSILON.search(name.rpartition(".")[2].strip("()")))


def _has_unused_epsilon(module: Module, function: ast.AST) -> bool:
    """A parameter or a name for a small number that nothing reads."""
    scope = module.reaching.scope_of.get(function)
    names = [name for name in scope.defs if _EPSILON.search(name)] if scope is not None else []
    read = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return any(name not in read for name in names)


def _is_crossed(module: Module, risk: Risk) -> bool:
    """`y_true * log(p)` of a loss, where p was divided by its own sum."""
    product, log = module.parent(risk.node), risk.node
    if not isinstance(product, ast.BinOp) or not isinstance(product.op, ast.Mult):
        return False
    other = product.left if product.right is log else product.right
    if isinstance(other, ast.UnaryOp):
        other = other.operand
    function = module.function(log)
    truth = module.training.target_parameter(function) if isinstance(function, ast.FunctionDef) else None
    if truth is None or truth not in module.flow.backward([other]) or not isinstance(risk.argument, ast.Name):
        return False
    made = [d.value for d in module.definitions(risk.argument)]
    return bool(made) and all(
        isinstance(v, ast.BinOp) and isinstance(v.op, ast.Div) and module.op(v.right) in ("reduce_sum", "sum")
        for v in made
    )


def _is_split(module: Module, value: ast.expr) -> bool:
    """Is the value one of several that were unpacked or indexed?"""
    if not isinstance(value, ast.Name):
        return False
    return any(d.path or isinstance(d.value, ast.Subscript) for d in module.definitions(value))


def log_space(module: Module, risks: list[Risk], title: str) -> Candidate | None:
    """The candidate that takes the logs inwards."""
    spelling = Spelling(module, risks[0].node)
    space = LogSpace(module, spelling)
    for risk in risks:
        space.rewrite(risk.node, risk.argument)
    edits = space.edits()
    return Candidate(title, edits) if edits else None


def clipped(module: Module, risks: list[Risk], of: str = "log") -> Candidate:
    """The candidate that keeps the arguments of logs (or of powers) away from 0, by the smallest change."""
    spelling = Spelling(module, risks[0].node)
    small = spelling.epsilon
    edits: list[Edit] = []
    left = list(risks)
    for names in _same_name(module, risks):
        needs_low, needs_high = _sides(module, names)
        again = other_bound(module, names[0], small if needs_low else None, f"1 - {small}" if needs_high else None)
        if not again and len(names) > 1 and needs_high:
            made = rebind(module, names, spelling.clip(names[0].id, small, f"1 - {small}"))
            again = [made] if made is not None else []
        if again:
            edits += again
            left = [r for r in left if _value(r) not in names]
    probabilities = all(_is_probability(module, risk) for risk in risks)
    for risk in left:
        own = other_bound(module, risk.argument, small, None) if one_minus(risk.argument) is None else []
        if own:
            edits += own
            continue
        span = module.span(risk.argument)
        if module.op(risk.node) == "log1p":
            text = spelling.at_least("$x", f"{small} - 1")
        elif _is_probability(module, risk):
            text = spelling.clip("$x", small, "1.0")
        else:
            text = spelling.at_least("$x", small)
        edits.append(ReplaceExpression(span, text, {"x": span}))
    what = "the probabilities" if probabilities else "the argument"
    return Candidate(f"keep {what} of the {of} away from 0", (*edits, *spelling.imports))


def softened(module: Module, risks: list[Risk]) -> Candidate | None:
    """For values that may be negative: softplus, which has a slope where a clip has none."""
    free = [r for r in risks if r.range.low < 0 and one_minus(r.argument) is None and module.op(r.node) != "log1p"]
    if not free:
        return None
    spelling = Spelling(module, free[0].node)
    edits = []
    for risk in free:
        span = module.span(risk.argument)
        edits.append(ReplaceExpression(span, f"{spelling.op('math.softplus')}($x) + {spelling.epsilon}", {"x": span}))
    return Candidate("make the argument of the log positive with softplus", (*edits, *spelling.imports), safe=False)


def _value(risk: Risk) -> ast.expr:
    return one_minus(risk.argument) or risk.argument


def _same_name(module: Module, risks: list[Risk]) -> list[list[ast.Name]]:
    """The names p of which log(p) or log(1 - p) is taken, those of one value together."""
    groups: dict[object, list[ast.Name]] = {}
    for risk in risks:
        value = _value(risk)
        if isinstance(value, ast.Name) and module.op(risk.node) != "log1p":
            groups.setdefault((value.id, module.definitions(value)), []).append(value)
    return list(groups.values())


def _sides(module: Module, names: list[ast.Name]) -> tuple[bool, bool]:
    complements = [one_minus(parent) is name for name in names if (parent := module.parent(name)) is not None]
    return not all(complements), any(complements)


def _is_probability(module: Module, risk: Risk) -> bool:
    return risk.range.probability or module.ranges.of(_value(risk)).source in ("softmax", "sigmoid", "picked")
