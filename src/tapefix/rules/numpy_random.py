"""TPF204: NumPy draws from a distribution whose parameters are learned."""

from __future__ import annotations

from tapefix.rules._detour import DetourRule


class NumpyRandom(DetourRule):
    """NumPy draws from a distribution whose parameters are learned.

    What it finds:
        `np.random.normal(mu, sigma)` and the like, where mu or sigma are computed by the model.

    Why the gradient stops:
        The sample is an array, so nothing connects it to mu and sigma. Written as `mu + sigma * noise` it is a
        function of both, and only the noise is random.

    Example:
        ```python
        import numpy as np
        import tensorflow as tf

        mu, log_sigma = tf.Variable([0.5, 0.1]), tf.Variable([0.0, 0.0])
        with tf.GradientTape() as tape:
            z = np.random.normal(mu, np.exp(log_sigma))
            loss = tf.reduce_mean(tf.square(z - 1.0))
        print(tape.gradient(loss, [mu, log_sigma]))
        ```

    Fix safety:
        Safe: the same distribution. The drawn numbers differ.
    """

    code = "TPF204"
    name = "numpy-random"
    safety = "safe"
    tokens = ("numpy", "random")
    exits = "random"
    title = "draw pure noise and scale it with TensorFlow"
    changes_value = True
