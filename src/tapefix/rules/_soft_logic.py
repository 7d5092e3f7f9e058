"""Soft forms around a comparison: `and`, `or`, `not` of what was softened, and the casts, choices and counts of it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Edit, Insert, ReplaceExpression
from tapefix.findings import Span
from tapefix.rules._soft import STEEPNESS, through_casts
from tapefix.rules._soft import operands as operands_of
from tapefix.rules._spelling import Spelling

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_CALLS = {"logical_and": "and", "logical_or": "or", "logical_not": "not"}


def placed(module: Module, node: ast.expr, text: str, parts: dict[str, Span], spelling: Spelling) -> list[Edit]:
    """The soft form in place of a test, and what then has to change in the operations that took the truth value."""
    above = _logic_above(module, node)
    if above:
        own: list[Edit] = [ReplaceExpression(module.span(node), text, parts)]
        return [*own, *[edit for use in above for edit in _through_logic(module, use, spelling)]]
    return [_outermost(module, node, text, parts, spelling)]


def passing(module: Module, node: ast.expr, spelling: Spelling) -> tuple[Edit, ...] | None:
    """For a test inside `and`, `or`, `not`: the number made of it stays, and has the gradient of the soft form.

    Products of soft steps are no soft step: a region that is painted softly overlaps with itself by a part only.
    """
    operands = _logic_above(module, node)
    if len(operands) != 1:
        return None
    top: ast.expr = node
    while operands:
        above = module.parent(operands[0])
        assert isinstance(above, ast.expr)
        top, operands = above, _logic_above(module, above)
        if len(operands) > 1:
            return None
    number = _number_of(module, top)
    statement = module.statement(top)
    if number is None or not isinstance(statement, (ast.Assign, ast.Return)):
        return None
    soft = _Soft(module, spelling)
    text = soft.form(top)
    if text is None:
        return None
    scope = module.scope(node)
    name = next(n for n in ("soft", "soft_value", "soft_value_2") if not scope.lookup(n))
    hard = {"hard": module.span(number)}
    return (
        Insert(module.span(statement), "before", f"{name} = {text}", soft.parts),
        ReplaceExpression(module.span(number), f"{name} + {spelling.op('stop_gradient')}($hard - {name})", hard),
        *spelling.imports,
    )


def _number_of(module: Module, test: ast.expr, depth: int = 4) -> ast.expr | None:
    """The cast of a truth value to a number, also through a name; None where there are several, or something else."""
    number = through_casts(module, test)
    if number is not test:
        return number
    parent = module.parent(test)
    if isinstance(parent, ast.Call) and module.op(parent) == "where" and len(parent.args) == 3:
        values = [module.ranges.of(value).constant for value in parent.args[1:]]
        return parent if values == [1.0, 0.0] and parent.args[0] is test else None
    if isinstance(parent, ast.Assign) and len(parent.targets) == 1 and isinstance(parent.targets[0], ast.Name):
        bound = module.reaching.bindings.get(parent.targets[0], [])
        uses = [use for definition in bound for use in definition.uses]
        return _number_of(module, uses[0], depth - 1) if len(uses) == 1 and depth else None
    return None


class _Soft:
    """The soft form of a truth value, written from the outside to the inside."""

    def __init__(self, module: Module, spelling: Spelling) -> None:
        self.module = module
        self.spelling = spelling
        self.parts: dict[str, Span] = {}

    def form(self, node: ast.expr, depth: int = 8) -> str | None:
        found = _logic(self.module, node)
        if depth <= 0:
            return None
        if found is not None:
            kind, operands = found
            forms = [self.form(operand, depth - 1) for operand in operands]
            if None in forms:
                return None
            if kind == "not":
                return f"(1.0 - {forms[0]})"
            return (
                " * ".join(map(str, forms))
                if kind == "and"
                else f"{self.spelling.op('maximum')}({forms[0]}, {forms[1]})"
            )
        if isinstance(node, ast.Name) and node in self.module.cuts.dependent:
            values = [d.value for d in self.module.definitions(node) if d.kind == "assign" and not d.path]
            alone = len(values) == len(self.module.definitions(node)) == 1
            return self.form(values[0], depth - 1) if alone and values[0] is not None else None
        if node not in self.module.cuts.dependent:
            return f"{self.spelling.op('cast')}({self._hole(node)}, {self.spelling.op('float32')})"
        sides = operands_of(self.module, node)
        if sides is None or sides[2] not in "><":
            return None
        first, second = (sides[0], sides[1]) if sides[2] == ">" else (sides[1], sides[0])
        return f"{self.spelling.op('sigmoid')}({STEEPNESS}.0 * ({self._hole(first)} - {self._hole(second)}))"

    def _hole(self, node: ast.expr) -> str:
        name = f"e{len(self.parts)}"
        self.parts[name] = self.module.span(node)
        return f"${name}"


def _logic_above(module: Module, node: ast.expr, depth: int = 4) -> list[ast.expr]:
    """The operands that a test is of `and`, `or` and `not`, also through a name."""
    parent = module.parent(node)
    if isinstance(parent, ast.Assign) and len(parent.targets) == 1 and isinstance(parent.targets[0], ast.Name):
        bound = module.reaching.bindings.get(parent.targets[0], [])
        uses = [use for definition in bound for use in definition.uses] if depth else []
        return [found for use in uses for found in _logic_above(module, use, depth - 1)]
    return [node] if isinstance(parent, ast.expr) and _logic(module, parent) is not None else []


def _logic(module: Module, node: ast.AST) -> tuple[str, list[ast.expr]] | None:
    """`and`, `or` or `not`, and the operands."""
    if isinstance(node, ast.Call):
        kind = _CALLS.get(module.op(node) or module.numpy_op(node) or "")
        return (kind, node.args) if kind is not None and len(node.args) == (1 if kind == "not" else 2) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
        return ("and" if isinstance(node.op, ast.BitAnd) else "or"), [node.left, node.right]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return "not", [node.operand]
    return None


def _through_logic(module: Module, operand: ast.expr, spelling: Spelling) -> list[Edit]:
    """Probabilities in place of truth values: `and` is a product, `or` the larger one, `not` what is left to 1."""
    whole = module.parent(operand)
    found = _logic(module, whole) if whole is not None else None
    if found is None:
        return []
    assert isinstance(whole, ast.expr)
    kind, operands = found
    parts = {name: module.span(value) for name, value in zip("ab", operands, strict=False)}
    holes = [
        f"${name}" if value in module.cuts.dependent else f"{spelling.op('cast')}(${name}, {spelling.op('float32')})"
        for name, value in zip("ab", operands, strict=False)
    ]
    if kind == "not":
        text = f"1.0 - {holes[0]}"
    else:
        text = " * ".join(holes) if kind == "and" else f"{spelling.op('maximum')}({', '.join(holes)})"
    return placed(module, whole, text, parts, spelling)


def _outermost(module: Module, node: ast.expr, text: str, parts: dict[str, Span], spelling: Spelling) -> Edit:
    """The soft form in place of a test, and of the cast, the tf.where or the count around it."""
    value = through_casts(module, node)
    parent = module.parent(value)
    operation = (module.op(parent) or module.numpy_op(parent)) if isinstance(parent, ast.Call) else None
    if operation in ("where", "switch") and len(parent.args) == 3 and parent.args[0] is node:  # type: ignore[union-attr]
        assert isinstance(parent, ast.Call)
        one, zero = parent.args[1], parent.args[2]
        if (module.ranges.of(one).constant, module.ranges.of(zero).constant) == (1.0, 0.0):
            return ReplaceExpression(module.span(parent), text, parts)
        both = {**parts, "one": module.span(one), "zero": module.span(zero)}
        soft = f"({text})" if not text.endswith(")") or " - " in text or " * " in text else text
        return ReplaceExpression(module.span(parent), f"{soft} * $one + (1.0 - {soft}) * $zero", both)
    if operation == "count_nonzero" and isinstance(parent, ast.Call) and parent.args and parent.args[0] is value:
        rest = ""
        for position, name in ((1, "axis"), (2, "keepdims")):
            given = argument(parent, position, name)
            if given is not None:
                parts = {**parts, name: module.span(given)}
                rest += f", {name}=${name}"
        return ReplaceExpression(module.span(parent), f"{spelling.op('reduce_sum')}({text}{rest})", parts)
    return ReplaceExpression(module.span(value), text, parts)
