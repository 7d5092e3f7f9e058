"""tapefix.testing, as a person's own tests use it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tapefix.testing import assert_gradients_flow


def test_import_is_light() -> None:
    code = (
        "import tapefix.testing, sys; print([m for m in ('tensorflow', 'numpy', 'libcst', 'rich') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.tensorflow
@pytest.mark.parametrize("compiled", [False, True])
class TestFlow:
    def test_model(self, compiled: bool) -> None:
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.layers.Dense(4), tf.keras.layers.Dense(1)])
        x, y = tf.ones((2, 3)), tf.ones((2, 1))
        assert_gradients_flow(lambda: tf.reduce_mean((model(x) - y) ** 2), model, compiled=compiled)
        with pytest.raises(AssertionError) as failure:
            assert_gradients_flow(lambda: tf.reduce_mean(tf.round(model(x) - y)), model, compiled=compiled)
        lines = str(failure.value).splitlines()
        assert "kernel is None, and 3 more are broken" in lines[0]
        assert sum("kernel" in line and "(3, 4)" in line and "None" in line for line in lines) == 1

    def test_variables(self, compiled: bool) -> None:
        import tensorflow as tf

        v, w = tf.Variable(2.0, name="v"), tf.Variable([0.0], name="w")
        assert_gradients_flow(lambda: v * v, compiled=compiled)
        assert_gradients_flow(lambda: v * v + w, [v], compiled=compiled)
        with pytest.raises(AssertionError, match="the gradient of w is None") as failure:
            assert_gradients_flow(lambda: v * v, [v, w], compiled=compiled)
        assert "v" in str(failure.value) and "4.0e+00" in str(failure.value)
        with pytest.raises(AssertionError, match="used by the loss, but not among the variables: v"):
            assert_gradients_flow(lambda: tf.stop_gradient(w) * v, [w], compiled=compiled)
        with pytest.raises(AssertionError, match="the gradient of w is infinite"):
            assert_gradients_flow(lambda: tf.reduce_sum(tf.sqrt(w)), [w], compiled=compiled)
        with pytest.raises(AssertionError, match="the gradient of w is NaN"):
            assert_gradients_flow(lambda: tf.reduce_sum(w / w), [w], compiled=compiled)

    def test_zero(self, compiled: bool) -> None:
        import tensorflow as tf

        v, w = tf.Variable(2.0, name="v"), tf.Variable(-1.0, name="w")
        with pytest.raises(AssertionError, match="the gradient of w is zero"):
            assert_gradients_flow(lambda: v + tf.nn.relu(w), [v, w], compiled=compiled)
        assert_gradients_flow(lambda: v + tf.nn.relu(w), [v, w], compiled=compiled, allow_zero=True)
        with pytest.raises(AssertionError, match="the gradient of w is zero"):
            assert_gradients_flow(lambda: tf.nn.relu(w), [w], compiled=compiled, allow_zero=True)

    def test_no_loss_and_no_variables(self, compiled: bool) -> None:
        import tensorflow as tf

        v = tf.Variable(2.0, name="v")
        with pytest.raises(AssertionError, match="the loss is None"):
            assert_gradients_flow(lambda: None, [v], compiled=compiled)
        with pytest.raises(AssertionError, match="there is no variable to train"):
            assert_gradients_flow(lambda: tf.constant(1.0), compiled=compiled)
        with pytest.raises(AssertionError, match="the gradient of v is None"):
            assert_gradients_flow(lambda: tf.cast(v, tf.int32), [v], compiled=compiled)

    def test_tensors_are_watched(self, compiled: bool) -> None:
        import tensorflow as tf

        x = tf.constant([1.0, 2.0])
        assert_gradients_flow(lambda: tf.reduce_sum(x * x), [x], compiled=compiled)
        with pytest.raises(AssertionError, match="the gradient of tensor is None"):
            assert_gradients_flow(lambda: tf.reduce_sum(tf.floor(x)), [x], compiled=compiled)


@pytest.mark.tensorflow
def test_loss_that_has_left_tensorflow() -> None:
    import tensorflow as tf

    v = tf.Variable(2.0, name="v")
    with pytest.raises(AssertionError, match=r"the loss is no tensor but a float") as failure:
        assert_gradients_flow(lambda: float(v * v), [v])
    assert "None" in str(failure.value)
    with pytest.raises(AssertionError, match=r"the loss is no tensor but a numpy.float32"):
        assert_gradients_flow(lambda: (v * v).numpy(), [v])


@pytest.mark.tensorflow
def test_what_the_graph_undoes_is_seen_when_compiled() -> None:
    import tensorflow as tf

    v = tf.Variable([40.0], name="v")

    def loss() -> tf.Tensor:
        p = tf.sigmoid(v)
        return -tf.reduce_sum(tf.math.log(1 - p + 1e-8))

    with pytest.raises(AssertionError, match="the gradient of v is zero"):
        assert_gradients_flow(loss, [v])
    with pytest.raises(AssertionError, match="the gradient of v is NaN"):
        assert_gradients_flow(loss, [v], compiled=True)
