"""What one run of a script showed. The child process writes it as JSON; this is its typed form.

States of one gradient: `ok` (finite, not all zero), `zero`, `none`, `nan`, `inf`.
How a run ended: `finished` (the script came to its end), `stopped` (enough was measured), `exception`,
`exit` (sys.exit with a status other than 0), `timeout`, `died` (a signal, out of memory, a crash in C++).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """The gradient of one source at one computation. `size` is its largest absolute value, None for `none`."""

    name: str
    shape: tuple[int | None, ...]
    kind: str  # "keras" or "tf" variable, "fixed" variable that does not train, "tensor", or "other"
    state: str
    size: float | None


@dataclass(frozen=True, slots=True)
class Gradient:
    """One gradient computation: where it was asked for, of which target, with respect to which sources.

    `target` is the target's value (its mean where it is no scalar), None where it is not a number;
    `target_kind` is one of tensor, variable, numpy, number, none, other.
    `unlisted` names trainable variables that the tape watched but that are not among the sources.
    `via` is how it was asked: tape, jacobian, tf.gradients, fit, train_on_batch.
    """

    line: int
    function: str
    step: int
    via: str
    target: float | None
    target_kind: str
    sources: tuple[Source, ...]
    unlisted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """A trainable-flagged variable that the script made: where, and what became of it.

    `asked` means it was a source of some gradient, `applied` that an optimiser got it, `changed` that its value
    at the end differs from the one it had when first seen.
    """

    name: str
    shape: tuple[int | None, ...]
    kind: str
    line: int
    asked: bool
    applied: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class Break:
    """A place in the script where the chain from variables to loss was cut, as measured.

    `kind`: export (a tensor became a NumPy array or a Python number), op (an op without gradient), outside
    (an op on variables ran while no tape recorded), bad (the first op whose backward gradient is NaN or Inf).
    `calls` are the lines of the calls that led to an op outside, the outermost first.
    """

    line: int
    kind: str
    what: str
    calls: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """The exception that ended a run, with the last line of the script on its traceback (0 where there is none)."""

    type: str
    message: str
    line: int


@dataclass(frozen=True, slots=True)
class Exercise:
    """A function or class that no script calls, exercised on made-up inputs.

    `state` is ok, broken, or failed (no input runs: then `failure` says why). `inputs` says in words what on,
    `choice` is what makes the child take the same inputs again; `first`: they were the first that were tried.
    """

    target: str
    line: int
    inputs: str
    state: str
    failure: str
    choice: Any
    first: bool


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one version of the script with one seed.

    `eager` says that tf.functions were run eagerly, which only a diagnosis does.
    `notes` tell what was not as it would have been for the user: what stood in for data, weights or modules.
    """

    end: str
    seconds: float
    seed: int
    failure: Failure | None = None
    gradients: tuple[Gradient, ...] = ()
    variables: tuple[Variable, ...] = ()
    breaks: tuple[Break, ...] = ()
    losses: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    missing_protection: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    exercised: tuple[Exercise, ...] = ()
    eager: bool = False
    output: str = field(default="", repr=False)

    @property
    def notices(self) -> tuple[str, ...]:
        """What a report is to say of the walls around this run, where they do not all stand, and of what stood in."""
        harms = [_HARM[one] for one in self.missing_protection]
        missing = (f"this machine cannot keep what is run apart: it can {'; it can '.join(harms)}",) if harms else ()
        return (*missing, *self.notes)


_HARM = {
    "files": "write files wherever you can",
    "network": "use the network",
    "processes": "signal your processes",
}


def run_from_json(data: dict[str, Any]) -> Run:
    """The typed form of what the child wrote."""
    failure = data.get("failure")
    return Run(
        end=data["end"],
        seconds=data["seconds"],
        seed=data["seed"],
        failure=Failure(**failure) if failure else None,
        gradients=tuple(
            Gradient(
                **{
                    **gradient,
                    "sources": tuple(Source(**{**s, "shape": tuple(s["shape"])}) for s in gradient["sources"]),
                    "unlisted": tuple(gradient["unlisted"]),
                }
            )
            for gradient in data["gradients"]
        ),
        variables=tuple(Variable(**{**v, "shape": tuple(v["shape"])}) for v in data["variables"]),
        breaks=tuple(Break(**{**b, "calls": tuple(b["calls"])}) for b in data["breaks"]),
        losses=tuple(data["losses"]),
        warnings=tuple(data["warnings"]),
        missing_protection=tuple(data["missing_protection"]),
        notes=tuple(data["notes"]),
        exercised=tuple(Exercise(**e) for e in data["exercised"]),
        eager=data["eager"],
        output=data.get("output", ""),
    )
