"""The folder that a run works in: looks like the user's working directory, but nothing there is the user's.

Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
from collections.abc import Callable
from typing import Any

# Folders are mirrored, so that new files in them land here, up to this many entries; the rest is linked whole.
MOST_ENTRIES = 1000


def mirror(original: str, scratch: str) -> None:
    """Fill `scratch` with links to what is in `original`; visible folders become real ones."""
    entries = 0
    pending = [(original, scratch)]
    while pending:
        source, target = pending.pop(0)
        os.makedirs(target, exist_ok=True)
        try:
            found = sorted(os.scandir(source), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in found:
            entries += 1
            here = os.path.join(target, entry.name)
            plain = entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "_"))
            if plain and entries + len(pending) < MOST_ENTRIES and not _is_environment(entry.path):
                pending.append((entry.path, here))
            elif entries < 20 * MOST_ENTRIES:
                os.symlink(entry.path, here)


def _is_environment(path: str) -> bool:
    return os.path.basename(path) == "node_modules" or os.path.exists(os.path.join(path, "pyvenv.cfg"))


def copy_on_write(scratch: str) -> None:
    """Let `open` for writing replace a link in the scratch folder by a file of its own."""
    original: Callable[..., Any] = builtins.open
    prefix = os.path.realpath(scratch) + os.sep

    def open_(file: Any, mode: Any = "r", *args: Any, **kwargs: Any) -> Any:
        if isinstance(mode, str) and not {"w", "a", "x", "+"}.isdisjoint(mode) and isinstance(file, (str, os.PathLike)):
            path = os.path.abspath(os.fspath(file))
            if isinstance(path, str) and path.startswith(prefix) and os.path.islink(path):
                _own(path, copy="w" not in mode)
        return original(file, mode, *args, **kwargs)

    builtins.open = open_
    io.open = open_


def _own(path: str, copy: bool) -> None:
    target = os.path.realpath(path)
    if os.path.isdir(target):
        return
    os.unlink(path)
    if copy and os.path.exists(target):
        shutil.copyfile(target, path)
