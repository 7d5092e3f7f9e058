"""How runs and findings compare: what the ladder weighs when it chooses."""

from __future__ import annotations

from collections.abc import Sequence

from tapefix.findings import Candidate, Finding
from tapefix.proof.run import Run
from tapefix.proof.verdict import Problem, problems


def keeps_value(candidate: Candidate) -> bool:
    """Must the first loss stay as it was? What trains more changes later losses, so it need not promise."""
    return candidate.safe and not candidate.trains_more if candidate.keeps_value is None else candidate.keeps_value


def key(finding: Finding, candidate: Candidate) -> tuple[str, str, str]:
    # The message names the place's own words; its line may shift from round to round.
    return (finding.code, finding.message, candidate.title)


def broken_in(runs: Sequence[Run]) -> list[Problem]:
    return [problem for run in runs for problem in problems(run)]


def worst(runs: Sequence[Run]) -> Run:
    return max(runs, key=lambda run: len(problems(run)))


def badness(runs: Sequence[Run]) -> tuple[int, int]:
    """How far a text is from healthy: runs that compute no gradient at all first, then the number of problems."""
    return (sum(not run.gradients and not run.losses for run in runs), len(broken_in(runs)))


def distance(finding: Finding, runs: Sequence[Run]) -> int:
    """0 where a finding stands on a line that the run blames, else 1."""
    lines = {place.line for run in runs for place in run.breaks}
    lines |= {run.failure.line for run in runs if run.failure is not None}
    spans = [finding.span, *(note.span for note in finding.notes)]
    return 0 if any(span.line <= line <= span.end_line for span in spans for line in lines) else 1
