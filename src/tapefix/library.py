"""What exercised functions say about findings: a finding is judged by the function or class that it stands in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tapefix.codemods.compose import compose
from tapefix.findings import Candidate, Finding
from tapefix.outcome import Outcome, Verdict
from tapefix.proof.run import Run
from tapefix.proof.targets import label_of
from tapefix.relocate import relocate
from tapefix.repair import Options, may_apply, why_not


def choices(run: Run) -> dict[str, Any]:
    """The inputs on which each target runs, for the child to take them again."""
    return {one.target: one.choice for one in run.exercised if one.choice is not None}


def same_again(run: Run) -> bool:
    """Would a run that is told its inputs be the same as this one? Inputs that were tried in vain leave traces."""
    return all(one.first or one.state == "failed" for one in run.exercised)


def concerned(text: str, findings: list[Finding], runs: Sequence[Run]) -> list[Finding]:
    """Without the findings in what is measured healthy; all of them where a script was run.

    That made-up numbers give NaN does not speak for a suspicion: they may be none that the code would ever get.
    """
    if not runs[0].exercised:
        return findings
    healthy = {one.target for one in runs[0].exercised if one.state == "ok"}
    healthy -= {one.target for run in runs for one in run.exercised if one.state != "ok"}
    findings = [f for f in findings if f.certain or not f.numeric]
    return [f for f in findings if f.silent or label_of(text, f.span.line) not in healthy]


def unmeasured(text: str, finding: Finding, runs: Sequence[Run]) -> str | None:
    """Why the runs say nothing about a finding, None where they do."""
    if not runs[0].exercised:
        return None
    label = label_of(text, finding.span.line)
    for one in runs[0].exercised:
        if one.target == label:
            return f"no made-up input runs {one.target}: {one.failure}" if one.state == "failed" else None
    return f"{label or 'what is outside of functions'} was not exercised"


def verdict_of(text: str, finding: Finding, after: Sequence[Run]) -> tuple[Verdict, str] | None:
    """The verdict on a repair by what it stands in; None where a script was run, or it is not healed."""
    if not after[0].exercised:
        return None
    missing = unmeasured(text, finding, after)
    if missing is not None:
        return Verdict.UNVERIFIED, missing
    return None if concerned(text, [finding._replace(silent=False)], after) else (Verdict.VERIFIED, "")


def static_rest(
    text: str, original: str, findings: Sequence[Finding], after: Sequence[Run], options: Options
) -> tuple[str, list[Finding], list[Outcome]]:
    """What is certain in functions that could not be exercised is repaired as without a run: text, others, outcomes."""
    rest: list[Finding] = []
    chosen: list[tuple[Finding, Candidate]] = []
    outcomes = []
    for finding in findings:
        missing = unmeasured(text, finding, after)
        if missing is None:
            rest.append(finding)
        elif finding.certain:
            applied = next((c for c in finding.candidates if may_apply(c, options)), None)
            chosen += [(finding, applied)] if applied is not None else []
            said = missing if applied is not None else why_not(finding, options)
            verdict = Verdict.UNVERIFIED if applied is not None else None
            outcomes.append(Outcome(relocate(finding, text, original), (), applied, verdict, said))
    return (compose(text, chosen).text if chosen else text), rest, outcomes


def exercised(runs: Sequence[Run]) -> tuple[str, ...]:
    """In words, what was exercised and on what."""
    return tuple(one.inputs for one in runs[0].exercised if one.state != "failed") if runs else ()
