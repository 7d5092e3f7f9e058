"""TPF510: a tf.Module with variables on a Keras object, which does not see them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import GradientCall
from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.findings import Candidate, Finding
from tapefix.rules._trained_lists import with_more
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class UntrackedModule(Rule):
    """A tf.Module with variables is on a Keras layer or model, which does not see them.

    What it finds:
        With Keras 3, an attribute of a layer or model that is a tf.Module of this file with a tf.Variable in it, while
        gradients are asked for the `trainable_variables` of the whole.

    Why the gradient stops:
        Keras 3 tracks its own variables and layers only. `trainable_variables` leaves those of the tf.Module out, so
        they never change.

    Example:
        ```python
        import tensorflow as tf


        class Scale(tf.Module):
            def __init__(self):
                super().__init__()
                self.raw = tf.Variable(0.5)

            def __call__(self):
                return tf.nn.softplus(self.raw)


        class Net(tf.keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = tf.keras.layers.Dense(1)
                self.scale = Scale()

            def call(self, inputs):
                return self.scale() * self.dense(inputs)


        net = Net()
        optimizer = tf.keras.optimizers.SGD(0.1)
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(net(tf.ones([4, 2])) - 3.0))
            gradients = tape.gradient(loss, net.trainable_variables)
            optimizer.apply_gradients(zip(gradients, net.trainable_variables))
        ```

    Fix safety:
        Safe: a trainable variable in the forward pass was meant to be trained.
    """

    code = "TPF510"
    name = "untracked-module"
    safety = "safe"
    tokens = ("Module)",)

    def check(self, module: Module) -> Iterator[Finding]:
        if module.keras < 3:
            return
        for owner in module.classes.by_name.values():
            if module.classes.kind(owner) not in ("layer", "model"):
                continue
            if any(module.classes.method(owner, name) is not None for name in VARIABLE_LISTS):
                continue
            parts = {
                name: value
                for (holder, name), writes in module.classes.attribute_writes.items()
                for value, path in writes
                if holder is owner and not path and self._has_variables(module, value)
            }
            if parts and not any(self._is_listed(module, name) for name in parts):
                yield self._found(module, owner, parts)

    def _found(self, module: Module, owner: ast.ClassDef, parts: dict[str, ast.expr]) -> Finding:
        asked = [(g, text) for g in module.tapes.gradients if (text := self._whole(module, owner, g)) is not None]
        edits = None
        if len(asked) == 1:
            gradient, text = asked[0]
            edits = with_more(module, gradient, lists=[f"list({text}.{name}.trainable_variables)" for name in parts])
        first = next(iter(parts))
        return self.finding(
            module,
            module.statement(parts[first]),
            f"Keras 3 does not look into a tf.Module: the variables of self.{first} are not among the trainable "
            f"variables of {owner.name}.",
            label="not tracked",
            notes=[(asked[0][0].sources, "asked for here")] if asked else (),
            candidates=[Candidate("train its variables, too", edits, trains_more=True)] if edits is not None else (),
            certain=edits is not None,
            silent=True,
            advice="" if edits is not None else "Add its trainable_variables to the list, or make it a Keras layer.",
        )

    @staticmethod
    def _has_variables(module: Module, value: ast.expr) -> bool:
        """Is it an instance of a tf.Module of this file that makes a trainable variable?"""
        made = [module.objects.instance_class(o) for o in module.objects.origins(value)]
        return any(
            holder in made and module.classes.kind(holder) == "module" and _is_trainable(module, inner)
            for (holder, _), writes in module.classes.attribute_writes.items()
            for inner, path in writes
            if not path
        )

    @staticmethod
    def _is_listed(module: Module, name: str) -> bool:
        """Does the file read the variables of this attribute itself?"""
        return any(
            node.attr in VARIABLE_LISTS and isinstance(node.value, ast.Attribute) and node.value.attr == name
            for node in module.each(ast.Attribute)
        )

    @staticmethod
    def _whole(module: Module, owner: ast.ClassDef, gradient: GradientCall) -> str | None:
        """The instance whose trainable variables are asked for, as it is written there."""
        for source in [gradient.sources, *module.objects.origins(gradient.sources)]:
            if not (isinstance(source, ast.Attribute) and source.attr in VARIABLE_LISTS):
                continue
            if module.classes.is_self(source.value) and module.class_of(source) is owner:
                return module.source(source.value)
            if owner in [module.objects.instance_class(o) for o in module.objects.origins(source.value)]:
                return module.source(source.value)
        return None


def _is_trainable(module: Module, node: ast.expr) -> bool:
    if not isinstance(node, ast.Call) or module.call_name(node) != "tf.Variable":
        return False
    return not any(
        k.arg == "trainable" and isinstance(k.value, ast.Constant) and not k.value.value for k in node.keywords
    )
