"""Variables that have another name after a repair, because Keras numbers the layers of a kind as they are made.

A repair that makes layers elsewhere moves the numbers: what was `net/dense/kernel` can be `net/dense_2/kernel` then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from tapefix.proof.run import Run, Source

_NUMBER = re.compile(r"_\d+(?=/|$)")


def as_before(before: Sequence[Run], after: Sequence[Run]) -> tuple[Run, ...]:
    """The runs of the repaired text, with the names that the same variables have in the runs of the original.

    A variable is taken for the same where the names differ in numbers only, the shape is the same, and each of the two
    names occurs on one side alone.
    """
    names = _renamed(_variables(before), _variables(after))
    if not names:
        return tuple(after)
    return tuple(
        replace(
            run,
            gradients=tuple(
                replace(
                    gradient,
                    sources=tuple(replace(s, name=names.get(s.name, s.name)) for s in gradient.sources),
                )
                for gradient in run.gradients
            ),
            variables=tuple(replace(v, name=names.get(v.name, v.name)) for v in run.variables),
        )
        for run in after
    )


def _variables(runs: Sequence[Run]) -> dict[str, Source]:
    return {
        source.name: source
        for run in runs
        for gradient in run.gradients
        for source in gradient.sources
        if source.kind in ("keras", "tf")
    }


def _renamed(old: dict[str, Source], new: dict[str, Source]) -> dict[str, str]:
    """The old names by the new ones."""
    lost = [source for name, source in old.items() if name not in new]
    found: dict[str, str] = {}
    for gained in (source for name, source in new.items() if name not in old):
        for source in lost:
            if source.shape == gained.shape and _plain(source.name) == _plain(gained.name):
                found[gained.name] = source.name
                lost.remove(source)
                break
    return found


def _plain(name: str) -> str:
    return _NUMBER.sub("", name)
