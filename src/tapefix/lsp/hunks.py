"""The smallest edits that turn one text into another, so that cursors, folds and marks elsewhere stay."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

from tapefix.text.source import split_lines


class Hunk(NamedTuple):
    """A stretch of the old text, by line and column from 0, and what takes its place. The end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


def hunks(old: str, new: str) -> Iterator[Hunk]:
    """The differences in the order of the text."""
    if old == new:
        return
    ours, theirs = split_lines(old), split_lines(new)
    # Most of a file is the same, and matching takes time.
    head = 0
    while head < min(len(ours), len(theirs)) and ours[head] == theirs[head]:
        head += 1
    tail = 0
    while tail < min(len(ours), len(theirs)) - head and ours[-1 - tail] == theirs[-1 - tail]:
        tail += 1
    middle, other = ours[head : len(ours) - tail], theirs[head : len(theirs) - tail]
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, middle, other, autojunk=False).get_opcodes():
        if kind == "replace" and i2 - i1 == j2 - j1:
            # As many lines as before: each for itself, so that what stays between two changes stays.
            for i, j in zip(range(i1, i2), range(j1, j2), strict=True):
                yield _trimmed(head + i, middle[i : i + 1], other[j])
        elif kind != "equal":
            yield _trimmed(head + i1, middle[i1:i2], "".join(other[j1:j2]))


def _trimmed(line: int, lines: list[str], text: str) -> Hunk:
    """The hunk without what is the same at its beginning and its end."""
    old = "".join(lines)
    start = _same(old, text)
    end = _same(old[start:][::-1], text[start:][::-1])
    # A line end of two characters is not to be taken apart.
    if start and old[start - 1 : start] == "\r":
        start -= 1
        end = min(end, len(old) - start, len(text) - start)
    if end and old[len(old) - end : len(old) - end + 1] == "\n" and old[len(old) - end - 1 : len(old) - end] == "\r":
        end -= 1
    first, column = _place(line, lines, start)
    last, end_column = _place(line, lines, len(old) - end)
    return Hunk(first, column, last, end_column, text[start : len(text) - end])


def _same(one: str, other: str) -> int:
    """How many characters are the same at the beginning of both."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _place(line: int, lines: list[str], offset: int) -> tuple[int, int]:
    for text in lines:
        # A last line without an end has its own last place, not one in a line below.
        if offset < len(text) or (offset == len(text) and not text.endswith(("\n", "\r"))):
            break
        offset -= len(text)
        line += 1
    return line, offset
