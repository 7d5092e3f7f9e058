"""The vocabulary of edits. A rule describes a repair with these; only `apply` knows libcst.

Edits name places by the span of the `ast` node that the analysis found. Templates are Python source in which
`$name` stands for the expression at `parts[name]`; what other edits do inside such an expression is kept, so
edits nest: in `np.sum(np.log(x))` both calls can be replaced in one pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tapefix.findings import Span

Where = Literal["before", "after", "first", "last"]


@dataclass(frozen=True, slots=True)
class ReplaceExpression:
    """The expression at `span` becomes `template`. Parentheses are added where precedence asks for them."""

    span: Span
    template: str
    parts: Mapping[str, Span] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReplaceStatement:
    """The statement at `span` becomes the statements of `template`; its comments and blank lines stay."""

    span: Span
    template: str
    parts: Mapping[str, Span] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Insert:
    """New statements before or after the statement at `anchor`, or first or last in its body."""

    anchor: Span
    where: Where
    template: str
    parts: Mapping[str, Span] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delete:
    """The statement at `span` goes, with the comments directly above it on request only."""

    span: Span


@dataclass(frozen=True, slots=True)
class Move:
    """The statements at `spans`, in their order, with their comments, go to a place relative to `anchor`."""

    spans: tuple[Span, ...]
    anchor: Span
    where: Where


@dataclass(frozen=True, slots=True)
class AddImport:
    """An import at the top of the module, after its other imports: `import tensorflow as tf`."""

    statement: str


Edit = ReplaceExpression | ReplaceStatement | Insert | Delete | Move | AddImport
