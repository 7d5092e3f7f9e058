"""TPF416: an optimiser that was built before a part of the model was set trainable."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Insert
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_REFUSALS = ("Unknown variable", "cannot recognize variable")


class OutgrownOptimizer(Rule):
    """An optimiser was built before a part of the model was set trainable.

    What it finds:
        `base.trainable = True` between two phases of training with one optimiser, where a run shows that the optimiser
        refuses the variables that have come.

    Why the gradient stops:
        A Keras optimiser is built for the variables of its first call, and refuses all others: `Unknown variable`.

    Example:
        ```python
        import tensorflow as tf

        body = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(3)])
        net = tf.keras.Sequential([body, tf.keras.layers.Dense(1)])
        net(tf.ones([1, 2]))
        body.trainable = False
        optimizer = tf.keras.optimizers.SGD(0.01)


        def train():
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(net(tf.ones([4, 2])) - 3.0))
            variables = net.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))


        train()
        body.trainable = True
        train()
        ```

    Fix safety:
        Safe: the second phase gets an optimiser of its own, made as the first one was.
    """

    code = "TPF416"
    name = "outgrown-optimizer"
    safety = "safe"
    tokens = (".trainable = True", ".trainable=True")

    def check(self, module: Module) -> Iterator[Finding]:
        failure = module.measured.failure if module.measured is not None else None
        if failure is None or not any(word in failure.message for word in _REFUSALS):
            return
        made = [c for c in module.calls if module.kinds.made(c) == "optimizer"]
        thawed = [
            n
            for n in module.each(ast.Assign)
            if isinstance(n.targets[0], ast.Attribute)
            and n.targets[0].attr == "trainable"
            and isinstance(n.value, ast.Constant)
            and n.value.value is True
        ]
        if len(made) != 1 or not thawed:
            return
        place = self._outermost(module, thawed[-1])
        assign = module.parent(made[0])
        if not isinstance(assign, ast.Assign) or len(assign.targets) != 1:
            return
        target = assign.targets[0]
        same = module.function(target) is module.function(place) and target.lineno < place.lineno
        own = isinstance(target, ast.Attribute) and module.class_of(target) is module.class_of(place) is not None
        edit = Insert(module.span(place), "after", f"{module.source(target)} = {module.source(made[0])}")
        yield self.finding(
            module,
            thawed[-1],
            f"{module.source(target)} was built without these variables, and refuses them: {_REFUSALS[0]}.",
            label="more variables than before",
            candidates=[Candidate("make a new optimizer for them", (edit,), keeps_value=False)] if same or own else (),
            notes=[(made[0], "this optimiser is in use already")],
            certain=False,
            advice="" if same or own else "Make a new optimiser after this, or build the first one with all variables.",
        )

    @staticmethod
    def _outermost(module: Module, statement: ast.stmt) -> ast.stmt:
        """The loop over layers in which the statement stands."""
        above = module.parent(statement)
        while isinstance(above, (ast.For, ast.If)):
            statement, above = above, module.parent(above)
        return statement
