"""TPF201: NumPy computes part of the loss."""

from __future__ import annotations

from tapefix.rules._detour import DetourRule


class NumpyOperation(DetourRule):
    """NumPy computes part of the loss.

    What it finds:
        A function of NumPy, `math` or SciPy between something trainable and the loss, while a tape records: in the loss
        itself, in a helper, under an alias, or through several calls.

    Why the gradient stops:
        These functions turn tensors into arrays and numbers. The tape records TensorFlow's operations only, so to
        it the result is a constant: the gradient is None, or a term of the loss silently trains nothing.

    Example:
        ```python
        import numpy as np
        import tensorflow as tf

        w = tf.Variable([0.5, 0.2])
        x = tf.constant([1.0, 2.0])
        with tf.GradientTape() as tape:
            loss = np.mean(np.square(np.log(x) - w))
        print(tape.gradient(loss, w))
        ```

    Fix safety:
        Safe: TensorFlow's function of the same meaning, with the arguments translated. Where there is none, advice.
    """

    code = "TPF201"
    name = "numpy-operation"
    safety = "safe"
    tokens = ("numpy", "math", "scipy")
    exits = "operation"
    title = "use TensorFlow's functions"
