"""What runs have shown, by the text that was run: an undo brings back what was known of it."""

from __future__ import annotations

from collections import OrderedDict

from tapefix.findings import Finding
from tapefix.outcome import FileResult, Outcome, Row, Verdict

# The texts of one document that are remembered.
REMEMBERED = 20


class Proofs:
    """The results for one document."""

    def __init__(self) -> None:
        self._proved: OrderedDict[str, FileResult] = OrderedDict()
        self._measured: OrderedDict[str, FileResult] = OrderedDict()

    def add(self, result: FileResult) -> None:
        """Remember the proof of a text."""
        _remember(self._proved, result)

    def add_measured(self, result: FileResult) -> None:
        """Remember what the code as it stands was measured to do."""
        _remember(self._measured, result)

    def of(self, text: str) -> FileResult | None:
        """The proof that began with this text."""
        return self._proved.get(text)

    def behind(self, text: str) -> FileResult | None:
        """The proof of which this text is the verified repair."""
        return next((r for r in reversed(self._proved.values()) if is_verified(r) and r.repaired == text), None)

    def table(self, text: str) -> FileResult | None:
        """Whatever measured this text: a proof from it, or to it, or a run of it alone."""
        for result in (self.of(text), self.behind(text), self._measured.get(text)):
            if result is not None and result.proof is not None and result.proof.rows:
                return result
        return None


def _remember(results: OrderedDict[str, FileResult], result: FileResult) -> None:
    results.pop(result.original, None)
    results[result.original] = result
    while len(results) > REMEMBERED:
        results.popitem(last=False)


def is_verified(result: FileResult) -> bool:
    """Whether a run has shown that the repaired text is healthy."""
    return result.changed and result.proof is not None and result.proof.verdict is Verdict.VERIFIED


def was_run(result: FileResult) -> bool:
    """Whether there is a measurement behind the result, rather than the reason why there is none."""
    return result.proof is not None and bool(result.proof.rows)


def applied(result: FileResult) -> tuple[Outcome, ...]:
    """The findings whose repairs are in the repaired text."""
    return tuple(outcome for outcome in result.outcomes if outcome.applied is not None)


def outcome_of(result: FileResult, finding: Finding) -> Outcome | None:
    """What became of a finding."""
    for outcome in result.outcomes:
        if (outcome.finding.code, outcome.finding.span) == (finding.code, finding.span):
            return outcome
    return None


def refuted(outcome: Outcome) -> list[tuple[str, str]]:
    """The repairs of a finding that a run has refuted, each with the reason."""
    found = [(a.candidate.title, a.reason) for a in outcome.attempts if a.verdict is Verdict.REFUTED]
    if not found and outcome.verdict is Verdict.REFUTED and outcome.finding.candidates:
        found = [(outcome.finding.candidates[0].title, outcome.reason)]
    return found


def evidence(result: FileResult) -> str:
    """The most telling row of the table: `dense/kernel None -> 1.3e-02`."""
    rows = result.proof.rows if result.proof else ()
    telling = [row for row in rows if row.broken_before] or [row for row in rows if row.before != row.after]
    return _row(telling[0]) if telling else ""


def _row(row: Row) -> str:
    return f"{row.name} {row.before} -> {row.after}"
