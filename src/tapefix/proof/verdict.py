"""The verdict: what is broken in a run, and whether another run shows that a repair has mended it.

A patch is verified only if what was bad is healthy on every seed, nothing healthy got worse, every source is still
asked for, the loss is finite (and the same, where the repair promises that), and the run gets as far as before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tapefix.outcome import Verdict
from tapefix.proof.renames import as_before
from tapefix.proof.run import Gradient, Run

_BAD = ("none", "nan", "inf")
# How far a loss may be from its value before, where a repair promises to keep it: clips and epsilons change a little.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-5
# What keeps a script from running at all, wherever it is run: no defect that a repair of gradients could mend.
_SURROUNDINGS = {
    "FileNotFoundError", "NotADirectoryError", "IsADirectoryError", "PermissionError", "ModuleNotFoundError",
    "ImportError", "ConnectionError", "ConnectionRefusedError", "URLError", "HTTPError", "gaierror", "TimeoutError",
    "EOFError", "MemoryError", "ResourceExhaustedError", "OSError", "NotFoundError", "PermissionDeniedError",
}  # fmt: skip
# What ends a run before it says anything, or makes what it says worth nothing.
_NO_PROOF = {"ForkServer", "Isolation", "Forgery", "NeverImported"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is broken in a run. `subject` is the variable, or what failed; `line` where it was asked for."""

    kind: str  # none, nan, inf, zero, loss, failure, empty, exercise
    subject: str
    line: int = 0

    def concerns(self, targets: set[str]) -> bool:
        """Is it that one of these could not be exercised?"""
        return self.kind == "exercise" and self.subject.partition(":")[0] in targets

    def __str__(self) -> str:
        words = {
            "none": f"the gradient of {self.subject} is None",
            "nan": f"the gradient of {self.subject} is NaN",
            "inf": f"the gradient of {self.subject} is infinite",
            "zero": f"every gradient at line {self.line} is exactly zero",
            "loss": f"the loss is {self.subject}",
            "failure": self.subject,
            "exercise": f"no made-up input runs {self.subject}",
            "empty": f"the list of variables at line {self.line} is empty",
        }
        return words[self.kind]


@dataclass(frozen=True, slots=True)
class Promise:
    """What a repair says of itself, to be held to it."""

    keeps_value: bool = True
    trains_more: bool = False
    silent: bool = False


def sites(run: Run) -> dict[tuple[int, str, str], list[Gradient]]:
    """The gradient computations of a run by the place that asked for them, in the order of their first appearance."""
    found: dict[tuple[int, str, str], list[Gradient]] = {}
    for gradient in run.gradients:
        found.setdefault((gradient.line, gradient.function, gradient.via), []).append(gradient)
    return found


def problems(run: Run) -> tuple[Problem, ...]:
    """What is broken in a run. A source that is None in some computations of a place only is no problem there."""
    found: dict[Problem, None] = {}
    for (line, _, _), computations in sites(run).items():
        states: dict[str, list[str]] = {}
        zero = 0
        for gradient in computations:
            if not gradient.sources:
                found[Problem("empty", "", line)] = None
            for source in gradient.sources:
                states.setdefault(source.name, []).append(source.state)
            zero += bool(gradient.sources) and all(source.state == "zero" for source in gradient.sources)
        for name, seen in states.items():
            for state in ("nan", "inf"):
                if state in seen:
                    found[Problem(state, name, line)] = None
                    break
            else:
                if all(state == "none" for state in seen):
                    found[Problem("none", name, line)] = None
        if zero == len(computations):
            found[Problem("zero", "", line)] = None
    for value in (*(g.target for g in run.gradients), *run.losses):
        if value is not None and not math.isfinite(value):
            found[Problem("loss", "NaN" if math.isnan(value) else "infinite")] = None
            break
    for one in run.exercised:
        if one.state == "failed":
            found[Problem("exercise", f"{one.target}: {one.failure}", one.line)] = None
    failure = failed(run)
    if failure is not None:
        found[failure] = None
    return tuple(found)


