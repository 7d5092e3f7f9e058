"""The folder that a run works in: looks like the user's working directory, but nothing there is the user's.

Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Folders are mirrored, so that new files in them land here, up to this many entries; the rest is linked whole.
MOST_ENTRIES = 1000


def mirror(original: Path, scratch: Path) -> None:
    """Fill `scratch` with links to what is in `original`; visible folders become real ones."""
    entries = 0
    pending = deque([(str(original), str(scratch))])
    while pending:
        source, target = pending.popleft()
        Path(target).mkdir(exist_ok=True)
        try:
            with os.scandir(source) as found:
                listed = list(found)
        except OSError:
            continue
        for entry in listed:
            entries += 1
            here = Path(target, entry.name)
            plain = entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "_"))
            if plain and entries + len(pending) < MOST_ENTRIES and not _is_environment(Path(entry.path)):
                pending.append((entry.path, str(here)))
            elif entries < 20 * MOST_ENTRIES:
                here.symlink_to(entry.path)


def _is_environment(path: Path) -> bool:
    return path.name == "node_modules" or (path / "pyvenv.cfg").exists()


def copy_on_write(scratch: Path) -> None:
    """Let `open` for writing replace a link in the scratch folder by a file of its own."""
    original: Callable[..., Any] = io.open
    prefix = scratch.resolve()

    def open_(file: Any, mode: Any = "r", *args: Any, **kwargs: Any) -> Any:
        writes = isinstance(mode, str) and not {"w", "a", "x", "+"}.isdisjoint(mode)
        if writes and isinstance(file, (str, os.PathLike)):
            path = Path.cwd() / os.fsdecode(file)
            if path.is_symlink() and prefix in path.parents:
                _own(path, copy="w" not in mode)
        return original(file, mode, *args, **kwargs)

    builtins.open = open_
    io.open = open_


def _own(path: Path, copy: bool) -> None:
    target = path.resolve()
    if target.is_dir():
        return
    path.unlink()
    if copy and target.exists():
        shutil.copyfile(target, path)
