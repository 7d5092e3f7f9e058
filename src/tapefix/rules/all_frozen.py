"""TPF506: a model that is fitted while all of it is frozen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_MODELS = ("keras.Sequential", "keras.models.Sequential", "keras.Model", "keras.models.Model")


class AllFrozen(Rule):
    """A model is trained while all its layers are frozen.

    What it finds:
        `model.trainable = False`, or the same for each of its layers, and then `fit` of the same model, where nothing
        sets `trainable` back and nothing is added to the model afterwards. Often it was meant for the pretrained
        network inside it, and froze the new head as well.

    Why the gradient stops:
        There is no trainable variable: fit runs, warns, and changes nothing.

    Example:
        ```python
        import tensorflow as tf

        features = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(8, activation="relu")])
        model = tf.keras.Sequential([features, tf.keras.layers.Dense(1)])
        for layer in model.layers:
            layer.trainable = False
        model.compile(optimizer="sgd", loss="mse")
        model.fit(tf.ones([4, 2]), tf.ones([4, 1]), verbose=0)
        ```

    Fix safety:
        Safe where one network is part of the model: that is frozen in place of the whole. Else advice only: which
        layers are to learn is for the author to say.
    """

    code = "TPF506"
    name = "all-frozen"
    safety = "safe"
    tokens = (".trainable = False", ".trainable=False")

    def check(self, module: Module) -> Iterator[Finding]:
        changes = [
            n
            for n in module.each(ast.Assign)
            if isinstance(n.targets[0], ast.Attribute) and n.targets[0].attr == "trainable"
        ]
        if any(not (isinstance(n.value, ast.Constant) and n.value.value is False) for n in changes):
            return
        for change in changes:
            model = self._model(module, change.targets[0].value)  # type: ignore[attr-defined]
            if model is None:
                continue
            origins = module.objects.origins(model)
            if len(origins) != 1 or module.call_name(origins[0]) not in _MODELS:
                continue
            made = origins[0]
            later = [c for c in module.calls if c.lineno > change.lineno]
            if any(self._is(module, c, "add", made) for c in later):
                continue
            # Trained after it in the same function, or by whoever called the function that made and froze it.
            within = module.function(made) is module.function(change) is not None
            fits = [
                c
                for c in module.calls
                if self._is(module, c, "fit", made)
                and (c in later if module.function(c) is module.function(change) else within)
            ]
            if not fits:
                continue
            inner = self._network_inside(module, made)
            yield self.finding(
                module,
                change,
                f"All of {module.source(model)} is frozen here, so fit has no trainable variable and changes nothing.",
                label="frozen",
                candidates=[
                    Candidate(
                        f"freeze {inner} alone",
                        (ReplaceExpression(module.span(model), inner),),
                        trains_more=True,
                    )
                ]
                if inner is not None
                else (),
                notes=[(fits[0], "trained here")],
                silent=True,
                advice="Leave the layers that are to learn trainable, or set trainable = True before fit.",
            )

    def _model(self, module: Module, node: ast.expr) -> ast.expr | None:
        """The model that is frozen: itself, or by a loop over its layers."""
        if not isinstance(node, ast.Name):
            return None
        for definition in module.definitions(node):
            if definition.kind == "loop":
                value = definition.value
                is_layers = isinstance(value, ast.Attribute) and value.attr == "layers"
                alone = (
                    isinstance(definition.node, ast.Name)
                    and len(getattr(module.parent(definition.node), "body", ())) == 1
                )
                return value.value if is_layers and alone else None  # type: ignore[union-attr]
        return node

    def _network_inside(self, module: Module, made: ast.AST) -> str | None:
        """The one other network that the model is built from, as the file names it."""
        assert isinstance(made, ast.Call)
        parts: list[ast.expr] = [*made.args, *(k.value for k in made.keywords)]
        parts += [a for c in module.calls if self._is(module, c, "add", made) for a in c.args]
        found: dict[ast.AST, str] = {}
        for part in module.flow.backward(parts):
            if isinstance(part, (ast.Name, ast.Attribute)) and module.kinds.of(part) == "model":
                origins = module.objects.origins(part)
                plain = isinstance(part, ast.Name) or module.classes.is_self(part.value)
                if (
                    plain
                    and len(origins) == 1
                    and origins[0] is not made
                    and module.function(part) is module.function(made)
                ):
                    found.setdefault(origins[0], module.source(part))
        return next(iter(found.values())) if len(found) == 1 else None

    def _is(self, module: Module, call: ast.Call, method: str, made: ast.AST) -> bool:
        return (
            isinstance(call.func, ast.Attribute)
            and call.func.attr == method
            and module.objects.origins(call.func.value) == [made]
        )
