"""A line is fitted to four points, but the model is called before the tape starts to record."""

import tensorflow as tf

x = tf.constant([[1.0], [2.0], [3.0], [4.0]])
y = tf.constant([[3.0], [5.0], [7.0], [9.0]])
model = tf.keras.Sequential([tf.keras.Input((1,)), tf.keras.layers.Dense(1)])
optimizer = tf.keras.optimizers.SGD(0.05)


def squared_error(target, predicted):
    return tf.reduce_mean(tf.square(target - predicted))


for epoch in range(100):
    # The prediction of the current weights.
    predictions = model(x)
    with tf.GradientTape() as tape:
        loss = squared_error(y, predictions)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))

print(f"loss {loss:.4f}")
