"""The code frame: the lines that a finding is about, with its places underlined."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

from tapefix.findings import Finding, Span
from tapefix.report.terminal import Terminal, cells, printable

_TAB = 4
_CUT = "..."
_INDENT = "   "


class _Mark(NamedTuple):
    span: Span
    label: str
    sign: str
    style: str


def code_frame(lines: list[str], finding: Finding, terminal: Terminal) -> list[str]:
    """The frame as lines of text; `lines` are those of the file."""
    marks = [_Mark(note.span, note.label, "-", "blue") for note in finding.notes]
    marks.append(_Mark(finding.span, finding.label, "^", "red"))
    marks = [mark for mark in marks if 1 <= mark.span.line <= len(lines)]
    numbers = sorted({mark.span.line for mark in marks})
    if not numbers:
        return []
    digits = len(str(numbers[-1]))
    frame: list[str] = []
    previous = None
    for number in numbers:
        if previous is not None and number == previous + 2:
            # A single line between two others is no longer than the dots that would stand for it.
            frame += _line(lines, number - 1, digits, [], terminal)
        elif previous is not None and number > previous + 2:
            frame.append(_INDENT + " " * (digits + 1) + terminal.paint("...", "blue"))
        here = [mark for mark in marks if mark.span.line == number]
        frame += _line(lines, number, digits, sorted(here, key=lambda mark: mark.span.column), terminal)
        previous = number
    return frame


def _line(lines: list[str], number: int, digits: int, marks: list[_Mark], terminal: Terminal) -> list[str]:
    raw = lines[number - 1].rstrip("\r\n")
    room = terminal.width - digits - len(_INDENT) - 3
    spans = [_extent(raw, mark.span) for mark in marks]
    shift, cut = _window(raw, spans, room) if terminal.crops else (0, None)
    gutter = _INDENT + terminal.paint(f"{number:>{digits}} |", "blue")
    code = (_CUT if shift else "") + _shown(raw[shift:cut]) + (_CUT if cut is not None else "")
    frame = [f"{gutter} {code}".rstrip()]
    blank = _INDENT + terminal.paint(f"{' ' * digits} |", "blue")
    for mark, (start, end) in zip(marks, spans, strict=True):
        before = cells((_CUT if shift else "") + _shown(raw[shift:start]))
        length = max(cells(_shown(raw[:end])) - cells(_shown(raw[:start])), 1)
        length = max(min(length, room - before), 1) if terminal.crops else length
        underline = " " * before + terminal.paint(mark.sign * length, mark.style)
        if not mark.label:
            frame.append(f"{blank} {underline}")
        elif before + length + 1 + cells(mark.label) <= room:
            frame.append(f"{blank} {underline} {terminal.paint(mark.label, mark.style)}")
        else:
            frame.append(f"{blank} {underline}")
            for part in textwrap.wrap(mark.label, room - 2):
                frame.append(f"{blank}   {terminal.paint(part, mark.style)}")
    return frame


def _extent(raw: str, span: Span) -> tuple[int, int]:
    """Where a span starts and ends on its first line."""
    end = span.end_column if span.end_line == span.line else len(raw.rstrip())
    start = min(span.column, len(raw))
    return start, max(min(end, len(raw)), start)


def _window(raw: str, spans: list[tuple[int, int]], room: int) -> tuple[int, int | None]:
    """Which part of a long line is shown: its start, or the part around the first mark."""
    if cells(_shown(raw)) <= room:
        return 0, None
    start, end = spans[0] if spans else (0, 0)
    # The indentation and the name that is assigned say least; a few characters before the mark are enough.
    shift = 0 if cells(_shown(raw[:end])) <= room - len(_CUT) else max(start - 8, 1)
    stop = shift
    taken = len(_CUT) * (2 if shift else 1)
    while stop < len(raw) and taken + cells(_shown(raw[shift : stop + 1])) <= room:
        stop += 1
    return shift, stop if stop < len(raw) else None


def _shown(text: str) -> str:
    """The text as it is printed: tabs as spaces of one width wherever they stand, so that marks stay in place."""
    return printable(text).replace("\t", " " * _TAB)
