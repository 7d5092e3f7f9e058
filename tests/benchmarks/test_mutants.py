"""The generator of mutants puts in what it says, and sees whether it is repaired."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from mutate import KINDS, mutants  # noqa: E402

HEALTHY = """\
import tensorflow as tf

model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(3)])
optimizer = tf.keras.optimizers.SGD(0.1)
scale = tf.Variable(1.0)


def weighted_loss(y_true, y_pred):
    p = tf.nn.softmax(y_pred)
    return -tf.reduce_sum(y_true * tf.math.log(p + 1e-7), axis=-1)


def train(x, y):
    with tf.GradientTape(persistent=True) as tape:
        logits = model(x, training=True)
        loss = tf.reduce_mean(weighted_loss(y, logits)) * scale
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    scale.assign_sub(0.1 * tape.gradient(loss, scale))
    return float(loss)
"""
# For each kind a line that one of its mutants holds.
WRITTEN = {
    "forward-outside-tape": "    logits = model(x, training=True)",
    "predict-in-tape": "        logits = model.predict(x)",
    "numpy-method": "        logits = model(x, training=True).numpy()",
    "numpy-operation": "    return -np.sum(y_true * tf.math.log(p + 1e-7), axis=-1)",
    "constant-source": "scale = tf.constant(1.0)",
    "missing-return": "    result = -tf.reduce_sum(y_true * tf.math.log(p + 1e-7), axis=-1)",
    "unguarded-log": "    return -tf.reduce_sum(y_true * tf.math.log(p), axis=-1)",
    "swapped-zip": "    optimizer.apply_gradients(zip(model.trainable_variables, gradients))",
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind(kind: str) -> None:
    found = [m for m in mutants(HEALTHY) if m.kind == kind]
    assert any(WRITTEN[kind] in m.text.splitlines() for m in found)
    for mutant in found:
        assert not mutant.is_gone(ast.parse(mutant.text))
        assert mutant.is_gone(ast.parse(HEALTHY))


def test_numpy_is_imported() -> None:
    texts = [m.text for m in mutants(HEALTHY) if m.kind == "numpy-operation"]
    assert all("import numpy as np\n" in text for text in texts)


def test_a_forward_pass_that_needs_the_block_stays_there() -> None:
    text = HEALTHY.replace("        logits = model(x", "        x = x + 1.0\n        logits = model(x")
    assert not [m for m in mutants(text) if m.kind == "forward-outside-tape"]


def test_what_is_not_learned_stays() -> None:
    text = HEALTHY.replace("p = tf.nn.softmax(y_pred)", "p = tf.nn.softmax(tf.stop_gradient(y_pred))")
    assert not [m for m in mutants(text) if m.kind == "unguarded-log"]


def test_table(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_text(HEALTHY)
    command = [sys.executable, "benchmarks/mutants.py", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = {line.split()[0]: line.split()[1:] for line in ran.stdout.splitlines()}
    assert set(rows) == {"kind", *KINDS}
    assert rows["swapped-zip"] == ["1", "1", "1", "0", "0", "0", "1"]
