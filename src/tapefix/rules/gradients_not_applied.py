"""TPF415: gradients that are computed, and that no optimiser gets."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def
from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.codemods.edits import Insert
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import GradientCall

# What is done with gradients before they are applied, or to look at them.
_LOOKS = {
    "clip_by_global_norm", "clip_by_norm", "clip_by_value", "global_norm", "norm", "reduce_mean", "reduce_sum",
    "reduce_max", "abs", "square", "sqrt", "cast", "is_nan", "is_finite", "reduce_any", "reduce_all", "multiply",
}  # fmt: skip


class GradientsNotApplied(Rule):
    """Gradients are computed, but no optimiser gets them.

    What it finds:
        `gradients = tape.gradient(loss, model.trainable_variables)`, clipped or not, in a file that makes one
        optimiser and never calls it.

    Why the gradient stops:
        Gradients change nothing by themselves. Without `apply_gradients` the variables stay as they are, and so does
        the loss.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        optimizer = tf.keras.optimizers.SGD(0.1)
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(tf.ones([4, 2])) - 3.0))
            gradients = tape.gradient(loss, model.trainable_variables)
            print(float(loss))
        ```

    Fix safety:
        Safe: an optimiser that is made and never used was meant to apply the gradients.
    """

    code = "TPF415"
    name = "gradients-not-applied"
    safety = "safe"
    tokens = (".gradient(",)

    def check(self, module: Module) -> Iterator[Finding]:
        if any(word in module.text for word in ("apply_gradients", ".minimize(", ".apply(", ".assign")):
            return
        made = [c for c in module.calls if module.kinds.made(c) == "optimizer"]
        if len(made) != 1:
            return
        optimizer = self._unused(module, made[0])
        if optimizer is None:
            return
        for gradient in module.tapes.gradients:
            last = self._last(module, gradient)
            written = self._spelled(module, gradient.call, optimizer)
            if last is None or written is None or not _are_trained(module, gradient.sources):
                continue
            text = f"{written}.apply_gradients(zip({last.name}, {module.source(gradient.sources)}))"
            place = module.statement(last.node)
            yield self.finding(
                module,
                gradient.call,
                f"These gradients go nowhere: `{written}` is made and never called, so nothing is trained.",
                label="not applied",
                candidates=[
                    Candidate(
                        "apply the gradients",
                        (Insert(module.span(place), "after", text),),
                        keeps_value=False,
                        trains_more=True,
                    )
                ],
                notes=[(made[0], "this optimiser is not used")],
                silent=True,
            )

    @staticmethod
    def _unused(module: Module, made: ast.Call) -> ast.Name | ast.Attribute | None:
        """What the optimiser is assigned to, if nothing reads it."""
        assign = module.parent(made)
        if not isinstance(assign, ast.Assign) or len(assign.targets) != 1:
            return None
        target = assign.targets[0]
        if isinstance(target, ast.Name):
            bound = module.reaching.bindings.get(target, [])
            return target if bound and not any(d.uses for d in bound) else None
        if isinstance(target, ast.Attribute) and module.classes.is_self(target.value):
            read = any(n.attr == target.attr and isinstance(n.ctx, ast.Load) for n in module.each(ast.Attribute))
            return target if not read else None
        return None

    @staticmethod
    def _spelled(module: Module, place: ast.AST, optimizer: ast.Name | ast.Attribute) -> str | None:
        """The optimiser as the place of the gradient call can name it."""
        if isinstance(optimizer, ast.Name):
            home = module.function(optimizer)
            return optimizer.id if home is None or home is module.function(place) else None
        return module.source(optimizer) if module.class_of(place) is module.class_of(optimizer) else None

    def _last(self, module: Module, gradient: GradientCall) -> Def | None:
        """The name that holds the gradients in the end, if they are only clipped or looked at."""
        statement = module.statement(gradient.call)
        if not (isinstance(statement, ast.Assign) and statement.value is gradient.call and len(statement.targets) == 1):
            return None
        target = statement.targets[0]
        bound = module.reaching.bindings.get(target, []) if isinstance(target, ast.Name) else []
        last = bound[0] if len(bound) == 1 else None
        for _ in range(4):
            if last is None:
                return None
            following = [self._clipped(module, use) for use in last.uses]
            if any(f is False for f in following):
                return None
            clipped = [f for f in following if isinstance(f, Def)]
            if not clipped:
                return last
            last = clipped[0] if len(clipped) == 1 else None
        return None

    def _clipped(self, module: Module, use: ast.AST) -> Def | bool:
        """The name that the clipped gradients get; True where they are looked at only, False where they leave."""
        node, parent = use, module.parent(use)
        while not isinstance(parent, ast.stmt):
            if isinstance(parent, ast.Call) and node is not parent.func:
                if module.op(parent) not in _LOOKS and module.call_name(parent) not in ("print", "tf.print", "float"):
                    return False
            elif parent is None or isinstance(parent, (ast.Lambda, ast.Dict, ast.Yield)):
                return False
            node, parent = parent, module.parent(parent)
        if isinstance(parent, ast.Assign) and len(parent.targets) == 1:
            target = parent.targets[0]
            first = target.elts[0] if isinstance(target, ast.Tuple) else target
            is_list = isinstance(parent.value, ast.ListComp) or module.op(parent.value) == "clip_by_global_norm"
            bound = module.reaching.bindings.get(first, []) if isinstance(first, ast.Name) else []
            if is_list and len(bound) == 1:
                return bound[0]
            return isinstance(target, ast.Name)
        return isinstance(parent, (ast.Expr, ast.If, ast.Assert))


def _are_trained(module: Module, sources: ast.expr) -> bool:
    """A list of a network's variables, or of variables."""
    origins = [sources] if isinstance(sources, ast.Attribute) else module.objects.origins(sources)
    for origin in origins:
        if isinstance(origin, ast.Attribute) and origin.attr in VARIABLE_LISTS:
            continue
        if isinstance(origin, (ast.List, ast.Tuple)) and all(module.kinds.of(e) == "variable" for e in origin.elts):
            continue
        return False
    return bool(origins)
