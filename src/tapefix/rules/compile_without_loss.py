"""TPF409: a model that is fitted without a loss."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.findings import Finding
from tapefix.rules._fitting import compiles, is_plain_model, knows_all_layers, same_model, supplies_no_loss, trainings
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class CompileWithoutLoss(Rule):
    """A model is compiled without a loss and then fitted.

    What it finds:
        `compile(optimizer=...)` without `loss`, followed by `fit` or `train_on_batch` on the same model, where neither
        `add_loss` nor a training step of the author's own supplies one.

    Why the gradient stops:
        There is nothing to differentiate: Keras 3 says `No loss to compute`, Keras 2 `No gradients provided for any
        variable`.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        model.compile(optimizer="adam", metrics=["accuracy"])
        model.fit(tf.ones([4, 2]), tf.ones([4, 1]))
        ```

    Fix safety:
        Advice only: which loss is meant is for the author to say.
    """

    code = "TPF409"
    name = "compile-without-loss"
    safety = "advice"
    tokens = (".compile(",)

    def check(self, module: Module) -> Iterator[Finding]:
        if not supplies_no_loss(module):
            return
        for call in module.calls:
            if not (isinstance(call.func, ast.Attribute) and call.func.attr == "compile"):
                continue
            loss = argument(call, 1, "loss")
            if any(k.arg is None for k in call.keywords) or any(isinstance(a, ast.Starred) for a in call.args):
                continue
            if loss is not None and not (isinstance(loss, ast.Constant) and loss.value is None):
                continue
            if not is_plain_model(module, call.func.value):
                continue
            fit = next((c for c in trainings(module) if same_model(module, call.func.value, c.func.value)), None)  # type: ignore[attr-defined]
            if fit is None or any(
                k.arg == "loss" for c in compiles(module, call.func.value) for k in c.keywords if c is not call
            ):
                continue
            yield self.finding(
                module,
                call,
                "compile gets no loss, so fit has nothing to differentiate.",
                label="no loss",
                notes=[(fit, "trained here")],
                certain=knows_all_layers(module),
                advice="Pass loss=... to compile: the loss that suits the model's last layer and the targets.",
            )
