"""TPF206: a tensor is made into a constant or a new variable."""

from __future__ import annotations

from tapefix.rules._detour import DetourRule


class ConstantTensor(DetourRule):
    """A tensor is made into a constant or a new variable.

    What it finds:
        `tf.Variable(loss)`, `tf.constant(variable)` or `tf.constant([t0, t1])` on the way to the loss.

    Why the gradient stops:
        A new variable starts a history of its own, and `tf.constant` copies the number out of a variable.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable([0.5, 0.2])
        with tf.GradientTape() as tape:
            loss = tf.Variable(tf.reduce_sum(tf.square(w)))
        print(tape.gradient(loss, w))
        ```

    Fix safety:
        Safe: the same value without the copy.
    """

    code = "TPF206"
    name = "constant-tensor"
    safety = "safe"
    tokens = ("constant(", "Variable(", "variable(")
    exits = "constant"
    title = "use the tensor itself"
