"""A script that trains, and the same with its forward pass outside the tape."""

URI = "file:///project/train.py"
HEALTHY = """\
import tensorflow as tf

model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
optimizer = tf.keras.optimizers.SGD(0.1)
x, y = tf.ones([4, 2]), tf.ones([4, 1])
with tf.GradientTape() as tape:
    loss = tf.reduce_mean(tf.square(model(x) - y))
gradients = tape.gradient(loss, model.trainable_variables)
optimizer.apply_gradients(zip(gradients, model.trainable_variables))
"""
BROKEN = HEALTHY.replace(
    "with tf.GradientTape() as tape:\n    loss = tf.reduce_mean(tf.square(model(x) - y))\n",
    "out = model(x)\nwith tf.GradientTape() as tape:\n    loss = tf.reduce_mean(tf.square(out - y))\n",
)
REPAIRED = HEALTHY.replace(
    "    loss = tf.reduce_mean(tf.square(model(x) - y))\n",
    "    out = model(x)\n    loss = tf.reduce_mean(tf.square(out - y))\n",
)
HERE = {"start": {"line": 5, "character": 0}, "end": {"line": 5, "character": 0}}
