"""A world of its own for one run: processes, network and mounts that nobody outside shares.

What a script deletes or overwrites in the project or at home goes to a layer above the real files, which is thrown
away; what it forks ends with it, wherever it went. Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 1 << 12, 1 << 14, 1 << 18
MOUNT_SETATTR = 442
AT_RECURSIVE, AT_FDCWD = 0x8000, -100
MOUNT_ATTR_RDONLY = 1
PR_SET_PDEATHSIG = 1

# What a run has of its own; the fewer are tried where the machine does not give all.
ALL = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC
LESS = (ALL, CLONE_NEWNS | CLONE_NEWNET, CLONE_NEWNET)
SHARED_MEMORY = "size=1g,mode=1777"
TICK = 0.25


class World(NamedTuple):
    """What this process has of its own: the kernel's flags, and whether it is root of a world inside its own only."""

    flags: int = 0
    inner: bool = False


def libc() -> Any:
    """The C library, whose calls are the kernel's."""
    return ctypes.CDLL(None, use_errno=True)


def separate() -> World:
    """Leave the shared world, as far as the machine lets this process."""
    kernel = libc()
    user, group = os.getuid(), os.getgid()
    if user == 0:
        for flags in LESS:
            if kernel.unshare(flags) == 0:
                return World(flags)
    for flags in LESS:
        if kernel.unshare(CLONE_NEWUSER | flags) == 0:
            _keep_identity(user, group)
            return World(flags, inner=True)
    return World()


def _keep_identity(user: int, group: int) -> None:
    with contextlib.suppress(OSError):  # without it the user has another number inside, and that is all
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)


# ---------------------------------------------------------------- processes


def become_inner(close: list[int], overdrawn: Callable[[bool], int]) -> None:
    """Go on as a process of the new process namespace; returns there only.

    This process stays behind to end as that one ends. Between them is the first process of the namespace: it buries
    what is orphaned, and takes all others along when it goes. Now and then it asks `overdrawn`, told whether /proc is
    that of the namespace, for an exit status to end with (0: go on).
    """
    reading, writing = os.pipe()
    first = os.fork()
    if first:
        os.close(writing)
        for descriptor in close:
            os.close(descriptor)
        told = os.read(reading, 4)
        os.waitpid(first, 0)
        _end_like(struct.unpack("i", told)[0] if len(told) == 4 else signal.SIGKILL)
    os.close(reading)
    libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    gone = select.poll()
    gone.register(writing, select.POLLERR)
    if gone.poll(0):  # the process that stays behind ended before the request was made
        os._exit(70)
    try:
        _mount(libc(), "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        own_proc = True
    except OSError:
        own_proc = False
    runner = os.fork()
    if runner == 0:
        os.close(writing)
        return
    for descriptor in close:
        os.close(descriptor)
    status = _look_after(runner, lambda: overdrawn(own_proc))
    os.write(writing, struct.pack("i", status))
    os._exit(0)


def _look_after(runner: int, overdrawn: Callable[[], int]) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == runner:
                return status
            if pid == 0:
                break
        code = overdrawn()
        if code:
            return code << 8
        signal.sigtimedwait({signal.SIGCHLD}, TICK)


def _end_like(status: int) -> None:
    """End as another process did."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


# ---------------------------------------------------------------- files


def private_mounts() -> bool:
    """Let mounts made from here on be seen by this run only, and give it shared memory of its own."""
    kernel = libc()
    try:
        _mount(kernel, None, "/", None, MS_REC | MS_PRIVATE)
        if Path("/dev/shm").is_dir():
            _mount(kernel, "tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, SHARED_MEMORY)
    except OSError:
        return False
    return True


def cover(folders: list[Path], layers: Path, world: World) -> list[str]:
    """Lay a writable layer over each folder, so that the run may write there and changes nothing; the covered ones.

    The layers are kept in `layers`; where that lies below one of the folders, in memory.
    """
    covered: list[str] = []
    for number, folder in enumerate(folders):
        place = layers / str(number)
        place.mkdir(parents=True)
        try:
            try:
                _overlay(folder, place, world)
            except OSError:
                _mount(libc(), "tmpfs", str(place), "tmpfs", MS_NOSUID | MS_NODEV, "size=25%")
                _overlay(folder, place, world)
        except OSError:
            continue
        covered.append(str(folder))
    return covered


def _overlay(folder: Path, place: Path, world: World) -> None:
    kernel = libc()
    upper, work = place / "upper", place / "work"
    for one in (upper, work):
        one.mkdir()
    # What is mounted below does not show through: it is put back, for reading only.
    below = [(path, os.open(path, os.O_PATH)) for path in _mounts_below(folder)]
    opened = [os.open(path, os.O_PATH) for path in (folder, upper, work)]
    try:
        # By number, as a name may hold what stands between options.
        names = ("lowerdir", "upperdir", "workdir")
        options = [f"{name}=/proc/self/fd/{one}" for name, one in zip(names, opened)]  # noqa: B905  (3.9)
        if world.inner:
            options.append("userxattr")
        _mount(kernel, "overlay", str(folder), "overlay", MS_NOSUID | MS_NODEV, ",".join(options))
        for path, number in below:
            _mount(kernel, f"/proc/self/fd/{number}", path, None, MS_BIND | MS_REC)
            if not _read_only(kernel, path):
                raise OSError(f"{path} cannot be made read-only")
    except OSError:
        kernel.umount2(str(folder).encode(), 2)  # nothing half covered stays (2: also where it is in use)
        raise
    finally:
        for number in [*opened, *(number for _, number in below)]:
            os.close(number)


def _mounts_below(folder: Path) -> list[str]:
    found: list[str] = []
    prefix = str(folder).rstrip("/") + "/"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape")
        if point.startswith(prefix) and not any(point.startswith(f"{one}/") for one in found):
            found.append(point)
    return found


def read_only_but(writable: list[str]) -> bool:
    """Make everything read-only that is mounted, but for some folders: where there is no Landlock."""
    kernel = libc()
    try:
        for path in writable:
            if Path(path).is_dir():
                _mount(kernel, path, path, None, MS_BIND | MS_REC)
        os.chdir(os.getcwd())  # noqa: PTH109  (into the mount that now lies above)
    except OSError:
        return False
    if not _read_only(kernel, "/"):
        return False
    return all(_read_only(kernel, path, False) for path in writable if Path(path).is_dir())


def _read_only(kernel: Any, path: str, on: bool = True) -> bool:
    attributes = struct.pack("4Q", *((MOUNT_ATTR_RDONLY, 0) if on else (0, MOUNT_ATTR_RDONLY)), 0, 0)
    done = kernel.syscall(
        MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE if on else 0, attributes, ctypes.c_size_t(32)
    )
    return bool(done == 0)


def _mount(kernel: Any, source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    options = None if data is None else data.encode()
    if kernel.mount(*texts, ctypes.c_ulong(flags), options) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
