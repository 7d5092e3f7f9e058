"""The command line with nothing replaced: real repairs, proved in a real process with TensorFlow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import BROKEN, HEALTHY, Ran

Run = Callable[..., Ran]

pytestmark = pytest.mark.tensorflow


def test_diff_then_write_then_nothing_left(run: Run) -> None:
    path = Path("train.py")
    path.write_text(BROKEN)
    ran = run("--diff", "train.py")
    assert (ran.status, path.read_text()) == (1, BROKEN)
    assert "+optimizer.apply_gradients(zip(gradients, model.trainable_variables))" in ran.out
    assert "verified: " in ran.out
    assert ran.out.endswith("1 problem, 1 verified repair. Apply it with: tapefix --write train.py\n")
    ran = run("--write", "train.py")
    assert (ran.status, path.read_text()) == (0, HEALTHY)
    assert ran.out.endswith("Repaired train.py: 1 problem, verified.\n")
    ran = run("--write", "train.py")
    assert (ran.status, path.read_text()) == (0, HEALTHY)


def test_probe_and_arguments_of_the_script(run: Run) -> None:
    Path("train.py").write_text(
        "import sys\n" + HEALTHY.replace("tf.ones([4, 1])", "float(sys.argv[1]) * tf.ones([4, 1])")
    )
    ran = run("--probe", "--verbose", "train.py", "--", "-2.5")
    assert ran.status == 0
    assert "kernel" in ran.out
    assert "None" not in ran.out
    assert "code run by /" in ran.err
    ran = run("--probe", "train.py")
    assert ran.status == 2
    assert ran.out.startswith("  train.py: gradients: ")


def test_probe_as_json_holds_all_that_was_measured(run: Run) -> None:
    code = """\
import tensorflow as tf
v, w, u = tf.Variable(2.0, name="v"), tf.Variable([0.0, 1.0], name="w"), tf.Variable(1.0, name="u")
for step in range(2):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sqrt(w)) + tf.floor(v) * u / u
    gradients = tape.gradient(loss, [v, w])
    w.assign_sub(0.1 * tf.where(tf.math.is_finite(gradients[1]), gradients[1], 0.0))
"""
    Path("train.py").write_text(code)
    ran = run("--probe", "--output-format", "json", "train.py")
    assert ran.status == 1

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    (file,) = json.loads(ran.out, parse_constant=refuse)["files"]
    measured = file["proof"]["run"]
    assert (measured["end"], measured["failure"]) == ("finished", None)
    first, second = measured["gradients"]
    assert (first["line"], first["step"], second["step"], first["via"], first["target"]) == (6, 1, 2, "tape", 3.0)
    assert first["unlisted"] == ["u"]
    assert first["sources"] == [
        {"name": "v", "shape": [], "kind": "tf", "state": "none", "size": None},
        {"name": "w", "shape": [2], "kind": "tf", "state": "inf", "size": "Infinity"},
    ]
    variables = {one["name"]: (one["line"], one["asked"], one["changed"]) for one in measured["variables"]}
    assert variables == {"v": (2, True, False), "w": (2, True, True), "u": (2, False, False)}
    assert {"line": 5, "kind": "op", "what": "Floor", "calls": []} in measured["breaks"]


def test_probe_runs_a_script_that_leaves_tensorflow_to_its_modules(run: Run) -> None:
    Path("model.py").write_text(HEALTHY)
    Path("train.py").write_text("import tensorboard_logger\nimport model\n")
    ran = run("--probe", "train.py")
    assert ran.status == 0
    assert "kernel" in ran.out
    assert "note: tensorboard_logger is not installed: nothing is logged" in ran.out


def test_a_script_that_never_ends(run: Run) -> None:
    Path("train.py").write_text(HEALTHY + "\nwhile True:\n    pass\n")
    start = time.monotonic()
    run("--probe", "--timeout", "3", "train.py")
    assert time.monotonic() - start < 30


def test_an_interpreter_that_is_none(run: Run) -> None:
    Path("train.py").write_text(BROKEN)
    ran = run("--diff", "--python", "missing/python", "train.py")
    assert ran.status == 2
    assert ran.err.count("\n") == 1
    assert "missing/python" in ran.err


def test_an_interrupt_leaves_no_process() -> None:
    Path("train.py").write_text(HEALTHY + "\nopen('started', 'w')\nimport time\ntime.sleep(100)\n")
    # The process group tells which processes were started by this call.
    process = subprocess.Popen(
        [sys.executable, "-m", "tapefix", "--probe", "train.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TAPEFIX_TEST_MARK": str(Path.cwd())},
        # What is started in the background of a shell script would ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "tapefix: interrupted\n")
    deadline = time.monotonic() + 10
    while (left := _marked(f"TAPEFIX_TEST_MARK={Path.cwd()}")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def _marked(mark: str) -> list[str]:
    """The processes that have a mark in their environment, where the system shows it."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in environment.read_bytes():
                found.append(environment.parent.name)
        except OSError:
            continue
    return found
