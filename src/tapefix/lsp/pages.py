"""Texts that the editor opens by their address: what a rule is about, and tables of measured gradients."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

PREFIX = "tapefix-lsp-"


class Pages:
    """A temporary folder of them, made when the first is asked for."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._rules: dict[str, str | None] = {}

    def rule(self, code: str) -> str | None:
        """The address of the documentation of a rule; None for a code that is none."""
        if code not in self._rules:
            self._rules[code] = self._write_rule(code)
        return self._rules[code]

    def show(self, name: str, text: str) -> str:
        """Write a page and return its address; the same name is the same page, rewritten."""
        if self._folder is None:
            _sweep(Path(tempfile.gettempdir()))
            self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        path = self._folder / re.sub(r"[^\w. -]", "_", name)[-100:]
        path.write_text(text, encoding="utf-8")
        return path.as_uri()

    def close(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write_rule(self, code: str) -> str | None:
        from tapefix.rules import all_rules
        from tapefix.text.suppress import UnusedSuppression

        rules: list[Any] = [UnusedSuppression, *all_rules()]
        for rule in rules:
            if rule.code == code:
                text = inspect.cleandoc(rule.__doc__ or "")
                sections = re.sub(r"^(\S[^\n]*):$", r"## \1", text, flags=re.M)
                body = re.sub(r"^    ", "", sections, flags=re.M)
                return self.show(f"{code}.md", f"# {code} {rule.name} ({rule.safety})\n\n{body}\n")
        return None


def _sweep(temporary: Path) -> None:
    """Remove what servers that were killed have left."""
    if os.name != "posix":  # elsewhere to ask for a process may end it
        return
    for folder in temporary.glob(f"{PREFIX}*-*"):
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):  # also where it belongs to another user
            if number.isdigit() and not _runs(int(number)):
                shutil.rmtree(folder)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True
