"""A small editor for tests: talks the protocol to the server in plain JSON, applies edits to its own texts."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

Json = dict[str, Any]
TIMEOUT = 60


class Editor:
    """One client with the capabilities of a real editor."""

    def __init__(self, reader: IO[bytes], writer: IO[bytes], profile: Json) -> None:
        self._reader, self._writer = reader, writer
        self._profile = profile
        self.encoding = "utf-16"
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.diagnostics: dict[str, Json] = {}
        self.messages: list[str] = []
        self.applied: list[Json] = []
        self.progress: list[Json] = []
        self.shown: list[str] = []
        self.settings: Any = None
        # Called before an edit of the server is applied, for tests in which the user is faster.
        self.before_apply: Callable[[], None] | None = None
        self.on_progress: Callable[[Json], None] | None = None
        self.notebook_cells: list[str] = []
        self._answers: dict[int, queue.Queue[Json]] = {}
        self._number = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    # -------------------------------------------------------------- messages

    def _send(self, message: Json) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._writer.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        self._writer.flush()

    def notify(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: Any) -> Any:
        """Send a request and wait for its answer."""
        with self._changed:
            self._number += 1
            number = self._number
            self._answers[number] = queue.Queue()
        self._send({"id": number, "method": method, "params": params})
        answer = self._answers[number].get(timeout=TIMEOUT)
        assert "error" not in answer, answer
        return answer["result"]

    def _listen(self) -> None:
        while True:
            length = 0
            while (line := self._reader.readline()).strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if not line:
                return
            message = json.loads(self._reader.read(length))
            if "method" not in message:
                self._answers[message["id"]].put(message)
            elif "id" in message:
                # Not in this thread: to answer may take a while, and more messages come.
                threading.Thread(target=self._request, args=(message,), daemon=True).start()
            else:
                self._notification(message["method"], message["params"])
                with self._changed:
                    self._changed.notify_all()

    def _request(self, message: Json) -> None:
        method, params = message["method"], message["params"]
        result: Any = None
        if method == "workspace/applyEdit":
            if self.before_apply is not None:
                self.before_apply()
            result = {"applied": self.apply(params["edit"])}
            self.applied.append(params)
        elif method == "workspace/configuration":
            result = [self.settings for _ in params["items"]]
        elif method == "window/showDocument":
            self.shown.append(params["uri"])
            result = {"success": True}
        with contextlib.suppress(ValueError):  # the editor has gone meanwhile
            self._send({"id": message["id"], "result": result})
        with self._changed:
            self._changed.notify_all()

    def _notification(self, method: str, params: Json) -> None:
        if method == "textDocument/publishDiagnostics":
            self.diagnostics[params["uri"]] = params
        elif method == "window/showMessage":
            self.messages.append(params["message"])
        elif method == "$/progress":
            self.progress.append(params)
            if self.on_progress is not None:
                self.on_progress(params)

    def wait(self, condition: Callable[[], Any], timeout: float = TIMEOUT) -> Any:
        """Wait until something has come from the server, and return it."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), "nothing came"
        return condition()

    # -------------------------------------------------------------- what a user does

    def start(self, *, root: str | None = None, options: Json | None = None) -> Json:
        """Initialize; the answer of the server."""
        answer: Json = self.ask(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": root,
                "workspaceFolders": [{"uri": root, "name": "workspace"}] if root else None,
                **self._profile,
                "initializationOptions": options,
            },
        )
        self.encoding = answer["capabilities"].get("positionEncoding", "utf-16")
        self.notify("initialized", {})
        return answer

    def stop(self) -> None:
        self.ask("shutdown", None)
        self.notify("exit", None)
        self._writer.close()

    def open(self, uri: str, text: str, version: int = 1, *, wait: bool = True) -> list[Json]:
        """Open a file and return its diagnostics."""
        self.texts[uri], self.versions[uri] = text, version
        item = {"uri": uri, "languageId": "python", "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})
        return self.diagnosed(uri) if wait else []

    def type(self, uri: str, where: Json, text: str) -> None:
        """Replace a range by a text, as typing does."""
        self._apply_to(uri, [{"range": where, "newText": text}], [{"range": where, "text": text}])

    def rewrite(self, uri: str, text: str) -> None:
        """Replace the whole text."""
        self.texts[uri] = text
        self._changed_text(uri, [{"text": text}])

    def diagnosed(self, uri: str) -> list[Json]:
        """The diagnostics of the current version."""

        def current() -> bool:
            return uri in self.diagnostics and self.diagnostics[uri].get("version") == self.versions[uri]

        self.wait(current)
        found: list[Json] = self.diagnostics[uri]["diagnostics"]
        return found

    def actions(self, uri: str, where: Json, only: list[str] | None = None) -> list[Json]:
        """The code actions at a place, without a word on diagnostics, as some editors ask."""
        context: Json = {"diagnostics": [], **({"only": only} if only else {})}
        answer: list[Json] = self.ask(
            "textDocument/codeAction", {"textDocument": {"uri": uri}, "range": where, "context": context}
        )
        return answer

    def run(self, action: Json) -> None:
        """Take a code action: apply its edit, then run its command."""
        if "edit" in action:
            assert self.apply(action["edit"])
        if "command" in action:
            command = action["command"]
            self.ask("workspace/executeCommand", {"command": command["command"], "arguments": command.get("arguments")})

    def hover(self, uri: str, line: int, character: int = 0) -> str | None:
        """The text that hovering shows."""
        position = {"line": line, "character": character}
        answer = self.ask("textDocument/hover", {"textDocument": {"uri": uri}, "position": position})
        return answer["contents"]["value"] if answer else None

    # -------------------------------------------------------------- texts

    def apply(self, edit: Json) -> bool:
        """Apply a workspace edit, as real editors do: not where a document has another version by now."""
        if "documentChanges" in edit:
            for change in edit["documentChanges"]:
                version = change["textDocument"].get("version")
                if version is not None and version != self.versions[change["textDocument"]["uri"]]:
                    return False
            for change in edit["documentChanges"]:
                self._apply_to(change["textDocument"]["uri"], change["edits"])
        for uri, edits in (edit.get("changes") or {}).items():
            self._apply_to(uri, edits)
        return True

    def _apply_to(self, uri: str, edits: list[Json], changes: list[Json] | None = None) -> None:
        text = self.texts[uri]
        ranges = [(edit["range"]["start"], edit["range"]["end"], edit["newText"]) for edit in edits]
        spans = [(self._offset(text, start), self._offset(text, end), new) for start, end, new in ranges]
        for start, end, new in sorted(spans, reverse=True):
            text = text[:start] + new + text[end:]
        self.texts[uri] = text
        self._changed_text(uri, changes or [{"text": text}])

    def _changed_text(self, uri: str, changes: list[Json]) -> None:
        self.versions[uri] += 1
        document = {"uri": uri, "version": self.versions[uri]}
        if uri in self.notebook_cells:
            content = [{"document": document, "changes": changes}]
            notebook = {"uri": uri.split("#")[0].replace("vscode-notebook-cell:", "file://"), "version": 1}
            change = {"notebookDocument": notebook, "change": {"cells": {"textContent": content}}}
            self.notify("notebookDocument/didChange", change)
        else:
            self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})

    def _offset(self, text: str, position: Json) -> int:
        """Only LF, CR and CRLF end a line; a character is counted as the encoding that was agreed on has it."""
        start = line = 0
        while line < position["line"]:
            ends = [at for at in (text.find("\n", start), text.find("\r", start)) if at >= 0]
            end = min(ends)
            start = end + (2 if text[end : end + 2] == "\r\n" else 1)
            line += 1
        width = {"utf-8": lambda c: len(c.encode()), "utf-16": lambda c: len(c.encode("utf-16-le")) // 2}
        units, at = 0, start
        while units < position["character"]:
            units += width.get(self.encoding, lambda c: 1)(text[at])
            at += 1
        return at


def settle(condition: Callable[[], Any], seconds: float = 10) -> bool:
    """Wait for something outside the protocol."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def server_process(profile: Json, *arguments: str, **environment: str) -> tuple[subprocess.Popen[bytes], Editor]:
    """A server in a process of its own, and an editor for it that has not said a word yet."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tapefix.lsp", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    return process, Editor(process.stdout, process.stdin, profile)


def marked(mark: str) -> list[str]:
    """The processes that have a mark in their environment: the server, and all that it started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
    return found
