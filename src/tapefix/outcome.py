"""What became of a file: per finding the rungs that were tried and their verdicts, and the measured table."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from tapefix.findings import Candidate, Finding

if TYPE_CHECKING:
    from tapefix.proof.run import Run


class Verdict(Enum):
    """What a run says of a repair."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    REFUTED = "refuted"


class Attempt(NamedTuple):
    """One rung of the ladder: the candidate that was tried, its verdict, and in plain words why."""

    candidate: Candidate
    verdict: Verdict
    reason: str


class Outcome(NamedTuple):
    """One finding and what was done about it.

    `applied` is the candidate that is part of the repaired text, None where there is none: then `reason` says
    why (advice only, needs --unsafe-fixes, every candidate refuted).
    """

    finding: Finding
    attempts: tuple[Attempt, ...] = ()
    applied: Candidate | None = None
    verdict: Verdict | None = None
    reason: str = ""


class Row(NamedTuple):
    """One line of the gradient table: a source, and its gradient over the steps before and after the repair."""

    name: str
    shape: str
    before: str
    after: str
    broken_before: bool = False
    broken_after: bool = False


class Proof(NamedTuple):
    """What was measured for a file: the table, and how much was run. With --probe also the one run itself.

    `exercised` says what was called on made-up inputs, and on which, where the file runs nothing itself.
    """

    rows: tuple[Row, ...] = ()
    steps: int = 0
    seeds: int = 0
    seconds: float = 0.0
    verdict: Verdict | None = None
    reason: str = ""
    run: Run | None = None
    exercised: tuple[str, ...] = ()


class FileResult(NamedTuple):
    """Everything that a report needs to know about one file."""

    path: str
    original: str
    repaired: str
    outcomes: tuple[Outcome, ...] = ()
    proof: Proof | None = None
    notices: tuple[str, ...] = ()
    error: str | None = None

    @property
    def changed(self) -> bool:
        return self.original != self.repaired

    @property
    def remaining(self) -> tuple[Outcome, ...]:
        """The findings that no applied repair has dealt with."""
        return tuple(outcome for outcome in self.outcomes if outcome.applied is None)
