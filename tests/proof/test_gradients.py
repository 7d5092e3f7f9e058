"""What is recorded of gradients, in every way that they can be asked for."""

from __future__ import annotations

import math

import pytest

from .helpers import Runner, line_of, source, states

pytestmark = pytest.mark.tensorflow

EAGER = """
w = tf.Variable([1.0, 2.0], name="w")
for _ in range(3):
    with tf.GradientTape() as tape:
        loss = {loss}
    g = tape.gradient(loss, [w])  # here
"""


@pytest.mark.parametrize(
    ("loss", "state", "size"),
    [
        ("tf.reduce_sum(w * 3.0)", "ok", 3.0),
        ("tf.reduce_sum(tf.floor(w))", "none", None),
        ("tf.reduce_sum(tf.sign(w))", "zero", 0.0),
        ("tf.reduce_sum(tf.math.log(w - w))", "nan", math.nan),
        ("tf.reduce_sum(tf.sqrt(w - [1.0, 2.0]))", "inf", math.inf),
    ],
)
def test_state_and_size(run: Runner, loss: str, state: str, size: float | None) -> None:
    code = EAGER.format(loss=loss)
    result = run(code)
    assert result.end == "finished"
    assert [g.step for g in result.gradients] == [1, 2, 3]
    gradient = result.gradients[0]
    assert (gradient.line, gradient.function, gradient.via) == (line_of(source(code), "# here"), "<module>", "tape")
    assert gradient.sources[0].name == "w"
    assert gradient.sources[0].shape == (2,)
    assert gradient.sources[0].kind == "tf"
    assert gradient.sources[0].state == state
    found = gradient.sources[0].size
    assert found == size or (size is not None and math.isnan(size) and found is not None and math.isnan(found))


@pytest.mark.parametrize(
    ("target", "kind", "value"),
    [
        ("np.float32(2.5)", "numpy", 2.5),
        ("1.5", "number", 1.5),
        ("None", "none", None),
        ("w", "variable", 1.5),
        ("tf.constant([1.0, 2.0])", "tensor", 1.5),
    ],
)
def test_target_is_recorded_before_tensorflow_complains(
    run: Runner, target: str, kind: str, value: float | None
) -> None:
    result = run(EAGER.format(loss=target))
    gradient = result.gradients[0]
    assert (gradient.target_kind, gradient.target) == (kind, value)
    if kind in ("numpy", "number", "none"):
        assert result.end == "exception"
        assert result.failure is not None
        assert result.failure.line == gradient.line
        assert states(result) == {"w": "none"}


def test_indexed_slices_and_nested_sources(run: Runner) -> None:
    result = run(
        """
        table = tf.Variable(tf.ones((5, 2)), name="table")
        bias = tf.Variable(0.5)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(table, [0, 3])) + bias
        g = tape.gradient(loss, {"table": table, "rest": [bias]})
        assert isinstance(g["table"], tf.IndexedSlices)
        """
    )
    assert result.end == "finished"
    assert states(result) == {"bias": "ok", "table": "ok"}


def test_names_are_unique_and_watched_variables_that_are_not_listed_are_told(run: Runner) -> None:
    result = run(
        """
        a, b, c = (tf.Variable(1.0, name="w") for _ in range(3))
        x = tf.constant(2.0)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = a * b * c * x
        tape.gradient(loss, [a, b, x])
        """
    )
    assert states(result) == {"w": "ok", "w#2": "ok", "x": "ok"}
    assert [s.kind for s in result.gradients[0].sources] == ["tf", "tf", "tensor"]
    assert result.gradients[0].unlisted == ("w#3",)


