"""The unified diff of a repaired file."""

from __future__ import annotations

import difflib

from tapefix.outcome import FileResult
from tapefix.text.source import split_lines


def unified(result: FileResult) -> str:
    """The diff from the original to the repaired text, with the line ends of the file; empty where they are equal."""
    return "".join(
        line if line.endswith(("\n", "\r")) else f"{line}\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(
            split_lines(result.original), split_lines(result.repaired), result.path, f"{result.path}, repaired"
        )
    )
