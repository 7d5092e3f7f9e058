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


def test_a_draw_in_a_layer_keeps_its_value_and_passes_the_gradient(prove: Prove) -> None:
    # A diagnosis runs the step eagerly, where tf.random draws other numbers: that is no other loss.
    text = dedent("""
        import numpy as np
        import tensorflow as tf

        class Draw(tf.keras.layers.Layer):
            def call(self, p):
                return tf.floor(p + tf.random.uniform(tf.shape(p)))

        model = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(8, "sigmoid"), Draw(),
                                     tf.keras.layers.Dense(4)])
        model.compile("sgd", "mse")
        x = np.random.rand(32, 4).astype("float32")
        model.fit(x, x, epochs=3, batch_size=8, verbose=0)
    """)
    assert "stop_gradient(tf.floor(" in repaired(prove(text))


def test_a_layer_of_signs_that_leaves_zeros(prove: Prove) -> None:
    text = dedent("""
        import numpy as np
        import tensorflow as tf

        class Hash(tf.keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.project = tf.keras.layers.Dense(3)

            def call(self, x):
                return tf.sign(self.project(x))

        model = tf.keras.Sequential([tf.keras.Input((4,)), Hash(), tf.keras.layers.Dense(4)])
        model.compile("sgd", "mse")
        x = np.random.rand(32, 4).astype("float32")
        model.fit(x, x, epochs=3, batch_size=8, verbose=0)
    """)
    assert "soft + tf.stop_gradient(tf.sign(soft) - soft)" in repaired(prove(text))


def test_a_branch_that_only_a_graph_cannot_take(prove: Prove) -> None:
    text = dedent("""
        import numpy as np
        import tensorflow as tf

        def lopsided(y_true, y_pred):
            error = y_true - y_pred
            bias = tf.reduce_mean(error).numpy()
            if bias > 0:
                return 2.0 * tf.reduce_mean(tf.square(error))
            return tf.reduce_mean(tf.square(error))

        model = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(1)])
        model.compile("sgd", loss=lopsided)
        x = np.random.rand(32, 4).astype("float32")
        model.fit(x, x[:, :1], epochs=3, batch_size=8, verbose=0)
    """)
    assert "loss=tf.function(lopsided)" in repaired(prove(text))


def test_two_bells_far_from_the_data_stay_in_log_space(prove: Prove) -> None:
    text = dedent("""
        import numpy as np
        import tensorflow as tf

        def bell(x, middle, width):
            return tf.exp(-0.5 * ((x - middle) / width) ** 2) / (width * np.sqrt(2 * np.pi))

        left, right = tf.Variable(0.0), tf.Variable(1.0)
        data = tf.constant([0.1, 0.9, 60.0, -55.0])
        optimizer = tf.keras.optimizers.SGD(0.01)
        for _ in range(3):
            with tf.GradientTape() as tape:
                density = 0.5 * bell(data, left, 1.0) + 0.5 * bell(data, right, 1.0)
                loss = -tf.reduce_mean(tf.math.log(density))
            gradients = tape.gradient(loss, [left, right])
            optimizer.apply_gradients(zip(gradients, [left, right]))
    """)
    result = repaired(prove(text))
    assert "reduce_logsumexp(" in result and "def log_bell(" in result


KEPT = dedent("""
    import tensorflow as tf

    class Base:
        def __init__(self):
            self.net = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)])
            self.state = {}

        def update(self, batch):
            self.predict(batch)
            print("batch of", len(batch))
            with tf.GradientTape() as tape:
                loss = self.cost()
            self.descend(tape, loss)

        def descend(self, tape, loss):
            gradients = tape.gradient(loss, self.net.trainable_variables)
            for variable, gradient in zip(self.net.trainable_variables, gradients):
                if gradient is not None:
                    variable.assign_sub(0.1 * gradient)

    class Fit(Base):
        def predict(self, batch):
            self.state["output"] = self.net(batch)

        def cost(self):
            return tf.reduce_mean(tf.square(self.state["output"] - 1.0))

    fit = Fit()
    for _ in range(3):
        fit.update(tf.random.normal([8, 3]))
""")


def test_a_call_that_keeps_its_result_on_the_object_moves_into_the_tape(prove: Prove) -> None:
    text = repaired(prove(KEPT))
    assert "as tape:\n            self.predict(batch)\n            loss = self.cost()" in text


def test_a_call_before_a_tape_that_records_something_stays(prove: Prove) -> None:
    text = KEPT.replace("loss = self.cost()", "loss = self.cost() + 0.1 * tf.reduce_sum(self.net(batch))")
    assert not prove(text).changed


GATED = dedent("""
    import tensorflow as tf

    class Gate(tf.keras.layers.Layer):
        def build(self, shape):
            width = shape[-1]
            self.w_in = self.add_weight(shape=(width, width), initializer="glorot_uniform", name="w_in")
            self.w_up = self.add_weight(shape=(width, width), initializer="glorot_uniform", name="w_up")

        def call(self, x):
            gate = tf.sigmoid(x @ self.w_in)
            value = tf.tanh(x @ self.{second})
            return gate * value

    layer = Gate()
    x = tf.random.normal([8, 3])
    layer(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(layer(x) - 0.5))
    print(tape.gradient(loss, layer.trainable_variables))
""")


