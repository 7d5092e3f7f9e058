"""Pieces of text: a node with some of the nodes inside it written otherwise, a list in a sentence."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_LOOSE = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda, ast.NamedExpr, ast.Await)


def listing(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def rewritten(module: Module, node: ast.AST, changes: Mapping[ast.AST, str]) -> str:
    """The text of `node` in which each of the changed nodes has its new text."""
    if node in changes:
        return changes[node]
    text = module.source(node)
    first = module.span(node)
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)

    def offset(line: int, column: int) -> int:
        return starts[line - first.line] + column - (first.column if line == first.line else 0)

    inside = [n for n in ast.walk(node) if n in changes]
    for part in sorted(inside, key=lambda n: module.span(n), reverse=True):
        span = module.span(part)
        start, end = offset(span.line, span.column), offset(span.end_line, span.end_column)
        text = text[:start] + changes[part] + text[end:]
    return text


def enclosed(module: Module, value: ast.expr, text: str, place: ast.AST) -> str:
    """`text` of `value`, in parentheses where it would bind otherwise in place of the name at `place`."""
    above = module.parent(place)
    argument = (isinstance(above, ast.Call) and above.func is not place) or isinstance(above, ast.keyword)
    if isinstance(value, ast.Tuple) and not text.startswith("("):
        return f"({text})"
    return f"({text})" if isinstance(value, _LOOSE) and not argument else text


def assigned(name: str, text: str) -> str:
    """`name = text`, in parentheses where the text needs them to go over several lines."""
    return f"{name} = ({text})" if "\n" in text and not text.endswith((")", "]", "}")) else f"{name} = {text}"
