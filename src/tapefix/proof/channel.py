"""The way out of a run: JSON lines on a private pipe, sent as things happen, so that a crash loses nothing.

Each line carries a seal: a keyed checksum over its number and its text. The script shares the process with what
measures it, so it must not be able to write such lines itself by any way that is near at hand. The key is nowhere in
Python's reach. What counts as evidence is taken only where one of tapefix's patches, or the end of the run, is what
sends it, and while the code that measures is as it was. Against a script that rewrites its own memory there is no help
in one process. Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = str(Path(__file__).parent)
# What a verdict rests on.
EVIDENCE = {"gradient", "traced", "variables", "loss", "attempt", "exercised", "end"}
FORGED = "forged"
# The exit status of a run whose pipe is gone.
CLOSED = 204


class Seal:
    """Seals lines on one side of the pipe, and tells on the other whether a line is sealed."""

    def __init__(self, key: bytes) -> None:
        self._fresh = hashlib.blake2b(key=key, digest_size=16).copy
        self._count = 0

    def of(self, text: bytes) -> bytes:
        """The seal of the next line."""
        self._count += 1
        seal = self._fresh()
        seal.update(b"%d " % self._count)
        seal.update(text)
        return seal.hexdigest().encode()

    def open(self, line: bytes) -> bytes | None:
        """The text of the next line that came, None where it was not sealed here."""
        seal, _, text = line.partition(b" ")
        return text if seal == self.of(text) else None


class Channel:
    """Writes events to the server. Silent in processes that the script forks. Takes the key out of `secret`."""

    def __init__(self, pipe: int, secret: list[bytes]) -> None:
        self.open = True
        # C code that calls a function but shows neither it nor its variables.
        opaque: Any = functools._lru_cache_wrapper
        self._write: Callable[[str, Any], None] = opaque(self._writer(pipe, Seal(secret.pop())), 0, False, tuple)
        self._pipe = pipe
        self._watched: list[tuple[Any, dict[str, Any]]] = []
        os.register_at_fork(after_in_child=self._close)

    def _close(self) -> None:
        if self.open:
            self.open = False
            os.close(self._pipe)

    def watch(self, *owners: Any) -> None:
        """Take no evidence once a function of these modules and objects, or of their classes, was replaced."""
        for owner in owners:
            self._watched.append((owner, _functions(owner)))
            if isinstance(owner, ModuleType):
                self.watch(*(one for one in vars(owner).values() if getattr(one, "__mro__", None) and _is_ours(one)))

    def _writer(self, pipe: int, seal: Seal) -> Callable[[str, Any], None]:
        # Bound here, as a script may put something else in their place.
        encode, write, frame_of, lock = _encoder(), os.write, sys._getframe, threading.Lock()
        functions, leave, door = _functions, os._exit, Channel.send.__code__

        def send(kind: str, value: Any) -> None:
            if kind in EVIDENCE and not (frame_of(1).f_code is door and _comes_from_a_patch(frame_of(2))):
                kind, value = FORGED, "it calls what records its gradients"
            elif kind in EVIDENCE and any(functions(owner) != known for owner, known in self._watched):
                kind, value = FORGED, "it changes what records its gradients"
            text = encode([kind, value])
            with lock:
                data = memoryview(seal.of(text) + b" " + text + b"\n")
                try:
                    while data and self.open:
                        data = data[write(pipe, data) :]
                except OSError:  # nothing can be told any more
                    leave(CLOSED)

        return send

    def send(self, kind: str, value: Any) -> None:
        """Send one event."""
        self._write(kind, value)


def _comes_from_a_patch(frame: Any) -> bool:
    """Whether the script, if it is what called, called one of the functions that stand in for TensorFlow's.

    Those are nested functions; methods that only they call are not for the script to call.
    """
    if not frame.f_code.co_filename.startswith(HERE):
        return False
    while frame.f_back is not None and frame.f_back.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    return frame.f_back is None or bool(frame.f_code.co_flags & inspect.CO_NESTED)


def _is_ours(owner: Any) -> bool:
    return str(getattr(owner, "__module__", "")).startswith(__name__.split(".")[0])


def _functions(owner: Any) -> dict[str, Any]:
    """The functions in a module, class or object, each with its code."""
    return {name: (id(one), getattr(one, "__code__", None)) for name, one in vars(owner).items() if callable(one)}


def _encoder() -> Callable[[Any], bytes]:
    """json.dumps, without what a script could replace in it."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value: json.dumps(value).encode()
    chunks = make(None, repr, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, True)
    return lambda value: "".join(chunks(value, 0)).encode()
