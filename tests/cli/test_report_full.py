"""The full report: what a person reads in the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FORWARD, Ran, forward_result, without_repair

from tapefix.findings import Span
from tapefix.outcome import FileResult, Proof, Row, Verdict
from tapefix.report.terminal import cells

Run = Callable[..., Ran]
Canned = Callable[[Callable[[str, str], FileResult]], object]

SESSION = """\
train.py:3:15 TPF101 forward-pass-outside-tape
  model(x) runs before the tape starts recording, so nothing connects the loss
  to sequential/dense/kernel and sequential/dense/bias.

   3 | predictions = model(x)
     |               ^^^^^^^^ runs here
   4 | with tf.GradientTape() as tape:
     |      ----------------- recording starts here

  tried: compute the loss outside too: refuted, gradient of
  sequential/dense/kernel is None
  repair: move the model call into the tape block

  --- train.py
  +++ train.py, repaired
  @@ -1,5 +1,5 @@
   import tensorflow as tf
   $
  -predictions = model(x)
   with tf.GradientTape() as tape:
  +    predictions = model(x)
       loss = loss_of(y, predictions)

  verified: 3 steps, 3 seeds, 0.6 s  before  after
    sequential/dense/kernel  (1, 1)  None    7.5e-01 to 1.5e+00
    sequential/dense/bias    (1,)    None    1.0e+00
    loss at the first step           2.8173  2.8173

