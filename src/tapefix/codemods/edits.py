"""The vocabulary of edits. A rule describes a repair with these; only `apply` knows libcst.

Edits name places by the span of the `ast` node that the analysis found. Templates are Python source in which
`$name` stands for the expression at `parts[name]`; what other edits do inside such an expression is kept, so
edits nest: in `np.sum(np.log(x))` both calls can be replaced in one pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from tapefix.findings import Span

NO_PARTS: Mapping[str, Span] = MappingProxyType({})
Where = Literal["before", "after", "first", "last"]


class ReplaceExpression(NamedTuple):
    """The expression at `span` becomes `template`. Parentheses are added where precedence asks for them."""

    span: Span
    template: str
    parts: Mapping[str, Span] = NO_PARTS


class ReplaceStatement(NamedTuple):
    """The statement at `span` becomes the statements of `template`; its comments and blank lines stay."""

    span: Span
    template: str
    parts: Mapping[str, Span] = NO_PARTS


class Insert(NamedTuple):
    """New statements before or after the statement at `anchor`, or first or last in its body."""

    anchor: Span
    where: Where
    template: str
    parts: Mapping[str, Span] = NO_PARTS


class Delete(NamedTuple):
    """The statement at `span` goes, with the comments directly above it on request only."""

    span: Span


class Move(NamedTuple):
    """The statements at `spans`, in their order, with the comments above them, go to a place relative to `anchor`.

    `bare`: the comments stay, since they speak of what follows.
    """

    spans: tuple[Span, ...]
    anchor: Span
    where: Where
    bare: bool = False


class AddImport(NamedTuple):
    """An import at the top of the module, after its other imports: `import tensorflow as tf`."""

    statement: str


Edit = ReplaceExpression | ReplaceStatement | Insert | Delete | Move | AddImport
