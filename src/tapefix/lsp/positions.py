"""Places: between tapefix's lines and columns, and the editor's, in the encoding that was agreed on."""

from __future__ import annotations

from lsprotocol import types

from tapefix.text.source import split_lines

_UTF8, _UTF16 = types.PositionEncodingKind.Utf8, types.PositionEncodingKind.Utf16


class Lines:
    """The lines of a text. Lines end where Python and the protocol end them: at LF, CR and CRLF only."""

    def __init__(self, text: str, encoding: types.PositionEncodingKind | str) -> None:
        self.lines = split_lines(text)
        if not self.lines or self.lines[-1].endswith(("\n", "\r")):
            self.lines.append("")
        self._encoding = encoding

    def position(self, line: int, column: int) -> types.Position:
        """The editor's position of a line and a column of characters, both from 0, within the text."""
        if line >= len(self.lines):
            line, column = len(self.lines) - 1, len(self.lines[-1])
        text = self.lines[line].rstrip("\r\n")
        return types.Position(line, self._units(text[:column]))

    def place(self, position: types.Position) -> tuple[int, int]:
        """The line and column of an editor's position, moved into the text where it is outside."""
        if position.line >= len(self.lines):
            return len(self.lines) - 1, len(self.lines[-1])
        text = self.lines[position.line].rstrip("\r\n")
        if text.isascii() or self._encoding not in (_UTF8, _UTF16):
            return position.line, min(position.character, len(text))
        units = 0
        for column, character in enumerate(text):
            if units >= position.character:
                return position.line, column
            units += self._units(character)
        return position.line, len(text)

    def offset(self, position: types.Position) -> int:
        """The number of characters before an editor's position."""
        line, column = self.place(position)
        return sum(map(len, self.lines[:line])) + column

    def _units(self, text: str) -> int:
        if text.isascii():
            return len(text)
        if self._encoding == _UTF8:
            return len(text.encode("utf-8", "surrogatepass"))
        if self._encoding == _UTF16:
            return len(text.encode("utf-16-le", "surrogatepass")) // 2
        return len(text)


def changed(text: str, change: types.TextDocumentContentChangeEvent, encoding: types.PositionEncodingKind | str) -> str:
    """The text after one change of the editor."""
    if not isinstance(change, types.TextDocumentContentChangePartial):
        return change.text
    lines = Lines(text, encoding)
    return text[: lines.offset(change.range.start)] + change.text + text[lines.offset(change.range.end) :]
