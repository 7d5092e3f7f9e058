"""Every entry of the table of NumPy functions: what it is rewritten to computes the same value, with a gradient."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tapefix.analysis.exports import exit_kind
from tapefix.analysis.module import Module
from tapefix.codemods.apply import apply
from tapefix.codemods.edits import Edit
from tapefix.rules import _numpy_table as table
from tapefix.rules._numpy_calls import operation_name, translated, translated_method

pytest.importorskip("scipy")
pytestmark = pytest.mark.tensorflow

HEAD = """import math
import numpy as np
import tensorflow as tf
import scipy.fft
import scipy.linalg
import scipy.special
import scipy.spatial.distance
from scipy.spatial import distance

"""
# The names that stand for tensors. x, y: (3, 4); v, u: (4,); s: symmetric (3, 3); b: (2, 3, 3); t, r: (3,);
# z, w: scalars; d: (3, 4) with values of both signs; n: with a NaN; p: probabilities, one row of them sums to 1.
TENSORS = ("x", "y", "v", "u", "s", "b", "t", "r", "z", "w", "d", "n", "p")

# Names of NumPy before its version 2.
GONE = {"product", "trapz"}

# As they are written in losses. What starts with "flat: " has no derivative (or none that is not zero).
EXAMPLES = Path(__file__).with_name("numpy_examples.txt").read_text().splitlines()
LINES = [line for line in EXAMPLES if line and not line.startswith("#")]

RUNNER = r"""
import json, sys, warnings
warnings.simplefilter("ignore")
import math
import numpy as np
import scipy.fft, scipy.linalg, scipy.special, scipy.spatial.distance
import tensorflow as tf
from scipy.spatial import distance

rng = np.random.default_rng(3)
arrays = {
    "x": rng.uniform(0.1, 0.9, (3, 4)), "y": rng.uniform(0.1, 0.9, (3, 4)), "v": rng.uniform(0.1, 0.9, 4),
    "u": rng.uniform(0.1, 0.9, 4), "s": [[2.0, 0.3, 0.1], [0.3, 1.5, 0.2], [0.1, 0.2, 1.0]],
    "b": rng.uniform(0.1, 0.9, (2, 3, 3)) + 2 * np.eye(3), "t": rng.uniform(0.1, 0.9, 3), "r": rng.uniform(0.1, 0.9, 3),
    "z": 0.7, "w": 0.4, "d": rng.normal(size=(3, 4)), "n": [0.5, np.nan, 0.25, 0.75], "p": [0.5, 0.2, 0.2, 0.1],
}
arrays = {name: np.array(value, "float32") for name, value in arrays.items()}
given = {"i": np.array([2, 0, 1]), "k": 2, "labels": np.array([1, 0, 3]), "data64": rng.normal(size=(3, 4)),
         "mask": np.array([True, False, True]), "grid": np.array([0.0, 0.5, 1.0]), "heights": np.array([1.0, 3.0, 2.0])}

def values(result):
    if isinstance(result, (tuple, list)):
        return [v for r in result for v in values(r)]
    return [np.asarray(result)]

def run(expression, result, flat):
    names = dict(given, np=np, tf=tf, math=math, scipy=scipy, distance=distance)
    scope = {**names, **arrays}
    try:
        exec(expression, scope)
    except AttributeError:
        return "skip: not in this version"
    want = values(scope["out"])
    variables = {name: tf.Variable(value) for name, value in arrays.items()}
    for way in ("eager", "graph"):
        scope = {**names, **variables}
        def compute():
            exec(result, scope)
            out = scope["out"]
            flat_list = tf.nest.flatten(out)
            return flat_list
        with tf.GradientTape() as tape:
            got = compute() if way == "eager" else tf.function(compute, autograph=False)()
            loss = tf.add_n([tf.reduce_sum(tf.cast(tf.abs(g) if g.dtype.is_complex else g, tf.float32) ** 2)
                             for g in map(tf.convert_to_tensor, got)])
        grads = tape.gradient(loss, list(variables.values()))
        got = values(got)
        if len(got) != len(want):
            return f"{way}: {len(got)} results, not {len(want)}"
        for g, w in zip(got, want):
            if g.shape != w.shape:
                return f"{way}: shape {g.shape}, not {w.shape}"
            if not np.allclose(g, w, rtol=1e-5, atol=1e-6, equal_nan=True):
                return f"{way}: {g}, not {w}"
        if not flat:
            if all(g is None for g in grads):
                return f"{way}: no gradient"
            used = [tf.convert_to_tensor(g) for g in grads if g is not None]
            if not any(np.any(g.numpy() != 0) for g in used):
                return f"{way}: gradient zero"
            if not all(np.all(np.isfinite(g.numpy())) for g in used):
                return f"{way}: gradient not finite"
    return ""

answers = []
for expression, result, flat in json.load(sys.stdin):
    try:
        answers.append(run(expression, result, flat))
    except Exception as error:
        answers.append(f"{type(error).__name__}: {str(error)[:300]}")
print(json.dumps(answers))
"""


def statement(line: str) -> str:
    return f"out = {line.removeprefix('flat: ')}\n"


def rewritten(line: str) -> str | None:
    """The statement in TensorFlow, None where it is not translated."""
    text = HEAD + statement(line)
    module = Module(text)
    edits: list[Edit] = []
    for call in module.calls:
        on_path = any(isinstance(n, ast.Name) and n.id in TENSORS for n in ast.walk(call))
        if not on_path:
            continue
        if exit_kind(module, call) == "operation":
            made = translated(module, call)
        elif isinstance(call.func, ast.Attribute) and module.call_name(call) is None:
            made = translated_method(module, call)
        else:
            continue
        if made is None:
            return None
        edits += made
    return apply(text, edits).removeprefix(HEAD)


def names(line: str) -> set[str]:
    module = Module(HEAD + statement(line))
    found = set()
    for call in module.calls:
        found.add(operation_name(module, call))
        if isinstance(call.func, ast.Attribute):
            found.add("." + call.func.attr)
        if module.call_name(call) == "math.log":
            found.add("math.log")
    return found


@pytest.fixture(scope="module")
def answers() -> dict[str, str]:
    results = {line: rewritten(line) for line in LINES}
    asked: list[Any] = [
        (statement(line), result, line.startswith("flat: ")) for line, result in results.items() if result is not None
    ]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(asked), capture_output=True, text=True, env=environment
    )
    assert process.returncode == 0, process.stderr[-2000:]
    said = iter(json.loads(process.stdout))
    return {line: next(said) if result is not None else "not translated" for line, result in results.items()}


@pytest.mark.parametrize("line", LINES)
def test_translation_computes_the_same(line: str, answers: dict[str, str]) -> None:
    if answers[line].startswith("skip"):
        pytest.skip(answers[line])
    assert answers[line] == "", rewritten(line)


def test_every_entry_has_an_example() -> None:
    seen = {name for line in LINES for name in names(line)}
    seen |= {f"{name}[0, 1]" for line in LINES for name in ("cov", "corrcoef") if f"{name}(v, u)[0, 1]" in line}
    wanted = {*table.UNARY, *table.BINARY, *table.REDUCTIONS, *table.SAME_ARGUMENTS, *table.TEMPLATES}
    wanted |= {f".{method}" for method in table.METHODS}
    assert sorted(wanted - seen - GONE) == []
