"""Putting the repairs of several findings together, as far as they fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tapefix.codemods.edits import Edit
from tapefix.findings import Candidate, Finding


class Composed(NamedTuple):
    """A new text, and the findings whose candidates are in it; `left` did not fit beside the others."""

    text: str
    applied: tuple[tuple[Finding, Candidate], ...]
    left: tuple[tuple[Finding, Candidate], ...] = ()


def compose(text: str, choices: Iterable[tuple[Finding, Candidate]]) -> Composed:
    """Applies all candidates in one pass; where they conflict, the later ones are left for a next round."""
    from tapefix.codemods.apply import EditConflict, apply

    wanted = list(choices)
    if not wanted:
        return Composed(text, ())
    try:
        return Composed(apply(text, [edit for _, candidate in wanted for edit in candidate.edits]), tuple(wanted))
    except EditConflict:
        pass
    result = text
    edits: list[Edit] = []
    applied: list[tuple[Finding, Candidate]] = []
    left: list[tuple[Finding, Candidate]] = []
    for finding, candidate in wanted:
        try:
            result = apply(text, [*edits, *candidate.edits])
        except EditConflict:
            left.append((finding, candidate))
            continue
        edits += candidate.edits
        applied.append((finding, candidate))
    return Composed(result, tuple(applied), tuple(left))
