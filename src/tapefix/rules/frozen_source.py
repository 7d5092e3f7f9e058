"""TPF517: a variable that does not train is given to the optimiser."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._tensors import is_watched, listed_sources
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_MAKERS = ("tf.Variable", "keras.Variable")


class FrozenSource(Rule):
    """A variable that does not train is given to the optimiser.

    What it finds:
        `tf.Variable(..., trainable=False)` in the list of sources whose gradients an optimiser applies, where no tape
        watches it by hand.

    Why the gradient stops:
        A tape watches trainable variables by itself, and the others only when told to. The gradient is None, and the
        optimiser skips the variable with a warning.

    Example:
        ```python
        import tensorflow as tf

        table = tf.Variable(tf.ones([4, 2]), trainable=False)
        scale = tf.Variable([1.0, 2.0])
        optimizer = tf.keras.optimizers.SGD(0.1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(table * scale))
        gradients = tape.gradient(loss, [table, scale])
        optimizer.apply_gradients(zip(gradients, [table, scale]))
        ```

    Fix safety:
        Safe: the list says that it is to be trained.
    """

    code = "TPF517"
    name = "frozen-source"
    safety = "safe"
    tokens = ("trainable=False",)

    def check(self, module: Module) -> Iterator[Finding]:
        seen: set[ast.AST] = set()
        for gradient in module.tapes.gradients:
            if gradient.tape is None or not self._is_applied(module, gradient.call):
                continue
            for item in listed_sources(module, gradient):
                made = module.objects.origins(item)
                frozen = self._frozen(module, made[0]) if len(made) == 1 else None
                if frozen is None or made[0] in seen or is_watched(module, gradient.tape, item):
                    continue
                seen.add(made[0])
                yield self._finding(module, item, *frozen)

    @staticmethod
    def _is_applied(module: Module, call: ast.Call) -> bool:
        """Does an optimiser get these gradients?"""
        return any(
            isinstance(other.func, ast.Attribute)
            and other.func.attr == "apply_gradients"
            and any(
                call in [node, *module.objects.origins(node)]
                for argument in other.args
                for node in ast.walk(argument)
                if isinstance(node, (ast.Name, ast.Call))
            )
            for other in module.calls
        )

    @staticmethod
    def _frozen(module: Module, made: ast.AST) -> tuple[ast.Call, ast.keyword] | None:
        if not isinstance(made, ast.Call) or module.call_name(made) not in _MAKERS:
            return None
        for keyword in made.keywords:
            if keyword.arg == "trainable" and isinstance(keyword.value, ast.Constant) and keyword.value.value is False:
                return made, keyword
        return None

    def _finding(self, module: Module, item: ast.expr, made: ast.Call, keyword: ast.keyword) -> Finding:
        name = module.source(item)
        edit = ReplaceExpression(module.span(keyword.value), "True")
        return self.finding(
            module,
            made,
            f"{name} is made with trainable=False, but is in a list that an optimiser trains: its gradient is None.",
            label="does not train",
            notes=[(item, "its gradient is asked for here")],
            candidates=[Candidate(f"make {name} trainable", (edit,), trains_more=True)],
        )
