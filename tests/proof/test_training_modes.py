"""Every way in which people train: a healthy script is measured healthy, and of a broken one the table shows the None.

Each script trains `a` through `cut`, which does nothing in the healthy version and rounds in the broken one, and `b`
beside it. All run in the mode in which they are written, none with run_eagerly.
"""

from __future__ import annotations

import pytest

from tapefix.proof.run import Run
from tapefix.proof.table import rows

from .helpers import Runner

pytestmark = pytest.mark.tensorflow

LAYER = """
class Scale(tf.keras.layers.Layer):
    def build(self, shape):
        self.a = self.add_weight(shape=(shape[-1],), initializer="ones", name="a")
        self.b = self.add_weight(shape=(shape[-1],), initializer="ones", name="b")

    def call(self, x):
        return cut(self.a * x) + self.b

x = np.random.rand(16, 3).astype("float32")
y = np.random.rand(16, 3).astype("float32")
"""
NET = """
class Net(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.scale = Scale()

    def call(self, x):
        return self.scale(x)
"""
VARIABLES = """
a = tf.Variable([1.5, 2.5], name="a")
b = tf.Variable([0.5, 0.5], name="b")
"""
FIT = """
model = tf.keras.Sequential([Scale()])
model.compile("adam", "mse")
model.fit(x, y, batch_size=4, epochs=1, verbose=0)
"""
MODES = {
    "fit": LAYER + FIT,
    "fit of a functional model with several outputs": LAYER
    + """
inputs = tf.keras.Input((3,))
scaled = Scale()(inputs)
model = tf.keras.Model(inputs, [scaled, tf.keras.layers.Dense(3)(inputs)])
model.compile("sgd", loss=["mse", "mae"])
model.fit(x, [y, y], batch_size=4, verbose=0)
""",
    "fit with XLA": LAYER + FIT.replace('"mse")', '"mse", jit_compile=True)'),
    "fit on tf.data": LAYER
    + """
data = tf.data.Dataset.from_tensor_slices((x, y)).map(lambda x, y: (x * 2.0, y), num_parallel_calls=2)
data = data.cache().shuffle(16).batch(4).prefetch(1)
model = tf.keras.Sequential([Scale()])
model.compile("sgd", "mse")
model.fit(data, validation_data=data, epochs=2, verbose=0)
""",
    "fit on a generator": LAYER
    + """
class Batches(tf.keras.utils.Sequence):
    def __len__(self):
        return 4

    def __getitem__(self, number):
        return x[number::4], y[number::4]

model = tf.keras.Sequential([Scale()])
model.compile("sgd", "mse")
model.fit(Batches(), verbose=0)
""",
    "mixed precision": LAYER + 'tf.keras.mixed_precision.set_global_policy("mixed_float16")\n' + FIT,
    "MirroredStrategy in fit": LAYER
    + """
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    model = tf.keras.Sequential([Scale()])
    model.compile("sgd", "mse")
model.fit(x, y, batch_size=8, verbose=0)
""",
    "MirroredStrategy with a loop": LAYER
    + NET
    + """
strategy = tf.distribute.MirroredStrategy(["CPU:0"])
with strategy.scope():
    model = Net()
    model(x[:1])
    optimizer = tf.keras.optimizers.SGD(0.1)
data = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices((x, y)).batch(4))

def step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x) - y))
    grads = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients([(g, v) for g, v in zip(grads, model.trainable_variables) if g is not None])
    return loss

@tf.function
def train(batch):
    return strategy.reduce(tf.distribute.ReduceOp.MEAN, strategy.run(step, args=batch), axis=None)

for batch in data:
    train(batch)
""",
    "train_step": LAYER
    + NET
    + """
class Trained(Net):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
        grads = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(grads, self.trainable_variables))
        return {"loss": loss}

model = Trained()
model.compile("sgd")
model.fit(x, y, batch_size=4, verbose=0)
""",
    "tf.function with tf.data": LAYER
    + NET
    + """
model, optimizer = Net(), tf.keras.optimizers.Adam(0.1)

@tf.function
def train(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x) - y))
    grads = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(grads, model.trainable_variables))
    return loss

for epoch in range(2):
    for batch_x, batch_y in tf.data.Dataset.from_tensor_slices((x, y)).batch(4):
        train(batch_x, batch_y)
""",
    "tf.function with the loop in it": LAYER
    + NET
    + """
model, optimizer = Net(), tf.keras.optimizers.SGD(0.1)
model(x[:1])
optimizer.build(model.trainable_variables)

@tf.function
def train(data):
    for x, y in data:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y))
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients([(g, v) for g, v in zip(grads, model.trainable_variables) if g is not None])

train(tf.data.Dataset.from_tensor_slices((x, y)).batch(4))
""",
    "several optimisers": VARIABLES
    + """
first, second = tf.keras.optimizers.Adam(0.1), tf.keras.optimizers.SGD(0.1)

@tf.function
def train(x):
    with tf.GradientTape() as one, tf.GradientTape() as other:
        value = cut(a * x) + b
        loss_one, loss_other = tf.reduce_sum(value), tf.reduce_sum(tf.square(value))
    for tape, loss, variables, optimizer in ((one, loss_one, [a], first), (other, loss_other, [b], second)):
        grads = tape.gradient(loss, variables)
        if grads[0] is not None:
            optimizer.apply_gradients(zip(grads, variables))

for step in range(3):
    train(tf.constant([1.0, 2.0]))
""",
    "persistent tape": VARIABLES
    + """
for step in range(3):
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_sum(cut(a * a) + b)
    grad_a, grad_b = tape.gradient(loss, a), tape.gradient(loss, b)
    del tape
""",
    "nested tapes": VARIABLES
    + """
@tf.function
def second(x):
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = cut(a * a) * x ** 3 + b * x ** 2
        first = inner.gradient(value, x)
        loss = tf.reduce_sum(first)
    return outer.gradient(loss, [a, b])

for step in range(3):
    second(tf.constant([1.0, 2.0]))
""",
    "jacobian": VARIABLES
    + """
for step in range(3):
    with tf.GradientTape(persistent=True) as tape:
        value = cut(a * a) + b
    tape.jacobian(value, a), tape.jacobian(value, b)
""",
    "jacobian in a tf.function": VARIABLES
    + """
@tf.function
def jacobians():
    with tf.GradientTape(persistent=True) as tape:
        value = cut(a * a) + b
    return [j for j in (tape.jacobian(value, a), tape.jacobian(value, b)) if j is not None]

jacobians()
""",
    "tf.gradients in a function": VARIABLES
    + """
@tf.function
def slopes():
    return [g for g in tf.gradients(tf.reduce_sum(cut(a * a) + b), [a, b]) if g is not None]

for step in range(3):
    slopes()
""",
}


def states_of(run: Run) -> dict[str, set[str]]:
    """All states of `a` and of `b`; other sources do not matter here."""
    found: dict[str, set[str]] = {}
    for gradient in run.gradients:
        for one in gradient.sources:
            name = one.name.rsplit("/", 1)[-1]
            if name in ("a", "b"):
                found.setdefault(name, set()).add(one.state)
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("broken", [False, True], ids=["healthy", "broken"])
def test_mode(run: Runner, mode: str, broken: bool) -> None:
    cut = f"def cut(x):\n    return {'tf.round(x)' if broken else 'x'}\n"
    result = run(cut + MODES[mode], timeout=40)
    assert result.end in ("finished", "stopped"), result.output
    assert states_of(result) == {"a": {"none" if broken else "ok"}, "b": {"ok"}}
    table = {row.name.rsplit("/", 1)[-1]: row for row in rows([result], ())}
    assert (table["a"].before == "None", table["a"].broken_before) == (broken, broken)
    assert not table["b"].broken_before
    if "optimizer" in MODES[mode] or "compile(" in MODES[mode]:
        changed = {v.name.rsplit("/", 1)[-1]: v.changed for v in result.variables}
        assert (changed["a"], changed["b"]) == (not broken, True)
