"""What all reports have in common, and the sums that they end with."""

from __future__ import annotations

import sys
from typing import TextIO

from tapefix.outcome import FileResult, Outcome, Verdict
from tapefix.report.terminal import plural, printable
from tapefix.session import Settings


class Tally:
    """The sums over all files."""

    def __init__(self) -> None:
        self.files = 0
        self.problems = 0
        self.verified = 0
        self.unverified = 0
        self.needs_unsafe = 0
        self.repairable = 0
        self.errors = 0
        self.not_run = 0
        self.repaired_files: list[str] = []

    @property
    def repairs(self) -> int:
        return self.verified + self.unverified

    @property
    def remaining(self) -> int:
        return self.problems - self.repairs

    def add(self, result: FileResult, unsafe_fixes: bool) -> None:
        """Count one file."""
        self.files += 1
        self.problems += len(result.outcomes)
        self.not_run += result.proof is not None and result.proof.verdict is Verdict.UNVERIFIED
        for outcome in result.outcomes:
            if outcome.applied is not None:
                verified = outcome.verdict is Verdict.VERIFIED
                self.verified += verified
                self.unverified += not verified
                self.repairable += 1
            elif needs_unsafe(outcome) and not unsafe_fixes:
                self.needs_unsafe += 1
            elif _open_candidates(outcome):
                self.repairable += 1
        if result.changed:
            self.repaired_files.append(result.path)


class Reporter:
    """Takes the results one by one; `finish` says what they come to."""

    def __init__(self, settings: Settings, stream: TextIO) -> None:
        self.settings = settings
        self.stream = stream
        self.tally = Tally()
        self.noticed: set[str] = set()

    def file(self, result: FileResult) -> None:
        """Report one file that was looked at."""
        self.tally.add(result, self.settings.unsafe_fixes)

    def error(self, message: str) -> None:
        """Report what could not be done, on standard error."""
        self.tally.errors += 1
        self.stream.flush()
        print(printable(message), file=sys.stderr)

    def finish(self, seconds: float, interpreter: str | None) -> None:
        """Report the end: how long it took, and which interpreter ran the code, if any did."""
        if self.settings.verbose:
            ran = f", code run by {interpreter}" if interpreter else ""
            print(f"{plural(self.tally.files, 'file')} with TensorFlow, {seconds:.2f} s{ran}", file=sys.stderr)


def needs_unsafe(outcome: Outcome) -> bool:
    """Whether only --unsafe-fixes would repair this finding."""
    candidates = _open_candidates(outcome)
    return outcome.applied is None and bool(candidates) and not any(candidates)


def summary(settings: Settings, tally: Tally) -> str:
    """The last line of a report, or nothing where there is nothing to say."""
    if not tally.problems and not tally.repaired_files:
        if tally.files:
            if settings.mode == "probe":
                return ""
            # To find nothing in code that should have been run says less than to find nothing in a run.
            unproved = f", {tally.not_run} of them unverified" if tally.not_run else ""
            return f"No problems found in {plural(tally.files, 'file')}{unproved}."
        return "" if tally.errors else "No TensorFlow code found."
    if settings.mode == "write":
        return _written(settings, tally)
    parts = [plural(tally.problems, "problem")]
    if settings.mode == "diff":
        if tally.verified:
            parts.append(plural(tally.verified, "verified repair"))
        if tally.unverified:
            parts.append(plural(tally.unverified, "unverified repair"))
        apply, count, mode = "Apply", tally.repairs, "--write"
    else:
        apply, count, mode = "Repair", tally.repairable, "--diff"
    parts += _unsafe(tally)
    if not count:
        return ", ".join([*parts, "no repair to apply" if settings.mode == "diff" else "no repair known"]) + "."
    them = "it" if count == 1 else "them"
    return f"{', '.join(parts)}. {apply} {them} with: {_command(settings, mode)}"


def _written(settings: Settings, tally: Tally) -> str:
    sentences = []
    if tally.repaired_files:
        verdicts = [
            f"{count} {word}" if tally.verified and tally.unverified else word
            for count, word in ((tally.verified, "verified"), (tally.unverified, "unverified"))
            if count
        ]
        files = tally.repaired_files
        what = printable(files[0]) if len(files) == 1 else f"{len(files)} files"
        sentences.append(f"Repaired {what}: {', '.join([plural(tally.repairs, 'problem'), *verdicts])}.")
    if tally.remaining:
        verb = "remains" if tally.remaining == 1 else "remain"
        sentences.append(", ".join([f"{plural(tally.remaining, 'problem')} {verb}", *_unsafe(tally)]) + ".")
    return " ".join(sentences)


def _unsafe(tally: Tally) -> list[str]:
    count = tally.needs_unsafe
    return [f"{count} {'needs' if count == 1 else 'need'} --unsafe-fixes"] if count else []


def _open_candidates(outcome: Outcome) -> list[bool]:
    """Of each candidate that no run has refuted, whether it is safe."""
    refuted = {attempt.candidate.title for attempt in outcome.attempts if attempt.verdict is Verdict.REFUTED}
    return [candidate.safe for candidate in outcome.finding.candidates if candidate.title not in refuted]


def _command(settings: Settings, mode: str) -> str:
    """The same call in another mode, to be copied into a shell."""
    import shlex

    words = ["tapefix", mode]
    words += ["--unsafe-fixes"] if settings.unsafe_fixes else []
    words += {True: ["--verify"], False: ["--no-verify"], None: []}[settings.verify]
    words += ["--python", settings.python] if settings.python else []
    words += ["--via", shlex.join(settings.via)] if settings.via else []
    words += ["--stdin-filename", settings.stdin_filename] if settings.stdin_filename else []
    words += settings.paths
    words += ["--", *settings.argv] if settings.argv else []
    return shlex.join(words)
