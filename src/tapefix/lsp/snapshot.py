"""One version of an open file or notebook: the Python text that is analysed, and where its places are in the editor."""

from __future__ import annotations

import tokenize
from bisect import bisect_right
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

from lsprotocol import types

from tapefix.errors import TapefixError
from tapefix.findings import Span
from tapefix.lsp.hunks import hunks
from tapefix.lsp.positions import Lines
from tapefix.text.notebook import join
from tapefix.text.source import Source, split_lines

Encoding = types.PositionEncodingKind | str
_BOM = "\ufeff"


class Document(NamedTuple):
    """A text as the editor has it: a file, or one cell of a notebook. Versions may well be 0."""

    uri: str
    version: int
    text: str


class Edit(NamedTuple):
    """New text for a range of a document, of the version that it was computed for."""

    document: Document
    edit: types.TextEdit


class Snapshot:
    """What is analysed and proved as one Python module."""

    def __init__(
        self,
        uri: str,
        path: str,
        documents: Sequence[Document],
        text: str,
        starts: Sequence[int],
        masked: frozenset[int],
        encoding: Encoding,
    ) -> None:
        self.uri = uri
        self.path = path
        self.documents = tuple(documents)
        self.text = text
        self._starts = tuple(starts)
        self._masked = masked
        self._lines = [Lines(document.text, encoding) for document in documents]

    @classmethod
    def of_file(cls, path: str, document: Document, encoding: Encoding) -> Snapshot:
        """A Python file."""
        return cls(document.uri, path, [document], document.text.removeprefix(_BOM), [0], frozenset(), encoding)

    @classmethod
    def of_notebook(cls, uri: str, path: str, cells: Sequence[Document], encoding: Encoding) -> Snapshot:
        """The code cells of a notebook."""
        joined = join(cell.text for cell in cells)
        return cls(uri, path, cells, joined.text, joined.starts, joined.masked, encoding)

    def source(self) -> Source:
        """The text with its bytes, as Python would read them from a file. TapefixError where it cannot be one."""
        try:
            encoding, _ = tokenize.detect_encoding(BytesIO(self.text.encode()).readline)
            return Source(self.path, self.text.encode(encoding), self.text, encoding)
        except (SyntaxError, LookupError, UnicodeError) as error:
            raise TapefixError(f"the text cannot be encoded: {error}") from None

    # -------------------------------------------------------------- places

    def location(self, span: Span) -> types.Location:
        """Where a span of the analysed text is in the editor. One that leaves its cell ends with it."""
        number = self._document_at(span.line - 1)
        last = min(self._document_at(span.end_line - 1), number)
        end = (span.end_line - 1, span.end_column) if last == number else (span.line - 1, 1 << 20)
        start = self._position(number, span.line - 1, span.column)
        return types.Location(self.documents[number].uri, types.Range(start, self._position(number, *end)))

    def lines_at(self, uri: str, where: types.Range) -> range | None:
        """The lines of the analysed text, from 1, that a range of a document touches; None for another document."""
        for number, document in enumerate(self.documents):
            if document.uri == uri:
                start = self._starts[number] + 1
                return range(start + where.start.line, start + where.end.line + 1)
        return None

    def _document_at(self, line: int) -> int:
        return max(bisect_right(self._starts, line) - 1, 0)

    def _position(self, number: int, line: int, column: int) -> types.Position:
        line -= self._starts[number]
        bom = line == 0 and self.documents[number].text.startswith(_BOM)
        return self._lines[number].position(line, column + bom)

    # -------------------------------------------------------------- edits

    def edits(self, text: str) -> list[Edit] | None:
        """What turns the analysed text into `text`; None where that cannot be said in edits of single documents."""
        found: list[Edit] = []
        total = len(split_lines(self.text))
        for hunk in hunks(self.text, text):
            touched = range(hunk.line, hunk.end_line + (hunk.end_column > 0))
            if not self._masked.isdisjoint(touched):
                return None
            number = self._document_at(min(hunk.line, total - 1))
            end = self._document_at(max(hunk.line, hunk.end_line - (hunk.end_column == 0)))
            if end != number:
                return None
            first = self._position(number, hunk.line, hunk.column)
            last = self._position(number, hunk.end_line, hunk.end_column)
            new = hunk.text
            lines = self._lines[number].lines
            if hunk.line - self._starts[number] >= len(lines) and lines[-1]:
                # After a last line that has no end of its own: the end goes before the new text, not after it.
                new = "\n" + new.removesuffix("\n")
            found.append(Edit(self.documents[number], types.TextEdit(types.Range(first, last), new)))
        return found

    def after(self, edits: Sequence[Edit]) -> str:
        """The text that will be analysed once the edits are made. A cell that they leave empty is still a line."""
        texts = {document.uri: document.text for document in self.documents}
        lines = dict(zip(texts, self._lines, strict=True))
        for (uri, _, _), edit in reversed(edits):  # from the end, so that the places before stay
            start, end = lines[uri].offset(edit.range.start), lines[uri].offset(edit.range.end)
            texts[uri] = texts[uri][:start] + edit.new_text + texts[uri][end:]
        return texts[self.uri].removeprefix(_BOM) if self.uri in texts else join(texts.values()).text
