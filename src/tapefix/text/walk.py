"""Which files the paths on the command line mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_SKIPPED = frozenset({"__pycache__", "node_modules", "build", "dist", "site-packages", "venv", "env"})


class Target(NamedTuple):
    """One file to look at: its path as it is shown, and whether it was named or found in a folder."""

    path: str
    named: bool


def targets(path: str, failed: Callable[[str], None]) -> Iterator[Target]:
    """The file at `path`, or the Python files of the folder there, sorted.

    `failed` is told of what cannot be looked at; the rest is found all the same.
    """
    if not Path(path).is_dir():
        if path.endswith(".ipynb"):
            failed(f"{path}: notebooks are not read yet; turn it into a script: jupyter nbconvert --to script {path}")
        else:
            yield Target(path, named=True)
        return
    yield from _walk(path, failed)


def _walk(folder: str, failed: Callable[[str], None]) -> Iterator[Target]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        failed(f"{folder}: the folder cannot be read: {reason}")
        return
    for entry in entries:
        # Links to folders are not followed: they lead in circles, and to files that belong elsewhere.
        if entry.is_dir(follow_symlinks=False):
            if not _skipped(entry):
                yield from _walk(entry.path, failed)
        elif entry.name.endswith(".py") and entry.is_file():
            yield Target(entry.path, named=False)


def _skipped(folder: os.DirEntry[str]) -> bool:
    """Whether a folder holds what its owner did not write: hidden, generated or installed files."""
    if folder.name.startswith(".") or folder.name in _SKIPPED:
        return True
    return Path(folder.path, "pyvenv.cfg").exists()
