"""Code actions. Their titles say what is known: verified by a run, to be proved by one, or not proved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from lsprotocol import types

from tapefix.findings import Finding
from tapefix.lsp.analysis import Analysis
from tapefix.lsp.client import Client
from tapefix.lsp.diagnostics import current
from tapefix.lsp.ignoring import ignoring
from tapefix.lsp.proofs import applied, evidence, is_verified, outcome_of, refuted, was_run
from tapefix.lsp.settings import Settings, in_editor
from tapefix.lsp.snapshot import Edit
from tapefix.outcome import FileResult, Verdict
from tapefix.text.suppress import UnusedSuppression

PROVE = "tapefix.proveAndApply"
MEASURE = "tapefix.measureGradients"

QUICK_FIX = types.CodeActionKind.QuickFix
FIX_ALL = "source.fixAll.tapefix"
SOURCE = "source.tapefix"

_RUNS = "prove, then apply: runs your code"
_UNPROVED = "unproved"


class Asked(NamedTuple):
    """What the editor asks for: lines of the analysed text, and the kinds that it wants (none: all)."""

    lines: range
    only: Sequence[str]

    def wants(self, kind: str) -> bool:
        """Kinds are a tree: `source` is every source action."""
        return not self.only or any(kind == want or kind.startswith(f"{want}.") for want in self.only)


def code_actions(
    analysis: Analysis, proof: FileResult | None, asked: Asked, client: Client, settings: Settings
) -> list[types.CodeAction]:
    """All actions for a place, the best first."""
    if not analysis.concerned or not analysis.parses:
        return []
    return list(_Actions(analysis, proof, client, settings).all(asked))


def workspace_edit(edits: Iterable[Edit], client: Client, *, proved: bool = True) -> types.WorkspaceEdit:
    """Edits that a client applies to the version that they were made for only, where it can tell."""
    if not client.versioned_edits:
        changes: dict[str, list[types.TextEdit]] = {}
        for document, edit in edits:
            changes.setdefault(document.uri, []).append(edit)
        return types.WorkspaceEdit(changes=changes)
    confirmed = not proved and client.annotations
    by_document: dict[tuple[str, int], list[types.TextEdit | types.AnnotatedTextEdit | types.SnippetTextEdit]] = {}
    for document, edit in edits:
        by_document.setdefault((document.uri, document.version), []).append(
            types.AnnotatedTextEdit(_UNPROVED, edit.range, edit.new_text) if confirmed else edit
        )
    return types.WorkspaceEdit(
        document_changes=[
            types.TextDocumentEdit(types.OptionalVersionedTextDocumentIdentifier(uri, version), changed)
            for (uri, version), changed in by_document.items()
        ],
        change_annotations={
            _UNPROVED: types.ChangeAnnotation(
                "Not proved by a run", needs_confirmation=True, description="Nothing was measured for this repair."
            )
        }
        if confirmed
        else None,
    )


class _Actions:
    """The actions of one version of a document."""

    def __init__(self, analysis: Analysis, proof: FileResult | None, client: Client, settings: Settings) -> None:
        self.analysis = analysis
        self.snapshot = analysis.snapshot
        self.proof = proof
        self.client = client
        self.settings = settings

    def all(self, asked: Asked) -> Iterator[types.CodeAction]:
        here = [
            outcome.finding
            for outcome in current(self.analysis, self.proof)
            if outcome.finding.span.line < asked.lines.stop and outcome.finding.span.end_line >= asked.lines.start
        ]
        if asked.wants(QUICK_FIX):
            for finding in here:
                yield from self._verified(finding)
                yield from self._refuted(finding)
                yield from self._to_prove(finding)
                yield from self._unproved(finding)
            for finding in here:
                yield from self._ignore(finding)
        if asked.wants(FIX_ALL):
            yield from self._fix_all()
        # Without a finding in sight these would light a bulb on every line.
        if self.settings.may_run and (asked.wants(SOURCE) if asked.only else here):
            yield from self._for_the_file()

    def _verified(self, finding: Finding) -> Iterator[types.CodeAction]:
        if self.proof is None or not is_verified(self.proof):
            return
        outcome = outcome_of(self.proof, finding)
        if outcome is None or outcome.applied is None:
            return
        edits = self.snapshot.edits(self.proof.repaired)
        if not edits:
            return
        together = _with(len(applied(self.proof)) - 1)
        shown = evidence(self.proof)
        title = f"{outcome.applied.title}{together} (verified{f': {shown}' if shown else ''})"
        yield self._action(finding, title, edit=workspace_edit(edits, self.client), preferred=True)

    def _refuted(self, finding: Finding) -> Iterator[types.CodeAction]:
        """Where the client can show it: why there is nothing to apply."""
        outcome = outcome_of(self.proof, finding) if self.proof else None
        if outcome is None or outcome.applied is not None or not self.client.disabled_actions:
            return
        for title, reason in refuted(outcome):
            action = self._action(finding, f"{title} (refuted: {reason})")
            action.disabled = types.CodeActionDisabled(reason)
            yield action

    def _to_prove(self, finding: Finding) -> Iterator[types.CodeAction]:
        # What was run is known; what could not be run may be tried again.
        if not finding.candidates or not self.settings.may_run or (self.proof and was_run(self.proof)):
            return
        # A run tells about the whole file, so all that is repaired is proved and applied together.
        others = sum(bool(f.candidates) for f in self.analysis.findings) - 1
        title = f"{finding.candidates[0].title}{_with(others)} ({_RUNS})"
        yield self._action(finding, title, command=self._command(PROVE))

    def _unproved(self, finding: Finding) -> Iterator[types.CodeAction]:
        if self.proof and (is_verified(self.proof) or self._is_refuted(finding)):
            return
        # The same place in the same text: the finding of the analysis has the edits that were computed ahead.
        static = next((f for f in self.analysis.findings if (f.code, f.span) == (finding.code, finding.span)), None)
        candidate = self.analysis.unproved(static) if static else None
        edits = self.analysis.unproved_edits(static) if static else None
        if candidate is None or not edits:
            return
        reason = in_editor(self.proof.proof.reason) if self.proof and self.proof.proof else ""
        title = f"{candidate.title} (apply unproved{f'; {reason}' if reason else ''})"
        yield self._action(finding, title, edit=workspace_edit(edits, self.client, proved=False))

    def _is_refuted(self, finding: Finding) -> bool:
        outcome = outcome_of(self.proof, finding) if self.proof else None
        return outcome is not None and outcome.verdict is Verdict.REFUTED

    def _ignore(self, finding: Finding) -> Iterator[types.CodeAction]:
        if finding.code == UnusedSuppression.code:
            return
        edits = self.snapshot.edits(ignoring(self.snapshot.text, finding.span.line, finding.code))
        if edits:
            title = f"Ignore {finding.code} on this line"
            yield types.CodeAction(title, QUICK_FIX, edit=workspace_edit(edits, self.client))

    def _fix_all(self) -> Iterator[types.CodeAction]:
        if self.proof is not None and is_verified(self.proof):
            edits, what = self.snapshot.edits(self.proof.repaired), "verified"
        elif self.settings.fix_all == "safe" and not (self.proof and was_run(self.proof)):
            edits, what = self.analysis.all_safe_edits, "safe"
        else:
            return
        if edits:
            title = f"tapefix: apply all {what} repairs"
            yield types.CodeAction(title, FIX_ALL, edit=workspace_edit(edits, self.client))

    def _for_the_file(self) -> Iterator[types.CodeAction]:
        for title, command in (
            (f"tapefix: repair this file ({_RUNS})", PROVE),
            ("tapefix: measure gradients of this file (runs your code)", MEASURE),
        ):
            action = types.CodeAction(title, SOURCE)
            action.command = self._command(command)
            yield action

    def _command(self, name: str) -> types.Command:
        titles = {PROVE: "tapefix: prove, then apply", MEASURE: "tapefix: measure gradients"}
        return types.Command(titles[name], name, arguments=[self.snapshot.uri])

    def _action(
        self,
        finding: Finding,
        title: str,
        *,
        edit: types.WorkspaceEdit | None = None,
        command: types.Command | None = None,
        preferred: bool = False,
    ) -> types.CodeAction:
        return types.CodeAction(
            f"tapefix {finding.code}: {title}",
            QUICK_FIX,
            edit=edit,
            command=command,
            is_preferred=preferred or None,
        )


def _with(others: int) -> str:
    return f", with {others} other {'repair' if others == 1 else 'repairs'}" if others > 0 else ""
