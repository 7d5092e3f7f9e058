"""Intervals: what arithmetic in float32 makes of the ranges of its operands."""

from __future__ import annotations

import ast
import math
import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

INF = math.inf


def float32(value: float) -> float:
    """The float32 nearest to a number."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(INF, value)


class Range(NamedTuple):
    """All numbers from `low` to `high`, both of which may be reached.

    `guarded` says that something was done to keep the value away from trouble (an epsilon added, a clip) even where
    the bounds are not known. `source` names what produces the value, where it matters: softmax, sigmoid, prediction,
    output (of a layer without activation), linear (a matrix product), relu, picked.
    """

    low: float = -INF
    high: float = INF
    guarded: bool = False
    source: str = ""

    @property
    def positive(self) -> bool:
        return self.low > 0

    @property
    def probability(self) -> bool:
        return self.low >= 0 and self.high <= 1

    @property
    def unknown(self) -> bool:
        return self.low == -INF and self.high == INF

    @property
    def constant(self) -> float | None:
        return self.low if self.low == self.high and math.isfinite(self.low) else None

    @property
    def zero_free(self) -> bool:
        return self.low > 0 or self.high < 0


TOP = Range()
UNIT = Range(0.0, 1.0)
NOT_NEGATIVE = Range(0.0, INF)


def combine(op: ast.operator, a: Range, b: Range) -> Range:
    """What `a op b` may be."""
    guarded = a.guarded or b.guarded
    if isinstance(op, ast.Add):
        guarded = guarded or any(x.constant is not None and x.constant > 0 for x in (a, b)) or a.positive or b.positive
        return Range(_sum(a.low, b.low), _sum(a.high, b.high), guarded, _linear(a, b))
    if isinstance(op, ast.Sub):
        # A sum of logits stays one, and so does its difference.
        return Range(_sum(a.low, -b.high), _sum(a.high, -b.low), guarded, _linear(a, b))
    if isinstance(op, ast.Mult):
        low, high = _products(a, b)
        return Range(low, high, (a.guarded or a.positive) and (b.guarded or b.positive), _linear(a, b))
    if isinstance(op, ast.MatMult):
        return Range(source="linear")
    if isinstance(op, (ast.Div, ast.FloorDiv)):
        if b.low > 0:
            low, high = _products(a, Range(1 / b.high if b.high != INF else 0.0, 1 / b.low))
            return Range(low, high, a.guarded, _linear(a, b))
        return Range(0.0, INF) if a.low >= 0 and b.low >= 0 else TOP
    if isinstance(op, ast.Pow):
        return power(a, b)
    if isinstance(op, ast.Mod) and b.low > 0:
        return Range(0.0, b.high)
    return TOP


def power(a: Range, b: Range) -> Range:
    """What `a ** b` may be."""
    exponent = b.constant
    if exponent is not None and exponent > 0 and exponent % 2 == 0 and a.low < 0:
        return NOT_NEGATIVE
    if a.low < 0:
        return TOP
    if exponent is not None and exponent > 0:
        high = INF if a.high == INF else attempt(lambda: a.high**exponent)
        return Range(float32(attempt(lambda: a.low**exponent)), float32(high), a.guarded)
    if a.probability and b.low >= 0:
        return Range(0.0, 1.0, a.guarded)
    return Range(0.0, INF, a.guarded)


def bound(which: str, a: Range, b: Range) -> Range:
    """What `maximum(a, b)` (which is `max`) or `minimum(a, b)` may be."""
    guarded = a.guarded or b.guarded
    if which == "max":
        return Range(max(a.low, b.low), max(a.high, b.high), guarded)
    return Range(min(a.low, b.low), min(a.high, b.high), guarded)


def union(ranges: Iterable[Range]) -> Range:
    """What one of these values may be."""
    found = list(ranges)
    if not found:
        return TOP
    sources = [r.source for r in found]
    return Range(
        min(r.low for r in found),
        max(r.high for r in found),
        all(r.guarded for r in found),
        next((s for s in sources if s), "") if len({s for s in sources if s}) <= 1 else "",
    )


def sum_of(inner: Range) -> Range:
    """What the sum of any number of such values may be."""
    # Of numbers of one sign, a sum is at least as far from 0 as each of them.
    low = inner.low if inner.low >= 0 else -INF
    high = inner.high if inner.high <= 0 else INF
    return Range(low, high, inner.guarded)


def _linear(a: Range, b: Range) -> str:
    return "linear" if "linear" in (a.source, b.source) else ""


def _sum(a: float, b: float) -> float:
    total = a + b
    return (
        total
        if math.isnan(total) is False and math.isinf(total)
        else (float32(total) if not math.isnan(total) else -INF)
    )


def _products(a: Range, b: Range) -> tuple[float, float]:
    values = [0.0 if x == 0 or y == 0 else x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    return float32(min(values)), float32(max(values))


def exp(value: float) -> float:
    """`e ** value`, without an overflow."""
    return INF if value > 88.7 else math.exp(max(value, -200.0))


def attempt(compute: Callable[[], float]) -> float:
    """The number, or infinity where Python cannot compute it."""
    try:
        return float(compute())
    except (OverflowError, ValueError, ZeroDivisionError):
        return INF
