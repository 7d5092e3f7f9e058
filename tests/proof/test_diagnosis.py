"""Code is measured in the mode that it is written for; the diagnosis, which runs functions eagerly, only explains."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from tapefix.outcome import FileResult, Verdict
from tapefix.proof.client import ForkServer, RunRequest, ServerInfo
from tapefix.proof.diagnosis import Diagnosed
from tapefix.proof.run import Run
from tapefix.proof.verdict import failed, problems

from .helpers import source, states

pytestmark = pytest.mark.tensorflow

FUNCTION = """
w = tf.Variable([1.0, 2.0], name="w")

@tf.function
def train():
    assert not tf.executing_eagerly()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum({loss})
    gradient = tape.gradient(loss, w)
    w.assign_sub(0.1 * gradient)

for step in range(3):
    train()
"""
FIT = """
model = tf.keras.Sequential([tf.keras.layers.Dense(1)])

def loss(y, p):
    return tf.reduce_mean({loss})

model.compile("sgd", loss)
model.fit(np.ones((8, 2)), np.ones((8, 1)), verbose=0)
"""


class Counting:
    """A fork server that counts what is submitted."""

    def __init__(self, server: ForkServer) -> None:
        self.server = server
        self.submitted = 0

    def wait_ready(self) -> ServerInfo:
        return self.server.wait_ready()

    def submit(self, request: RunRequest) -> Future[Run]:
        self.submitted += 1
        return self.server.submit(request)


@pytest.fixture
def diagnose(fork_server: ForkServer, tmp_path: Path) -> Callable[[str], tuple[Diagnosed, Counting]]:
    def one(code: str) -> tuple[Diagnosed, Counting]:
        server = Counting(fork_server)
        return Diagnosed(server, RunRequest(tmp_path / "train.py", source(code), cwd=tmp_path)), server

    return one


def test_what_only_a_graph_can_do_is_healthy(diagnose: Callable[[str], tuple[Diagnosed, Counting]]) -> None:
    diagnosed, server = diagnose(FUNCTION.format(loss="w * w"))
    run = diagnosed.result()
    assert (run.end, problems(run), server.submitted) == ("finished", (), 2)
    assert states(run) == {"w": "ok"}


def test_what_only_a_graph_cannot_do_is_a_failure(diagnose: Callable[[str], tuple[Diagnosed, Counting]]) -> None:
    diagnosed, _ = diagnose(FIT.format(loss="tf.square(y - p)) * float(tf.reduce_mean(y)"))
    assert diagnosed.result().gradients == ()
    failure = failed(diagnosed.result())
    assert failure is not None
    assert failure.line == 7
    assert {source.state for source in diagnosed.shown().gradients[0].sources} == {"ok"}
    assert failed(diagnosed.shown()) == failure


def test_the_places_come_from_the_diagnosis(diagnose: Callable[[str], tuple[Diagnosed, Counting]]) -> None:
    diagnosed, _ = diagnose(FIT.format(loss="tf.round(p) - y"))
    assert [(one.line, one.kind, one.what) for one in diagnosed.result().breaks] == [(7, "op", "Round")]


def test_eager_code_is_run_once(diagnose: Callable[[str], tuple[Diagnosed, Counting]]) -> None:
    diagnosed, server = diagnose(FUNCTION.format(loss="w * w").replace("@tf.function\n", "").replace("assert not", "#"))
    assert states(diagnosed.result()) == {"w": "ok"}
    assert server.submitted == 1


def test_a_repair_is_judged_against_the_mode_of_the_user(prove: Callable[..., FileResult]) -> None:
    header = "import numpy as np\nimport tensorflow as tf\n"
    healthy = prove(header + FUNCTION.format(loss="tf.math.log(w * w)"), unsafe_fixes=True)
    assert not healthy.changed
    assert healthy.proof is not None
    assert healthy.proof.verdict is None
    broken = prove(header + FIT.format(loss="np.square(y - p)"))
    assert broken.proof is not None
    assert broken.proof.verdict is Verdict.VERIFIED
    assert {row.before for row in broken.proof.rows if row.shape} == {"None"}
