"""The JSON report: one object with everything, for programs."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, TextIO

from tapefix import __version__
from tapefix.outcome import Attempt, FileResult, Outcome, Proof, Verdict
from tapefix.report.base import Reporter
from tapefix.report.diff import unified
from tapefix.session import Settings

if TYPE_CHECKING:
    from tapefix.proof.run import Run


class JsonReporter(Reporter):
    """Collects the results and writes them at the end, even where nothing was found."""

    def __init__(self, settings: Settings, stream: TextIO) -> None:
        super().__init__(settings, stream)
        self.files: list[dict[str, Any]] = []
        self.errors: list[str] = []

    def file(self, result: FileResult) -> None:
        super().file(result)
        self.files.append(
            {
                "path": result.path,
                "findings": [_finding(outcome) for outcome in result.outcomes],
                "diff": unified(result),
                "proof": _proof(result.proof) if result.proof else None,
                "notices": list(result.notices),
            }
        )

    def error(self, message: str) -> None:
        super().error(message)
        self.errors.append(message)

    def finish(self, seconds: float, interpreter: str | None) -> None:
        tally = self.tally
        document = {
            "version": __version__,
            "files": self.files,
            "errors": self.errors,
            "summary": {
                "files": tally.files,
                "problems": tally.problems,
                "verified": tally.verified,
                "unverified": tally.unverified,
                "needs_unsafe_fixes": tally.needs_unsafe,
                "repaired_files": len(tally.repaired_files),
                "seconds": round(seconds, 3),
                "interpreter": interpreter,
            },
        }
        print(json.dumps(document, indent=2), file=self.stream)


def _finding(outcome: Outcome) -> dict[str, Any]:
    """One finding. Lines and columns are counted from 1, as in the other reports; the end is exclusive."""
    finding = outcome.finding
    repair = outcome.applied or next(iter(finding.candidates), None)
    return {
        "code": finding.code,
        "name": finding.name,
        "line": finding.span.line,
        "column": finding.span.column + 1,
        "end_line": finding.span.end_line,
        "end_column": finding.span.end_column + 1,
        "message": finding.message,
        "advice": finding.advice,
        "safe": repair.safe if repair else None,
        "repair": outcome.applied.title if outcome.applied else None,
        "verdict": _verdict(outcome.verdict),
        "reason": outcome.reason,
        "attempts": [_attempt(attempt) for attempt in outcome.attempts],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "title": attempt.candidate.title,
        "safe": attempt.candidate.safe,
        "verdict": attempt.verdict.value,
        "reason": attempt.reason,
    }


def _proof(proof: Proof) -> dict[str, Any]:
    return {
        "verdict": _verdict(proof.verdict),
        "reason": proof.reason,
        "steps": proof.steps,
        "seeds": proof.seeds,
        "seconds": round(proof.seconds, 3),
        "exercised": list(proof.exercised),
        "rows": [
            {
                "name": row.name,
                "shape": row.shape,
                "before": row.before,
                "after": row.after,
                "broken_before": row.broken_before,
                "broken_after": row.broken_after,
            }
            for row in proof.rows
        ],
        **({"run": _run(proof.run)} if proof.run else {}),
    }


def _run(run: Run) -> dict[str, Any]:
    """Everything that one run has measured: each gradient at each step, the variables, the breaks, the losses."""
    from dataclasses import asdict

    measured: dict[str, Any] = _valid(asdict(run))
    del measured["output"], measured["missing_protection"]
    return measured


def _valid(value: Any) -> Any:
    """The same, with names for the numbers that JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _valid(one) for key, one in value.items()}
    return [_valid(one) for one in value] if isinstance(value, (list, tuple)) else value


def _verdict(verdict: Verdict | None) -> str | None:
    return verdict.value if verdict else None
