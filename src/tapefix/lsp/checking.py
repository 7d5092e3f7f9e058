"""Keeps the analysis and the diagnostics of every open document current while the user types."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from tapefix.lsp.analysis import Analysis
from tapefix.lsp.documents import Open
from tapefix.repair import Options

Result = TypeVar("Result")

# Changes that come at once, as of several cursors, are looked at once.
PAUSE = 0.002
# Repairs are computed ahead once nobody types: what they are for would be old before they are done.
REST = 0.2


class Checker:
    """Analyses the newest version of each document, in one thread beside the one that talks to the editor."""

    def __init__(self, options: Callable[[Open], Options], publish: Callable[[Open, Analysis], None]) -> None:
        self._options = options
        self._publish = publish
        self._thread = ThreadPoolExecutor(1, "tapefix-analysis")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ahead: dict[str, asyncio.Task[None]] = {}
        self._analyses: dict[str, Analysis] = {}

    def check(self, document: Open, pause: float = PAUSE) -> None:
        """Look at a document soon. What was under way for an older version of it is left."""
        self._leave(document)
        self._tasks[document.uri] = asyncio.get_running_loop().create_task(self._check(document, pause))

    def forget(self, document: Open) -> None:
        """The document was closed."""
        self._leave(document)
        self._analyses.pop(document.uri, None)

    def _leave(self, document: Open) -> None:
        for tasks in (self._tasks, self._ahead):
            task = tasks.pop(document.uri, None)
            if task is not None:
                task.cancel()

    def known(self, document: Open) -> Analysis | None:
        """The analysis of the current version, if there is one yet."""
        analysis = self._analyses.get(document.uri)
        return analysis if analysis is not None and analysis.snapshot is document.snapshot else None

    async def current(self, document: Open) -> Analysis | None:
        """The analysis of the current version; waits for it. None for a document that was closed."""
        while (analysis := self.known(document)) is None:
            task = self._tasks.get(document.uri)
            if task is None:
                return None
            # Cancelling the request that waits must not cancel the check that others wait for.
            await asyncio.wait([task])
            if task is self._tasks.get(document.uri) and self.known(document) is None:
                return None
        return analysis

    async def aside(self, work: Callable[[], Result]) -> Result:
        """Do what takes its time in the thread of the analyses: the editor is answered meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _check(self, document: Open, pause: float) -> None:
        if pause:
            await asyncio.sleep(pause)
        snapshot = document.snapshot
        options = self._options(document)
        analysis = await self.aside(partial(Analysis, snapshot, options))
        if document.snapshot is not snapshot:
            return
        self._analyses[document.uri] = analysis
        self._publish(document, analysis)
        self._ahead[document.uri] = asyncio.get_running_loop().create_task(self._prepare(analysis))

    async def _prepare(self, analysis: Analysis) -> None:
        await asyncio.sleep(REST)
        for finding in analysis.findings:
            await self.aside(partial(analysis.unproved_edits, finding))
