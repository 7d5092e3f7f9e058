"""Bounds on what one run may take of the machine: memory, disk, processes.

Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import signal
import struct
from pathlib import Path
from typing import Any, NamedTuple

GIGABYTE = 1 << 30
MOST_PROCESSES = 8192
# Exit statuses of a run that was ended for what it took, and what is said of them.
OVERDRAWN = {
    201: "it starts more than {processes} processes",
    202: "it takes more than {memory:.1f} GB of memory",
    203: "it writes more than {disk:.1f} GB of files",
}


class Limits(NamedTuple):
    """What a run may take: bytes of memory and of files, and processes at a time."""

    memory: int
    disk: int = 4 * GIGABYTE
    processes: int = 500

    def describe(self, status: int) -> str:
        """What an exit status says of a run that was ended by a limit; empty for any other status."""
        return OVERDRAWN.get(status, "").format(
            processes=self.processes, memory=self.memory / GIGABYTE, disk=self.disk / GIGABYTE
        )

    def overdrawn(self, folder: Path, own_proc: bool) -> int:
        """The status for which a run must end now, 0 for none. `own_proc`: /proc shows the run's processes alone."""
        if own_proc:
            numbers = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208  (called often)
            if len(numbers) > self.processes:
                return 201
            if sum(map(_resident, numbers)) > self.memory:
                return 202
        return 203 if _size(str(folder), self.disk) > self.disk else 0

    def impose(self) -> None:
        """Ask the kernel to bound this process and all that it starts."""
        # Data, not address space: TensorFlow reserves far more addresses than it uses.
        _lower(resource.RLIMIT_DATA, self.memory)
        _lower(resource.RLIMIT_FSIZE, min(2 * GIGABYTE, self.disk))
        _lower(resource.RLIMIT_CORE, 0)
        if hasattr(resource, "RLIMIT_NPROC"):
            _lower(resource.RLIMIT_NPROC, MOST_PROCESSES)
        self._limit_forks()

    def _limit_forks(self) -> None:
        """End a run that forks without end. The kernel's own limit does not hold for root; the counter is shared."""
        counter = mmap.mmap(-1, 8)

        def before() -> None:
            count = struct.unpack("q", counter[:8])[0] + 1
            counter[:8] = struct.pack("q", count)
            if count > self.processes:
                os.kill(os.getpid(), signal.SIGKILL)

        os.register_at_fork(before=before)


def limits_of(request: dict[str, Any]) -> Limits:
    """The limits that a request asks for; of memory, half of what the machine has is given by default."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = 32 * GIGABYTE
    usual = Limits(max(4 * GIGABYTE, min(16 * GIGABYTE, memory // 2)))
    return usual._replace(**{name: value for name, value in request["limits"].items() if value})


def _lower(kind: int, limit: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (limit, limit))


def _resident(number: str) -> int:
    """The memory of one process that it does not share."""
    try:
        words = Path(f"/proc/{number}/statm").read_text().split()
    except (OSError, ValueError):
        return 0
    return (int(words[1]) - int(words[2])) * mmap.PAGESIZE


def _size(folder: str, most: int) -> int:
    """The bytes that the files below a folder take, counted up to `most`."""
    total = 0
    pending = [folder]
    while pending and total <= most:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total
