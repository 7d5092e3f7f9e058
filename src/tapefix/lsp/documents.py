"""The open documents, as the editor has them: files, and notebooks with their cells."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lsprotocol import types
from pygls.uris import to_fs_path

from tapefix.lsp.positions import changed
from tapefix.lsp.proofs import Proofs
from tapefix.lsp.snapshot import Document, Encoding, Snapshot

PYTHON = "python"


class Open:
    """One file or notebook, by its address. The snapshot is made when it is asked for, once per version."""

    def __init__(self, uri: str, encoding: Encoding, cells: list[str] | None = None) -> None:
        self.uri = uri
        # A text that was never saved has a name only.
        self.path = (to_fs_path(uri) if uri.startswith("file:") else None) or re.split("[/:]", uri)[-1] + ".py"
        self.proofs = Proofs()
        self.cells = cells
        self.texts: dict[str, Document] = {}
        self._encoding = encoding
        self._snapshot: Snapshot | None = None

    @property
    def snapshot(self) -> Snapshot:
        """What the document is now. It is another object after every change, and the same until then."""
        if self._snapshot is None:
            documents = [self.texts[uri] for uri in self.cells or [self.uri] if uri in self.texts]
            if self.cells is None:
                self._snapshot = Snapshot.of_file(self.path, documents[0], self._encoding)
            else:
                self._snapshot = Snapshot.of_notebook(self.uri, self.path, documents, self._encoding)
        return self._snapshot

    def put(self, document: Document) -> None:
        """A new text."""
        self.texts[document.uri] = document
        self._snapshot = None

    def change(self, uri: str, version: int, changes: list[types.TextDocumentContentChangeEvent]) -> None:
        """Changes to a text, in their order."""
        text = self.texts[uri].text
        for change in changes:
            text = changed(text, change, self._encoding)
        self.put(Document(uri, version, text))

    def restructure(self, array: types.NotebookCellArrayChange) -> None:
        """Cells that came, went or moved."""
        assert self.cells is not None
        self.cells[array.start : array.start + array.delete_count] = code_cells(array.cells or [])
        self._snapshot = None


def code_cells(cells: Sequence[types.NotebookCell]) -> list[str]:
    """The addresses of all cells. Only those whose text is known to be Python are part of a snapshot."""
    return [cell.document for cell in cells]


class Documents:
    """All that is open."""

    def __init__(self) -> None:
        self.encoding: Encoding = types.PositionEncodingKind.Utf16
        self._open: dict[str, Open] = {}
        self._notebook_of: dict[str, str] = {}

    def all(self) -> list[Open]:
        """Every open file and notebook."""
        return list(self._open.values())

    def get(self, uri: str) -> Open | None:
        """The file or notebook with this address, or the notebook that has this cell."""
        return self._open.get(self._notebook_of.get(uri, uri))

    # -------------------------------------------------------------- files

    def opened(self, item: types.TextDocumentItem) -> Open | None:
        """A file was opened; None where it is no Python."""
        if item.language_id != PYTHON and not item.uri.endswith(".py"):
            return None
        document = self._open[item.uri] = Open(item.uri, self.encoding)
        document.put(Document(item.uri, item.version, item.text))
        return document

    def changed(self, params: types.DidChangeTextDocumentParams) -> Open | None:
        """A file was changed; None where it is none that is known."""
        document = self._open.get(params.text_document.uri)
        if document is not None:
            document.change(document.uri, params.text_document.version, list(params.content_changes))
        return document

    def closed(self, uri: str) -> Open | None:
        """A file or notebook was closed."""
        document = self._open.pop(uri, None)
        for cell in document.cells or [] if document else []:
            self._notebook_of.pop(cell, None)
        return document

    # -------------------------------------------------------------- notebooks

    def opened_notebook(self, params: types.DidOpenNotebookDocumentParams) -> Open:
        """A notebook was opened."""
        notebook = params.notebook_document
        document = Open(notebook.uri, self.encoding, code_cells(notebook.cells))
        self._open[notebook.uri] = document
        self._put_cells(document, list(params.cell_text_documents))
        return document

    def changed_notebook(self, params: types.DidChangeNotebookDocumentParams) -> Open | None:
        """Cells of a notebook were changed."""
        document = self._open.get(params.notebook_document.uri)
        change = params.change.cells
        if document is None or change is None:
            return document
        if change.structure is not None:
            document.restructure(change.structure.array)
            for gone in change.structure.did_close or []:
                document.texts.pop(gone.uri, None)
                self._notebook_of.pop(gone.uri, None)
            self._put_cells(document, list(change.structure.did_open or []))
        for content in change.text_content or []:
            if content.document.uri in document.texts:
                document.change(content.document.uri, content.document.version, list(content.changes))
        return document

    def _put_cells(self, document: Open, items: list[types.TextDocumentItem]) -> None:
        for item in items:
            if item.language_id == PYTHON:
                document.put(Document(item.uri, item.version, item.text))
                self._notebook_of[item.uri] = document.uri
