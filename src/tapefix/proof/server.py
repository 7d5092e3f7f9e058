"""The fork server: imports TensorFlow once, then forks a child for each run.

Run as `python -u server.py FOLDER` in the interpreter that has the user's TensorFlow. Requests come as JSON lines on
standard input and answers go as JSON lines to standard output. The end of standard input ends everything.
Standard library and TensorFlow only: tapefix is not installed here.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import shutil
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapefix.proof.underway import Child

PACKAGE = "_tapefix_proof"


class Server:
    """Forks, listens, answers, and kills what must not stay."""

    def __init__(self, folder: str, protocol: int) -> None:
        self._folder = folder
        self._protocol = protocol
        self._children: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._own_network = _network_of(os.getpid())
        self._package = _load_package()

    def answer(self, value: dict[str, Any]) -> None:
        """Write one line to the client."""
        data = memoryview(json.dumps(value).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._protocol, data) :]
        except OSError:  # the client is gone; the end of standard input will say so, too
            pass

    def serve(self) -> None:
        """Until standard input ends."""
        self._package["isolation"].adopt_orphans()
        self._package["child"].prepare()
        wake_read, wake_write = os.pipe()
        for end in (wake_read, wake_write):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._inherited = [self._protocol, wake_read, wake_write]
        self._selector.register(0, selectors.EVENT_READ, self._requests)
        self._selector.register(wake_read, selectors.EVENT_READ, lambda: os.read(wake_read, 4096))
        self._pending = b""
        self._over = False
        try:
            while not self._over:
                due = min((c.deadline for c in self._children.values() if not c.killed), default=None)
                wait = None if due is None else max(0.0, due - time.monotonic())
                for key, _ in self._selector.select(wait):
                    key.data()
                self._reap()
                self._kill_overdue()
        finally:
            for child in list(self._children.values()):
                self._kill(child)
            for pid in self._children:  # what still ends may still write, and a folder that fills is not removed
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
            self._kill_strays(None)
            _remove(Path(self._folder))

    def _requests(self) -> None:
        data = os.read(0, 1 << 16)
        if not data:
            self._over = True
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "stop" in request:
                self._stop(request["stop"])
            else:
                self._start(request)

    def _stop(self, number: int) -> None:
        """Break off a run; what it has measured is reported as at the time limit."""
        for child in list(self._children.values()):
            if child.request["id"] == number:
                self._kill(child)

    def _start(self, request: dict[str, Any]) -> None:
        problem = _unsafe_to_fork()
        if problem:
            failure = {"type": "ForkServer", "message": problem, "line": 0}
            run = self._package["underway"].Child(request, 0, -1, -1, b"")
            run.end = {"end": "died", "failure": failure}
            self.answer({"id": request["id"], "run": run.result(0)})
            return
        pipe, child_pipe = os.pipe()
        output, child_output = os.pipe()
        server = os.getpid()
        secret = [os.urandom(32)]
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            self._selector.close()
            others = [fd for child in self._children.values() for fd in (child.pipe, child.output)]
            for fd in (pipe, output, *self._inherited, *others):
                os.close(fd)
            self._package["child"].run(request, secret, child_pipe, child_output, server)
        os.close(child_pipe)
        os.close(child_output)
        os.set_blocking(pipe, False)
        os.set_blocking(output, False)
        child = self._children[pid] = self._package["underway"].Child(request, pid, pipe, output, secret.pop())
        self._selector.register(pipe, selectors.EVENT_READ, lambda: self._read(child))
        self._selector.register(output, selectors.EVENT_READ, lambda: self._read_output(child))

    def _read(self, child: Child) -> None:
        data = _read(child.pipe)
        if data == b"":
            self._selector.unregister(child.pipe)
        elif data:
            child.take(data)
            if child.forged and not child.killed:
                self._kill(child)

    def _read_output(self, child: Child) -> None:
        data = _read(child.output)
        if data == b"":
            self._selector.unregister(child.output)
        elif data:
            child.take_output(data)

    def _reap(self) -> None:
        """Answer for children that have ended. Everything else that ended here was adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._children:
                self._done(self._children.pop(pid), status)

    def _done(self, child: Child, status: int) -> None:
        for fd, take in ((child.pipe, child.take), (child.output, child.take_output)):
            while True:  # what it wrote last is still in the pipe
                data = _read(fd)
                if not data:
                    break
                take(data)
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
            os.close(fd)
        self.answer({"id": child.request["id"], "run": child.result(status)})
        _kill_group(child.pid)
        self._kill_strays(child)
        _remove(Path(child.request["folder"]))

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in list(self._children.values()):
            if now >= child.deadline and not child.killed:
                self._kill(child)

    def _kill(self, child: Child) -> None:
        """Kill a run with all that it started, also what has left its process group."""
        child.killed = True
        try:
            os.kill(child.pid, signal.SIGSTOP)  # nothing new while its descendants are looked for
            for pid in _descendants(child.pid):
                _kill(pid)
        except OSError:
            pass
        _kill_group(child.pid)
        _kill(child.pid)

    def _kill_strays(self, child: Child | None) -> None:
        """Kill adopted processes: those of one run, or all of them where the owner cannot be told and none else runs.

        While they are killed they may fork; each round finds what the last one left.
        """
        for _ in range(1000):
            strays = [pid for pid in _children_of(os.getpid()) if pid not in self._children]
            if child is not None and self._children:
                others = {_network_of(pid) for pid in self._children} | {self._own_network}
                strays = [pid for pid in strays if _network_of(pid) not in others]
            if not strays:
                return
            for pid in strays:
                for one in [pid, *_descendants(pid)]:
                    _kill(one)
            for pid in strays:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _read(fd: int) -> bytes | None:
    """What can be read now: None where there is nothing yet, empty at the end."""
    try:
        return os.read(fd, 1 << 18)
    except BlockingIOError:
        return None