1 problem, 1 verified repair. Apply it with: tapefix --write train.py
""".replace("$", "")


@pytest.fixture(autouse=True)
def script() -> None:
    Path("train.py").write_text(FORWARD)


def test_session(run: Run, canned: Canned) -> None:
    canned(forward_result)
    ran = run("--diff", "train.py")
    assert ran.out == SESSION
    assert (ran.status, ran.err) == (1, "")


@pytest.mark.parametrize("width", [40, 60])
def test_narrow_terminals_stay_readable(run: Run, canned: Canned, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    canned(forward_result)
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run("--diff", "train.py").out.splitlines()
    # The first line holds a place to jump to, the last one a command to copy: neither may be broken.
    for line in lines[1:-1]:
        assert cells(line) <= width, line
    assert any("^^^^^^^^" in line for line in lines)
    assert any("7.5e-01 to 1.5e+00" in line for line in lines)


def test_long_lines_are_cut_around_the_mark(run: Run, canned: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "value = " + "first_summand + " * 10 + "model(x)" + " + last_summand" * 10
    column = code.index("model")
    text = f"import tensorflow\n{code}\n"

    def result(path: str, _: str) -> FileResult:
        made = without_repair(forward_result(path, text))
        finding = made.outcomes[0].finding._replace(span=Span(2, column, 2, column + 8), notes=())
        return made._replace(outcomes=(made.outcomes[0]._replace(finding=finding),))

    canned(result)
    monkeypatch.setenv("COLUMNS", "60")
    lines = run("train.py").out.splitlines()
    at = next(number for number, line in enumerate(lines) if "^^^" in line)
    start = lines[at].index("^")
    assert lines[at - 1][start : start + 8] == "model(x)"
    assert len(lines[at - 1]) <= 60
    assert lines[at - 1].endswith("...")
    monkeypatch.delenv("COLUMNS")
    assert code in run("train.py").out


def test_marks_stand_under_tabs_and_wide_characters(run: Run, canned: Canned) -> None:
    code = "\t名 = '日本'; model(x)"
    column = code.index("model")

    def result(path: str, _: str) -> FileResult:
        made = without_repair(forward_result(path, f"import tensorflow\n{code}\n"))
        finding = made.outcomes[0].finding._replace(span=Span(2, column, 2, column + 8), notes=())
        return made._replace(outcomes=(made.outcomes[0]._replace(finding=finding),))

    canned(result)
    lines = run("train.py").out.splitlines()
    at = next(number for number, line in enumerate(lines) if "^^^" in line)
    assert cells(lines[at - 1][: lines[at - 1].index("model")]) == lines[at].index("^")


def test_distant_and_neighbouring_lines(run: Run, canned: Canned) -> None:
    text = "import tensorflow\n" + "".join(f"line_{number}\n" for number in range(2, 30))

    def result(path: str, _: str) -> FileResult:
        made = without_repair(forward_result(path, text))
        finding = made.outcomes[0].finding
        notes = tuple(finding.notes[0]._replace(span=Span(line, 0, line, 4)) for line in (5, 25))
        return made._replace(outcomes=(made.outcomes[0]._replace(finding=finding._replace(notes=notes)),))

    canned(result)
    out = run("train.py").out
    assert " 4 | line_4" in out
    assert "line_6" not in out
    assert re.search(r"\n +\.\.\.\n +25 \| line_25\n", out)


def test_no_control_characters_reach_the_terminal(run: Run, canned: Canned) -> None:
    text = FORWARD.replace("model(x)", "model(x) # \x1b[31m red")
    canned(lambda path, _: forward_result(path, text))
    assert "\x1b" not in run("--diff", "train.py").out


def test_colours(run: Run, canned: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    canned(forward_result)
    assert "\x1b[" not in run("--diff", "train.py").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = run("--diff", "train.py").out
    assert "\x1b[32m+    predictions = model(x)\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == SESSION
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("--diff", "train.py").out


def test_many_rows(run: Run, canned: Canned) -> None:
    rows = [Row(f"encoder/block_{n}/kernel", "(3, 3)", "1.0e-02", "1.0e-02") for n in range(43)]
    rows.insert(30, Row("decoder/gate/kernel", "(3, 3)", "None", "2.0e-02", broken_before=True))
    rows.append(Row("loss at the first step", "", "1.0", "1.0"))

    def result(path: str, text: str) -> FileResult:
        made = forward_result(path, text)
        return made._replace(proof=Proof(tuple(rows), 3, 3, 2.0, Verdict.VERIFIED))

    canned(result)
    out = run("--diff", "train.py").out
    assert out.count("encoder/") == 3
    assert "decoder/gate/kernel" in out
    first, second = out.splitlines()[-4:-2]
    assert first.endswith("... and 40 more, healthy before and after")
    assert "loss at the first step" in second


def test_a_long_verdict_stands_above_the_table(run: Run, canned: Canned) -> None:
    def result(path: str, text: str) -> FileResult:
        made = forward_result(path, text)
        assert made.proof is not None
        return made._replace(proof=made.proof._replace(verdict=Verdict.REFUTED, reason="it was harmful " * 8))

    canned(result)
    lines = run("--diff", "train.py").out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  refuted: it was harmful"))
    assert lines[at + 1].endswith("3 steps, 3 seeds, 0.6 s")
    assert lines[at + 2].split() == ["before", "after"]
    assert lines[at + 3].startswith("    sequential/dense/kernel")


def test_long_names_lose_their_middle(run: Run, canned: Canned) -> None:
    name = "generator/" + "residual_block/" * 8 + "kernel"

    def result(path: str, text: str) -> FileResult:
        made = forward_result(path, text)
        rows = (Row(name, "(3, 3, 64, 64)", "None", "1.0e-02", broken_before=True),)
        return made._replace(proof=Proof(rows, 3, 1, 1.0, Verdict.VERIFIED))

    canned(result)
    out = run("--diff", "train.py").out
    (row,) = [line for line in out.splitlines() if "generator/" in line]
    assert re.match(r"    generator/\S+\.\.\.\S+/kernel  \(3, 3, 64, 64\) +None +1.0e-02$", row)
    assert len(row) <= 80


def test_unverified_says_why(run: Run, canned: Canned) -> None:
    def result(path: str, text: str) -> FileResult:
        made = forward_result(path, text)
        outcome = made.outcomes[0]._replace(verdict=Verdict.UNVERIFIED)
        proof = Proof(verdict=Verdict.UNVERIFIED, reason="needs data/train.csv")
        return made._replace(outcomes=(outcome,), proof=proof, notices=("no network protection here",))

    canned(result)
    Path("other.py").write_text(FORWARD)
    out = run("--diff", "train.py", "other.py").out
    assert "  unverified: needs data/train.csv\n" in out
    assert out.count("note: no network protection here") == 1
    assert out.endswith("2 problems, 2 unverified repairs. Apply them with: tapefix --write train.py other.py\n")


@pytest.mark.parametrize(
    ("arguments", "result", "line"),
    [
        ((), without_repair(forward_result("train.py")), "1 problem. Repair it with: tapefix --diff train.py"),
        (
            (),
            without_repair(forward_result("train.py"), safe=False),
            "1 problem, 1 needs --unsafe-fixes, no repair known.",
        ),
        ((), without_repair(forward_result("train.py"), candidates=False), "1 problem, no repair known."),
        (("--diff",), without_repair(forward_result("train.py"), candidates=False), "1 problem, no repair to apply."),
        (("--write",), forward_result("train.py"), "Repaired train.py: 1 problem, verified."),
        (
            ("--write",),
            without_repair(forward_result("train.py"), safe=False),
            "1 problem remains, 1 needs --unsafe-fixes.",
        ),
        (("--diff",), FileResult("train.py", FORWARD, FORWARD), "No problems found in 1 file."),
    ],
)
def test_summary(run: Run, canned: Canned, arguments: tuple[str, ...], result: FileResult, line: str) -> None:
    canned(lambda path, text: result)
    assert run(*arguments, "train.py").out.splitlines()[-1] == line


def test_the_suggested_command_repeats_the_options(run: Run, canned: Canned) -> None:
    canned(forward_result)
    Path("my train.py").write_text(FORWARD)
    out = run("--diff", "--unsafe-fixes", "--no-verify", "my train.py", "--", "--epochs", "1").out
    assert out.endswith("with: tapefix --write --unsafe-fixes --no-verify 'my train.py' -- --epochs 1\n")


def test_probe(run: Run, canned: Canned) -> None:
    def result(path: str, text: str) -> FileResult:
        rows = (
            Row("dense/kernel", "(2, 1)", "None", "", broken_before=True),
            Row("dense/bias", "(1,)", "1.0e+00", ""),
        )
        return FileResult(path, text, text, proof=Proof(rows, 3, 1, 0.4))

    canned(result)
    ran = run("--probe", "train.py")
    assert ran.out == (
        "  train.py: gradients: 3 steps, 1 seed, 0.4 s  gradient\n"
        "    dense/kernel                       (2, 1)  None\n"
        "    dense/bias                         (1,)    1.0e+00\n"
        "\n"
    )
    assert ran.status == 1


def test_probe_without_a_gradient_could_not_do_its_work(run: Run, canned: Canned) -> None:
    proof = Proof(verdict=Verdict.UNVERIFIED, reason="needs data/train.csv")
    canned(lambda path, text: FileResult(path, text, text, proof=proof))
    ran = run("--probe", "train.py")
    assert (ran.status, "needs data/train.csv" in ran.out) == (2, True)
