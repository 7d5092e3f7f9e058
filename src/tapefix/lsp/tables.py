"""The table of measured gradients, as hover and as a page."""

from __future__ import annotations

import io
import re

from tapefix.lsp.hunks import hunks
from tapefix.lsp.proofs import Proofs
from tapefix.lsp.snapshot import Snapshot
from tapefix.outcome import FileResult
from tapefix.report.table import gradient_table
from tapefix.report.terminal import Terminal, plural

_WIDTH = 100
# Where what gradients are of is recorded, where they are asked for, or where a call does that.
_GRADIENTS = re.compile(
    r"\bGradientTape\(|\.(gradients?|jacobian|batch_jacobian|fit|train_on_batch|train_step|minimize|apply(_gradients)?)\("
)


def table(result: FileResult) -> str:
    """The title and the rows, as plain text in columns."""
    proof = result.proof
    if proof is None or not proof.rows:
        return (proof.reason if proof else "") or "no gradient was computed"
    word = proof.verdict.value if proof.verdict else "gradients"
    amounts = ", ".join([plural(proof.steps, "step"), plural(proof.seeds, "seed"), f"{proof.seconds:.1f} s"])
    title = ": ".join(part for part in (f"tapefix, {word}", proof.reason, amounts) if part)
    terminal = Terminal(io.StringIO(), _WIDTH, crops=False, coloured=False)
    return "\n".join([title, *gradient_table("", proof.rows, terminal)])


def page(result: FileResult, name: str) -> str:
    """The same as a page of its own, with what is to be known of the run."""
    return "\n\n".join([f"Gradients of {name}", table(result), *result.notices]) + "\n"


def at_line(snapshot: Snapshot, line: int, proofs: Proofs) -> FileResult | None:
    """What was measured that concerns a line (from 1): a finding, a repair, or a computation of gradients."""
    result = proofs.table(snapshot.text)
    if result is None:
        return None
    lines = snapshot.text.split("\n")
    if line <= len(lines) and _GRADIENTS.search(lines[line - 1]):
        return result
    if result.original == snapshot.text:
        spans = [outcome.finding.span for outcome in result.outcomes]
        return result if any(span.line <= line <= span.end_line for span in spans) else None
    # The repaired text: the lines that the repair has written.
    for hunk in hunks(snapshot.text, result.original):
        if hunk.line < line <= max(hunk.end_line + (hunk.end_column > 0), hunk.line + 1):
            return result
    return None
