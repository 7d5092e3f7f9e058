"""TPF203: the loss is computed from `model.predict`."""

from __future__ import annotations

from tapefix.rules._detour import DetourRule


class PredictInLoss(DetourRule):
    """The loss is computed from `model.predict`.

    What it finds:
        `model.predict(x)` or `predict_on_batch` between the model and the loss while a tape records.

    Why the gradient stops:
        `predict` runs the model in a loop of its own and returns arrays; only calling the model is recorded.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        x, y = tf.ones([4, 2]), tf.ones([4, 1])
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model.predict(x, verbose=0) - y))
        print(tape.gradient(loss, model.trainable_variables))
        ```

    Fix safety:
        Safe: `model(x)` computes what `predict` computes, as a tensor.
    """

    code = "TPF203"
    name = "predict-in-loss"
    safety = "safe"
    tokens = (".predict",)
    exits = "predict"
    title = "call the model"
