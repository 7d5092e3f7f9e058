"""Logs of what a helper returns: log(normal(y, mu, sigma)) is log_normal(y, mu, sigma), made from the helper."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from tapefix.codemods.edits import Delete, Edit, Insert, ReplaceExpression, ReplaceStatement
from tapefix.findings import Span

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_HOLE = re.compile(r"\$(\w+)")


class Twin(NamedTuple):
    """A function that returns the log of what another one returns, as a template, and what gave way to the log."""

    name: str
    template: str
    parts: dict[str, Span]
    kinds: frozenset[str]


def helper_of(module: Module, call: ast.Call) -> tuple[ast.FunctionDef, ast.expr] | None:
    """The one function of this module that a call runs, and the one value that it returns."""
    callees = module.objects.callees(call)
    function = callees[0] if len(callees) == 1 else None
    if not isinstance(function, ast.FunctionDef) or function.decorator_list:
        return None
    func = call.func
    named = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
    returned = module.objects.returns.get(function, [])
    if named != function.name or len(returned) != 1 or isinstance(returned[0], ast.Tuple):
        return None
    return function, returned[0]


def twin_name(module: Module, function: ast.FunctionDef) -> str:
    name = f"log_{function.name.lstrip('_')}"
    while re.search(rf"\b{name}\b", module.text):
        name += "_"
    return f"_{name}" if function.name.startswith("_") else name


def is_only_called(module: Module, function: ast.FunctionDef, calls: Iterable[ast.Call]) -> bool:
    """Does nothing but these calls use the function?"""
    handled = {call.func for call in calls}
    uses: list[ast.Name | ast.Attribute] = [n for n in module.each(ast.Name) if n.id == function.name]
    uses += [n for n in module.each(ast.Attribute) if n.attr == function.name and module.classes.is_self(n.value)]
    return all(use in handled for use in uses)


def spliced(
    module: Module, function: ast.FunctionDef, edits: Iterable[Edit], name: str
) -> tuple[str, dict[str, Span]] | None:
    """The text of a function with edits and a new name, as a template; None where it cannot be one."""
    text = module.source(function)
    if "$" in text:
        return None
    first = module.span(function)
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)

    def offset(line: int, column: int) -> int:
        return starts[line - first.line] + column - (first.column if line == first.line else 0)

    parts: dict[str, Span] = {}
    changes: list[tuple[int, int, str]] = []
    for number, edit in enumerate(edits):
        if not isinstance(edit, (ReplaceExpression, ReplaceStatement, Insert, Delete)):
            return None
        place = edit.anchor if isinstance(edit, Insert) else edit.span
        start, end = offset(place.line, place.column), offset(place.end_line, place.end_column)
        if isinstance(edit, Delete):
            line_start = text.rfind("\n", 0, start) + 1
            line_end = text.find("\n", end)
            changes.append((line_start, len(text) if line_end < 0 else line_end + 1, ""))
            continue
        template = _HOLE.sub(rf"$p{number}_\1", edit.template)
        parts |= {f"p{number}_{hole}": span for hole, span in edit.parts.items()}
        indent = "\n" + module.indent_of(place.line)
        if isinstance(edit, Insert) and edit.where == "before":
            start, end, template = start, start, template.replace("\n", indent) + indent
        elif isinstance(edit, Insert):
            start, end, template = end, end, indent + template.replace("\n", indent)
        changes.append((start, end, template))
    for start, end, template in sorted(changes, reverse=True):
        text = text[:start] + template + text[end:]
    text = re.sub(rf"^def\s+{function.name}\b", f"def {name}", text)
    return textwrap.dedent(module.indent_of(first.line) + text), parts
