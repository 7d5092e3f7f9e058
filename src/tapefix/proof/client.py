"""The fork server as tapefix sees it: start it early, submit runs, get typed results."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from tapefix.errors import TapefixError
from tapefix.proof import Isolation
from tapefix.proof.run import Failure, Run, run_from_json

if TYPE_CHECKING:
    from tapefix.repair import Options

AT_A_TIME = 2


class ProofUnavailable(TapefixError):
    """Code cannot be run here: there is no TensorFlow, or it does not start."""


@dataclass(frozen=True)
class ServerInfo:
    """What the interpreter of the fork server has."""

    python: str
    tensorflow: str
    keras: str


@dataclass(frozen=True)
class RunRequest:
    """One run: the script as the user named it, and the version of its text that is to be run.

    It is stopped once each place has computed `steps` gradients and `patience` seconds have passed since the first.
    With `via`, that command is run to its end instead, and `text` stands for the file when the command imports it.
    """

    path: Path
    text: bytes
    seed: int = 0
    steps: int = 3
    timeout: float = 60
    patience: float = 5
    argv: tuple[str, ...] = ()
    via: tuple[str, ...] = ()
    diagnose: bool = False
    exercise: tuple[dict[str, Any], ...] = ()
    cwd: Path | None = None
    isolation: Isolation = "best-effort"
    limits: tuple[tuple[str, int], ...] = ()  # of `limits.Limits`, where they are to differ from the usual ones


def run_request(
    path: Path, text: bytes, options: Options, seed: int = 0, exercise: tuple[dict[str, Any], ...] = ()
) -> RunRequest:
    """The run of one text that the options of the command line ask for."""
    request = RunRequest(
        path,
        text,
        seed=seed,
        steps=options.steps,
        timeout=options.timeout,
        argv=options.argv,
        via=options.via,
        isolation=options.isolation,
        exercise=() if options.via else exercise,
        cwd=options.cwd,
    )
    # A command that runs tests comes to an end by itself, and what comes late in it is as telling.
    return replace(request, patience=options.timeout) if options.via else request


class Runner(Protocol):
    """What a proof needs of a fork server."""

    def wait_ready(self) -> ServerInfo:
        """Wait until it can run code."""

    def submit(self, request: RunRequest) -> Future[Run]:
        """Start a run, or queue it."""


class ForkServer:
    """A process that has TensorFlow imported, and forks for each run.

    `settings` are environment variables that TensorFlow is to be imported with. The constructor returns at once, so
    that the import overlaps with what the caller does next.
    """

    def __init__(self, python: str, *, settings: Mapping[str, str] | None = None, temp: Path | None = None) -> None:
        self._python = python
        self._settings = dict(settings or {})
        self._lock = threading.Lock()
        self._closed = False
        self._hello: Future[ServerInfo] = Future()
        self._running: dict[int, tuple[RunRequest, Future[Run], float]] = {}
        self._queue: deque[tuple[RunRequest, Future[Run]]] = deque()
        self._next = 0
        self._folder = Path(tempfile.mkdtemp(prefix="tapefix-", dir=temp)).resolve()
        self._errors = (self._folder / "errors").open("w+b")
        try:
            self._process = subprocess.Popen(
                [python, "-u", str(Path(__file__).with_name("server.py")), str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for tapefix alone
            )
        except OSError as error:
            self._errors.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise ProofUnavailable(f"{python} cannot be started: {error.strerror}") from error
        threading.Thread(target=self._listen, daemon=True).start()

    def _environment(self) -> dict[str, str]:
        keras_home = self._keras_home()
        return {
            "PYTHONHASHSEED": "0",  # the order of sets is the same before and after a repair
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
            "OPENBLAS_NUM_THREADS": "1",  # a process with threads cannot be forked safely
            "MPLBACKEND": "Agg",
            "KERAS_HOME": str(keras_home),
            **self._settings,
        }

    def _keras_home(self) -> Path:
        """Keras writes a settings file on import: show it the user's, in a folder that is not the user's."""
        ours = self._folder / "keras"
        ours.mkdir()
        theirs = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
        with contextlib.suppress(OSError):
            for entry in theirs.iterdir():
                (ours / entry.name).symlink_to(entry)
        return ours

    def wait_ready(self, timeout: float = 120) -> ServerInfo:
        """Wait until TensorFlow is imported; ProofUnavailable, with one clear line, where it is not to be had."""
        try:
            return self._hello.result(timeout)
        except TimeoutError:
            raise ProofUnavailable(f"TensorFlow did not start within {timeout:.0f} s in {self._python}") from None

    def submit(self, request: RunRequest) -> Future[Run]:
        """Run `request`, as soon as fewer than two others are under way."""
        future: Future[Run] = Future()
        with self._lock:
            if self._closed:
                future.set_result(_dead(request, 0.0, "the fork server is closed"))
                return future
            self._queue.append((request, future))
        self._send_waiting()
        return future

    def run(self, request: RunRequest) -> Run:
        """Run `request` and wait for its result."""
        return self.submit(request).result()

    def stop(self, future: Future[Run]) -> None:
        """Break off a run: one that waits is cancelled, one that is under way ends as if at its time limit."""
        if future.cancel():
            return
        with self._lock, contextlib.suppress(OSError):
            for number, (_, running, _) in self._running.items():
                if running is future and self._process.stdin is not None and not self._closed:
                    self._process.stdin.write(json.dumps({"stop": number}).encode() + b"\n")
                    self._process.stdin.flush()

    @property
    def alive(self) -> bool:
        """Whether it takes runs: it was not closed and did not end by itself."""
        return not self._closed and self._process.poll() is None

    def _send_waiting(self) -> None:
        with self._lock:
            while self._queue and len(self._running) < AT_A_TIME and not self._closed:
                request, future = self._queue.popleft()
                if not future.set_running_or_notify_cancel():
                    continue
                self._next += 1
                self._running[self._next] = (request, future, time.monotonic())
                message = self._message(self._next, request)
                try:
                    assert self._process.stdin is not None
                    self._process.stdin.write(message)
                    self._process.stdin.flush()
                except (OSError, ValueError):
                    return  # the server is gone; the listener resolves what is under way

    def _message(self, number: int, request: RunRequest) -> bytes:
        folder = self._folder / f"run-{number}"
        folder.mkdir()
        # Tracebacks and AutoGraph read the source from this file.
        script = folder / (request.path.name if request.path.suffix == ".py" else "script.py")
        script.write_bytes(request.text)
        message = {
            "id": number,
            "folder": str(folder),
            "script": str(script),
            "path": str(request.path.absolute()),
            "cwd": str((request.cwd or Path.cwd()).absolute()),
            "argv": list(request.argv),
            "via": list(request.via),
            "seed": request.seed,
            "steps": request.steps,
            "timeout": request.timeout,
            "patience": request.patience,
            "diagnose": request.diagnose,
            "isolation": request.isolation,
            "limits": dict(request.limits),
            "exercise": list(request.exercise),
        }
        return json.dumps(message).encode() + b"\n"

    # ------------------------------------------------------------ what comes back

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if "ready" in answer:
                self._greet(answer)
            else:
                with self._lock:
                    _, future, _ = self._running.pop(answer["id"])
                self._send_waiting()
                future.set_result(run_from_json(answer["run"]))
        self._lost()

    def _greet(self, answer: dict[str, Any]) -> None:
        if answer["ready"]:
            self._hello.set_result(ServerInfo(self._python, answer["tensorflow"], answer["keras"]))
        elif answer.get("missing") == "tensorflow":
            self._hello.set_exception(
                ProofUnavailable(
                    f"TensorFlow is missing in {self._python}: install it there (python -m pip install tensorflow), "
                    "or name another interpreter with --python"
                )
            )
        else:
            self._hello.set_exception(
                ProofUnavailable(f"TensorFlow does not start in {self._python}: {answer['error']}")
            )

    def _lost(self) -> None:
        """The server has ended: whoever still waits gets to know it."""
        reason = "the fork server was closed" if self._closed else f"the fork server ended: {self._last_words()}"
        if not self._hello.done():
            self._hello.set_exception(ProofUnavailable(f"TensorFlow does not start in {self._python}: {reason}"))
        error = self._hello.exception()
        if error is not None:
            reason = str(error)
        with self._lock:
            self._closed = True
            running, self._running = self._running, {}
            queue, self._queue = self._queue, deque()
        now = time.monotonic()
        for request, future, started in running.values():
            future.set_result(_dead(request, now - started, reason))
        for request, future in queue:
            if future.set_running_or_notify_cancel():
                future.set_result(_dead(request, 0.0, reason))

    def _last_words(self) -> str:
        try:
            lines = os.pread(self._errors.fileno(), 1 << 16, 0).decode("utf-8", "replace").strip().splitlines()
        except (OSError, ValueError):
            lines = []
        return lines[-1] if lines else f"status {self._process.poll()}"

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """End the server and all it runs, and remove the temporary folder. Safe to call again."""
        with self._lock:
            if self._closed and self._process.returncode is not None:
                return
            self._closed = True
        ready = self._hello.done() and self._hello.exception() is None
        if not ready:  # it is importing, does not listen, and has no children yet
            self._kill()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._kill()  # its children end with it
            self._process.wait()
        self._errors.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _dead(request: RunRequest, seconds: float, reason: str) -> Run:
    return Run(end="died", seconds=seconds, seed=request.seed, failure=Failure("ForkServer", reason, 0))
