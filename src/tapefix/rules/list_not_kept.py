"""TPF509: a variable is put into a list that Keras makes anew each time it is asked."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.codemods.edits import Delete, Edit
from tapefix.findings import Candidate, Finding
from tapefix.rules._trained_lists import with_more
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_ADDS = ("append", "extend")


class ListNotKept(Rule):
    """A variable is put into a list that Keras makes anew each time it is asked.

    What it finds:
        `model.trainable_variables.append(scale)` and the like, on a Keras model or layer.

    Why the gradient stops:
        `trainable_variables` is computed at each read. What is appended to one of these lists is in no other, so the
        tape and the optimiser never see the variable.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        scale = tf.Variable(1.0)
        model.trainable_variables.append(scale)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(scale * model(tf.ones([4, 2])) - 3.0))
        gradients = tape.gradient(loss, model.trainable_variables)
        tf.keras.optimizers.SGD(0.1).apply_gradients(zip(gradients, model.trainable_variables))
        ```

    Fix safety:
        Safe: the variable joins the list where the gradient is asked, as the author said.
    """

    code = "TPF509"
    name = "list-not-kept"
    safety = "safe"
    tokens = tuple(f".{name}.{verb}(" for name in sorted(VARIABLE_LISTS) for verb in _ADDS)

    def check(self, module: Module) -> Iterator[Finding]:
        for call in module.calls:
            func = call.func
            if not (isinstance(func, ast.Attribute) and func.attr in _ADDS and len(call.args) == 1):
                continue
            listed = func.value
            if not (isinstance(listed, ast.Attribute) and listed.attr in VARIABLE_LISTS):
                continue
            statement = module.parent(call)
            if not isinstance(statement, ast.Expr) or not module.kinds.is_keras(listed.value):
                continue
            if any(n.attr == listed.attr and not isinstance(n.ctx, ast.Load) for n in module.each(ast.Attribute)):
                continue  # a list of the author's own
            edits = self._edits(module, call, listed, func.attr)
            added = module.source(call.args[0])
            yield self.finding(
                module,
                call,
                f"Keras makes {module.source(listed)} anew each time it is read, so {added} is in no list that a tape "
                "or an optimiser gets.",
                label="changes a list that nobody else sees",
                candidates=[Candidate(f"train {added} where the list is used", edits, trains_more=True)]
                if edits is not None
                else (),
                silent=True,
                advice="" if edits is not None else f"Pass {module.source(listed)} + [...] to gradient and optimiser.",
            )

    @staticmethod
    def _edits(module: Module, call: ast.Call, listed: ast.Attribute, verb: str) -> tuple[Edit, ...] | None:
        added = call.args[0]
        if not isinstance(added, (ast.Name, ast.Attribute)):
            return None
        model = module.objects.origins(listed.value)
        asked = [
            g
            for g in module.tapes.gradients
            if isinstance(g.sources, ast.Attribute)
            and g.sources.attr in VARIABLE_LISTS
            and module.objects.origins(g.sources.value) == model
        ]
        if len(asked) != 1:
            return None
        text = module.source(added)
        names = [n for n in ast.walk(added) if isinstance(n, ast.Name)]
        if any(not module.scope(asked[0].call).lookup(n.id) for n in names):
            return None
        if verb == "append":
            more = with_more(module, asked[0], variables=[text])
        else:
            more = with_more(module, asked[0], lists=[text])
        return (Delete(module.span(module.statement(call))), *more) if more is not None else None