def _kill(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _remove(folder: Path) -> None:
    """Remove a folder, also where the run took away its own right to look into parts of it."""
    for place, folders, _ in os.walk(folder):
        for name in folders:
            with contextlib.suppress(OSError):
                if not os.path.islink(path := f"{place}/{name}"):  # noqa: PTH114
                    os.chmod(path, 0o700)  # noqa: PTH101
    shutil.rmtree(folder, ignore_errors=True)


def _network_of(pid: int) -> str:
    """What the kernel calls the network that a process sees: each run has its own, inherited by all it starts."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""


def _children_of(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    found: list[int] = []
    pending = [pid]
    while pending:
        one = pending.pop()
        try:
            threads = list(Path(f"/proc/{one}/task").iterdir())
        except OSError:
            continue
        for thread in threads:
            try:
                below = [int(child) for child in (thread / "children").read_text().split()]
            except OSError:
                continue
            found += below
            pending += below
    return found


def _unsafe_to_fork() -> str:
    """Why a fork now would hang the child, or nothing: TensorFlow's threads do not survive a fork."""
    from tensorflow.python.eager import context

    current = context._context
    if current is not None and getattr(current, "_initialized", False):
        return "TensorFlow was already running when the run was to start"
    return ""


def _load_package() -> dict[str, Any]:
    """The modules beside this file, under a name that no script imports by accident."""
    package = ModuleType(PACKAGE)
    package.__path__ = [str(Path(__file__).resolve().parent)]
    sys.modules[PACKAGE] = package
    return {name: importlib.import_module(f"{PACKAGE}.{name}") for name in ("isolation", "underway", "child")}


def _load_tensorflow() -> dict[str, Any]:
    """Import TensorFlow with Keras, run no op, and say which versions they are."""
    try:
        import tensorflow as tf

        keras = tf.keras
        keras.layers  # noqa: B018  loads Keras itself
        version = getattr(keras, "__version__", None) or _keras_version()
        return {"ready": True, "tensorflow": str(tf.__version__), "keras": str(version)}
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return {"ready": False, "missing": getattr(error, "name", None), "error": f"{type(error).__name__}: {lines[0]}"}


def _keras_version() -> str:
    """The version of the Keras 2 that TensorFlow loads; tf.keras itself does not tell there."""
    try:
        import keras

        return str(keras.__version__)
    except (ImportError, AttributeError):
        return "2"


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # Whatever prints must not come between the lines of the protocol.
    protocol = os.dup(1)
    os.dup2(2, 1)
    # A script's `import child` is not to find this folder.
    here = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != here]
    hello = _load_tensorflow()
    server = Server(sys.argv[1], protocol)
    server.answer(hello)
    if hello["ready"]:
        import gc

        gc.collect()
        gc.freeze()  # what was imported is shared with the children, not walked and copied by their collectors
        server.serve()
        os._exit(0)  # what TensorFlow does at the end of a process takes seconds, and tapefix waits for it
    else:
        shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
