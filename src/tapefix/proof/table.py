"""The gradient table: one row per source with its gradient over all steps and seeds, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tapefix.outcome import Row
from tapefix.proof.renames import as_before
from tapefix.proof.run import Run, Source
from tapefix.proof.verdict import first_values

_WORDS = {"none": "None", "nan": "NaN", "inf": "Inf", "zero": "0"}


def rows(before: Sequence[Run], after: Sequence[Run]) -> tuple[Row, ...]:
    """The table; `after` is () where only one text was run. The last row is the loss at the first step."""
    old, new = _by_name(before), _by_name(as_before(before, after))
    found = []
    for name in {**old, **new}:
        sources = old.get(name) or new[name]
        was, now = old.get(name), new.get(name)
        found.append(
            Row(
                name=name,
                shape=_shape(sources[0]),
                before=_gradients(was) if was else "not trained" if after else "",
                after=_gradients(now) if now else "not reached" if after else "",
                broken_before=was is not None and _broken(was),
                broken_after=now is not None and _broken(now),
            )
        )
    loss_before, loss_after = _loss(before), _loss(after)
    if loss_before or loss_after:
        found.append(Row("loss at the first step", "", loss_before or "none", loss_after or ("none" if after else "")))
    return tuple(found)


def _by_name(runs: Sequence[Run]) -> dict[str, list[Source]]:
    found: dict[str, list[Source]] = {}
    for run in runs:
        for gradient in run.gradients:
            for source in gradient.sources:
                found.setdefault(source.name, []).append(source)
    return found


def _shape(source: Source) -> str:
    sizes = ["?" if size is None else str(size) for size in source.shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def _broken(sources: Sequence[Source]) -> bool:
    states = {source.state for source in sources}
    return bool(states & {"nan", "inf"}) or states <= {"none", "zero"}


def _gradients(sources: Sequence[Source]) -> str:
    """`None`, `NaN, 2 of 9`, `7.5e-01 to 1.5e+00`: largest absolute values over the computations."""
    total = len(sources)
    for state in ("nan", "inf"):
        count = sum(source.state == state for source in sources)
        if count:
            return _WORDS[state] if count == total else f"{_WORDS[state]} in {count} of {total}"
    sizes = [source.size for source in sources if source.state == "ok" and source.size is not None]
    if not sizes:
        states = {source.state for source in sources}
        return " or ".join(_WORDS[state] for state in sorted(states) if state in _WORDS)
    low, high = f"{min(sizes):.1e}", f"{max(sizes):.1e}"
    return low if low == high else f"{low} to {high}"


def _loss(runs: Sequence[Run]) -> str:
    values = [v for run in runs[:1] for v in first_values(run) if v is not None][:1]
    if not values and runs and runs[0].losses:
        values = [runs[0].losses[0]]
    return (
        ""
        if not values
        else f"{values[0]:.4f}"
        if math.isfinite(values[0])
        else str(values[0]).replace("nan", "NaN").replace("inf", "Inf")
    )
