"""Runs tapefix in this process, on files in a temporary folder, through the same `main` as the command."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tapefix.repair
from tapefix.__main__ import main
from tapefix.findings import Candidate, Finding, Note, Span
from tapefix.outcome import Attempt, FileResult, Outcome, Proof, Row, Verdict

HEALTHY = """\
import tensorflow as tf

model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
optimizer = tf.keras.optimizers.SGD(0.1)
x, y = tf.ones([4, 2]), tf.ones([4, 1])
with tf.GradientTape() as tape:
    loss = tf.reduce_mean(tf.square(model(x) - y))
gradients = tape.gradient(loss, model.trainable_variables)
optimizer.apply_gradients(zip(gradients, model.trainable_variables))
"""
BROKEN = HEALTHY.replace("zip(gradients, model.trainable_variables)", "zip(model.trainable_variables, gradients)")


@dataclass(frozen=True)
class Ran:
    """What one call of tapefix gave."""

    status: int
    out: str
    err: str
    raw: bytes

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """`run("--diff", "train.py")`, with bytes for standard input where `-` is read."""

    def call(*arguments: str, stdin: bytes = b"") -> Ran:
        out, err = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", newline=""))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, "utf-8", newline=""))
            status = main(arguments)
            sys.stdout.flush()
            sys.stderr.flush()
            raw, errors = out.getvalue(), err.getvalue().decode()
        assert "Traceback" not in errors
        return Ran(status, raw.decode("utf-8", "replace"), errors, raw)

    return call


class CannedRepairer:
    """Stands in for the repairer where a test is about the report of results that are hard to bring about."""

    results: Callable[[str, str], FileResult]
    options: list[Any]

    def __init__(self, options: Any, progress: Callable[[str], None]) -> None:
        type(self).options.append(options)
        self.progress = progress

    def __enter__(self) -> CannedRepairer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def file(self, path: str, source: Any, verify: bool) -> FileResult:
        source.parse()
        self.progress(f"running {path}")
        return type(self).results(path, source.text)

    def probe(self, path: str, source: Any) -> FileResult:
        return type(self).results(path, source.text)


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., type[CannedRepairer]]:
    """`canned(results)`: from now on the repairer answers with `results(path, text)`."""

    def use(results: Callable[[str, str], FileResult]) -> type[CannedRepairer]:
        fake = type("Fake", (CannedRepairer,), {"results": staticmethod(results), "options": []})
        monkeypatch.setattr(tapefix.repair, "Repairer", fake)
        return fake

    return use


FORWARD = """\
import tensorflow as tf

predictions = model(x)
with tf.GradientTape() as tape:
    loss = loss_of(y, predictions)
"""
FORWARD_REPAIRED = """\
import tensorflow as tf

with tf.GradientTape() as tape:
    predictions = model(x)
    loss = loss_of(y, predictions)
"""


def forward_result(path: str, text: str = FORWARD) -> FileResult:
    """A repaired and verified file, as the design of the report has it."""
    wrong = Candidate("compute the loss outside too", edits=())
    right = Candidate("move the model call into the tape block", edits=())
    finding = Finding(
        code="TPF101",
        name="forward-pass-outside-tape",
        span=Span(3, 14, 3, 22),
        label="runs here",
        message=(
            "model(x) runs before the tape starts recording, so nothing connects the loss to "
            "sequential/dense/kernel and sequential/dense/bias."
        ),
        candidates=(wrong, right),
        notes=(Note(Span(4, 5, 4, 22), "recording starts here"),),
    )
    outcome = Outcome(
        finding,
        attempts=(
            Attempt(wrong, Verdict.REFUTED, "gradient of sequential/dense/kernel is None"),
            Attempt(right, Verdict.VERIFIED, ""),
        ),
        applied=right,
        verdict=Verdict.VERIFIED,
    )
    rows = (
        Row("sequential/dense/kernel", "(1, 1)", "None", "7.5e-01 to 1.5e+00", broken_before=True),
        Row("sequential/dense/bias", "(1,)", "None", "1.0e+00", broken_before=True),
        Row("loss at the first step", "", "2.8173", "2.8173"),
    )
    proof = Proof(rows, steps=3, seeds=3, seconds=0.61, verdict=Verdict.VERIFIED)
    return FileResult(path, text, FORWARD_REPAIRED, (outcome,), proof)


def without_repair(result: FileResult, reason: str = "", *, safe: bool = True, candidates: bool = True) -> FileResult:
    """The same finding, left as it is."""
    (outcome,) = result.outcomes
    ladder = (Candidate("train the weight", edits=(), safe=safe),) if candidates else ()
    finding = outcome.finding._replace(candidates=ladder)
    left = outcome._replace(finding=finding, attempts=(), applied=None, verdict=None, reason=reason)
    return result._replace(repaired=result.original, outcomes=(left,), proof=None)


def swap_result(path: str, text: str) -> FileResult:
    """What the repairer makes of BROKEN without running it."""
    wrong = "zip(model.trainable_variables, gradients)"
    repaired = text.replace(wrong, "zip(gradients, model.trainable_variables)")
    if repaired == text:
        return FileResult(path, text, text)
    line = text[: text.index(wrong)].count("\n") + 1
    repair = Candidate("zip gradients with variables", edits=())
    finding = Finding("TPF406", "swapped-zip", Span(line, 26, line, 67), "", "The pairs are swapped.", (repair,))
    outcome = Outcome(finding, (), repair, Verdict.UNVERIFIED)
    return FileResult(path, text, repaired, (outcome,))


@pytest.fixture
def swapping(canned: Callable[..., type[CannedRepairer]]) -> type[CannedRepairer]:
    return canned(swap_result)
