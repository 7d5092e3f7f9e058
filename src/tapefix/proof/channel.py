"""The way out of a run: JSON lines on a private pipe, sent as things happen, so that a crash loses nothing.

Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import json
import os
import threading
from typing import Any


class Channel:
    """Writes events to the server. Silent in processes that the script forks."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self.open = True
        os.register_at_fork(after_in_child=self._close)

    def _close(self) -> None:
        if self.open:
            self.open = False
            os.close(self._pipe)

    def send(self, kind: str, value: Any) -> None:
        """Send one event."""
        data = memoryview(json.dumps([kind, value]).encode() + b"\n")
        with self._lock:
            while data and self.open:
                data = data[os.write(self._pipe, data) :]