def failed(run: Run) -> Problem | None:
    """The failure that ended a run, None where it came to a good end (or was stopped when enough was measured)."""
    if run.end in ("finished", "stopped") or (run.end == "timeout" and run.gradients):
        return None
    if run.failure is not None:
        text = f"{run.failure.type}: {first_line(run.failure.message)}" if run.failure.message else run.failure.type
        if run.end == "exit" and run.failure.message.isdigit() and run.output.strip():
            # A bare status says nothing; what was printed last often does.
            last = run.output.strip().splitlines()[-3:]
            text += f" ({first_line(next((line for line in last if 'error' in line.lower()), last[-1]))})"
        return Problem("failure", text, run.failure.line)
    words = {
        "timeout": "no gradient within the time limit",
        "exit": "the script exits with an error",
        "died": "the process died",
    }
    return Problem("failure", words.get(run.end, run.end))


def unmeasurable(run: Run) -> str | None:
    """Why a run says nothing about gradients: the script needs what is not here, or computes none. None if it does."""
    if run.failure is not None and run.failure.type in _NO_PROOF:
        return run.failure.message
    if run.gradients or run.losses:
        return None
    if run.failure is not None and run.failure.type in _SURROUNDINGS:
        at = f" at line {run.failure.line}" if run.failure.line else ""
        return f"it stops{at} with {run.failure.type}: {first_line(run.failure.message)}"
    if run.failure is not None and run.failure.type == "Limit":
        return run.failure.message
    if run.end == "timeout":
        return f"it computed no gradient within {run.seconds:.0f} s"
    if run.end in ("finished", "stopped"):
        for one in run.exercised:
            return f"it is a module that runs nothing, and no made-up input runs {one.target}: {one.failure}"
        return "it computes no gradient when it is run"
    return None


def judge(before: Sequence[Run], after: Sequence[Run], promise: Promise) -> tuple[Verdict, str]:
    """The verdict on a patch, from runs of both texts with the same seeds in the same order, and why.

    Fewer runs after than before are compared as far as they go.
    """
    if any(run.failure is not None and run.failure.type in _NO_PROOF for run in before):
        return Verdict.UNVERIFIED, next(filter(None, map(unmeasurable, before)))
    for run in after:
        reason = unmeasurable(run)
        if reason is not None:
            same = unmeasurable(before[0]) is not None
            return (Verdict.UNVERIFIED if same else Verdict.REFUTED), reason
    after = as_before(before, after)
    unknown = _not_exercised(before)
    broken = [problem for run in before for problem in problems(run)]
    left = [problem for run in after for problem in strict_problems(run)]
    # What no input ran before and none runs now is not measured; that does not speak against the rest.
    left = [
        problem for problem in left if not (problem.kind == "exercise" and problem.subject.split(":")[0] in unknown)
    ]
    unknown &= _not_exercised(after)
    broken = [one for one in broken if not (one.kind == "exercise" and one.subject.split(":")[0] in unknown)]
    if left:
        return Verdict.REFUTED, str(left[0])
    if not any(run.gradients for run in after):
        return Verdict.UNVERIFIED, "no gradient was computed"
    reason = _worse(before, after)
    if reason is not None:
        return Verdict.REFUTED, reason
    if promise.keeps_value and (reason := _other_value(before, after)) is not None:
        return Verdict.REFUTED, reason
    more = trained(after) - trained(before)
    if promise.trains_more and not more:
        return Verdict.REFUTED, "no variable is trained that was not trained before"
    if not broken and not promise.trains_more:
        if not promise.silent:
            return Verdict.UNVERIFIED, "nothing was measured broken before"
        if not more and not _other_gradients(before, after):
            return Verdict.REFUTED, "the gradients are the same as before"
    return Verdict.VERIFIED, ""


def _not_exercised(runs: Iterable[Run]) -> set[str]:
    return {one.target for run in runs for one in run.exercised if one.state == "failed"}


