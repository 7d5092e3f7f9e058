"""Stand-ins for packages that are not installed, so that what does not need them can be exercised.

Whatever is taken out of one is a name only: to call it, but as a decorator, raises what importing it would have raised.
Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import Any

from ..channel import Channel
from .notes import Notes

# Without these there is nothing to exercise.
_NEEDED = {"tensorflow", "keras", "numpy"}


class _Name(type):
    """A class, since names from packages are also inherited from and caught as exceptions."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and isinstance(args[0], (type, FunctionType)):
            return args[0]  # as a decorator
        raise ModuleNotFoundError(f"No module named {cls.__module__!r}", name=cls.__module__)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _named(cls.__module__, name)


def _named(package: str, name: str) -> Any:
    return _Name(name, (Exception,), {"__module__": package})


class _Missing(ModuleType):
    """A package, or a part of one, of which everything can be imported."""

    __version__ = "0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _named(self.__name__.split(".")[0], name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._known: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        top = name.split(".")[0]
        # A part of a package that is there is not missing: the package is of another version.
        if top in _NEEDED or (top != name and top not in self._known):
            return None
        self._known.add(top)
        self._notes.say(f"{top} is not installed: what needs it is left out")
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Missing(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to execute."""


def install(channel: Channel) -> None:
    """Find, from now on, also what is not there. Libraries that look for optional packages have done so before."""
    sys.meta_path.append(_Finder(Notes(channel)))
