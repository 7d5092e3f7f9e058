"""What the user is told about stand-ins.

Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import functools
import sys
from types import ModuleType
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


@functools.cache
def binding(name: str) -> tuple[ModuleType, ...]:
    """The modules of Keras in which `name` is bound. Looked for once: there are thousands of modules."""
    modules = [module for key, module in list(sys.modules.items()) if key.startswith(_KERAS)]
    return tuple(module for module in modules if name in getattr(module, "__dict__", {}))


def replace(name: str, original: Any, replacement: Any) -> None:
    """Put `replacement` wherever Keras has bound `name` to `original`."""
    for module in binding(name):
        if module.__dict__[name] is original:
            setattr(module, name, replacement)
