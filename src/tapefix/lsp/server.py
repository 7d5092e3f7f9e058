"""The wiring of the language server: which message of the editor leads to what."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.protocol import default_converter
from pygls.uris import to_fs_path

from tapefix import __version__
from tapefix.errors import TapefixError
from tapefix.lsp import actions, settings, tables
from tapefix.lsp.analysis import Analysis
from tapefix.lsp.checking import Checker
from tapefix.lsp.client import Client
from tapefix.lsp.diagnostics import by_document, current
from tapefix.lsp.documents import PYTHON, Documents, Open
from tapefix.lsp.pages import Pages
from tapefix.lsp.protocol import Protocol
from tapefix.lsp.prover import Prover
from tapefix.lsp.repairing import Repairing
from tapefix.repair import Options

NOTEBOOKS = types.NotebookDocumentSyncOptions(
    [
        types.NotebookDocumentFilterWithNotebook(
            notebook=types.NotebookDocumentFilterNotebookType("jupyter-notebook"),
            cells=[types.NotebookCellLanguage(PYTHON)],
        )
    ]
)


# One for all servers of a process: it writes code for each type of message at its first use.
_converter = cache(default_converter)


class TapefixServer(LanguageServer):
    """One editor's server: what is open, what is known of it, and what the editor and its user want."""

    def __init__(self) -> None:
        super().__init__(
            "tapefix-lsp",
            __version__,
            notebook_document_sync=NOTEBOOKS,
            protocol_cls=Protocol,
            converter_factory=_converter,
        )
        self.client = Client()
        self.settings = settings.Settings()
        self.documents = Documents()
        self.pages = Pages()
        self.prover = Prover()
        self.checker = Checker(self._options, self.publish)
        self.repairing = Repairing(self)
        self._tasks: set[asyncio.Task[None]] = set()

    def _options(self, document: Open) -> Options:
        return self.settings.options(self.folder_of(document.path))

    def publish(self, document: Open, analysis: Analysis) -> None:
        """Send the diagnostics of a document. While it does not parse, the last ones stay as they are."""
        if not analysis.parses:
            return
        snapshot = analysis.snapshot
        outcomes = current(analysis, document.proofs.of(snapshot.text))
        versions = {one.uri: one.version for one in snapshot.documents}
        for uri, found in by_document(analysis, outcomes, self.client, self.pages).items():
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found, versions[uri]))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that takes its time; the request that asked for it is answered meanwhile."""
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except TapefixError as error:
            self.say(str(error), types.MessageType.Error)
        except Exception as error:
            logging.getLogger(__name__).exception("a command failed")
            self.say(f"this is a defect of tapefix, please report it: {error!r}", types.MessageType.Error)

    def say(self, text: str, kind: types.MessageType = types.MessageType.Info) -> None:
        """A message to the user."""
        self.window_show_message(types.ShowMessageParams(kind, f"tapefix: {text}"))

    def folder_of(self, path: str) -> Path:
        """Where a script is run: in the workspace folder that holds it, as editors do, else beside the script."""
        folders = [to_fs_path(folder.uri) for folder in self.workspace.folders.values()]
        folders.append(self.workspace.root_path)
        script = Path(path)
        holding = [Path(folder) for folder in folders if folder and Path(folder) in script.parents]
        if holding:
            return max(holding, key=lambda folder: len(folder.parts))
        if script.is_absolute():
            return script.parent
        return Path(next((folder for folder in folders if folder), Path.cwd()))

    def new_settings(self, data: Any) -> None:
        """Take settings over, and look at everything again where they changed."""
        before, self.settings = self.settings, settings.updated(self.settings, data)
        if self.settings != before:
            for document in self.documents.all():
                self.checker.check(document, pause=0)

    def close(self) -> None:
        """End all that was started."""
        self.checker.close()
        self.prover.close()
        self.pages.close()


def make_server() -> TapefixServer:
    """A server with all its handlers."""
    server = TapefixServer()
    _settings(server)
    _documents(server)
    _notebooks(server)
    _answers(server)
    return server


def serve() -> None:
    """Talk to one editor on standard input and output until it goes."""
    server = make_server()
    # Syntax trees are many objects that soon go all at once: looking for cycles among them is a tenth of the work.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    for name in ("SIGTERM", "SIGHUP"):  # what editors send that do not wait for an answer
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _: _leave(server, number))
    try:
        server.start_io()
    finally:
        server.close()


def _leave(server: TapefixServer, number: int) -> None:
    """Go at once. What runs in other processes ends with this one, and clears up after itself."""
    server.pages.close()
    os._exit(128 + number)


def _settings(server: TapefixServer) -> None:
    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        server.client = Client.of(params)
        server.documents.encoding = server.workspace.position_encoding or types.PositionEncodingKind.Utf16
        server.settings = settings.updated(server.settings, params.initialization_options)

    @server.feature(types.INITIALIZED)
    async def initialized(_: types.InitializedParams) -> None:
        await ask()

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def configured(params: types.DidChangeConfigurationParams) -> None:
        server.new_settings(params.settings)
        await ask()

    async def ask() -> None:
        if server.client.configuration:
            item = types.ConfigurationItem(section="tapefix")
            answers = await server.workspace_configuration_async(types.ConfigurationParams([item]))
            for answer in answers or []:
                server.new_settings(answer)


def _documents(server: TapefixServer) -> None:
    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        document = server.documents.opened(params.text_document)
        if document is not None:
            server.checker.check(document, pause=0)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        document = server.documents.changed(params)
        if document is not None:
            server.checker.check(document)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        document = server.documents.get(params.text_document.uri)
        if document is not None and server.settings.may_run and server.settings.verify == settings.ON_SAVE:
            server.start(server.repairing.prove_only(document))

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        _close(server, params.text_document.uri)


def _notebooks(server: TapefixServer) -> None:
    @server.feature(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenNotebookDocumentParams) -> None:
        server.checker.check(server.documents.opened_notebook(params), pause=0)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeNotebookDocumentParams) -> None:
        document = server.documents.changed_notebook(params)
        if document is not None:
            server.checker.check(document)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseNotebookDocumentParams) -> None:
        _close(server, params.notebook_document.uri)


def _close(server: TapefixServer, uri: str) -> None:
    document = server.documents.closed(uri)
    if document is not None:
        server.checker.forget(document)
        for one in document.snapshot.documents:
            server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(one.uri, []))


def _answers(server: TapefixServer) -> None:
    kinds = [actions.QUICK_FIX, actions.FIX_ALL, actions.SOURCE]

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(code_action_kinds=kinds))
    async def code_action(params: types.CodeActionParams) -> list[types.CodeAction]:
        document = server.documents.get(params.text_document.uri)
        analysis = await server.checker.current(document) if document else None
        if document is None or analysis is None:
            return []
        lines = analysis.snapshot.lines_at(params.text_document.uri, params.range)
        if lines is None:
            return []
        asked = actions.Asked(lines, [str(getattr(kind, "value", kind)) for kind in params.context.only or []])
        proof = document.proofs.of(analysis.snapshot.text)
        client, chosen = server.client, server.settings
        return await server.checker.aside(lambda: actions.code_actions(analysis, proof, asked, client, chosen))

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(params: types.HoverParams) -> types.Hover | None:
        document = server.documents.get(params.text_document.uri)
        if document is None:
            return None
        where = types.Range(params.position, params.position)
        lines = document.snapshot.lines_at(params.text_document.uri, where)
        result = tables.at_line(document.snapshot, lines.start, document.proofs) if lines else None
        if result is None:
            return None
        text = tables.table(result)
        if server.client.markdown:
            return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, f"```text\n{text}\n```"))
        return types.Hover(types.MarkupContent(types.MarkupKind.PlainText, text))

    @server.command(actions.PROVE)
    def prove(uri: str) -> None:
        server.start(server.repairing.prove_and_apply(_open(server, uri)))

    @server.command(actions.MEASURE)
    def measure(uri: str) -> None:
        server.start(server.repairing.measure(_open(server, uri)))


def _open(server: TapefixServer, uri: str) -> Open:
    document = server.documents.get(uri)
    if document is None:
        raise ValueError(f"{uri} is not open")
    return document
