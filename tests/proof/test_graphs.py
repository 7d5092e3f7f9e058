"""What is measured inside graphs, and how it comes out of them."""

from __future__ import annotations

import pytest

from .helpers import Runner, states

pytestmark = pytest.mark.tensorflow

VARIABLE = """
w = tf.Variable([1.0, 2.0], name="w")

def gradient(x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(w * x)
    return tape.gradient(loss, w)
"""


def test_loop_in_a_graph_gives_each_of_its_steps(run: Runner) -> None:
    result = run(
        VARIABLE
        + """
@tf.function
def train(count):
    for number in tf.range(count):
        gradient(tf.cast(number, tf.float32))
train(7)
"""
    )
    assert [g.sources[0].size for g in result.gradients] == [0, 1, 2, 3, 4, 5, 6]
    assert [g.target for g in result.gradients] == [0, 3, 6, 9, 12, 15, 18]


def test_loop_in_a_graph_that_does_not_end(run: Runner) -> None:
    """The run is over once enough was seen, though the function never comes back."""
    result = run(
        VARIABLE
        + """
@tf.function
def train():
    while w[0] > 0:
        gradient(1.0)
train()
""",
        timeout=20,
        patience=1,
    )
    assert result.end == "stopped"
    assert len(result.gradients) == 20


def test_state_that_changes_late_in_a_fast_loop(run: Runner) -> None:
    result = run(
        VARIABLE
        + """
step = tf.function(gradient)
for number in range(400):
    step(tf.constant(1.0 if number < 390 else np.nan))
""",
        steps=1000,
    )
    assert [g.step for g in result.gradients] == [*range(1, 21), 391]
    assert states(result, -1) == {"w": "nan"}


def test_order_of_functions_and_eager_code(run: Runner) -> None:
    result = run(
        VARIABLE
        + """

@tf.function
def one(x):
    return gradient(x)

@tf.function
def other(x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(w * x)
    return tape.gradient(loss, w)

for _ in range(60):
    one(tf.constant(1.0))
other(tf.constant(2.0))
one(tf.constant(np.inf))
other(tf.constant(4.0))
gradient(5.0)
"""
    )
    sizes = [g.sources[0].size for g in result.gradients]
    assert sizes == [*[1.0] * 20, 2.0, float("inf"), 4.0, 5.0]


@pytest.mark.parametrize(
    ("dtype", "values", "state"),
    [
        ("float16", "[1.0, -3.0]", ("ok", 3.0)),
        ("bfloat16", "[1.0, -3.0]", ("ok", 3.0)),
        ("float64", "[0.0, -1e-200]", ("ok", 1e-200)),
        ("float64", "[0.0, 0.0]", ("zero", 0.0)),
        ("complex64", "[3.0 + 4.0j, 0.0]", ("ok", 5.0)),
        ("float32", "[1.0, -np.inf]", ("inf", float("inf"))),
        ("float32", "[]", ("zero", 0.0)),
    ],
)
def test_types(run: Runner, dtype: str, values: str, state: tuple[str, float]) -> None:
    """Together with a gradient of another type."""
    result = run(
        f"""
        u = tf.Variable(tf.ones_like(tf.constant({values}, "{dtype}")), name="u")
        v = tf.Variable(1.0, name="v")

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                parts = [u * tf.constant({values}, "{dtype}"), v * 2.0]
            tape.gradient(parts, [u, v])
        step()
        """
    )
    first, second = result.gradients[0].sources
    assert (first.state, first.size) == state
    assert (second.state, second.size) == ("ok", 2.0)


def test_gradients_of_unknown_rank_and_of_rows(run: Runner) -> None:
    result = run(
        """
        table = tf.Variable([[1.0, 1.0], [1.0, 1.0]], name="table")

        @tf.function(input_signature=[tf.TensorSpec(None)])
        def step(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(-7.0 * x) + tf.reduce_sum(3.0 * tf.gather(table, [1]))
            tape.gradient(loss, [x, table])
        step(tf.ones([2, 3, 4]))
        """
    )
    assert [(s.state, s.size) for s in result.gradients[0].sources] == [("ok", 7.0), ("ok", 3.0)]


def test_function_can_be_saved(run: Runner) -> None:
    result = run(
        """
        class Module(tf.Module):
            def __init__(self):
                self.w = tf.Variable(1.0, name="w")

            @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
            def train(self, x):
                with tf.GradientTape() as tape:
                    loss = self.w * x
                return tape.gradient(loss, self.w)

        module = Module()
        module.train(2.0)
        tf.saved_model.save(module, "saved")
        loaded = tf.saved_model.load("saved")
        print(float(loaded.train(4.0)))
        """
    )
    assert result.end == "finished", result.failure
    assert result.output.splitlines()[-1] == "4.0"
    assert result.gradients[0].sources[0].size == 2


def test_gradients_of_each_example(run: Runner) -> None:
    result = run(
        VARIABLE
        + """
@tf.function
def step(x):
    return tf.vectorized_map(gradient, x)
print(step(tf.constant([1.0, 2.0, 3.0]))[:, 0].numpy())
"""
    )
    assert result.end == "finished", result.failure
    assert "[1. 2. 3.]" in result.output
    assert [g.sources[0].state for g in result.gradients] == ["ok"]


def test_replicas_on_two_devices(run: Runner) -> None:
    result = run(
        """
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            w = tf.Variable(1.0, name="w")

        def gradient():
            with tf.GradientTape() as tape:
                loss = w * 5.0
            return tape.gradient(loss, w)

        @tf.function
        def step():
            return strategy.run(gradient)
        with tf.device("CPU:1"):
            step()
        """
    )
    assert result.end == "finished", result.failure
    assert [g.sources[0].size for g in result.gradients] == [5, 5]
