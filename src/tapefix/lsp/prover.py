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

Report = Callable[[str], None]


class Cancelled(Exception):
    """The user has broken off a proof."""


class Prover:
    """Proves and measures snapshots. Nothing is started before the first of them."""

    def __init__(self) -> None:
        self._servers: dict[str, ForkServer] = {}
        self._lock = threading.Lock()

    async def prove(self, snapshot: Snapshot, settings: Settings, cwd: Path, report: Report) -> FileResult:
        """The result for the text of the snapshot. TapefixError where it cannot be worked on."""

        def work(server: _Cancellable) -> FileResult:
            source = snapshot.source()
            options = settings.options(cwd)
            inspector = Inspector(snapshot.path, source.text, options)
            return proved_result(server, str(cwd / snapshot.path), source, inspector, options, report)

        return await self._in_thread(work, settings, cwd)

    async def measure(self, snapshot: Snapshot, settings: Settings, cwd: Path, report: Report) -> FileResult:
        """The gradients of the text as it stands."""

        def work(server: _Cancellable) -> FileResult:
            return probed_result(server, str(cwd / snapshot.path), snapshot.source(), settings.options(cwd), report)

        return await self._in_thread(work, settings, cwd)

    def close(self) -> None:
        """End all that was started."""
        with self._lock:
            servers, self._servers = self._servers, {}
        for server in servers.values():
            server.close()

    async def _in_thread(self, work: Callable[[_Cancellable], FileResult], settings: Settings, cwd: Path) -> FileResult:
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
                server.use(self._server(settings, cwd))
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

    def _server(self, settings: Settings, cwd: Path) -> ForkServer:
        from tapefix.interpreter import find_interpreter
        from tapefix.proof.client import ForkServer

        wanted = settings.interpreter
        if wanted is not None and shutil.which(str(Path(wanted).expanduser())) is None:
            raise TapefixError(f"there is no interpreter {wanted}; change the setting tapefix.interpreter")
        python = find_interpreter(wanted, cwd)
        with self._lock:
            server = self._servers.get(python)
            if server is None or not server.alive:
                server = self._servers[python] = ForkServer(python)
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
