"""Walls around one run: no network, no writes outside its own folder, bounded memory and processes.

Everything is asked of the kernel directly (namespaces, Landlock, resource limits), because Python-level hooks are
no boundary: TensorFlow writes files from C++. What the machine does not offer is named, never silently skipped.
Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
LANDLOCK_WRITE_FILE = 1 << 1
# Every right that changes files, from the first version of Landlock on: write, remove, make.
LANDLOCK_WRITES = LANDLOCK_WRITE_FILE | sum(1 << bit for bit in range(4, 13))
LANDLOCK_REFER, LANDLOCK_TRUNCATE = 1 << 13, 1 << 14
LANDLOCK_TCP = 0b11
LANDLOCK_SCOPES = 0b11  # abstract sockets and signals stay inside
LANDLOCK_VERSION = 1

GIGABYTE = 1 << 30
MOST_FORKS = 500


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """End this process when its parent ends, however that happens (Linux only)."""
    if sys.platform != "linux":
        return
    _libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the request was made
        os._exit(70)


def adopt_orphans() -> None:
    """Let descendants that lose their parent become children of this process, so that they can be found."""
    if sys.platform == "linux":
        _libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def limit_resources() -> None:
    """Bound memory, file size and the number of processes, so that a run cannot take the machine down."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = 32 * GIGABYTE
    # Data, not address space: TensorFlow reserves far more addresses than it uses.
    _lower(resource.RLIMIT_DATA, max(4 * GIGABYTE, min(16 * GIGABYTE, memory // 2)))
    _lower(resource.RLIMIT_FSIZE, 2 * GIGABYTE)
    _lower(resource.RLIMIT_CORE, 0)
    if hasattr(resource, "RLIMIT_NPROC"):
        _lower(resource.RLIMIT_NPROC, 8192)
    _limit_forks()


def _lower(kind: int, limit: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (limit, limit))


def _limit_forks() -> None:
    """End a run that forks without end. The kernel's own limit does not hold for root; the counter is shared."""
    counter = mmap.mmap(-1, 8)

    def before() -> None:
        count = struct.unpack("q", counter[:8])[0] + 1
        counter[:8] = struct.pack("q", count)
        if count > MOST_FORKS:
            os.kill(os.getpid(), signal.SIGKILL)

    os.register_at_fork(before=before)


def protect(writable: list[str]) -> list[str]:
    """Close the network and make everything but `writable` read-only; the names of what could not be done."""
    if sys.platform != "linux":
        return ["network", "files"]
    missing = []
    libc = _libc()
    closed = _close_network(libc)
    version = libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(LANDLOCK_VERSION))
    if not closed and version < 4:  # from its fourth version on, Landlock refuses TCP itself
        missing.append("network")
    if version < 1 or not _restrict_writes(libc, version, writable):
        missing.append("files")
    return missing


def _close_network(libc: Any) -> bool:
    """A network namespace of its own has no way out."""
    user, group = os.getuid(), os.getgid()
    if user == 0 and libc.unshare(CLONE_NEWNET) == 0:
        # Real root stays root, so that it can read what it owns by right; what it could undo this with goes.
        return _drop_capabilities(libc)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    except OSError:
        pass  # only cosmetic: the user has another number inside
    return True


def _drop_capabilities(libc: Any) -> bool:
    """Keep only the right to read and write files of others (Landlock bounds the writing)."""
    keep = 0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    header = struct.pack("Ii", 0x20080522, 0)
    data = struct.pack("6I", keep, keep, 0, 0, 0, 0)
    return bool(libc.capset(header, data) == 0)


def _restrict_writes(libc: Any, version: int, writable: list[str]) -> bool:
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
    rules = libc.syscall(LANDLOCK_CREATE, packed, ctypes.c_size_t(len(packed)), ctypes.c_uint32(0))
    if rules < 0:
        return False
    try:
        for path in writable:
            _allow(libc, rules, path, rights)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        return bool(libc.syscall(LANDLOCK_RESTRICT, rules, ctypes.c_uint32(0)) == 0)
    finally:
        os.close(rules)


def _allow(libc: Any, rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not Path(path).is_dir():
            rights &= LANDLOCK_WRITE_FILE | LANDLOCK_TRUNCATE
        rule = struct.pack("=Qi", rights, place)
        libc.syscall(LANDLOCK_ADD, rules, 1, rule, ctypes.c_uint32(0))
    finally:
        os.close(place)
