"""What a stream can show: colours, its width, and how wide a text is in it."""

from __future__ import annotations

import os
import unicodedata
from typing import NamedTuple, TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
_NARROWEST = 40


class Terminal(NamedTuple):
    """A stream as a place to write to. `crops` says that its width is real, so that longer lines would break."""

    stream: TextIO
    width: int
    crops: bool
    coloured: bool

    @classmethod
    def of(cls, stream: TextIO) -> Terminal:
        """What the stream and the environment say: 80 columns and no colours where it is no terminal."""
        crops = is_terminal(stream) or os.environ.get("COLUMNS", "").isdigit()
        width = _columns() if crops else 80
        return cls(stream, max(width, _NARROWEST), crops, _coloured(stream))

    def paint(self, text: str, *styles: str) -> str:
        """`text` in a colour, where colours are shown."""
        if not self.coloured or not text:
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody watches the stream; a closed one is watched by nobody."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size((80, 24)).columns


def _coloured(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def cells(text: str) -> int:
    """How many columns `text` takes: East Asian characters and emoji take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def printable(text: str) -> str:
    """`text` without control characters, which would move the cursor or change colours; tabs stay."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character == "\t" else "?" for character in text)


def plural(count: int, noun: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
