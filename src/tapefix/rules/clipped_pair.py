"""TPF417: the pair that clip_by_global_norm returns, taken for the list of gradients."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class ClippedPair(Rule):
    """The pair that `tf.clip_by_global_norm` returns is taken for the list of gradients.

    What it finds:
        `grads = tf.clip_by_global_norm(grads, 1.0)`, and `grads` zipped with the variables.

    Why the gradient stops:
        The function returns the clipped list and the norm. Zipped with the variables, the first of them is paired with
        the whole list and the second with the norm.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        optimizer = tf.keras.optimizers.SGD(0.1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(tf.ones([4, 2]))))
        grads = tape.gradient(loss, model.trainable_variables)
        grads = tf.clip_by_global_norm(grads, 1.0)
        optimizer.apply_gradients(zip(grads, model.trainable_variables))
        ```

    Fix safety:
        Safe: the pair cannot be meant there.
    """

    code = "TPF417"
    name = "clipped-pair"
    safety = "safe"
    tokens = ("clip_by_global_norm",)

    def check(self, module: Module) -> Iterator[Finding]:
        for call in module.calls:
            if module.op(call) != "clip_by_global_norm":
                continue
            edit = self._edit(module, call)
            if edit is not None:
                yield self.finding(
                    module,
                    call,
                    "clip_by_global_norm returns a pair: the clipped gradients and their norm.",
                    label="a pair",
                    candidates=[Candidate("take the gradients of the pair", (edit,), keeps_value=False)],
                )

    @staticmethod
    def _edit(module: Module, call: ast.Call) -> ReplaceExpression | None:
        if _is_zipped(module, call):
            return ReplaceExpression(module.span(call), "$pair[0]", {"pair": module.span(call)})
        statement = module.parent(call)
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            return None
        target = statement.targets[0]
        uses = [use for d in module.reaching.bindings.get(target, ()) for use in d.uses]
        if not isinstance(target, ast.Name) or not any(_is_zipped(module, use) for use in uses):
            return None
        if any(isinstance(module.parent(use), ast.Subscript) for use in uses):
            return None  # the parts are told apart
        return ReplaceExpression(module.span(target), f"{target.id}, _")


def _is_zipped(module: Module, node: ast.expr) -> bool:
    above = module.parent(node)
    return isinstance(above, ast.Call) and module.call_name(above) == "zip" and len(above.args) == 2
