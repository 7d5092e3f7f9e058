"""One run of the script, in a process forked for it alone.

Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from . import scratch, standins
from .breaks import Breaks
from .channel import Channel
from .exercise import Exercises
from .isolation import Walls
from .launch import Launch
from .limits import Limits, limits_of
from .places import Places
from .recorder import Recorder
from .standins import missing
from .training import Training
from .variables import Variables

MOST_MESSAGE = 500


def prepare() -> None:
    """Do, once TensorFlow is imported and before a run is forked, what is the same for all runs."""
    standins.prepare()
    _measuring()


@functools.cache
def _measuring() -> list[ModuleType]:
    """The modules that measure; the stand-ins, one level below, do not."""
    return [module for name, module in sys.modules.items() if name.rpartition(".")[0] == __package__]


def run(request: dict[str, Any], secret: list[bytes], pipe: int, output: int, server: int) -> NoReturn:
    """Run what `request` asks for and report on `pipe`, sealed with the key in `secret`. Never returns."""
    try:
        os.setsid()
        limits = limits_of(request)
        walls = Walls(Path(request["folder"]), wanted=request["isolation"] != "off")
        walls.separate(server, [pipe, output], limits)
        _Run(request, Channel(pipe, secret), output, walls, limits).go()
    except BaseException as error:  # a fault of this code, not of the script: say so and leave no half of a server
        os.write(output, f"the run could not be set up: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(70)


class _Run:
    def __init__(self, request: dict[str, Any], channel: Channel, output: int, walls: Walls, limits: Limits) -> None:
        self._started = time.monotonic()
        self._request = request
        self._channel = channel
        self._output = output
        self._walls = walls
        self._limits = limits
        self._script: str = request["script"]
        self._places = Places(self._script)
        self._variables = Variables(self._places)
        self._recorder = Recorder(channel, self._places, self._variables, request["steps"])
        self._training = Training(
            channel, self._places, self._variables, self._recorder, request["steps"], request["patience"]
        )
        self._wake = threading.Event()
        self._end_lock = threading.Lock()

    def go(self) -> NoReturn:
        self._keep_os_exit()
        writable = self._prepare_process()
        self._walls.close([*writable, "/dev/null", "/dev/shm"])
        self._report_walls()
        self._variables.install()
        self._recorder.install()
        self._training.install()
        standins.install(self._channel, Path(writable[0]), online=self._request["isolation"] == "off")
        self._seed()
        if self._request["diagnose"]:
            Breaks(self._channel, self._places, self._variables, self._recorder).install()
        self._recorder.on_gradient = self._gradient_seen
        self._channel.watch(
            *_measuring(), self._channel, self._recorder, self._recorder.graphs, self._variables, self._places
        )
        threading.Thread(target=lambda: self._watch(), daemon=True).start()  # nested, as `channel` wants it
        gc.freeze()  # what is here so far is not for the script's collector to walk, nor for the script to find
        self._finish(*self._run_script())

    # ------------------------------------------------------------ before

    def _prepare_process(self) -> list[str]:
        """Streams, limits, folders, environment and arguments as the script would have them; its own folders."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python has it
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(self._output, 1)
        os.dup2(self._output, 2)
        os.close(self._output)
        text: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "closefd": False}
        sys.stdin = open(0, **text)  # noqa: SIM115
        sys.stdout = open(1, "w", **text)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, **text)  # noqa: SIM115
        faulthandler.enable(sys.stderr, all_threads=False)
        self._limits.impose()
        folder, work = Path(self._request["folder"]), Path(self._request["cwd"])
        temporary = folder / "tmp"
        temporary.mkdir()
        writable = [str(temporary)]
        if not self._walls.cover([work, Path(self._request["path"]).parent]):
            scratch.mirror(work, folder / "work")
            work = folder / "work"
            scratch.copy_on_write(work)
            writable.append(str(work))
        os.chdir(work)
        os.environ["TMPDIR"], os.environ["PWD"] = str(temporary), str(work)
        tempfile.tempdir = None
        sys.dont_write_bytecode = True
        return writable

    def _report_walls(self) -> None:
        missing = self._walls.missing
        if missing and self._request["isolation"] == "require":
            message = f"{_and(missing)} cannot be protected here, and --isolation is require"
            self._finish("died", {"type": "Isolation", "message": message, "line": 0})
        self._channel.send("missing_protection", missing)

    def _seed(self) -> None:
        import tensorflow as tf

        seed = self._request["seed"]
        random.seed(seed)
        tf.keras.utils.set_random_seed(seed)

    def _keep_os_exit(self) -> None:
        """A script may end itself with os._exit: what was measured is to be reported first."""
        original, process = os._exit, os.getpid()

        def _exit(status: int) -> None:
            if os.getpid() == process:
                self._finish("exit" if status else "finished", _exit_failure(status, 0) if status else None)
            original(status)

        self._leave = original
        os._exit = _exit  # type: ignore[assignment]

    # ------------------------------------------------------------ the script

    def _run_script(self) -> tuple[str, dict[str, Any] | None]:
        launch = Launch(self._request, self._places)
        try:
            self._launch(launch)
            threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter would: wait for its threads
        except SystemExit as stop:
            if stop.code is None or stop.code == 0:
                return self._good_end(), None
            return "exit", _exit_failure(launch.said or stop.code, self._places.of_error(stop, ""))
        except BaseException as error:
            return "exception", self._failure(error)
        return self._good_end(), None

    def _good_end(self) -> str:
        return "stopped" if self._training.left_a_fit else "finished"

    def _launch(self, launch: Launch) -> None:
        """Run the code; where that computes no gradient, exercise what it defines."""
        wanted = [one["name"] for one in self._request["exercise"]]
        try:
            launch.go()
        except ModuleNotFoundError:
            # What is to be exercised may well not need it.
            if not wanted or self._recorder.first is not None:
                raise
            missing.install(self._channel)
            try:
                launch.go()
            except ModuleNotFoundError:
                # Needed after all; but perhaps only by what the module does when it is run itself.
                if self._places.namespace.keys().isdisjoint(wanted):
                    raise
        if wanted and self._recorder.first is None:
            exercises = Exercises(self._request, self._channel, self._places, self._recorder)
            gc.freeze()  # this, too, is not for the script to find
            exercises.go()

    def _failure(self, error: BaseException) -> dict[str, Any]:
        try:
            message = str(error)
        except Exception:
            message = ""
        line = self._places.of_error(error, message)
        with contextlib.suppress(BaseException):  # the script may have a hook of its own
            sys.excepthook(type(error), error, error.__traceback__)
        message = _essence(message, type(error).__name__).replace(self._script, self._request["path"])
        return {"type": type(error).__name__, "message": message[:MOST_MESSAGE], "line": line}

    # ------------------------------------------------------------ the end

    def _gradient_seen(self) -> None:
        if self._recorder.settled(self._request["patience"]):
            self._wake.set()

    def _watch(self) -> None:
        """Ends the run when enough was seen, or at the time limit. A thread, as the script may be deep in C++."""
        deadline = self._started + self._request["timeout"]
        patience = self._request["patience"]
        while True:
            self._recorder.collect()
            now = time.monotonic()
            first = self._recorder.first
            if now >= deadline:
                self._finish("timeout", None)
            if self._recorder.settled(patience):
                self._finish("stopped", None)
            due = now + patience if first is None else first + patience
            # Once due, what is missing is a site that was left behind: look again every second.
            self._wake.wait(min(deadline, max(due, now + 1.0)) - now)

    def _finish(self, end: str, failure: dict[str, Any] | None) -> NoReturn:
        """Report the rest and go at once: no finally, no exit handler and no other thread may come in between."""
        self._end_lock.acquire()  # never released: whoever comes second waits for the end of the process
        self._recorder.quiet = self._recorder.measuring = True
        try:
            self._recorder.collect()
            self._channel.send("variables", self._variables.report())
        finally:
            self._channel.send("end", {"end": end, "failure": failure})
            self._channel.open = False
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            self._leave(0)


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _essence(message: str, kind: str) -> str:
    """What the message says, without the traceback, node names and colours that TensorFlow and Keras put around it."""
    message = re.sub(r"\x1b\[[0-9;]*m|\{\{function_node \S*\}\} ?", "", message)
    message = re.split(r"\n\s*(?:Call a|A)rguments received by ", message)[0].strip()
    if message.startswith(("in user code:", "Graph execution error:")):
        lines = [line.strip() for line in message.splitlines()]
        told = [line for line in lines if line and not line.startswith(("[[", "File "))]
        told = [line for line in told if not line.endswith("(most recent call last):")]
        if told:
            message = told[-1].split(" [Op:")[0]
            if message.startswith(f"{kind}: "):
                message = message[len(kind) + 2 :]
    return re.sub(r"^Exception encountered when calling [^\n]*\n\n", "", message)


def _exit_failure(code: Any, line: int) -> dict[str, Any]:
    return {"type": "SystemExit", "message": str(code)[:MOST_MESSAGE], "line": line}
