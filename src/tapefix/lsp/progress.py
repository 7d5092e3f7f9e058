"""Progress of one piece of work in the editor, with a way to cancel it where the editor has one."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer


class Progress:
    """Called with a text, from any thread, it shows the text. `shown` says whether the editor can do that."""

    def __init__(self, server: LanguageServer, title: str, shown: bool) -> None:
        self._server = server
        self._title = title
        self._shown = shown
        self._cancel: Callable[[], Any] | None = None
        self._token = str(uuid.uuid4())
        self._loop = asyncio.get_running_loop()
        self._begun = False
        self._over = False
        self._last = ""

    def begin(self, cancel: Callable[[], Any]) -> None:
        """Show it; `cancel` is called when the user asks for that."""
        self._cancel = cancel
        if self._shown:
            # Not awaited: the work need not wait for an editor that is slow to show it.
            self._server.work_done_progress.create(self._token, self._created)

    def end(self) -> None:
        """Take it away."""
        self._over = True
        if self._begun:
            self._server.work_done_progress.end(self._token, types.WorkDoneProgressEnd())
            self._server.work_done_progress.tokens.pop(self._token, None)

    def __call__(self, text: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the editor
            self._loop.call_soon_threadsafe(self._report, text)

    def _created(self, *_: Any) -> None:
        if self._over:
            return
        self._begun = True
        progress = self._server.work_done_progress
        progress.tokens[self._token].add_done_callback(self._cancelled)
        progress.begin(
            self._token,
            types.WorkDoneProgressBegin(self._title, cancellable=True, message=self._last or None),
        )

    def _cancelled(self, future: Future[Any]) -> None:
        if future.cancelled() and self._cancel is not None:
            self._cancel()

    def _report(self, text: str) -> None:
        self._last = text
        if self._begun and not self._over:
            self._server.work_done_progress.report(
                self._token, types.WorkDoneProgressReport(cancellable=True, message=text)
            )
