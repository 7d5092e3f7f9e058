"""An object that takes everything and does nothing.

Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import contextlib
import dis
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def _save(file: Any, *_: Any, **__: Any) -> None:
    """A picture of a plot, which may be read again."""
    from .files import picture

    with contextlib.suppress(OSError, ValueError):
        if hasattr(file, "write"):
            file.write(picture(64, 64))
        else:
            Path(file).write_bytes(picture(64, 64))


class Inert:
    """Each attribute, call and item of it is inert again. It counts as nothing, and unpacks into as many as wanted."""

    def __init__(self, name: str = "stand-in", *_: Any, **__: Any) -> None:
        self.__dict__["_name"] = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return _save if name == "savefig" else Inert(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # As a decorator it leaves the function as it is.
        if len(args) == 1 and not kwargs and getattr(type(args[0]), "__name__", "") == "function":
            return args[0]
        return Inert(self._name)

    def __getitem__(self, key: Any) -> Any:
        return Inert(self._name)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        frame = sys._getframe(1)
        instruction = frame.f_code.co_code[frame.f_lasti]
        unpacks = dis.opname[instruction] == "UNPACK_SEQUENCE"
        count = frame.f_code.co_code[frame.f_lasti + 1] if unpacks else 0
        return iter([Inert(self._name) for _ in range(count)])

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return False

    def __int__(self) -> int:
        return 0

    __index__ = __int__

    def __float__(self) -> float:
        return 0.0

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __str__(self) -> str:
        return ""

    def _same(self, other: Any = None) -> Any:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _same
    __iadd__ = __neg__ = _same

    def _never(self, other: Any) -> bool:
        return False

    __lt__ = __le__ = __gt__ = __ge__ = _never
