"""Where a place of a repaired text stood in the text before, so that a report speaks of the user's own lines."""

from __future__ import annotations

from difflib import SequenceMatcher

from tapefix.findings import Finding, Note, Span
from tapefix.text.source import split_lines


def relocate(finding: Finding, text: str, original: str) -> Finding:
    """The finding with the lines of `original` in place of those of `text`."""
    if text == original:
        return finding
    table = _line_table(split_lines(text), split_lines(original))

    def moved(span: Span) -> Span:
        line = table.get(span.line, span.line)
        return Span(line, span.column, line + span.end_line - span.line, span.end_column)

    notes = tuple(Note(moved(note.span), note.label) for note in finding.notes)
    return finding._replace(span=moved(finding.span), notes=notes)


def _line_table(new: list[str], old: list[str]) -> dict[int, int]:
    table = {}
    for _, i1, i2, j1, j2 in SequenceMatcher(a=new, b=old, autojunk=False).get_opcodes():
        for offset in range(i2 - i1):
            table[i1 + offset + 1] = min(j1 + offset, max(j2 - 1, j1 - 1, 0)) + 1
    return table
