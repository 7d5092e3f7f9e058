"""Templates: pieces of Python source with `$name` holes that are filled with expressions of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import libcst as cst

_HOLE = re.compile(r"\$(\w+)")
_NAME = "__tapefix_{}__"

# How tightly an expression binds; what is not listed is an atom.
_ATOM = 16
_OR, _AND, _NOT, _COMPARISON, _ADD, _MULTIPLY, _UNARY, _POWER = 2, 3, 4, 5, 10, 11, 12, 13
_OPERATORS: dict[type[cst.CSTNode], int] = {
    cst.Or: _OR, cst.And: _AND, cst.BitOr: 6, cst.BitXor: 7, cst.BitAnd: 8, cst.LeftShift: 9, cst.RightShift: 9,
    cst.Add: _ADD, cst.Subtract: _ADD, cst.Multiply: _MULTIPLY, cst.Divide: _MULTIPLY, cst.FloorDivide: _MULTIPLY,
    cst.Modulo: _MULTIPLY, cst.MatrixMultiply: _MULTIPLY, cst.Power: _POWER,
}  # fmt: skip


class Templates:
    """Fills templates in the style (indent, line ends) of one module."""

    def __init__(self, module: cst.Module) -> None:
        self.config = module.config_for_parsing
        self.newline = module.default_newline

    def expression(self, template: str, parts: Mapping[str, cst.BaseExpression]) -> Any:
        tree = cst.parse_expression(self._text(template), config=self.config)
        return tree.visit(_Filler(parts))

    def statements(self, template: str, parts: Mapping[str, cst.BaseExpression]) -> list[Any]:
        text = self._text(template)
        tree = cst.parse_module(text if text.endswith(self.newline) else text + self.newline, config=self.config)
        filled: Any = tree.visit(_Filler(parts))
        body = list(filled.body)
        if body and filled.header:
            # A blank line has no indentation of its own.
            header = [line if line.comment else line.with_changes(indent=False) for line in filled.header]
            body[0] = body[0].with_changes(leading_lines=[*header, *body[0].leading_lines])
        return body

    def _text(self, template: str) -> str:
        return _HOLE.sub(lambda hole: _NAME.format(hole.group(1)), template).replace("\n", self.newline)


class _Filler(cst.CSTTransformer):
    def __init__(self, parts: Mapping[str, cst.BaseExpression]) -> None:
        super().__init__()
        self.parts = {_NAME.format(name): node for name, node in parts.items()}
        self._stack: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        self._stack.append(node)
        return True

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        self._stack.pop()
        if isinstance(original_node, cst.Name) and original_node.value in self.parts:
            part: Any = self.parts[original_node.value]
            parent = self._stack[-1] if self._stack else None
            # The same expression may fill several holes: a tree must not hold one node twice.
            part = part.deep_clone()
            if part.lpar:
                return part
            return in_parentheses(part) if needs_parentheses(part, parent, original_node) else part
        if isinstance(original_node, cst.IndentedBlock):
            return updated_node.with_changes(indent=None)
        return updated_node


def in_parentheses(node: Any) -> Any:
    return node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def binding(node: cst.CSTNode) -> int:
    """How tightly the outermost operator of an expression binds; parentheses are not considered."""
    if isinstance(node, (cst.BinaryOperation, cst.BooleanOperation)):
        return _OPERATORS.get(type(node.operator), _ATOM)
    if isinstance(node, cst.UnaryOperation):
        return _NOT if isinstance(node.operator, cst.Not) else _UNARY
    if isinstance(node, cst.Comparison):
        return _COMPARISON
    if isinstance(node, (cst.IfExp, cst.Lambda)):
        return 1
    if isinstance(node, (cst.NamedExpr, cst.Yield)) or (isinstance(node, cst.Tuple) and not node.lpar):
        return 0
    if isinstance(node, cst.Await):
        return 14
    return _ATOM


def needs_parentheses(node: cst.CSTNode, parent: cst.CSTNode | None, role: cst.CSTNode) -> bool:
    """Must `node` be put in parentheses where it takes the place of `role` below `parent`?"""
    own = binding(node)
    if own == _ATOM:
        return False
    if isinstance(parent, (cst.BinaryOperation, cst.BooleanOperation)):
        outer = binding(parent)
        if outer == _POWER:
            return own <= _POWER if parent.left is role else own < _UNARY
        return own < outer if parent.left is role else own <= outer
    if isinstance(parent, cst.UnaryOperation):
        return own < binding(parent)
    if isinstance(parent, (cst.Comparison, cst.ComparisonTarget)):
        return own <= _COMPARISON
    if isinstance(parent, (cst.Attribute, cst.Call, cst.Subscript, cst.Await)):
        return True
    if isinstance(parent, cst.IfExp):
        return own <= 1
    if isinstance(parent, (cst.Element, cst.StarredElement, cst.Arg, cst.DictElement)):
        return own == 0
    return False
