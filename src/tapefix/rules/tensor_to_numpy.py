"""TPF202: a tensor becomes an array or a number on its way to the loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.findings import Finding
from tapefix.rules._detour import DetourRule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class TensorToNumpy(DetourRule):
    """A tensor becomes an array or a number on its way to the loss.

    What it finds:
        `.numpy()`, `float(t)`, `.item()`, `np.array(t)`, `K.eval(t)` and the like on the way to the loss.

    Why the gradient stops:
        The number knows nothing of the operations that it came from, so the tape cannot go back through it.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable([0.5, 0.2])
        with tf.GradientTape() as tape:
            errors = [float(w[i] - 1.0) for i in range(2)]
            loss = tf.reduce_sum(tf.square(errors))
        print(tape.gradient(loss, w))
        ```

    Fix safety:
        Safe: the same value, as a tensor. Conversions for logging or sampling are left alone.
    """

    code = "TPF202"
    name = "tensor-to-numpy"
    safety = "safe"
    tokens = (".numpy(", "numpy", "float(", ".item(", ".tolist(", "eval(", "get_value", "get_static_value")
    exits = "export"
    title = "keep the tensor"

    def check(self, module: Module) -> Iterator[Finding]:
        yield from super().check(module)
        for call in sorted(module.detours.outside - module.detours.found.keys(), key=lambda c: c.lineno):
            yield self.finding(
                module,
                call,
                "What is computed from this outside TensorFlow is added to the loss as a plain number: "
                "this term does not train anything.",
                label="leaves TensorFlow here",
                silent=True,
                advice="Add a differentiable stand-in for it to the loss (a norm, an entropy); keep it for logging.",
            )
