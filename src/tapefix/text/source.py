"""Python files as text and as bytes: reading them, and writing them back so that nothing else changes."""

from __future__ import annotations

import ast
import codecs
import contextlib
import io
import os
import stat
import tokenize
from pathlib import Path
from typing import NamedTuple

from tapefix.errors import TapefixError


def split_lines(text: str) -> list[str]:
    """The lines of `text` with their ends, split where Python splits them.

    `str.splitlines` also splits at form feeds and U+2028, and its line numbers then differ from those of `ast`.
    """
    return list(io.StringIO(text, newline=""))


class Source(NamedTuple):
    """A Python file: its text, and what is needed to write another text in its place."""

    path: str
    data: bytes
    text: str
    encoding: str

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Source:
        """Decode `data` as Python does: the byte order mark, then the encoding cookie, then UTF-8."""
        if b"\0" in data:
            line = data.count(b"\n", 0, data.index(b"\0")) + 1
            raise TapefixError(f"{path}:{line}: holds NUL bytes, so it is no Python source; save it as UTF-8 text")
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise TapefixError(
                f"{path}:{line}: is not {error.encoding} text ({error.reason}); "
                "save it as UTF-8 or name its encoding in a cookie on line 1: # -*- coding: latin-1 -*-"
            ) from None
        except (SyntaxError, LookupError, UnicodeError) as error:
            raise TapefixError(
                f"{path}:1: cannot be decoded ({_first_line(error)}); save it as UTF-8 or correct its encoding cookie"
            ) from None
        return cls(path, data, text, encoding)

    @classmethod
    def read(cls, path: str) -> Source:
        """Read and decode the file at `path`."""
        return cls.from_bytes(read_bytes(path), path)

    def parse(self) -> ast.Module:
        """Python's own syntax tree of the text."""
        try:
            return ast.parse(self.text)
        except SyntaxError as error:
            raise cannot_parse(self.path, error) from None
        except (RecursionError, MemoryError):
            raise TapefixError(f"{self.path}: cannot parse: it is nested too deeply for Python's parser") from None

    def encode(self, text: str) -> bytes:
        """`text` as bytes, in the encoding of the file and with its byte order mark."""
        try:
            data = text.encode(self.encoding)
        except UnicodeEncodeError as error:
            character = text[error.start]
            raise TapefixError(
                f"{self.path}: the repair holds {character!a}, which {self.encoding} cannot express; save it as UTF-8"
            ) from None
        # UTF-8 with a byte order mark is written without one when there is no text at all.
        return data or (codecs.BOM_UTF8 if self.encoding == "utf-8-sig" else b"")

    def write(self, text: str) -> None:
        """Put `text` in the place of the file: whole or not at all.

        A symbolic link stays one, and the file it points to is written. A file that is marked read-only, or
        that is no longer as it was when it was read, is left as it is.
        """
        data = self.encode(text)
        target = Path(self.path).resolve()
        try:
            status = target.stat()
            if not status.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(target, os.W_OK):
                raise TapefixError(
                    f"{self.path}: is read-only, so it was not repaired; make it writable: chmod u+w {self.path}"
                )
            if target.read_bytes() != self.data:
                raise TapefixError(f"{self.path}: was changed while tapefix worked on it, so it was left; run it again")
            _replace(target, data, status)
        except OSError as error:
            raise TapefixError(f"{self.path}: cannot be written: {_reason(error)}; it is as it was") from None


def read_bytes(path: str) -> bytes:
    """The bytes of a regular file, or the error that says why not."""
    try:
        # A pipe or a device could block for ever, or never end.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise TapefixError(f"{path}: is not a regular file; give its text on standard input: tapefix -")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise TapefixError(f"{path}: no such file or folder; check the path") from None
    except (OSError, ValueError) as error:
        raise TapefixError(f"{path}: cannot be read: {_reason(error)}") from None


def cannot_parse(path: str, error: SyntaxError) -> TapefixError:
    """The line that says where Python's parser stopped."""
    line, column = error.lineno or 1, max(error.offset or 1, 1)
    return TapefixError(f"{path}:{line}:{column}: cannot parse: {_first_line(error.msg)}")


def _replace(target: Path, data: bytes, status: os.stat_result) -> None:
    """Write a temporary file beside `target` and rename it over it, which is atomic on one file system."""
    import tempfile

    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:50]}.", suffix=".tapefix")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            # Only root can give a file away; anybody else owns the files that they may replace, or a copy of them.
        with contextlib.suppress(OSError, AttributeError):
            os.chown(temporary, status.st_uid, status.st_gid)
        temporary.chmod(stat.S_IMODE(status.st_mode))
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _reason(error: Exception) -> str:
    """What the operating system said, without its number and path."""
    return (getattr(error, "strerror", None) or _first_line(error)).lower()


def _first_line(error: object) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else "no reason given"
