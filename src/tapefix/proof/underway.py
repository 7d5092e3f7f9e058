"""One run that is under way, as the server sees it, and what it has reported so far.

Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import Any

from .channel import CLOSED, FORGED, Seal
from .limits import limits_of

# The child ends itself at its time limit and reports what it has; this much later it is killed.
GRACE = 1.0
MOST_OUTPUT = 64 * 1024
MOST_EVENTS = 20000
MOST_LINE = 8 << 20


class Child:
    """One run that is under way, and what it has reported so far."""

    def __init__(self, request: dict[str, Any], pid: int, pipe: int, output: int, key: bytes) -> None:
        self.request = request
        self._seal = Seal(key)
        self.forged = ""
        self.pid = pid
        self.pipe = pipe
        self.output = output
        self.started = time.monotonic()
        self.deadline = self.started + request["timeout"] + GRACE
        self.killed = False
        self.rest = b""
        self.end: dict[str, Any] | None = None
        self.head, self.tail = b"", b""
        self.gradients: list[dict[str, Any]] = []
        self.traced: list[dict[str, Any]] = []
        self.found: dict[str, list[Any]] = {
            "variables": [],
            "missing_protection": [],
            "loss": [],
            "warning": [],
            "break": [],
            "note": [],
            "exercised": [],
            "eager": [],
        }
        # What was measured while made-up inputs are tried, by the number of the attempt, and which one is under way.
        self._tried: dict[int, list[tuple[str, Any]]] = {}
        self._attempt = 0

    def take(self, data: bytes) -> None:
        """Take in what came through the pipe."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > MOST_LINE:
            lines.append(b"")
        for line in lines:
            text = self._seal.open(line)
            if text is None:  # the recorder did not write this, and what comes after it need not be right either
                self.forged = self.forged or "it writes to the pipe that its results come through"
            if text is None or self.forged:
                self.rest = b""
                return
            kind, value = json.loads(text)
            if kind == FORGED:
                self.forged = value
            elif kind == "end":
                self.end = value
            elif kind in ("variables", "missing_protection"):
                self.found[kind] = value
            elif kind == "attempt":
                self._attempt = value
            elif self._attempt and kind in ("gradient", "traced", "loss"):
                self._tried.setdefault(self._attempt, []).append((kind, value))
            elif kind == "exercised":
                self._exercised(value)
            else:
                self._keep(kind, value)

    def _keep(self, kind: str, value: Any) -> None:
        events = {"gradient": self.gradients, "traced": self.traced}.get(kind)
        if events is None:
            events = self.found[kind]
        if len(events) < MOST_EVENTS:
            events.append(value)

    def _exercised(self, value: dict[str, Any]) -> None:
        """One target is done: of what was tried on it, one attempt counts."""
        kept = self._tried.get(value.pop("attempt"), [])
        self._tried, self._attempt = {}, 0
        self._keep("exercised", value)
        for kind, event in kept:
            self._keep(kind, event)

    def take_output(self, data: bytes) -> None:
        """Keep the beginning and the end of what the script prints."""
        room = MOST_OUTPUT // 2 - len(self.head)
        if room > 0:
            self.head, data = self.head + data[:room], data[room:]
        self.tail = (self.tail + data)[-MOST_OUTPUT // 2 :]

    def result(self, status: int) -> dict[str, Any]:
        """The whole run, as `run_from_json` of tapefix reads it."""
        text = (self.head + self.tail).decode("utf-8", "replace")
        end = self._forgery() or self.end or self._end_without_report(status, text)
        # A computation that was built into a graph which never ran: that a gradient is None is known all the same.
        ran = {(gradient["line"], gradient["function"]) for gradient in self.gradients}
        built = [one for one in self.traced if (one["line"], one["function"]) not in ran and one["sources"]]
        return {
            "end": end["end"],
            "failure": end["failure"],
            "seconds": time.monotonic() - self.started,
            "seed": self.request["seed"],
            "gradients": self.gradients + built,
            "variables": self.found["variables"],
            "breaks": self.found["break"],
            "losses": self.found["loss"],
            "exercised": self.found["exercised"],
            "warnings": self.found["warning"],
            "missing_protection": self.found["missing_protection"],
            "notes": self.found["note"],
            "eager": bool(self.found["eager"]),
            "output": text.replace(self.request["script"], self.request["path"]),
        }

    def _forgery(self) -> dict[str, Any] | None:
        failure = {"type": "Forgery", "message": f"the script meddles with its proof: {self.forged}", "line": 0}
        return {"end": "died", "failure": failure} if self.forged else None

    def _end_without_report(self, status: int, text: str) -> dict[str, Any]:
        if self.killed:
            return {"end": "timeout", "failure": None}
        limit = limits_of(self.request).describe(os.WEXITSTATUS(status)) if os.WIFEXITED(status) else ""
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == CLOSED:
            limit = "it closes the pipe that its results come through"
        if limit:
            return {"end": "died", "failure": {"type": "Limit", "message": limit, "line": 0}}
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            name = signal.Signals(number).name
            what = " (perhaps out of memory)" if number == signal.SIGKILL else ""
        else:
            number, name, what = 0, f"exit status {os.WEXITSTATUS(status)}", ""
        # Between what the script printed and the traceback of the crash stands what the library said last.
        said = text.split("Fatal Python error")[0].strip().splitlines()
        last = f": {said[-1].strip()}" if said and number != signal.SIGKILL else ""
        at = re.search(rf'File "{re.escape(self.request["script"])}", line (\d+)', text)
        failure = {"type": name, "message": f"{name}{what}{last}"[:500], "line": int(at.group(1)) if at else 0}
        return {"end": "died", "failure": failure}
