"""The one line on standard error that says what is being done, while it is being done."""

from __future__ import annotations

import os
import threading
from typing import TextIO

from tapefix.report.terminal import is_terminal


class Progress:
    """A line that is rewritten in place, and gone at the end. Nothing where no terminal shows it."""

    def __init__(self, stream: TextIO, wanted: bool) -> None:
        self._stream = stream
        self._shows = wanted and is_terminal(stream) and os.environ.get("TERM") != "dumb"
        self._shown = False
        self._lock = threading.Lock()

    def __call__(self, text: str) -> None:
        """Show `text` in place of what was shown; proofs call this from several threads."""
        if not self._shows:
            return
        import shutil

        # A line that wraps cannot be rewritten.
        room = shutil.get_terminal_size().columns - 1
        with self._lock:
            self._stream.write(f"\r\x1b[2K{text[:room]}")
            self._stream.flush()
            self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        with self._lock:
            if self._shown:
                self._stream.write("\r\x1b[2K")
                self._stream.flush()
                self._shown = False