def test_a_copied_line_uses_the_sibling_that_nothing_uses(prove: Prove) -> None:
    assert repaired(prove(GATED.format(second="w_in"))) == GATED.format(second="w_up")
    shared = GATED.format(second="w_in").replace("self.w_up = ", "self.other = ")
    assert not prove(shared).changed


SIMULATION = dedent("""
    import tensorflow as tf

    class Cooling:
        def __init__(self):
            self.rate = tf.Variable(0.5)
            self.heat = tf.Variable([3.0, 2.0])

        def advance(self):
            self.heat.assign_sub(0.1 * self.rate * self.heat)

        def loss(self):
            for _ in range(4):
                self.advance()
            return tf.reduce_mean(tf.square(self.heat.read_value() - 1.0))

    model = Cooling()
    for _ in range(3):
        model.heat.assign([3.0, 2.0])
        with tf.GradientTape() as tape:
            loss = model.loss()
        gradient = tape.gradient(loss, {sources})
        model.rate.assign_sub(0.1 * {first})
""")


def test_the_state_of_a_simulation_is_kept_in_a_tensor(prove: Prove) -> None:
    text = repaired(prove(SIMULATION.format(sources="model.rate", first="gradient")))
    assert "self.heat -= 0.1 * self.rate * self.heat\n" in text
    assert "tf.square(self.heat - 1.0)" in text and "model.heat = [3.0, 2.0]\n" in text


def test_a_variable_that_is_asked_for_stays_one(prove: Prove) -> None:
    assert not prove(SIMULATION.format(sources="[model.rate, model.heat]", first="0.0")).changed


def test_an_inner_step_hands_back_what_it_computed(prove: Prove) -> None:
    text = dedent("""
        import tensorflow as tf

        class Learner:
            def __init__(self):
                self.start = tf.Variable([1.0, 2.0])
                self.size = tf.Variable(0.1)

            def adapted(self, slope):
                self.start.assign_sub(self.size * slope)
                return self.start

        learner = Learner()
        variables = [learner.start, learner.size]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(learner.adapted(tf.constant([0.5, -0.5]))))
        print(tape.gradient(loss, variables))
    """)
    assert "    return self.start - self.size * slope\n" in repaired(prove(text))


PIPELINE = dedent("""
    import tensorflow as tf

    encoder = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])
    head = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
    data = tf.data.Dataset.from_tensor_slices((tf.random.normal([8, 3]), tf.ones([8, 1]))).batch(4)
    data = data.map(lambda image, label: (encoder(image), label))

    def step(features, wanted):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(head(features) - wanted))
        variables = {variables}
        for variable, gradient in zip(variables, tape.gradient(loss, variables)):
            if gradient is not None:
                variable.assign_sub(0.1 * gradient)

    for image, label in data:
        step(image, label)
""")


def test_a_network_in_the_input_pipeline_moves_into_the_tape(prove: Prove) -> None:
    text = repaired(prove(PIPELINE.format(variables="head.trainable_variables + encoder.trainable_variables")))
    assert "lambda image, label: (image, label))" in text
    assert "as tape:\n        features = encoder(features)\n        loss" in text


def test_fixed_features_stay_in_the_input_pipeline(prove: Prove) -> None:
    assert not prove(PIPELINE.format(variables="head.trainable_variables")).changed


SQUASHED = """
import tensorflow as tf

net = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])
limit = 2.5
x = tf.random.normal([32, 3])

def log_chance(x):
    raw = net(x) + tf.random.normal([32, 2])
    action = limit * tf.tanh(raw)
    return tf.reduce_sum(-0.5 * raw**2 - tf.math.log(1.0 - {} + 1e-6), axis=1), action

for _ in range(3):
    with tf.GradientTape() as tape:
        chance, action = log_chance(x)
        loss = tf.reduce_mean(chance + action[:, 0])
    gradients = tape.gradient(loss, net.trainable_variables)
    net.trainable_variables[0].assign_sub(1e-3 * gradients[0])
"""


def test_log_of_a_scaled_action(prove: Prove) -> None:
    text = repaired(prove(SQUASHED.format("tf.square(action)")))
    assert "tf.math.log(1.0 - tf.square(tf.tanh(raw)) + 1e-6)" in text
    assert "action = limit * tf.tanh(raw)" in text


def test_log_of_an_action_before_it_is_scaled_is_left_alone(prove: Prove) -> None:
    result = prove(SQUASHED.format("tf.square(action / limit)"))
    assert not result.changed and not result.outcomes


def test_a_temperature_that_ends_at_0_is_for_the_author_to_bound(prove: Prove) -> None:
    text = dedent("""
        import tensorflow as tf

        class Sample(tf.keras.layers.Layer):
            def build(self, shape):
                self.scale = self.add_weight(shape=shape[-1:], initializer="ones")

            def call(self, scores, heat):
                return tf.nn.softmax(scores * self.scale / heat, axis=-1)

        sample = Sample()
        scores = tf.constant([[1.0, 2.0, 3.0]])
        sample(scores, heat=1.0)
        for count in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(sample(scores, heat=1.0 - count / 2)))
            gradients = tape.gradient(loss, sample.trainable_variables)
            sample.scale.assign_sub(0.1 * gradients[0])
    """)
    result = prove(text)
    assert not result.changed
    assert any("above 0" in outcome.finding.advice for outcome in result.outcomes)