def strict_problems(run: Run) -> tuple[Problem, ...]:
    """What speaks against a repaired text: also one single computation whose gradients are all zero."""
    found = dict.fromkeys(problems(run))
    for gradient in run.gradients:
        if gradient.sources and all(source.state == "zero" for source in gradient.sources):
            found[Problem("zero", "", gradient.line)] = None
    return tuple(found)


def healthy(runs: Iterable[Run]) -> set[str]:
    """Sources that got a finite gradient other than zero at least once, and never a bad one."""
    good: set[str] = set()
    bad: set[str] = set()
    for run in runs:
        for gradient in run.gradients:
            for source in gradient.sources:
                if source.state == "ok":
                    good.add(source.name)
                elif source.state in ("nan", "inf"):
                    bad.add(source.name)
    return good - bad


def trained(runs: Iterable[Run]) -> set[str]:
    """Variables that got a healthy gradient and whose value changed."""
    runs = list(runs)
    changed = {variable.name for run in runs for variable in run.variables if variable.changed}
    return healthy(runs) & changed


def _asked(runs: Iterable[Run]) -> set[str]:
    """The variables asked for that can be trained.

    Tensors may be renamed by a repair, a model in their place is no source at all, and to leave out moving averages and
    seeds is no loss.
    """
    return {
        source.name
        for run in runs
        for gradient in run.gradients
        for source in gradient.sources
        if source.kind in ("keras", "tf")
    }


def _worse(before: Sequence[Run], after: Sequence[Run]) -> str | None:
    """What the patch has made worse, None if nothing."""
    lost = sorted(_asked(before) - _asked(after))
    if lost:
        return f"{lost[0]} is no longer among the sources"
    unhealed = sorted(_asked(after) & _bad_names(before) - healthy(after))
    if unhealed:
        return f"the gradient of {unhealed[0]} is still zero"
    sick = sorted(healthy(before) - healthy(after))
    if sick:
        return f"the gradient of {sick[0]} was healthy before and is not now"
    for old, new in zip(before, after, strict=False):
        if old.end in ("finished", "stopped") and new.end == "timeout":
            return "it no longer ends within the time limit"
        if old.end == "finished" and len(new.gradients) < len(old.gradients):
            return "fewer gradients are computed than before"
    return None


def _bad_names(runs: Iterable[Run]) -> set[str]:
    return {problem.subject for run in runs for problem in problems(run) if problem.kind in _BAD}


def first_values(run: Run) -> list[float | None]:
    """The value of the target at the first computation of each place."""
    return [computations[0].target for computations in sites(run).values()]


def _other_value(before: Sequence[Run], after: Sequence[Run]) -> str | None:
    """The loss at the first step, where both runs have it and it was finite before."""
    for old, new in zip(before, after, strict=False):
        olds, news = first_values(old), first_values(new)
        pairs = zip(olds, news, strict=True) if len(olds) == len(news) else zip(olds[:1], news[:1], strict=False)
        for was, now in pairs:
            if was is None or now is None or not math.isfinite(was):
                continue
            if not math.isclose(was, now, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE):
                return f"the loss at the first step is {now:.5g} instead of {was:.5g}"
    return None


def _other_gradients(before: Sequence[Run], after: Sequence[Run]) -> bool:
    """Did any gradient change at the first computation of a place? A term that joins the loss changes some."""
    for old, new in zip(before, after, strict=False):
        for was, now in zip(sites(old).values(), sites(new).values(), strict=False):
            sizes = {source.name: source.size for source in was[0].sources}
            for source in now[0].sources:
                size = sizes.get(source.name)
                if source.size is not None and (
                    size is None or not math.isclose(size, source.size, rel_tol=1e-5, abs_tol=1e-9)
                ):
                    return True
    return False


def first_line(text: str) -> str:
    line = next((part.strip() for part in text.splitlines() if part.strip()), "")
    return line if len(line) <= 160 else line[:157] + "..."
