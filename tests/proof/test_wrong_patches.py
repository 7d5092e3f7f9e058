"""Patches that look right and are wrong are never verified, and the right one beside each is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapefix.outcome import Verdict
from tapefix.proof.client import ForkServer, RunRequest
from tapefix.proof.verdict import Promise, judge

pytestmark = pytest.mark.tensorflow

START = """\
import numpy as np
import tensorflow as tf

a, b = tf.Variable(1.3), tf.Variable(0.4)
x = tf.constant([1.0, 2.0, 3.5])
optimizer = tf.keras.optimizers.SGD(0.1)
for _ in range(3):
    with tf.GradientTape() as tape:
        {loss}
    gradients = {gradients}
    {update}
"""
GRADIENTS = "tape.gradient(loss, [a, b])"
UPDATE = "optimizer.apply_gradients(zip(gradients, [a, b]))"


def script(loss: str, gradients: str = GRADIENTS, update: str = UPDATE) -> str:
    return START.format(loss=loss, gradients=gradients, update=update)


FLOOR = script("loss = np.floor(tf.reduce_mean(a * x + b))")
TWO_TERMS = script("loss = tf.reduce_mean(tf.square(a * x)) + tf.floor(b * 5.0)")
HEALTHY = script("loss = tf.reduce_mean(tf.square(a * x + b))")


def verdict(server: ForkServer, folder: Path, before: str, after: str, **promise: bool) -> Verdict:
    path = folder / "train.py"
    runs = [server.submit(RunRequest(path, text.encode(), cwd=folder)) for text in (before, after)]
    first, second = (future.result() for future in runs)
    return judge([first], [second], Promise(**promise))[0]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(FLOOR, FLOOR.replace("np.floor", "tf.floor"), Verdict.REFUTED, id="tf.floor for np.floor"),
        pytest.param(
            FLOOR,
            script("v = tf.reduce_mean(a * x + b)\n        loss = v + tf.stop_gradient(tf.floor(v) - v)"),
            Verdict.VERIFIED,
            id="straight-through",
        ),
        pytest.param(
            TWO_TERMS,
            TWO_TERMS.replace(
                "[a, b])\n    opt", "[a, b], unconnected_gradients=tf.UnconnectedGradients.ZERO)\n    opt"
            ),
            Verdict.REFUTED,
            id="unconnected_gradients=ZERO",
        ),
        pytest.param(
            TWO_TERMS, script("loss = tf.reduce_mean(tf.square(a * x)) + b * 0.0"), Verdict.REFUTED, id="0 * b"
        ),
        pytest.param(
            TWO_TERMS,
            script("loss = tf.reduce_mean(tf.square(a * x + b))"),
            Verdict.REFUTED,
            id="a dropped loss term",
        ),
        pytest.param(
            TWO_TERMS,
            TWO_TERMS.replace("zip(gradients, [a, b])", "[(g, v) for g, v in zip(gradients, [a, b]) if g is not None]"),
            Verdict.REFUTED,
            id="None filtered out of the update",
        ),
        pytest.param(
            TWO_TERMS,
            script("loss = tf.reduce_mean(tf.square(a * x)) + tf.floor(b * 5.0)", "tape.gradient(loss, [a])").replace(
                "zip(gradients, [a, b])", "zip(gradients, [a])"
            ),
            Verdict.REFUTED,
            id="the starved variable left out",
        ),
    ],
)
def test_patch(fork_server: ForkServer, tmp_path: Path, before: str, after: str, expected: Verdict) -> None:
    assert before != after
    assert verdict(fork_server, tmp_path, before, after) is expected


def test_a_variable_nobody_trains(fork_server: ForkServer, tmp_path: Path) -> None:
    constant = HEALTHY.replace("a * x + b))", "a * x + b)) * tf.constant(0.5)")
    idle = HEALTHY.replace("a * x + b))", "a * x + b)) * c").replace("x = tf", "c = tf.Variable(0.5)\nx = tf")
    listed = idle.replace("[a, b]", "[a, b, c]")
    assert verdict(fork_server, tmp_path, constant, idle, trains_more=True) is Verdict.REFUTED
    assert verdict(fork_server, tmp_path, constant, listed, trains_more=True) is Verdict.VERIFIED
