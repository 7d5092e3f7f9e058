"""Repairs that the rules propose only for what a run has measured."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from tapefix.outcome import FileResult, Verdict

pytestmark = pytest.mark.tensorflow
Prove = Callable[..., FileResult]


def repaired(result: FileResult) -> str:
    assert result.proof is not None and result.proof.verdict is Verdict.VERIFIED, result.proof
    return result.repaired


def test_prediction_cast_to_the_type_of_the_labels(prove: Prove) -> None:
    text = dedent("""
        import tensorflow as tf

        x, y = tf.random.normal([8, 3]), tf.constant([[1], [2], [3], [4], [5], [6], [7], [8]])
        net = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)])
        optimizer = tf.keras.optimizers.SGD(0.01)
        for _ in range(3):
            with tf.GradientTape() as tape:
                counted = tf.cast(net(x), y.dtype)
                loss = tf.reduce_mean(tf.square(tf.cast(y - counted, tf.float32)))
            gradients = tape.gradient(loss, net.trainable_variables)
            optimizer.apply_gradients(zip(gradients, net.trainable_variables))
    """)
    assert "counted = net(x)" in repaired(prove(text))


def test_cast_to_a_float_type_is_left_alone(prove: Prove) -> None:
    text = dedent("""
        import tensorflow as tf

        x, y = tf.random.normal([8, 3]), tf.zeros([8, 1])
        net = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)])
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(y - tf.cast(net(x), y.dtype)))
        print(tape.gradient(loss, net.trainable_variables))
    """)
    result = prove(text)
    assert not result.changed and not result.outcomes


def test_log_of_the_variance_that_overflows(prove: Prove) -> None:
    text = dedent("""
        import tensorflow as tf

        x = 3000.0 + tf.random.normal([16, 4])
        spread = tf.keras.layers.Dense(2, kernel_initializer="ones")
        back = tf.keras.layers.Dense(4)
        optimizer = tf.keras.optimizers.Adam(1e-3)
        for _ in range(3):
            with tf.GradientTape() as tape:
                log_variance = spread(x)
                code = tf.exp(0.5 * log_variance) * tf.random.normal([16, 2])
                loss = tf.reduce_mean(tf.square(x - back(code))) + tf.reduce_mean(tf.exp(log_variance) - log_variance)
            variables = spread.trainable_variables + back.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    """)
    assert "log_variance = tf.clip_by_value(spread(x), -20.0, 20.0)" in repaired(prove(text))


def test_head_that_was_frozen_with_what_it_stands_on(prove: Prove) -> None:
    text = dedent("""
        import tensorflow as tf

        body = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(4, activation="relu")])
        net = tf.keras.Sequential([body, tf.keras.layers.Dense(1)])
        net.trainable = False
        net.compile(optimizer="sgd", loss="mse")
        net.fit(tf.random.normal([8, 3]), tf.ones([8, 1]), verbose=0)
    """)
    assert "body.trainable = False" in repaired(prove(text))


LATER = dedent("""
    import tensorflow as tf

    w = tf.Variable([1.0, 2.0])
    optimizer = tf.keras.optimizers.SGD(0.1)


    def objective(epoch):
        error = tf.reduce_sum(tf.square(w))
        if epoch < {epochs}:
            return error
        error += 0.1 * tf.reduce_sum(tf.abs(w))


    for epoch in range(4):
        with tf.GradientTape() as tape:
            loss = objective(epoch)
        optimizer.apply_gradients(zip(tape.gradient(loss, [w]), [w]))
""")


def test_branch_that_the_run_does_not_take_is_repaired_but_not_verified(prove: Prove) -> None:
    result = prove(LATER.format(epochs=9))
    assert "    return error\n\n\nfor" in result.repaired
    assert result.proof is not None and result.proof.verdict is Verdict.UNVERIFIED
    assert result.outcomes[0].reason == "the run does not come to it"


def test_branch_that_the_run_takes_is_verified(prove: Prove) -> None:
    assert "    return error\n\n\nfor" in repaired(prove(LATER.format(epochs=2)))
