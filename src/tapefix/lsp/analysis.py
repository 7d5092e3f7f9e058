"""What the text of one snapshot alone shows: findings, and the repairs that need no run. Never runs the user's code."""

from __future__ import annotations

import logging
from functools import cached_property

from tapefix.errors import TapefixError
from tapefix.findings import Candidate, Finding
from tapefix.lsp.related import Recording, recordings
from tapefix.lsp.snapshot import Edit, Snapshot
from tapefix.repair import Inspector, Options, may_apply, static_text
from tapefix.text.gate import is_tensorflow_source

log = logging.getLogger(__name__)


class Analysis:
    """The findings of one snapshot. `parses` is False while a line is half typed, and then nothing is known."""

    def __init__(self, snapshot: Snapshot, options: Options) -> None:
        self.snapshot = snapshot
        self.options = options
        self.findings: tuple[Finding, ...] = ()
        self.unused: tuple[Finding, ...] = ()
        self.recordings: tuple[Recording, ...] = ()
        self.parses = True
        self.concerned = is_tensorflow_source(snapshot.text.encode("utf-8", "replace"))
        # By identity: findings hold what cannot be hashed.
        self._edits: dict[int, list[Edit] | None] = {}
        if not self.concerned:
            return
        self.inspector = Inspector(snapshot.path, snapshot.text, options)
        try:
            found = self.inspector.findings(snapshot.text)
            self.unused = tuple(outcome.finding for outcome in self.inspector.unused_suppressions())
            if found and self.inspector.module is not None:
                self.recordings = recordings(self.inspector.module)
            self.inspector.module = None  # a large thing, and nobody asks for it again
        except (TapefixError, ValueError, RecursionError, MemoryError):
            self.parses = False
            return
        except Exception:
            # A defect of a rule must not take the editor's diagnostics away for good.
            log.exception("the analysis of %s failed", snapshot.path)
            self.parses = False
            return
        self.findings = tuple(finding for finding in found if finding.certain)

    def unproved(self, finding: Finding) -> Candidate | None:
        """The candidate that may be applied without a run, if there is one."""
        return next((candidate for candidate in finding.candidates if may_apply(candidate, self.options)), None)

    def unproved_edits(self, finding: Finding) -> list[Edit] | None:
        """The edits of that candidate."""
        key = id(finding)
        if key not in self._edits:
            candidate = self.unproved(finding)
            self._edits[key] = None if candidate is None else self._edits_of(finding, candidate)
        return self._edits[key]

    def _edits_of(self, finding: Finding, candidate: Candidate) -> list[Edit] | None:
        from tapefix.codemods.compose import compose

        try:
            return self.snapshot.edits(compose(self.snapshot.text, [(finding, candidate)]).text) or None
        except Exception:
            log.exception("a repair of %s in %s failed", finding.code, self.snapshot.path)
            return None

    @cached_property
    def all_safe_edits(self) -> list[Edit] | None:
        """The edits of all safe repairs together, without a run."""
        options = self.options._replace(unsafe_fixes=False)
        try:
            text = static_text(self.snapshot.text, list(self.findings), self.inspector, options)
        except Exception:
            log.exception("the safe repairs of %s failed", self.snapshot.path)
            return None
        return self.snapshot.edits(text) or None