def test_tf_function_records_every_step_at_the_line_of_the_source(run: Runner) -> None:
    code = """
        w = tf.Variable(3.0, name="w")
        v = tf.Variable(3.0, name="v")

        @tf.function(jit_compile=True)
        def train(x):
            if x > 0.0:
                x = x + 1.0
            with tf.GradientTape() as tape:
                loss = tf.square(w * x) + 0.0 * tf.floor(v)
            g, _ = tape.gradient(loss, [w, v])  # here
            w.assign_sub(0.1 * g)
            return loss

        for step in range(4):
            train(tf.constant(float(step)))
        """
    result = run(code)
    assert result.end == "finished", result
    assert [g.step for g in result.gradients] == [1, 2, 3, 4]
    assert {g.line for g in result.gradients} == {line_of(source(code), "# here")}
    assert [g.function for g in result.gradients] == ["train"] * 4
    assert states(result, 0) == {"w": "zero", "v": "none"}
    assert states(result, 1) == {"w": "ok", "v": "none"}
    assert result.gradients[1].target == pytest.approx((3.0 * 2.0) ** 2)
    assert {v.name: v.changed for v in result.variables} == {"w": True, "v": False}


def test_gradient_that_is_none_is_known_of_a_function_that_never_ran(run: Runner) -> None:
    result = run(
        """
        w = tf.Variable(3.0, name="w")
        optimizer = tf.keras.optimizers.SGD(0.1)

        @tf.function
        def train():
            with tf.GradientTape() as tape:
                loss = tf.round(w)
            optimizer.apply_gradients(zip(tape.gradient(loss, [w]), [w]))

        train()
        """
    )
    assert result.end == "exception"
    assert result.failure is not None
    assert result.failure.message == "No gradients provided for any variable."
    assert result.failure.line == result.gradients[0].line
    assert states(result) == {"w": "none"}


FIT = """
x, y = np.random.rand(32, 3).astype("float32"), np.random.rand(32, 1).astype("float32")
model = tf.keras.Sequential([tf.keras.layers.Dense(4, name="a"), tf.keras.layers.Dense(1, name="b")])
model.compile("sgd", {loss})
"""


def test_compiled_fit(run: Runner) -> None:
    code = FIT.format(loss="'mse'") + "model.fit(x, y, batch_size=8, epochs=2, verbose=0)  # here\n"
    result = run(code)
    assert result.end == "finished", result
    assert [g.via for g in result.gradients] == ["fit"] * 8
    assert {g.line for g in result.gradients} == {line_of(source(code), "# here")}
    assert set(states(result).values()) == {"ok"}
    assert "sequential/a/kernel" in states(result)
    assert {s.kind for s in result.gradients[0].sources} == {"keras"}
    assert len(result.losses) == 2
    assert all(v.asked and v.applied and v.changed for v in result.variables)


def test_fit_with_a_loss_that_is_nan(run: Runner) -> None:
    code = FIT.format(loss="lambda y, p: tf.sqrt(-tf.square(y - p) - 1.0)")
    result = run(code + "model.fit(x, y, verbose=0)\n")
    assert math.isnan(result.losses[0])
    assert result.gradients[0].target is not None
    assert math.isnan(result.gradients[0].target)
    assert set(states(result).values()) == {"nan"}


def test_train_on_batch(run: Runner) -> None:
    code = FIT.format(loss="'mse'") + "for _ in range(3):\n    model.train_on_batch(x, y)  # here\n"
    result = run(code)
    assert [(g.via, g.line) for g in result.gradients] == [("train_on_batch", line_of(source(code), "# here"))] * 3
    assert len(result.losses) == 3


def test_train_step_of_the_user_is_the_place(run: Runner) -> None:
    code = """
        class Net(tf.keras.Model):
            def __init__(self):
                super().__init__()
                self.out = tf.keras.layers.Dense(1)

            def call(self, x):
                return self.out(x)

            def train_step(self, data):
                x, y = data
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean(tf.square(self(x) - y))
                grads = tape.gradient(loss, self.trainable_variables)  # here
                self.optimizer.apply_gradients(zip(grads, self.trainable_variables))
                return {"loss": loss}

        net = Net()
        net.compile("sgd")
        net.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, verbose=0)
        """
    result = run(code)
    assert [(g.line, g.function) for g in result.gradients] == [(line_of(source(code), "# here"), "train_step")] * 2


