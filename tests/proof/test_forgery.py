"""Scripts that try to have a repair called verified by making up what was measured."""

from __future__ import annotations

import textwrap

import pytest

from tapefix.outcome import Verdict
from tapefix.proof.run import Run
from tapefix.proof.verdict import Promise, judge

from .helpers import Runner, states

pytestmark = pytest.mark.tensorflow

# The gradient of `b` is None, before and after what pretends to be a repair of it.
TRAINING = """
b = tf.Variable(0.4, name="b")
for _ in range(3):
    with tf.GradientTape() as tape:
        loss = tf.floor(b * 5.0)
    gradient = tape.gradient(loss, b)
"""
# A gradient as the recorder reports it.
EVENT = """
import sys, os, json, gc, types
event = {"line": 9, "function": "<module>", "step": 1, "via": "tape", "target": 2.0, "target_kind": "tensor",
         "sources": [{"name": "b", "shape": [], "kind": "tf", "state": "ok", "size": 1.0}], "unlisted": []}
RECORDER = next(
    cell.cell_contents
    for cell in tf.GradientTape.gradient.__closure__
    if type(cell.cell_contents).__name__ == "Recorder"
)
"""
OF_THE_RECORDER = "it changes what records its gradients"
CALLS = "it calls what records its gradients"
PIPE = "it writes to the pipe that its results come through"
# Each with what is said of it; where nothing is, what was measured holds.
FORGERIES = {
    "writes to all pipes": (
        """
        for descriptor in range(3, 100):
            try:
                os.write(descriptor, (json.dumps(["gradient", event]) + "\\n").encode() * 3)
            except OSError:
                pass
        """,
        PIPE,
    ),
    "seals with a key of its own": (
        """
        channel = sys.modules[type(RECORDER).__module__.rsplit(".", 1)[0] + ".channel"]
        text = json.dumps(["gradient", event]).encode()
        os.write(RECORDER._channel._pipe, channel.Seal(bytes(32)).of(text) + b" " + text + b"\\n")
        """,
        PIPE,
    ),
    "writes a line without end": (
        """
        while True:
            os.write(RECORDER._channel._pipe, b"x" * (1 << 20))
        """,
        PIPE,
    ),
    "sends": ("RECORDER._channel.send('gradient', event)", CALLS),
    "sends from a frame above": (
        """
        frame = sys._getframe()
        while not isinstance(frame.f_locals.get("self"), object) or not hasattr(frame.f_locals.get("self"), "_channel"):
            frame = frame.f_back
        frame.f_locals["self"]._channel.send("gradient", event)
        """,
        CALLS,
    ),
    "ends the run": (
        """
        frame = sys._getframe()
        while not hasattr(frame.f_locals.get("self"), "_finish"):
            frame = frame.f_back
        frame.f_locals["self"]._finish("finished", None)
        """,
        CALLS,
    ),
    "records": (
        """
        def compute():
            return tf.constant(1.0)
        RECORDER._measure(compute, tf.constant(1.0), b, "tape", None)
        """,
        CALLS,
    ),
    "replaces a method": ("type(RECORDER)._size = lambda self, gradient: 1.0", OF_THE_RECORDER),
    "replaces a method of one": ("RECORDER._size = lambda gradient: 1.0", OF_THE_RECORDER),
    "replaces code": (
        "type(RECORDER)._size.__code__ = (lambda self, gradient: 1.0).__code__",
        OF_THE_RECORDER,
    ),
    "replaces how graphs are measured": (
        "RECORDER.graphs._max = lambda values, axes: tf.reduce_max(values, axes) * 0 + 1",
        OF_THE_RECORDER,
    ),
    "replaces a function": (
        "sys.modules[type(RECORDER).__module__]._dense = lambda gradient: tf.constant(1.0)",
        OF_THE_RECORDER,
    ),
    "replaces numpy.abs": ("np.abs = lambda values: np.ones(1)", ""),
    "replaces numpy.asarray": ("np.asarray = np.array = lambda values, *rest: np.ones(1)", ""),
    "replaces json": (
        """
        json.dumps = json.JSONEncoder.encode = json.JSONEncoder.iterencode = lambda *_, **__: '["gradient", {}]'
        """,
        "",
    ),
    "replaces os.write": (
        """
        real = os.write
        os.write = lambda descriptor, data: real(descriptor, bytes(data).replace(b'"none"', b'"ok"'))
        """,
        "",
    ),
    "replaces the method of the tape": (
        "tf.GradientTape.gradient = lambda self, target, sources: tf.ones_like(sources)",
        "it computes no gradient when it is run",
    ),
    "looks for the sender": (
        """
        for one in gc.get_objects():
            if isinstance(one, types.FunctionType) and one.__qualname__.endswith("_writer.<locals>.send"):
                one("gradient", event)
        """,
        "",
    ),
    "looks for the sender in what holds it": (
        """
        for one in gc.get_referents(RECORDER._channel._write):
            if isinstance(one, types.FunctionType):
                one("gradient", event)
        """,
        CALLS,
    ),
}


@pytest.fixture(scope="module")
def honest() -> dict[str, Run]:
    return {}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgery_is_not_verified(run: Runner, honest: dict[str, Run], name: str) -> None:
    if not honest:
        honest["run"] = run(TRAINING)
        assert states(honest["run"]) == {"b": "none"}
    code, said = FORGERIES[name]
    forged = run(TRAINING.replace("b = ", EVENT + "b = ", 1).replace("for _", textwrap.dedent(code) + "\nfor _"))
    for before, after in ((honest["run"], forged), (forged, honest["run"]), (forged, forged)):
        verdict, reason = judge([before], [after], Promise(keeps_value=False, silent=True, trains_more=False))
        assert verdict is not Verdict.VERIFIED
        if after is forged and said:
            assert said in reason
    if not said:
        assert {state for gradient in forged.gradients for state in states(forged, 0).values()} == {"none"}
    assert "\n" not in reason


def test_right_repair_beside_them_is_verified(run: Runner) -> None:
    before, after = run(TRAINING), run(TRAINING.replace("tf.floor(b * 5.0)", "b * 5.0"))
    assert judge([before], [after], Promise(keeps_value=False))[0] is Verdict.VERIFIED


def test_script_that_patches_libraries_is_measured_all_the_same(run: Runner) -> None:
    """Honest scripts replace functions of NumPy, json and TensorFlow, too."""
    result = run(
        """
        import functools, json, logging
        json.JSONEncoder.default = lambda self, value: float(value)
        original = tf.GradientTape.gradient
        @functools.wraps(original)
        def logged(tape, *args, **kwargs):
            logging.info("gradient")
            return original(tape, *args, **kwargs)
        tf.GradientTape.gradient = logged
        np.float = float
        """
        + textwrap.indent(TRAINING.replace("tf.floor(b * 5.0)", "b * 5.0"), " " * 8)
    )
    assert (result.end, states(result)) == ("finished", {"b": "ok"})
