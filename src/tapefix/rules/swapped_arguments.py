"""TPF414: the prediction given to a loss in the place of the target."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding, Span
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.scopes import Function

# Losses that give something else when the arguments change places; the hinge of labels -1 and 1 does not.
_ORDERED = {
    "BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy", "BinaryFocalCrossentropy",
    "CategoricalFocalCrossentropy", "KLDivergence", "Poisson", "CategoricalHinge",
    "binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy", "kl_divergence",
    "poisson", "categorical_hinge",
}  # fmt: skip


class SwappedArguments(Rule):
    """A loss gets the prediction first and the target second.

    What it finds:
        `cross_entropy(prediction, target)` with a loss of Keras whose value depends on the order, where the first
        argument is the output of a model and the second is not. A compiled loss of one's own whose parameters say
        that the prediction comes first: `def loss(y_pred, y_true)`.

    Why the gradient stops:
        The loss takes the prediction for the target. Of a target that is an integer label there is no gradient, and
        the gradient of a cross-entropy by its target goes in the wrong direction, or is infinite.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        cross_entropy = tf.keras.losses.BinaryCrossentropy(from_logits=True)
        with tf.GradientTape() as tape:
            logits = model(tf.ones([4, 2]))
            loss = cross_entropy(logits, tf.ones([4, 1]))
        gradients = tape.gradient(loss, model.trainable_variables)
        ```

    Fix safety:
        Safe: losses of Keras take the target first, and Keras calls a loss of one's own in that order.
    """

    code = "TPF414"
    name = "swapped-loss-arguments"
    safety = "safe"
    tokens = ("rossentropy", "KLDivergence", "Poisson", "inge", "kl_divergence", "compile(")

    def check(self, module: Module) -> Iterator[Finding]:
        for function, known in module.training.losses.items():
            if known == "compile":  # a loss class may be called by hand, in its own order
                yield from self._parameters(module, function)
        for call in module.calls:
            if len(call.args) < 2 or not self._is_ordered(module, call):
                continue
            first, second = call.args[:2]
            if not self._is_prediction(module, first) or not self._is_data(module, second):
                continue
            swap = (
                ReplaceExpression(module.span(first), "$other", {"other": module.span(second)}),
                ReplaceExpression(module.span(second), "$other", {"other": module.span(first)}),
            )
            yield self.finding(
                module,
                call,
                "Losses of Keras take the target first and the prediction second: here they are the other way round.",
                label="prediction, then target",
                candidates=[Candidate("put the target first", swap, keeps_value=False)],
                silent=True,
            )

    def _parameters(self, module: Module, function: Function) -> Iterator[Finding]:
        """`def loss(y_pred, y_true)`, which Keras calls as loss(target, prediction)."""
        parameters = module.objects.parameters(function)[:2]
        if len(parameters) < 2 or not module.training.names_prediction_first(function):
            return
        first, second = parameters
        swap = (_renamed(module, first, second.arg), _renamed(module, second, first.arg))
        called = module.results.calls_of(function)
        yield self.finding(
            module,
            first,
            f"Keras calls a loss as loss(target, prediction), so {first.arg} is the target here and {second.arg} the "
            "prediction.",
            label="is given the target",
            candidates=[Candidate(f"take {second.arg} first", swap, keeps_value=False)] if not called else (),
            # A squared difference is the same both ways.
            certain=not called and self._depends_on_order(module, function, first.arg, second.arg),
            silent=True,
            advice="Take the target first, also where the loss is called." if called else "",
        )

    def _depends_on_order(self, module: Module, function: Function, prediction: str, target: str) -> bool:
        """Does the text take the log of what it calls the prediction, or give a loss of Keras both in its order?"""
        logs: set[str] = set()
        for call in module.calls:
            if module.function(call) is not function:
                continue
            names = [n.id for a in call.args for n in ast.walk(a) if isinstance(n, ast.Name)]
            if module.op(call) in ("log", "log1p"):
                logs |= set(names)
            pair = [a.id if isinstance(a, ast.Name) else "" for a in call.args[:2]]
            if pair == [target, prediction] and self._is_ordered(module, call):
                return True
        return prediction in logs and target not in logs

    def _is_ordered(self, module: Module, call: ast.Call) -> bool:
        name = module.call_name(call)
        if name is not None:
            return (
                name.startswith("keras.losses.") and name[len("keras.losses.") :] in _ORDERED and name[13:14].islower()
            )
        origins = module.objects.origins(call.func)
        names = [module.call_name(origin) or "" for origin in origins]
        return bool(names) and all(n.startswith("keras.losses.") and n.rpartition(".")[2] in _ORDERED for n in names)

    def _is_prediction(self, module: Module, node: ast.expr) -> bool:
        """The output of a model, by that call itself or by a name for it."""
        values = self._values(module, node)
        return bool(values) and all(isinstance(v, ast.Call) and module.training.is_forward(v) for v in values)

    def _is_data(self, module: Module, node: ast.expr) -> bool:
        """Ones or zeros, or a parameter or loop variable that no model has computed: a target."""
        for value in self._values(module, node):
            if isinstance(value, ast.Call):
                if module.op(value) not in ("ones_like", "zeros_like", "ones", "zeros"):
                    return False
            else:
                return False
        return not isinstance(node, ast.Name) or self._named_target(module, node)

    def _named_target(self, module: Module, node: ast.Name) -> bool:
        definitions = module.definitions(node)
        if all(d.kind == "assign" and not d.path for d in definitions) and definitions:
            return True  # judged by its values
        words = ("label", "target", "true", "truth", "y")
        is_input = all(d.kind in ("parameter", "loop", "assign") for d in definitions)
        return is_input and bool(definitions) and any(word in node.id.lower() for word in words)

    def _values(self, module: Module, node: ast.expr) -> list[ast.expr]:
        """What a name was assigned, where that is a single expression; nothing for parameters and unpacked values."""
        if not isinstance(node, ast.Name):
            return [node]
        definitions = module.definitions(node)
        return [d.value for d in definitions if d.kind == "assign" and not d.path and d.value is not None]


def _renamed(module: Module, parameter: ast.arg, name: str) -> ReplaceExpression:
    """Another name for a parameter, whose annotation stays where it is."""
    line, column, _, _ = module.span(parameter)
    return ReplaceExpression(Span(line, column, line, column + len(parameter.arg)), name)
