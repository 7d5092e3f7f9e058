"""Modules that run nothing: their functions and classes are exercised on made-up inputs, and repairs judged by that."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from tapefix.outcome import FileResult, Verdict

pytestmark = pytest.mark.tensorflow

Prove = Callable[..., FileResult]
HEADER = "import numpy as np\nimport tensorflow as tf\n"


@pytest.fixture
def repaired(prove: Prove) -> Callable[..., FileResult]:
    def call(code: str, **options: object) -> FileResult:
        return prove(HEADER + textwrap.dedent(code), **options)

    return call


def verdicts(result: FileResult) -> dict[str, Verdict | None]:
    return {outcome.finding.code: outcome.verdict for outcome in result.outcomes}


def test_a_loss_with_numpy_is_repaired_and_proved(repaired: Prove) -> None:
    result = repaired("""
        def focal_loss(y_true, y_pred, gamma=2.0):
            p = np.clip(y_pred, 1e-7, 1 - 1e-7)
            return tf.reduce_mean(-y_true * (1 - p) ** gamma * np.log(p))
    """)
    assert result.proof is not None
    assert result.proof.verdict is Verdict.VERIFIED
    assert result.proof.exercised == ("focal_loss on y_true (8, 1), y_pred (8, 1)",)
    (row,) = [row for row in result.proof.rows if row.name == "focal_loss/y_pred"]
    assert row.broken_before
    assert not row.broken_after
    assert "np." not in result.repaired.replace("import numpy as np", "")


def test_a_train_step_gets_a_model_and_an_optimizer(repaired: Prove) -> None:
    result = repaired("""
        def train_step(model, optimizer, x, y):
            prediction = model(x)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(prediction - y))
            grads = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(grads, model.trainable_variables))
            return loss
    """)
    assert verdicts(result) == {"TPF101": Verdict.VERIFIED}
    assert result.proof is not None
    assert any(row.name.endswith("kernel") and row.broken_before for row in result.proof.rows)


def test_a_layer_is_constructed_and_called(repaired: Prove) -> None:
    result = repaired("""
        class Scale(tf.keras.layers.Layer):
            def __init__(self, units):
                super().__init__()
                self.dense = tf.keras.layers.Dense(units)

            def call(self, inputs):
                return tf.constant(np.tanh(self.dense(inputs)))
    """)
    assert result.proof is not None
    assert result.proof.verdict is Verdict.VERIFIED
    assert any(row.name.endswith("kernel") and not row.broken_after for row in result.proof.rows)


def test_a_loss_class_and_a_factory(repaired: Prove) -> None:
    result = repaired("""
        class Weighted(tf.keras.losses.Loss):
            def __init__(self, weight):
                super().__init__()
                self.weight = weight

            def call(self, y_true, y_pred):
                return self.weight * np.abs(y_true - y_pred)


        def make_huber_loss(delta):
            def loss(y_true, y_pred):
                error = tf.abs(y_true - y_pred)
                value = tf.where(error < delta, error**2, delta * error)
                print("loss", tf.reduce_mean(value))

            return loss
    """)
    assert result.proof is not None
    assert result.proof.verdict is Verdict.VERIFIED, result.proof.reason
    assert {row.name for row in result.proof.rows} >= {"Weighted/y_pred", "make_huber_loss/y_pred"}


def test_a_model_with_a_train_step_is_fitted(repaired: Prove) -> None:
    result = repaired("""
        class Regressor(tf.keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = tf.keras.layers.Dense(4)

            def call(self, x):
                return self.dense(x)

            def train_step(self, data):
                x, y = data
                prediction = self(x, training=True)
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean(tf.square(y - prediction))
                variables = self.trainable_variables
                self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
                return {"loss": loss}
    """)
    assert result.proof is not None
    assert result.proof.verdict is Verdict.VERIFIED
    assert result.proof.exercised == ("Regressor on x (8, 4), y (8, 4)",)


def test_what_is_measured_healthy_is_no_finding(repaired: Prove) -> None:
    """The array is of labels, which the text alone cannot know."""
    result = repaired("""
        class Ranking(tf.keras.losses.Loss):
            def call(self, y_true, y_pred):
                weights = np.asarray(y_true)
                return tf.reduce_mean(weights * tf.square(y_true - y_pred))
    """)
    assert not result.changed
    assert not result.outcomes


def test_a_repair_that_does_not_help_is_refuted(repaired: Prove) -> None:
    """Rounding cannot be undone by another function of the same kind."""
    result = repaired("""
        def rounded_loss(y_true, y_pred):
            return tf.reduce_mean(tf.square(y_true - np.floor(y_pred)))
    """)
    assert result.proof is not None
    attempts = [attempt for outcome in result.outcomes for attempt in outcome.attempts]
    assert any(attempt.verdict is Verdict.REFUTED for attempt in attempts)
    assert "tf.floor(y_pred)" not in result.repaired or "stop_gradient" in result.repaired


def test_where_no_input_runs_it_is_unverified_and_says_why(repaired: Prove) -> None:
    result = repaired("""
        class Gate(tf.keras.layers.Layer):
            def __init__(self, table):
                super().__init__()
                self.table = table["gate"]
                self.dense = tf.keras.layers.Dense(4)

            def call(self, inputs):
                return tf.constant(np.tanh(self.dense(inputs)))
    """)
    assert result.proof is not None
    assert result.proof.verdict is Verdict.UNVERIFIED
    assert "Gate" in result.proof.reason
    assert "TypeError" in result.proof.reason


def test_one_that_runs_is_proved_beside_one_that_does_not(repaired: Prove) -> None:
    result = repaired("""
        def focal_loss(y_true, y_pred):
            return tf.reduce_mean(-y_true * np.log(y_pred + 1e-6))


        class Gate(tf.keras.layers.Layer):
            def __init__(self, table):
                super().__init__()
                self.table = table["gate"]
                self.dense = tf.keras.layers.Dense(4)

            def call(self, inputs):
                return tf.constant(np.tanh(self.dense(inputs)))
    """)
    by_line = {outcome.finding.span.line: outcome for outcome in result.outcomes if outcome.applied is not None}
    assert {outcome.verdict for outcome in by_line.values()} == {Verdict.VERIFIED, Verdict.UNVERIFIED}
    assert by_line[min(by_line)].verdict is Verdict.VERIFIED
    assert "TypeError" in by_line[max(by_line)].reason


def test_what_shows_at_the_edges_only_is_measured_there(repaired: Prove) -> None:
    result = repaired("""
        class Bernoulli(tf.keras.losses.Loss):
            def call(self, y_true, y_pred):
                return -tf.reduce_mean(y_true * tf.math.log(y_pred) + (1 - y_true) * tf.math.log(1 - y_pred))


        def distance_loss(y_true, y_pred):
            return tf.sqrt(tf.reduce_sum(tf.square(y_true - y_pred), axis=-1))
    """)
    assert verdicts(result) == {"TPF601": Verdict.VERIFIED}, "the root is a suspicion, and made-up numbers prove none"
    assert result.proof is not None
    ordinary, edges = [row for row in result.proof.rows if row.name.startswith("Bernoulli")]
    assert not ordinary.broken_before
    assert edges.broken_before
    assert not edges.broken_after


def test_a_script_with_training_is_not_exercised(repaired: Prove) -> None:
    result = repaired("""
        def mean_loss(y_true, y_pred):
            return tf.reduce_mean(np.square(y_true - y_pred))

        w = tf.Variable([2.0])
        with tf.GradientTape() as tape:
            loss = mean_loss(tf.constant([1.0]), w * 3.0)
        print(tape.gradient(loss, [w]))
    """)
    assert result.proof is not None
    assert result.proof.verdict is Verdict.VERIFIED
    assert result.proof.exercised == ()


def test_a_package_that_is_missing_and_not_needed_is_no_obstacle(repaired: Prove) -> None:
    code = """
        from nowhere_to_be_found.plots import draw

        def focal_loss(y_true, y_pred):
            {use}return tf.reduce_mean(-y_true * np.log(y_pred + 1e-6))
    """
    fine = repaired(code.replace("{use}", ""))
    assert fine.proof is not None
    assert fine.proof.verdict is Verdict.VERIFIED
    used = repaired(code.replace("{use}", "draw(y_pred); "))
    assert used.proof is not None
    assert used.proof.verdict is Verdict.UNVERIFIED
    assert "nowhere_to_be_found" in used.proof.reason
