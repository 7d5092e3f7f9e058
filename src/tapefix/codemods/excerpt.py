"""The part of a file that is rewritten: the top-level statements that edits touch, and nothing else.

libcst parses and walks far slower than Python itself, so it gets only this part. What lies around it stays byte for
byte, whatever libcst would make of it.
"""

from __future__ import annotations

import ast
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tapefix.codemods.edits import AddImport, Delete, Edit, Insert, Move, ReplaceExpression, ReplaceStatement
from tapefix.findings import Span


class Excerpt(NamedTuple):
    """The lines `start` to `end` (from 0, exclusive) of a file, and the file's own indent and line end."""

    lines: list[str]
    start: int
    end: int
    indent: str
    newline: str

    @property
    def text(self) -> str:
        return "".join(self.lines[self.start : self.end])

    def put_back(self, text: str) -> str:
        """The whole file with `text` in the place of the excerpt."""
        return "".join([*self.lines[: self.start], text, *self.lines[self.end :]])


def excerpt(text: str, tree: ast.Module, edits: Iterable[Edit]) -> Excerpt:
    """The excerpt that holds every place that the edits name."""
    # Python's lines: str.splitlines would also split at form feeds.
    lines = list(io.StringIO(text, newline=""))
    spans = [span for edit in edits for span in places(edit)]
    first, last = min(span.line for span in spans), max(span.end_line for span in spans)
    # A statement that is changed itself wants the one above it, which may get its blank lines.
    whole = any(span.column == 0 and span.line == first for edit in edits for span in statements(edit))
    body = tree.body
    low = next((i for i, statement in enumerate(body) if (statement.end_lineno or 0) >= first), 0)
    high = max((i for i, statement in enumerate(body) if _start(statement) <= last), default=low)
    if whole and low > 0:
        low -= 1
    while low > 0 and (body[low - 1].end_lineno or 0) >= _start(body[low]):
        low -= 1
    while high + 1 < len(body) and _start(body[high + 1]) <= (body[high].end_lineno or 0):
        high += 1
    start = body[low - 1].end_lineno or 0 if low > 0 else 0
    end = body[high].end_lineno or len(lines) if high + 1 < len(body) else len(lines)
    return Excerpt(lines, start, end, _indent(lines, tree), newline_of(lines))


def _start(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(d.lineno for d in decorators)])


def _indent(lines: list[str], tree: ast.Module) -> str:
    """The indent of the first block that has one."""
    for statement in tree.body:
        body = getattr(statement, "body", None)
        if isinstance(body, list) and body and body[0].lineno > statement.lineno:
            line = lines[body[0].lineno - 1]
            return line[: len(line) - len(line.lstrip(" \t"))] or "    "
    return "    "


def newline_of(lines: Sequence[str]) -> str:
    """How the first line ends."""
    first = lines[0] if lines else ""
    return "\r\n" if first.endswith("\r\n") else "\r" if first.endswith("\r") else "\n"


def statements(edit: Edit) -> tuple[Span, ...]:
    """The statements that an edit changes, removes or puts something beside."""
    if isinstance(edit, Move):
        return (*edit.spans, edit.anchor)
    if isinstance(edit, Insert):
        return (edit.anchor,)
    return (edit.span,) if isinstance(edit, (ReplaceStatement, Delete)) else ()


def places(edit: Edit) -> tuple[Span, ...]:
    """Every place that an edit names."""
    if isinstance(edit, AddImport):
        return ()
    parts = () if isinstance(edit, (Delete, Move)) else tuple(edit.parts.values())
    own = (edit.span,) if isinstance(edit, ReplaceExpression) else statements(edit)
    return (*own, *parts)


def shifted(edit: Edit, lines: int) -> Edit:
    """The edit with all its places moved up by a number of lines."""

    def up(span: Span) -> Span:
        return span._replace(line=span.line - lines, end_line=span.end_line - lines)

    if isinstance(edit, AddImport):
        return edit
    if isinstance(edit, Move):
        return edit._replace(spans=tuple(up(span) for span in edit.spans), anchor=up(edit.anchor))
    if isinstance(edit, Delete):
        return edit._replace(span=up(edit.span))
    parts = {name: up(span) for name, span in edit.parts.items()}
    if isinstance(edit, Insert):
        return edit._replace(anchor=up(edit.anchor), parts=parts)
    return edit._replace(span=up(edit.span), parts=parts)


def with_imports(text: str, wanted: Iterable[str]) -> str:
    """Adds imports after the last one at the top level, or after the docstring; those that are there are left."""
    tree = ast.parse(text)
    present = {ast.unparse(s) for s in tree.body if isinstance(s, (ast.Import, ast.ImportFrom))}
    missing = [s for s in dict.fromkeys(wanted) if ast.unparse(ast.parse(s)) not in present]
    if not missing:
        return text
    lines = list(io.StringIO(text, newline=""))
    after = 0
    for i, statement in enumerate(tree.body):
        is_docstring = i == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if is_docstring or isinstance(statement, (ast.Import, ast.ImportFrom)):
            after = statement.end_lineno or 0
    while after and lines[after - 1].rstrip("\r\n").endswith("\\"):
        after += 1
    newline = newline_of(lines)
    if after and not lines[after - 1].endswith(("\n", "\r")):
        lines[after - 1] += newline
    if not after:
        # Below the comments at the head of the file: a shebang and an encoding cookie must stay first.
        while after < len(lines) and lines[after].startswith("#"):
            after += 1
    return "".join([*lines[:after], *(s + newline for s in missing), *lines[after:]])
