"""TPF418: the pairs for the optimiser are a zip that something else goes through first."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_GO_THROUGH = ("list", "tuple", "dict", "sum", "len", "max", "min", "sorted", "all", "any", "set", "enumerate", "map")


class SpentZip(Rule):
    """The pairs for the optimiser are a zip that something else goes through first.

    What it finds:
        `pairs = zip(gradients, variables)`, a loop (or a function of the module) that goes through `pairs`, and then
        `apply_gradients(pairs)`.

    Why the gradient stops:
        A zip gives its pairs once. For the optimiser nothing is left, and it fails or does nothing.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        optimizer = tf.keras.optimizers.SGD(0.1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(tf.ones([4, 2]))))
        pairs = zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        norms = [tf.norm(gradient) for gradient, _ in pairs]
        optimizer.apply_gradients(pairs)
        ```

    Fix safety:
        Safe: a list of the same pairs.
    """

    code = "TPF418"
    name = "spent-zip"
    safety = "safe"
    tokens = ("= zip(", "return zip(")

    def check(self, module: Module) -> Iterator[Finding]:
        for call in module.calls:
            if not (isinstance(call.func, ast.Attribute) and call.func.attr == "apply_gradients" and call.args):
                continue
            pairs = call.args[0]
            definitions = module.definitions(pairs) if isinstance(pairs, ast.Name) else []
            if len(definitions) != 1:
                continue
            made = [o for o in _values(module, definitions[0].value) if module.call_name(o) == "zip"]
            before = [
                use
                for use in definitions[0].uses
                if use is not pairs and use.lineno < call.lineno and self._goes_through(module, use)
            ]
            if len(made) == 1 and before:
                yield self.finding(
                    module,
                    made[0],
                    f"A zip gives its pairs once: after line {before[0].lineno} none is left for apply_gradients.",
                    label="can be gone through once",
                    notes=[(before[0], "gone through here")],
                    candidates=[
                        Candidate(
                            "make a list of the pairs",
                            (ReplaceExpression(module.span(made[0]), "list($pairs)", {"pairs": module.span(made[0])}),),
                            keeps_value=False,
                        )
                    ],
                )

    @staticmethod
    def _goes_through(module: Module, use: ast.expr) -> bool:
        above = module.parent(use)
        if isinstance(above, (ast.For, ast.comprehension)):
            return above.iter is use
        if not isinstance(above, ast.Call) or use not in above.args:
            return isinstance(above, ast.Starred)
        if module.call_name(above) in _GO_THROUGH:
            return True
        place = above.args.index(use)
        for callee in module.objects.callees(above):
            for parameter in module.objects.parameters(callee)[place : place + 1]:
                inner = [u for d in module.reaching.bindings.get(parameter, ()) for u in d.uses]
                if any(SpentZip._goes_through(module, u) for u in inner if module.function(u) is callee):
                    return True
        return False


def _values(module: Module, value: ast.expr | None) -> list[ast.Call]:
    """The calls that make a value, also in the function of the module that returns it."""
    if not isinstance(value, ast.Call):
        return []
    returned = [r for f in module.objects.callees(value) for r in module.objects.returns.get(f, ())]
    return [r for r in (returned or [value]) if isinstance(r, ast.Call)]
