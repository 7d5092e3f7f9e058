"""Keeps the analysis and the diagnostics of every open document current while the user types."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tapefix.lsp.analysis import Analysis
from tapefix.lsp.documents import Open
from tapefix.repair import Options

# Changes that come at once, as of several cursors, are looked at once.
PAUSE = 0.01


class Checker:
    """Analyses the newest version of each document, in one thread beside the one that talks to the editor."""

    def __init__(self, options: Callable[[Open], Options], publish: Callable[[Open, Analysis], None]) -> None:
        self._options = options
        self._publish = publish
        self._thread = ThreadPoolExecutor(1, "tapefix-analysis")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._analyses: dict[str, Analysis] = {}

    def check(self, document: Open, pause: float = PAUSE) -> None:
        """Look at a document soon. What was under way for an older version of it is left."""
        task = self._tasks.get(document.uri)
        if task is not None:
            task.cancel()
        self._tasks[document.uri] = asyncio.get_running_loop().create_task(self._check(document, pause))

    def forget(self, document: Open) -> None:
        """The document was closed."""
        task = self._tasks.pop(document.uri, None)
        if task is not None:
            task.cancel()
        self._analyses.pop(document.uri, None)

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

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _check(self, document: Open, pause: float) -> None:
        if pause:
            await asyncio.sleep(pause)
        loop = asyncio.get_running_loop()
        snapshot = document.snapshot
        options = self._options(document)
        analysis = await loop.run_in_executor(self._thread, Analysis, snapshot, options)
        if document.snapshot is not snapshot:
            return
        self._analyses[document.uri] = analysis
        self._publish(document, analysis)
        loop.run_in_executor(self._thread, analysis.prepare)
