"""What the user is told about stand-ins.

Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import sys
from typing import Any

from ..channel import Channel

MOST_NOTES = 50
_KERAS = ("keras", "tf_keras", "tensorflow.keras")


class Notes:
    """Sends each note once."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._said: set[str] = set()

    def say(self, note: str) -> None:
        """Tell the user, once."""
        if note not in self._said and len(self._said) < MOST_NOTES:
            self._said.add(note)
            self._channel.send("note", note)


def replace(name: str, original: Any, replacement: Any) -> None:
    """Put `replacement` wherever Keras has bound `name` to `original`."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(_KERAS) and getattr(module, "__dict__", {}).get(name) is original:
            setattr(module, name, replacement)
