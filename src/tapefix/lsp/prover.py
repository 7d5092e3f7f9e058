"""Runs the user's code for the editor: a warm fork server per interpreter, and proofs that can be cancelled."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from tapefix.errors import TapefixError
from tapefix.lsp.settings import Settings
from tapefix.lsp.snapshot import Snapshot
from tapefix.outcome import FileResult
from tapefix.repair import Inspector, probed_result, proved_result

if TYPE_CHECKING:
    from tapefix.proof.client import ForkServer, RunRequest, ServerInfo
    from tapefix.proof.run import Run

# A fork server with TensorFlow in it takes memory; one that nobody has used for so many seconds ends.
IDLE = 600.0

Report = Callable[[str], None]


class Cancelled(Exception):
    """The user has broken off a proof."""


class Prover:
    """Proves and measures snapshots. Nothing is started before it is needed, nor kept for long after."""

    def __init__(self) -> None:
        self.idle = IDLE
        self._servers: dict[tuple[str, frozenset[tuple[str, str]]], ForkServer] = {}
        self._lock = threading.Lock()
        self._at_work = 0
        self._rest: asyncio.TimerHandle | None = None

    async def prove(self, snapshot: Snapshot, settings: Settings, cwd: Path, report: Report) -> FileResult:
        """The result for the text of the snapshot. TapefixError where it cannot be worked on."""

        def work(server: _Cancellable) -> FileResult:
            source = snapshot.source()
            options = settings.options(cwd)
            inspector = Inspector(snapshot.path, source.text, options)
            return proved_result(server, str(cwd / snapshot.path), source, inspector, options, report)

        return await self._in_thread(work, snapshot, settings, cwd)

    async def measure(self, snapshot: Snapshot, settings: Settings, cwd: Path, report: Report) -> FileResult:
        """The gradients of the text as it stands."""

        def work(server: _Cancellable) -> FileResult:
            return probed_result(server, str(cwd / snapshot.path), snapshot.source(), settings.options(cwd), report)

        return await self._in_thread(work, snapshot, settings, cwd)

    def close(self) -> None:
        """End all that was started."""
        for server in self._dismissed():
            server.close()

    def _dismissed(self) -> list[ForkServer]:
        """The fork servers, which the next proof does without."""
        with self._lock:
            servers, self._servers = self._servers, {}
        return list(servers.values())

    def _retire(self) -> None:
        for server in self._dismissed():
            # The end may take seconds, and the editor is not to wait for it.
            threading.Thread(target=server.close, daemon=True).start()

    async def _in_thread(
        self, work: Callable[[_Cancellable], FileResult], snapshot: Snapshot, settings: Settings, cwd: Path
    ) -> FileResult:
        """Work with a fork server, and let it rest afterwards."""
        if self._rest is not None:
            self._rest.cancel()
        self._at_work += 1
        try:
            return await self._done(work, snapshot, settings, cwd)
        finally:
            self._at_work -= 1
            if not self._at_work:
                self._rest = asyncio.get_running_loop().call_later(self.idle, self._retire)

    async def _done(
        self, work: Callable[[_Cancellable], FileResult], snapshot: Snapshot, settings: Settings, cwd: Path
    ) -> FileResult:
        """Work in a thread of its own; where this is cancelled, the runs under way are ended."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[FileResult] = loop.create_future()
        server = _Cancellable()

        def settle(result: FileResult | None, error: BaseException | None) -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            elif result is not None:
                done.set_result(result)

        def target() -> None:
            result, error = None, None
            try:
                server.use(self._server(snapshot.text, settings, cwd))
                result = work(server)
            except BaseException as failure:  # it belongs to whoever waits for the result
                error = failure
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, error)

        # A daemon: the end of the language server does not wait for a proof.
        threading.Thread(target=target, daemon=True, name="tapefix-proof").start()
        try:
            return await done
        except asyncio.CancelledError:
            server.cancel()
            raise

    def _server(self, text: str, settings: Settings, cwd: Path) -> ForkServer:
        """One for each interpreter, and for what the script sets before it imports Keras."""
        from tapefix.interpreter import find_interpreter
        from tapefix.proof.client import ForkServer
        from tapefix.proof.environment import settings_of

        wanted = settings.interpreter
        if wanted is not None and shutil.which(str(Path(wanted).expanduser())) is None:
            raise TapefixError(f"there is no interpreter {wanted}; change the setting tapefix.interpreter")
        python, environment = find_interpreter(wanted, cwd), settings_of(text)
        key = python, frozenset(environment.items())
        with self._lock:
            server = self._servers.get(key)
            if server is None or not server.alive:
                server = self._servers[key] = ForkServer(python, settings=environment)
            return server


class _Cancellable:
    """A fork server for one proof: after `cancel` its runs are ended, and it takes no more."""

    def __init__(self) -> None:
        self._server: ForkServer | None = None
        self._runs: list[Future[Run]] = []
        self._cancelled = False
        self._lock = threading.Lock()

    def use(self, server: ForkServer) -> None:
        self._server = server

    def wait_ready(self) -> ServerInfo:
        assert self._server is not None
        return self._server.wait_ready()

    def submit(self, request: RunRequest) -> Future[Run]:
        assert self._server is not None
        with self._lock:
            if self._cancelled:
                raise Cancelled
            run = self._server.submit(request)
            self._runs.append(run)
            return run

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
        for run in self._runs:
            if self._server is not None and not run.done():
                self._server.stop(run)
