"""Walls around one run: no network, no writes outside its own folder, no way to other processes.

Everything is asked of the kernel directly (namespaces, Landlock), because Python-level hooks are no boundary:
TensorFlow writes files from C++. What the machine does not offer is named, never silently skipped.
Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any

from . import namespaces
from .limits import Limits
from .namespaces import PR_SET_PDEATHSIG, World, libc

PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
LANDLOCK_WRITE_FILE = 1 << 1
# Every right that changes files, from the first version of Landlock on: write, remove, make.
LANDLOCK_WRITES = LANDLOCK_WRITE_FILE | sum(1 << bit for bit in range(4, 13))
LANDLOCK_REFER, LANDLOCK_TRUNCATE = 1 << 13, 1 << 14
LANDLOCK_TCP = 0b11
LANDLOCK_SCOPES = 0b11  # abstract sockets and signals stay inside
LANDLOCK_VERSION = 1
# Files that mark the top folder of a project.
PROJECT = (".git", "pyproject.toml", "setup.py", "setup.cfg", "requirements.txt")


def die_with_parent(parent: int) -> None:
    """End this process when its parent ends, however that happens (Linux only)."""
    if sys.platform != "linux":
        return
    libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the request was made
        os._exit(70)


def adopt_orphans() -> None:
    """Let descendants that lose their parent become children of this process, so that they can be found."""
    if sys.platform == "linux":
        libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Walls:
    """The walls of one run. `missing` names what this machine does not offer."""

    def __init__(self, folder: Path, wanted: bool) -> None:
        self._folder = folder
        self._wanted = wanted
        self._world = World()
        self._covered: list[str] = []
        self.missing: list[str] = []

    def separate(self, parent: int, close: list[int], limits: Limits) -> None:
        """Leave the shared world; goes on in another process where processes can be kept apart."""
        die_with_parent(parent)
        if not self._wanted or sys.platform != "linux":
            return
        self._world = namespaces.separate()
        die_with_parent(parent)  # new rights clear the first request
        if self._world.flags & namespaces.CLONE_NEWNS and not namespaces.private_mounts():
            self._world = self._world._replace(flags=self._world.flags & ~namespaces.CLONE_NEWNS)
        if self._world.flags & namespaces.CLONE_NEWPID:
            namespaces.become_inner(close, lambda own_proc: limits.overdrawn(self._folder, own_proc))

    def cover(self, places: list[Path]) -> bool:
        """Let the run write into these folders and the project and home around them, and change nothing there.

        False where the first of `places` could not be covered.
        """
        if not self._world.flags & namespaces.CLONE_NEWNS:
            return False
        folders = _outermost([*(_project(place) for place in places), _home()])
        self._covered = namespaces.cover(folders, self._folder / "layers", self._world)
        return any(_is_within(places[0].resolve(), Path(one)) for one in self._covered)

    def close(self, writable: list[str]) -> None:
        """Make everything but `writable` and what is covered read-only, and give up the rights to undo that."""
        if not self._wanted:
            return
        if sys.platform != "linux":
            self.missing = ["network", "files", "processes"]
            return
        writable = [*writable, *self._covered]
        kernel = libc()
        version = kernel.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(LANDLOCK_VERSION))
        own = self._world.flags
        # From its fourth version on, Landlock refuses TCP itself; from its sixth on, signals.
        if not own & namespaces.CLONE_NEWNET and version < 4:
            self.missing.append("network")
        mounted = version < 1 and own & namespaces.CLONE_NEWNS and namespaces.read_only_but(writable)
        if not mounted and (version < 1 or not _restrict_writes(kernel, version, writable)):
            self.missing.append("files")
        if not own & namespaces.CLONE_NEWPID:
            self.missing.append("processes")
        if own:
            _drop_capabilities(kernel)


def _home() -> Path:
    return Path(os.path.expanduser("~"))  # noqa: PTH111  (Path's own raises where there is none)


def _project(place: Path) -> Path:
    """The top folder of the project that a folder belongs to, or the folder itself."""
    place = place.resolve()
    home = _home().resolve()
    for folder in (place, *place.parents):
        if folder in (home, Path(folder.anchor)):
            break
        if any((folder / name).exists() for name in PROJECT):
            return folder
    return place


def _outermost(folders: list[Path]) -> list[Path]:
    """Those that are folders, without what lies in another one, and never the root of all."""
    found = sorted({folder.resolve() for folder in folders if folder.is_dir()}, key=lambda one: len(one.parts))
    kept: list[Path] = []
    for folder in found:
        if len(folder.parts) > 1 and not any(_is_within(folder, one) for one in kept):
            kept.append(folder)
    return kept


def _is_within(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _drop_capabilities(kernel: Any) -> bool:
    """Real root keeps only the right to read and write files of others (Landlock bounds the writing)."""
    keep = 0b110 if os.getuid() == 0 else 0  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    header = struct.pack("Ii", 0x20080522, 0)
    data = struct.pack("6I", keep, keep, 0, 0, 0, 0)
    return bool(kernel.capset(header, data) == 0)


def _restrict_writes(kernel: Any, version: int, writable: list[str]) -> bool:
    rights = LANDLOCK_WRITES
    if version >= 2:
        rights |= LANDLOCK_REFER
    if version >= 3:
        rights |= LANDLOCK_TRUNCATE
    attributes = [rights]
    if version >= 4:
        attributes.append(LANDLOCK_TCP)
    if version >= 6:
        attributes.append(LANDLOCK_SCOPES)
    packed = struct.pack(f"{len(attributes)}Q", *attributes)
    rules = kernel.syscall(LANDLOCK_CREATE, packed, ctypes.c_size_t(len(packed)), ctypes.c_uint32(0))
    if rules < 0:
        return False
    try:
        for path in writable:
            _allow(kernel, rules, path, rights)
        if kernel.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        return bool(kernel.syscall(LANDLOCK_RESTRICT, rules, ctypes.c_uint32(0)) == 0)
    finally:
        os.close(rules)


def _allow(kernel: Any, rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not Path(path).is_dir():
            rights &= LANDLOCK_WRITE_FILE | LANDLOCK_TRUNCATE
        rule = struct.pack("=Qi", rights, place)
        kernel.syscall(LANDLOCK_ADD, rules, 1, rule, ctypes.c_uint32(0))
    finally:
        os.close(place)
