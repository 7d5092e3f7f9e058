"""The measured table: each gradient before and after the repair."""

from __future__ import annotations

from tapefix.outcome import Row
from tapefix.report.terminal import Terminal, cells, printable

_OTHERS = 3
_BROKEN = 20
_SHORTEST_NAME = 12


def gradient_table(title: str, rows: tuple[Row, ...], terminal: Terminal) -> list[str]:
    """The title line, if any, and the rows; there is one column of gradients where nothing was repaired."""
    after = any(row.after for row in rows)
    gradients, left_out, others = _chosen(rows, after)
    shown = gradients + others
    heads = ("before", "after") if after else ("gradient",)
    values = [(row.before, row.after) if after else (row.before,) for row in shown]
    widths = [max(cells(text) for text in column) for column in zip(heads, *values, strict=True)]
    # Two spaces before the table, before the names, and between its columns.
    room = terminal.width - 4 - sum(width + 2 for width in widths)
    if room < _SHORTEST_NAME:
        top = [title] if title else []
        return [*top, *_stacked(gradients, heads, terminal), *left_out, *_stacked(others, heads, terminal)]
    shapes = max((cells(row.shape) for row in shown), default=0)
    names_room = room - (shapes + 2 if shapes else 0)
    if names_room < _SHORTEST_NAME:
        # The shape is the first thing that a narrow terminal can do without.
        shapes, names_room = 0, room
    names = [_middle_cut(printable(row.name), names_room) for row in shown]
    name_width = max(map(cells, names), default=0)
    left = name_width + (shapes + 2 if shapes else 0)
    lines = []
    if 2 + left >= cells(title):
        first = title + " " * (2 + left - cells(title))
    elif cells(title) + sum(width + 2 for width in widths) <= terminal.width - 2:
        # The names are short: they get the room that the title takes.
        first = title
        name_width += cells(title) - 2 - left
    else:
        lines.append(title)
        first = " " * (2 + left)
    lines.append(first + _columns(heads, widths, [terminal.paint(head, "dim") for head in heads]))
    for row, name, cell in zip(shown, names, values, strict=True):
        shape = "  " + _pad(row.shape, shapes) if shapes else ""
        broken = (row.broken_before, row.broken_after)
        painted = [
            terminal.paint(text, "red") if bad else terminal.paint(text, "green") if row.broken_before else text
            for text, bad in zip(cell, broken, strict=False)
        ]
        lines.append("  " + _pad(name, name_width) + shape + _columns(cell, widths, painted))
    end = len(lines) - len(others)
    return [*lines[:end], *left_out, *lines[end:]]


def _chosen(rows: tuple[Row, ...], after: bool) -> tuple[list[Row], list[str], list[Row]]:
    """The gradients worth showing, lines about the others, and the rows that are no gradients (they have no shape)."""
    measured = [row for row in rows if row.shape]
    broken = sum(map(_broken, measured))
    healthy = len(measured) - broken
    # A line about a single row would be no shorter than the row.
    room = {True: _BROKEN, False: _OTHERS + 1 if healthy == _OTHERS + 1 else _OTHERS}
    shown = []
    for row in measured:
        room[_broken(row)] -= 1
        if room[_broken(row)] >= 0:
            shown.append(row)
    hidden = {is_broken: max(-left, 0) for is_broken, left in room.items()}
    lines = [f"  ... and {hidden[True]} more that are{' or were' if after else ''} broken"] if hidden[True] else []
    lines += [f"  ... and {hidden[False]} more, healthy{' before and after' if after else ''}"] if hidden[False] else []
    return shown, lines, [row for row in rows if not row.shape]


def _broken(row: Row) -> bool:
    return row.broken_before or row.broken_after


def _stacked(rows: list[Row], heads: tuple[str, ...], terminal: Terminal) -> list[str]:
    """The table of a terminal too narrow for columns."""
    lines = []
    for row in rows:
        lines.append("  " + _middle_cut(f"{printable(row.name)} {row.shape}".rstrip(), terminal.width - 4))
        lines += [f"    {head}: {value}" for head, value in zip(heads, (row.before, row.after), strict=False)]
    return lines


def _columns(cell: tuple[str, ...], widths: list[int], painted: list[str]) -> str:
    text = "".join(
        "  " + shown + " " * (width - cells(plain)) for plain, shown, width in zip(cell, painted, widths, strict=True)
    )
    return text.rstrip()


def _pad(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def _middle_cut(text: str, room: int) -> str:
    """A long name without its middle: both the model and the variable at its ends are worth knowing."""
    if cells(text) <= room:
        return text
    keep = room - 3
    return f"{text[: keep - keep // 2]}...{text[len(text) - keep // 2 :]}"
