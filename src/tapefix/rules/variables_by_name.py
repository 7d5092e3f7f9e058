"""TPF515: the variables of a network are picked by names that Keras 3 keeps in the path."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# What the variables of Keras' layers are called themselves.
_OWN = re.compile(
    r"^/?(kernel|bias|gamma|beta|embeddings?|moving_\w+|alpha|recurrent_\w+|depthwise_\w+|pointwise_\w+)", re.I
)
_SEARCHES = ("startswith", "find", "index", "count")


class VariablesByName(Rule):
    """The variables of a network are picked by names that Keras 3 keeps in the path.

    What it finds:
        With Keras 3, `[v for v in model.trainable_variables if "generator" in v.name]`.

    Why the gradient stops:
        In Keras 3 the name of a variable is only its own (`kernel`); those of its model and layer are in `v.path`.
        The list is empty, and nothing is trained.

    Example:
        ```python
        import tensorflow as tf

        encoder = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(2)], name="encoder")
        model = tf.keras.Sequential([encoder, tf.keras.layers.Dense(1)])
        variables = [v for v in model.trainable_variables if "encoder" in v.name]
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(tf.ones([4, 2]))))
        gradients = tape.gradient(loss, variables)
        tf.keras.optimizers.SGD(0.1).apply_gradients(zip(gradients, variables))
        ```

    Fix safety:
        Safe: the path holds what the name was in Keras 2.
    """

    code = "TPF515"
    name = "variables-by-name"
    safety = "safe"
    tokens = (".name",)

    def check(self, module: Module) -> Iterator[Finding]:
        if module.keras < 3:
            return
        for node in module.each(ast.Attribute):
            if node.attr != "name" or not isinstance(node.value, ast.Name) or not self._is_variable(module, node.value):
                continue
            text = self._wanted(module, node)
            if text is None or _OWN.match(text):
                continue
            yield self.finding(
                module,
                node,
                f'In Keras 3 the name of a variable does not hold "{text}", that of its model or layer: its path does.',
                label="kernel or bias",
                candidates=[
                    Candidate(
                        "use the path",
                        (ReplaceExpression(module.span(node), "$v.path", {"v": module.span(node.value)}),),
                        keeps_value=False,
                    )
                ],
                certain=self._is_given(module, text),
            )

    @staticmethod
    def _is_variable(module: Module, name: ast.Name) -> bool:
        """Does the name go through a list of a model's variables?"""
        for definition in module.definitions(name):
            listed = definition.value if definition.kind == "loop" and not definition.path else None
            origins = module.objects.origins(listed) if listed is not None else []
            if not any(
                isinstance(o, ast.Attribute) and o.attr in ("trainable_variables", "trainable_weights")
                for o in [listed, *origins]
            ):
                return False
        return bool(module.definitions(name))

    @staticmethod
    def _wanted(module: Module, name: ast.Attribute) -> str | None:
        """The text that is looked for in it."""
        above = module.parent(name)
        found: ast.AST | None = None
        if isinstance(above, ast.Compare) and isinstance(above.ops[0], ast.In) and name in above.comparators:
            found = above.left
        elif isinstance(above, ast.Attribute) and above.attr in _SEARCHES:
            call = module.parent(above)
            found = call.args[0] if isinstance(call, ast.Call) and call.args else None
        return found.value if isinstance(found, ast.Constant) and isinstance(found.value, str) else None

    @staticmethod
    def _is_given(module: Module, text: str) -> bool:
        """Does the module give such a name to a model or a layer?"""
        names = [
            k.value.value
            for call in module.calls
            for k in call.keywords
            if k.arg == "name" and isinstance(k.value, ast.Constant) and isinstance(k.value.value, str)
        ]
        return any(text.rstrip("/") in name for name in names)
