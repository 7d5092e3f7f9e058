"""Where a diagnosis finds the chain cut."""

from __future__ import annotations

import pytest

from .helpers import Runner, line_of, source

pytestmark = pytest.mark.tensorflow

TAPE = """
import math
w = tf.Variable([1.0, 2.0], name="w")
v = tf.Variable(2.0, name="v")
label = np.array([1.0, 0.0], "float32")
with tf.GradientTape() as tape:
    y = w * 2.0 + v
    {line}  # here
    loss = tf.reduce_sum(w) + tf.cast(tf.reduce_sum(z), tf.float32)
tape.gradient(loss, [w, v])
"""


@pytest.mark.parametrize(
    ("line", "kind", "what"),
    [
        ("z = y.numpy()", "export", ".numpy()"),
        ("z = np.array(y)", "export", "np.array"),
        ("z = np.asarray([y, y])", "export", "np.asarray"),
        ("z = np.exp(y)", "export", "np.exp"),
        ("z = np.add(label, y)", "export", "np.add"),
        ("z = np.sum(y, axis=0)", "export", "np.sum"),
        ("z = np.linalg.norm(y)", "export", "np.linalg.norm"),
        ("z = np.where(label > 0, y, y)", "export", "np.where"),
        ("z = np.exp(w)", "export", ".numpy()"),
        ("z = float(y[0])", "export", "float"),
        ("z = math.log(y[1])", "export", "float"),
        ("z = [float(one) for one in y]", "export", "float"),
        ("z = tf.floor(y)", "op", "Floor"),
        ("z = tf.round(y)", "op", "Round"),
        ("z = tf.sign(y)", "op", "Sign"),
        ("z = tf.argmax(y)", "op", "ArgMax"),
        ("z = tf.cast(y, tf.int32)", "op", "Cast"),
        ("z = y > 1.0; z = tf.cast(z, tf.float32)", "op", "Greater"),
        ("z = y // 2.0", "op", "FloorDiv"),
        ("z = tf.numpy_function(np.exp, [y], tf.float32)", "export", "np.array"),
        ("z = tf.stop_gradient(y)", "op", "StopGradient"),
    ],
)
def test_cut(run: Runner, line: str, kind: str, what: str) -> None:
    code = TAPE.format(line=line)
    result = run(code, diagnose=True)
    at = line_of(source(code), "# here")
    found = {(b.line, b.kind, b.what) for b in result.breaks}
    if line == "z = np.exp(w)":  # a variable reads itself first; by which name depends on the version
        assert {(b.line, b.kind) for b in result.breaks} == {(at, kind)}
    elif what == "StopGradient":
        assert result.end == "finished"
    else:
        assert (at, kind, what) in found
    assert all(b.line == at for b in result.breaks)


@pytest.mark.parametrize(
    "line",
    [
        "z = label * y",
        "z = y * label - label / y",
        "z = tf.exp(y) * tf.constant(label)",
        "z = y * np.exp(label)",
        "z = tf.nn.sigmoid_cross_entropy_with_logits(label, y)",
        "z = tf.cast(tf.cast(y, tf.float64), tf.float32)[::-1]",
        "z = tf.where(label > 0, y, 0.0); n = tf.shape(y)[0]; print(y)",
        "z = tf.keras.losses.BinaryCrossentropy(from_logits=True)(label, y)",
    ],
)
def test_whole(run: Runner, line: str) -> None:
    result = run(TAPE.format(line=line), diagnose=True)
    assert result.end == "finished", result.failure
    assert result.breaks == ()
    assert {s.state for s in result.gradients[0].sources} == {"ok"}


def test_outside(run: Runner) -> None:
    code = """
        a, b = tf.Variable([1.0]), tf.Variable([2.0])
        joined = tf.concat([a, b], 0)  # here
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(joined * a)
            g = tape.gradient(loss, [a, b])
            a.assign_sub(g[0])
        """
    result = run(code, diagnose=True)
    assert [(b.line, b.kind) for b in result.breaks] == [(line_of(source(code), "# here"), "outside")]


@pytest.mark.parametrize("eager", [True, False])
def test_first_bad_op(run: Runner, eager: bool) -> None:
    code = f"""
        w = tf.Variable([0.0, 1.0])
        x = tf.constant([1.0, 2.0])

        {"# eager" if eager else "@tf.function"}
        def train():
            with tf.GradientTape() as tape:
                p = w * x
                q = tf.sqrt(p)  # here
                loss = tf.reduce_sum(q * 2.0)
            return tape.gradient(loss, w)

        train()
        """
    result = run(code, diagnose=True)
    assert [(b.line, b.kind, b.what) for b in result.breaks] == [(line_of(source(code), "# here"), "bad", "Sqrt")]


def test_fit(run: Runner) -> None:
    code = """
        def loss(y, p):
            return tf.reduce_mean(tf.square(y - tf.round(p)))  # here

        model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
        model.compile("sgd", loss)
        model.fit(np.ones((4, 2), "float32"), np.ones((4, 1), "float32"), verbose=0)
        """
    result = run(code, diagnose=True)
    assert [(b.line, b.kind, b.what) for b in result.breaks] == [(line_of(source(code), "# here"), "op", "Round")]
