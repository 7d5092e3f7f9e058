"""Findings as the diagnostics of an editor."""

from __future__ import annotations

from lsprotocol import types

from tapefix.findings import Finding
from tapefix.lsp.analysis import Analysis
from tapefix.lsp.client import Client
from tapefix.lsp.pages import Pages
from tapefix.lsp.proofs import refuted, was_run
from tapefix.lsp.related import related
from tapefix.outcome import FileResult, Outcome
from tapefix.text.suppress import UnusedSuppression

SOURCE = "tapefix"


def current(analysis: Analysis, proof: FileResult | None) -> list[Outcome]:
    """What is reported of a text: what a run has shown of it, or else what the text alone shows."""
    if proof is not None and was_run(proof):
        return list(proof.outcomes)
    return [Outcome(finding) for finding in (*analysis.findings, *analysis.unused)]


def by_document(
    analysis: Analysis, outcomes: list[Outcome], client: Client, pages: Pages
) -> dict[str, list[types.Diagnostic]]:
    """The diagnostics of every document of a snapshot, also of those that have none."""
    snapshot = analysis.snapshot
    found: dict[str, list[types.Diagnostic]] = {document.uri: [] for document in snapshot.documents}
    for outcome in outcomes:
        location = snapshot.location(outcome.finding.span)
        found[location.uri].append(_diagnostic(analysis, outcome, location.range, client, pages))
    return found


def _diagnostic(
    analysis: Analysis, outcome: Outcome, where: types.Range, client: Client, pages: Pages
) -> types.Diagnostic:
    finding = outcome.finding
    notes = related(finding, analysis.recordings) if client.related_information else []
    unused = finding.code == UnusedSuppression.code
    page = pages.rule(finding.code) if client.documentation_links else None
    return types.Diagnostic(
        range=where,
        message=_message(finding, outcome),
        severity=types.DiagnosticSeverity.Information if unused else types.DiagnosticSeverity.Warning,
        code=finding.code,
        code_description=types.CodeDescription(page) if page else None,
        source=SOURCE,
        tags=[types.DiagnosticTag.Unnecessary] if unused and client.tags else None,
        related_information=[
            types.DiagnosticRelatedInformation(analysis.snapshot.location(note.span), note.label) for note in notes
        ]
        or None,
    )


def _message(finding: Finding, outcome: Outcome) -> str:
    """The variable and the cause, what was tried and failed, and what the author can do where there is no repair."""
    parts = [finding.message]
    parts += [f"Tried: {title}: refuted, {reason}." for title, reason in refuted(outcome)]
    if finding.advice and outcome.applied is None:
        parts.append(finding.advice)
    return "\n".join(parts)
