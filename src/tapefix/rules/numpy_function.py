"""TPF205: `py_function` or `numpy_function` runs part of the loss."""

from __future__ import annotations

from tapefix.rules._detour import DetourRule


class NumpyFunction(DetourRule):
    """`py_function` or `numpy_function` runs part of the loss.

    What it finds:
        `tf.py_function`, `tf.numpy_function` or `tf.py_func` around code that TensorFlow itself can run.

    Why the gradient stops:
        `numpy_function` has no gradient, and `py_function` has none where its function uses NumPy.

    Example:
        ```python
        import tensorflow as tf

        def cube(value):
            return value**3

        w = tf.Variable(2.0)
        with tf.GradientTape() as tape:
            loss = tf.numpy_function(cube, [w], tf.float32)
        print(tape.gradient(loss, w))
        ```

    Fix safety:
        Safe: the same function is called, and what it does with NumPy becomes TensorFlow.
    """

    code = "TPF205"
    name = "numpy-function"
    safety = "safe"
    tokens = ("py_func", "numpy_func")
    exits = "wrapper"
    title = "call the function directly"
