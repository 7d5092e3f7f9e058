"""The search for a proven repair: candidates are applied, run and climbed like a ladder, mildest rung first.

Findings that the text alone makes certain are tried together at once, while the original still runs. Only where that
does not heal every gradient are suspicions added and higher rungs tried. What was accepted is looked at again, since
one bug can hide another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from tapefix.codemods.compose import compose
from tapefix.findings import Candidate, Finding
from tapefix.library import choices, concerned, exercised, same_again, static_rest, unmeasured, verdict_of
from tapefix.outcome import Attempt, FileResult, Outcome, Proof, Verdict
from tapefix.proof.client import Runner, run_request
from tapefix.proof.diagnosis import Diagnosed
from tapefix.proof.run import Run
from tapefix.proof.table import rows
from tapefix.proof.targets import Target, targets
from tapefix.proof.verdict import Problem, Promise, judge, problems, unmeasurable
from tapefix.relocate import relocate
from tapefix.repair import ROUNDS, Inspector, Options, static_result, why_not
from tapefix.text.source import Source
from tapefix.weigh import badness, broken_in, distance, keeps_value, key, worst

SEEDS = (0, 1, 2)
# How many texts are run for one round at most, so that a proof stays a matter of seconds.
TRIALS = 14
# The rule that only says what was measured; shown where no other finding speaks of the problem.
MEASURED = "TPF901"

Choice = tuple[Finding, Candidate]


@dataclass(frozen=True, slots=True)
class Trial:
    """A text that was made of some candidates, and what its runs say."""

    choices: tuple[Choice, ...]
    text: str
    runs: tuple[Run, ...]
    verdict: Verdict
    reason: str


class Ladder:
    """The search for one file."""

    def __init__(
        self,
        server: Runner,
        path: str,
        source: Source,
        inspector: Inspector,
        options: Options,
        progress: Callable[[str], None],
    ) -> None:
        self.server = server
        self.path = path
        self.source = source
        self.inspector = inspector
        self.options = options
        self.progress = progress
        self.seeds: tuple[int, ...] = SEEDS[:1]
        self._runs: dict[tuple[str, int], Future[Run] | Diagnosed] = {}
        self._original: Diagnosed | None = None
        self._reasons: dict[tuple[str, str, str], Attempt] = {}
        self._done: list[tuple[Finding, Candidate]] = []
        self._trials = 0
        # What is exercised if the script computes no gradient, and with which inputs, once they are known.
        self._targets: tuple[Target, ...] = ()
        self._inputs: dict[str, Any] = {}

    # -------------------------------------------------------------- runs

    def start(self, text: str, seed: int = 0) -> Future[Run] | Diagnosed:
        """A run of `text`, under way or done. The first run of the original is diagnosed, too."""
        key = (text, seed)
        if key not in self._runs:
            request = run_request(
                Path(self.path),
                self.source.encode(text),
                self.options,
                seed,
                exercise=tuple(one.message(self._inputs.get(one.label)) for one in self._targets),
            )
            if text == self.source.text and seed == 0:
                self._runs[key] = self._original = Diagnosed(self.server, request)
            else:
                self._runs[key] = self.server.submit(request)
        return self._runs[key]

    def measure(self, text: str) -> tuple[Run, ...]:
        """The runs of `text` with all seeds that are wanted so far."""
        futures = [self.start(text, seed) for seed in self.seeds]
        return tuple(future.result() for future in futures)

    def _shown(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        """The runs of the original as rules and reports take them."""
        return (self._original.shown(), *runs[1:]) if self._original else tuple(runs)

    # -------------------------------------------------------------- the search

    def climb(self) -> FileResult:
        """The result for the file. Raises ProofUnavailable where no code can be run."""
        started = time.monotonic()
        text = self.source.text
        findings = self.inspector.findings(text)
        self._targets = targets(text, findings)
        self.start(text)
        self._start_first(text, findings)
        info = self.server.wait_ready()
        self.inspector.keras = int(info.keras.split(".")[0])
        self.progress("running the script as it is")
        before = self.measure(text)
        self._inputs = choices(before[0])
        if not same_again(before[0]):
            self._runs.clear()
            before = self.measure(text)
        reason = unmeasurable(before[0])
        if reason is not None:
            result = static_result(self.path, text, self.inspector, self.options, unproved=reason)
            return result._replace(notices=before[0].notices)
        findings = concerned(text, self.inspector.findings(text, self._shown(before)[0]), before)
        bad = problems(before[0])
        if any(p.kind in ("nan", "inf", "zero", "loss") for p in bad) or (not bad and any(f.numeric for f in findings)):
            # NaN may come with some random numbers only.
            self.seeds = SEEDS
            before = self.measure(text)
        current = before
        for number in range(ROUNDS):
            self.progress("running the repairs" if number == 0 else "looking for what is still broken")
            accepted = self._round(text, before, current, findings)
            if accepted is None:
                break
            self._done += [(relocate(f, text, self.source.text), c) for f, c in accepted.choices]
            text, current = accepted.text, accepted.runs
            findings = concerned(text, self.inspector.findings(text, worst(current)), current)
            if not broken_in(current) and not any((f.silent or f.latent) and f.certain for f in findings):
                findings = []
                break
        latent = self._latent(text, current, findings)
        return self._result(text, before, current, findings, latent, time.monotonic() - started)

    def _latent(self, text: str, current: Sequence[Run], findings: Sequence[Finding]) -> Trial | None:
        """The repairs on paths that no run took, where they leave what was run as it is."""
        choices = [(f, f.candidates[0]) for f in findings if f.latent and f.certain and f.candidates]
        if not choices or broken_in(current):
            return None
        composed = compose(text, choices)
        trial = self._try(composed.text, composed.applied, current, current)
        return trial if trial.verdict is Verdict.UNVERIFIED else None

    def _start_first(self, text: str, findings: Sequence[Finding]) -> None:
        """Starts the most likely repair while the original runs."""
        choices = [
            (f, f.candidates[0])
            for f in findings
            if f.certain and f.candidates and self._allowed(f, f.candidates[0], True)
        ]
        if choices:
            self.start(compose(text, choices).text)

    def _allowed(self, finding: Finding, candidate: Candidate, broken: bool) -> bool:
        """May this candidate be tried? Unsafe ones only where something is measured broken, or a term is starved."""
        if candidate.safe or self.options.unsafe_fixes or broken:
            return True
        # A term without a gradient is broken; a number that does not train may well be meant so.
        return finding.silent and not candidate.trains_more

    def _round(
        self, text: str, before: Sequence[Run], current: Sequence[Run], findings: Sequence[Finding]
    ) -> Trial | None:
        """The best text that one round of repairs gives, None where none is better than `text`."""
        broken = bool(broken_in(current))
        relevant = [f for f in findings if self._relevant(f, broken)]
        ladder = [[c for c in f.candidates if self._allowed(f, c, broken)] for f in relevant]
        rungs = {i: candidates for i, candidates in enumerate(ladder) if candidates}
        if not rungs:
            return None
        best: Trial | None = None
        waiting: list[tuple[Choice, ...]] = []
        tried: set[str] = set()
        plans = self._plans(relevant, rungs, current)
        self._trials = 0
        for chosen in plans:
            waiting.append(chosen)
            composed = compose(text, chosen)
            if composed.text in tried or composed.text == text:
                continue
            tried.add(composed.text)
            self._trials += 1
            trial = self._try(composed.text, composed.applied, before, current)
            if trial.verdict is Verdict.VERIFIED:
                return self._smallest(text, self._measured_part(text, trial, before, current), before, current)
            if best is None or badness(trial.runs) < badness(best.runs):
                best = trial
            if self._trials >= TRIALS:
                break
        if best is not None and best.verdict is not Verdict.UNVERIFIED and self._better(best, current):
            return best
        return None

    def _relevant(self, finding: Finding, broken: bool) -> bool:
        if not finding.candidates:
            return False
        if broken:
            return finding.certain or not finding.silent or bool(finding.candidates)
        return finding.certain and (
            finding.silent or (self.options.unsafe_fixes and any(c.trains_more for c in finding.candidates))
        )

    def _plans(
        self, findings: Sequence[Finding], rungs: dict[int, list[Candidate]], runs: Sequence[Run]
    ) -> Iterator[tuple[Choice, ...]]:
        """Which candidates are tried together, in which order."""
        certain = [i for i in rungs if findings[i].certain]
        suspects = sorted((i for i in rungs if not findings[i].certain), key=lambda i: distance(findings[i], runs))

        def pick(chosen: Sequence[int], level: dict[int, int] | None = None) -> tuple[Choice, ...]:
            heights = level or {}
            return tuple((findings[i], rungs[i][min(heights.get(i, 0), len(rungs[i]) - 1)]) for i in sorted(chosen))

        highest = max(len(candidates) for candidates in rungs.values())
        if certain:
            yield pick(certain)
            for height in range(1, highest):
                if any(len(rungs[i]) > height for i in certain):
                    yield pick(certain, dict.fromkeys(certain, height))
            if len(certain) > 1:
                for i in certain:
                    for height in range(1, len(rungs[i])):
                        yield pick(certain, {i: height})
        near = [i for i in suspects if distance(findings[i], runs) == 0]
        groups = (
            [[i] for i in near]
            + ([near] if len(near) > 1 else [])
            + ([suspects] if suspects != near and len(suspects) > 1 else [])
        )
        groups += [[i] for i in suspects if i not in near]
        for group in groups:
            yield pick([*certain, *group])
            for height in range(1, max(len(rungs[i]) for i in group)):
                yield pick([*certain, *group], dict.fromkeys(group, height))
        if certain:
            for group in groups:
                yield pick(group)
            if len(certain) > 1:
                for i in certain:
                    yield pick([i])
                    yield pick([j for j in certain if j != i])

    def _try(self, text: str, choices: tuple[Choice, ...], before: Sequence[Run], current: Sequence[Run]) -> Trial:
        self.progress(f"running the repair: {choices[0][1].title}")
        promise = Promise(
            keeps_value=all(keeps_value(c) for _, c in (*self._done, *choices)),
            trains_more=any(c.trains_more for _, c in choices),
            silent=any(f.silent for f, _ in choices),
        )
        # One seed tells most of what is wrong with a repair, and then the others need not be run.
        runs: tuple[Run, ...] = (self.start(text).result(),)
        verdict, reason = judge([*before[:1]] if not promise.silent else [*current[:1]], runs, promise)
        if len(self.seeds) > 1 and (verdict is Verdict.VERIFIED or reason == "nothing was measured broken before"):
            runs = self.measure(text)
            verdict, reason = judge(before, runs, promise)
        if verdict is Verdict.REFUTED:
            for finding, candidate in choices:
                self._reasons[key(finding, candidate)] = Attempt(candidate, verdict, reason)
        return Trial(choices, text, runs, verdict, reason)

    def _measured_part(self, text: str, trial: Trial, before: Sequence[Run], current: Sequence[Run]) -> Trial:
        """Leaves out the repairs of what could not be exercised."""
        fewer = tuple(choice for choice in trial.choices if unmeasured(text, choice[0], trial.runs) is None)
        if len(fewer) in (0, len(trial.choices)):
            return trial
        smaller = self._try(compose(text, fewer).text, fewer, before, current)
        return smaller if smaller.verdict is Verdict.VERIFIED else trial

    def _smallest(self, text: str, trial: Trial, before: Sequence[Run], current: Sequence[Run]) -> Trial:
        """Leaves out the suspicions that the repair does not need."""
        suspects = [choice for choice in trial.choices if not choice[0].certain]
        if len(trial.choices) < 2 or not suspects or len(suspects) > 6:
            return trial
        for choice in suspects:
            fewer = tuple(c for c in trial.choices if c is not choice)
            if not fewer:
                break
            composed = compose(text, fewer)
            if len(composed.applied) < len(fewer):
                continue
            smaller = self._try(composed.text, fewer, before, current)
            if smaller.verdict is Verdict.VERIFIED:
                trial = smaller
        return trial

    def _better(self, trial: Trial, current: Sequence[Run]) -> bool:
        """Does a trial that does not heal everything at least heal something, and harm nothing?"""
        promise = Promise(keeps_value=False)
        _, reason = judge(current, trial.runs, promise)
        return (
            badness(trial.runs) < badness(current)
            and "healthy before" not in reason
            and "no longer among" not in reason
        )

    # -------------------------------------------------------------- the result

    def _result(
        self,
        text: str,
        before: Sequence[Run],
        after: Sequence[Run],
        findings: Sequence[Finding],
        latent: Trial | None,
        seconds: float,
    ) -> FileResult:
        latest = text
        changed = text != self.source.text
        broken = [problem for problem in broken_in(after) if problem.kind != "exercise"]
        verdict, reason = (Verdict.VERIFIED, "") if changed and not broken else (None, "")
        if changed and broken:
            # Part of what was broken is mended. Repairs that compute what the author meant are kept, the others not.
            kept = all(candidate.safe for _, candidate in self._done)
            verdict, reason = (Verdict.UNVERIFIED, "still broken") if kept else (Verdict.REFUTED, "after the repair")
            reason += f": {broken[0]}"
            if not kept:
                text = self.source.text
        outcomes = [
            Outcome(
                f,
                self._attempts(f, c),
                c if text != self.source.text else None,
                *(verdict_of(self.source.text, f, after) or (verdict, reason)),
            )
            for f, c in self._done
        ]
        if any(o.applied is not None and o.verdict is Verdict.VERIFIED for o in outcomes):
            verdict, reason = Verdict.VERIFIED, ""
        if latent is not None:
            text, verdict, reason = latent.text, Verdict.UNVERIFIED, "the run does not come to it"
            outcomes += [
                Outcome(relocate(f, latest, self.source.text), (), c, verdict, reason) for f, c in latent.choices
            ]
        text, findings, unproved = static_rest(text, self.source.text, findings, after, self.options)
        outcomes += unproved
        known = {(o.finding.code, o.finding.span) for o in outcomes}
        for finding in findings:
            place = relocate(finding, latest, self.source.text)
            if (place.code, place.span) in known or not self._reported(finding, broken):
                continue
            attempts = self._attempts(finding, None)
            said = attempts[-1].reason if attempts else why_not(finding, self.options)
            outcomes.append(Outcome(place, attempts, None, Verdict.REFUTED if attempts else None, said))
        if any(o.finding.code != MEASURED for o in outcomes):
            outcomes = [o for o in outcomes if o.finding.code != MEASURED]
        runs = [*before, *after]
        proof = Proof(
            rows(self._shown(before), after if changed else ()),
            max((g.step for run in runs for g in run.gradients), default=0),
            len(before),
            seconds,
            verdict,
            reason,
            exercised=exercised(runs),
        )
        outcomes.sort(key=lambda o: (o.finding.span, o.finding.code))
        notices = tuple(dict.fromkeys(notice for run in runs for notice in run.notices))
        return FileResult(
            self.path, self.source.text, text, (*outcomes, *self.inspector.unused_suppressions()), proof, notices
        )

    def _reported(self, finding: Finding, broken: Sequence[Problem]) -> bool:
        """What is measured healthy is not reported as broken."""
        if broken:
            return (
                finding.certain
                or finding.code == MEASURED
                or not finding.candidates
                or bool(self._attempts(finding, None))
            )
        return finding.certain and (finding.silent or finding.latent or any(c.trains_more for c in finding.candidates))

    def _attempts(self, finding: Finding, applied: Candidate | None) -> tuple[Attempt, ...]:
        """The rungs below the applied one (or all), as far as they were tried."""
        below = takewhile(lambda candidate: candidate is not applied, finding.candidates)
        tried = (self._reasons.get(key(finding, candidate)) for candidate in below)
        return tuple(attempt for attempt in tried if attempt is not None)
