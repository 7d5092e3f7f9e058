"""The cells of a notebook as one Python text, so that a later cell is seen with the earlier ones as context."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from tapefix.text.source import split_lines

# `%matplotlib inline`, `!pip install`, `?help`, `x = !ls`, `x = %env HOME`, `tf.floor?`
_MAGIC = re.compile(r"(?P<code>\s*(?:[\w.,\s]+=\s*)?)(?P<magic>[%!?].*)|.*\?\s*$")
# Cell magics whose cell is Python all the same.
_PYTHON_CELLS = ("capture", "prun", "python", "python3", "time", "timeit")


class Joined(NamedTuple):
    """The text of all cells, the line (from 0) at which each begins in it, and the lines that are not as typed."""

    text: str
    starts: tuple[int, ...]
    masked: frozenset[int]


def join(cells: Iterable[str]) -> Joined:
    """One text of all code cells. Magics keep their place and width as comments, and so do cells that do not parse."""
    parts: list[str] = []
    starts: list[int] = []
    masked: set[int] = set()
    line = 0
    for cell in cells:
        lines = as_python(cell)
        typed = split_lines(cell) or [""]
        masked.update(line + i for i, (ours, theirs) in enumerate(zip(lines, typed, strict=True)) if ours != theirs)
        if not lines[-1].endswith(("\n", "\r")):
            lines = (*lines[:-1], lines[-1] + "\n")
        starts.append(line)
        parts += lines
        line += len(lines)
    return Joined("".join(parts), tuple(starts), frozenset(masked))


@lru_cache(maxsize=1024)
def as_python(cell: str) -> tuple[str, ...]:
    """The lines of a cell as Python that parses; every line stays, and stays as long as it was."""
    lines = split_lines(cell) or [""]
    if _parses(lines):
        return tuple(lines)
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    cell_magic = re.match(r"\s*%%(\w+)", lines[first])
    if cell_magic is None or cell_magic[1] in _PYTHON_CELLS:
        plain = [_without_magic(line) for line in lines]
        if _parses(plain):
            return tuple(plain)
    # Another language, or a cell that is being typed: the others are analysed without it.
    return tuple("#" + line[1:] if line.strip() else line for line in lines)


def _without_magic(line: str) -> str:
    match = _MAGIC.match(line)
    if match is None:
        return line
    code = match["code"] or re.match(r"\s*", line)[0]  # type: ignore[index]
    end = re.search(r"[\r\n]*$", line)[0]  # type: ignore[index]
    rest = line[len(code) : len(line) - len(end)]
    # A statement, for the magic may be all that a block holds; the rest of the line is a comment.
    return code + ("0#" + rest[2:] if len(rest) > 1 else "0") + end


def _parses(lines: list[str]) -> bool:
    try:
        ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