def test_jacobian_and_tf_gradients(run: Runner) -> None:
    result = run(
        """
        w = tf.Variable([1.0, 2.0], name="w")
        with tf.GradientTape() as tape:
            y = w * w
        tape.jacobian(y, w)

        @tf.function
        def f(x):
            y = x * x
            return tf.gradients(y, x)

        f(tf.constant(3.0))
        """
    )
    assert result.end == "finished", result
    assert [(g.via, g.sources[0].name, g.sources[0].size) for g in result.gradients] == [
        ("jacobian", "w", 4.0),
        ("tf.gradients", "x", 6.0),
    ]


def test_second_derivative_through_nested_tapes(run: Runner) -> None:
    result = run(
        """
        x = tf.Variable(3.0, name="x")
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                y = x ** 3
            first = inner.gradient(y, x)
        second = outer.gradient(first, x)
        assert float(second) == 18.0
        """
    )
    assert [g.sources[0].size for g in result.gradients] == [27.0, 18.0]
    assert result.end == "finished"


def test_asked_applied_changed(run: Runner) -> None:
    result = run(
        """
        names = ("trained", "by_hand", "forgotten", "idle")
        trained, by_hand, forgotten, idle = (tf.Variable(1.0, name=name) for name in names)
        fixed = tf.Variable(1.0, trainable=False)
        idle.assign(7.0)
        optimizer = tf.keras.optimizers.SGD(0.1)
        with tf.GradientTape() as tape:
            loss = trained * by_hand * forgotten
        g = tape.gradient(loss, [trained, by_hand])
        optimizer.apply_gradients([(g[0], trained)])
        by_hand.assign_sub(g[1])
        """
    )
    assert {v.name: (v.asked, v.applied, v.changed) for v in result.variables} == {
        "trained": (True, True, True),
        "by_hand": (True, False, True),
        "forgotten": (False, False, False),
        "idle": (False, False, False),
    }
    assert result.gradients[0].unlisted == ("forgotten",)


@pytest.mark.parametrize(
    "call",
    ["apply_gradients(zip([g], [w]))", "apply_gradients(grads_and_vars=zip([g], [w]))", "apply_gradients([(g, w)])"],
)
def test_optimizers_take_their_arguments_by_name_too(run: Runner, call: str) -> None:
    result = run(
        f"""
        w = tf.Variable(1.0, name="w")
        with tf.GradientTape() as tape:
            loss = w * w
        g = tape.gradient(loss, w)
        tf.keras.optimizers.SGD(0.1).{call}
        """
    )
    assert result.end == "finished", result.output
    assert [(v.applied, v.changed) for v in result.variables] == [(True, True)]


def test_variables_local_to_a_function_and_without_a_name(run: Runner) -> None:
    code = """
        def main():
            weight = tf.Variable(1.0)  # here
            with tf.GradientTape() as tape:
                loss = weight * 2.0
            weight.assign_sub(tape.gradient(loss, weight))

        main()
        """
    result = run(code)
    (variable,) = result.variables
    assert (variable.name, variable.line, variable.changed) == ("weight", line_of(source(code), "# here"), True)


def test_warnings_about_gradients_are_kept_once(run: Runner) -> None:
    result = run(
        """
        import warnings
        warnings.filterwarnings("ignore")
        a, b = tf.Variable(1.0, name="a"), tf.Variable(1.0, name="b")
        optimizer = tf.keras.optimizers.SGD(0.1)
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = a * 2.0
            g = tape.gradient(loss, [a, b])
            optimizer.apply_gradients(zip(g, [a, b]))
        warnings.warn("something else")
        """
    )
    assert len(result.warnings) == 1
    assert "Gradients do not exist for variables" in result.warnings[0]


def test_seeds(run: Runner) -> None:
    code = """
        import random
        w = tf.Variable(1.0)
        with tf.GradientTape() as tape:
            loss = w * (tf.random.normal(()) + np.random.rand() + random.random())
        tape.gradient(loss, w)
        """
    first, again, other = (run(code, seed=seed).gradients[0].target for seed in (0, 0, 1))
    assert first == again != other
