"""TPF306: a counting metric of Keras used as a loss."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import AddImport, Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._numeric import one_minus
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Metrics that count, and the loss that improves them; None where there is no such loss.
_CLASSES: dict[str, str | None] = {
    "BinaryAccuracy": "BinaryCrossentropy", "CategoricalAccuracy": "CategoricalCrossentropy",
    "SparseCategoricalAccuracy": "SparseCategoricalCrossentropy", "Accuracy": None, "AUC": None, "Precision": None,
    "Recall": None, "F1Score": None, "FBetaScore": None, "BinaryIoU": None, "IoU": None, "MeanIoU": None,
    "OneHotIoU": None, "OneHotMeanIoU": None, "TruePositives": None, "TrueNegatives": None, "FalsePositives": None,
    "FalseNegatives": None, "TopKCategoricalAccuracy": "CategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy": "SparseCategoricalCrossentropy",
}  # fmt: skip
# Metrics that are the running mean of a loss.
_LOSSES = {
    "BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy", "KLDivergence", "Poisson",
    "MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError",
    "CosineSimilarity", "Hinge", "SquaredHinge", "CategoricalHinge",
}  # fmt: skip
_FUNCTIONS: dict[str, str | None] = {
    "binary_accuracy": "binary_crossentropy", "categorical_accuracy": "categorical_crossentropy",
    "sparse_categorical_accuracy": "sparse_categorical_crossentropy",
    "top_k_categorical_accuracy": "categorical_crossentropy",
    "sparse_top_k_categorical_accuracy": "sparse_categorical_crossentropy",
}  # fmt: skip
# Names that Keras knows for metrics only: as a loss they fail.
_UNKNOWN = ("accuracy", "acc")
_STRINGS = {**_FUNCTIONS, **dict.fromkeys(_UNKNOWN)}
# The losses for what the last layer gives; which of them the labels say.
_OF_ACTIVATION = {
    "softmax": ("categorical_crossentropy", "sparse_categorical_crossentropy"),
    "sigmoid": ("binary_crossentropy",),
}


class MetricAsLoss(Rule):
    """A metric that counts is used as a loss.

    What it finds:
        `compile(loss="accuracy")`, `loss=tf.keras.metrics.BinaryAccuracy()`, and a tape's target that is computed by
        such a metric.

    Why the gradient stops:
        Metrics compare, round and count, and keep their counts in variables of their own: no gradient comes
        through them. Also the metrics that are called like a loss keep a running mean.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1, activation="sigmoid")])
        model.compile(optimizer="sgd", loss=tf.keras.metrics.binary_accuracy, metrics=["accuracy"])
        model.fit(tf.random.normal([8, 2]), tf.ones([8, 1]), epochs=1, verbose=0)
        ```

    Fix safety:
        Unsafe where the metric counts: the cross entropy is another value than the accuracy; it is what an accuracy
        is trained by. Safe where a loss has the same name, and where `"accuracy"` stands for a loss, which Keras does
        not know: the cross entropy that fits the last layer.
    """

    code = "TPF306"
    name = "metric-as-loss"
    safety = "unsafe"
    tokens = ("ccuracy", "metrics", '"acc"', "'acc'")

    def check(self, module: Module) -> Iterator[Finding]:
        seen: set[ast.AST] = set()
        for place, maker, kind in self._metrics(module):
            if maker in seen:
                continue
            seen.add(maker)
            if kind in _LOSSES:
                yield self._running_mean(module, maker, kind)
                continue
            yield self.finding(
                module,
                maker,
                f"{kind} counts, and counts have no gradient: it is a metric, not a loss.",
                label="a metric",
                candidates=self._candidates(module, place, maker, kind),
                advice="Train with a loss that is smooth in the prediction, and pass this to compile(metrics=[...]).",
            )

    @staticmethod
    def _metrics(module: Module) -> Iterator[tuple[ast.expr, ast.expr, str]]:
        """Where a metric is used as a loss, what makes it, and which one it is."""
        for call in module.calls:
            if isinstance(call.func, ast.Attribute) and call.func.attr == "compile":
                loss = argument(call, 1, "loss")
                if isinstance(loss, ast.Constant) and loss.value in _STRINGS:
                    yield loss, loss, str(loss.value)
                elif loss is not None:
                    name = module.name(loss) or ""
                    kind = name.rpartition(".")[2]
                    if name.startswith("keras.metrics.") and kind in _FUNCTIONS:
                        yield loss, loss, kind
                    for origin in module.objects.origins(loss):
                        made = _class_kind(module, origin)
                        if made is not None and isinstance(origin, ast.expr):
                            yield origin, origin, made
        for target in module.training.targets:
            value = _value(module, target)
            if value is None or not any(gradient.target is target for gradient in module.tapes.gradients):
                continue
            inner = one_minus(value) or (
                value.operand if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub) else value
            )
            if isinstance(inner, ast.Call):
                name = module.call_name(inner) or ""
                kind = name.rpartition(".")[2]
                if name.startswith("keras.metrics.") and kind in _FUNCTIONS:
                    yield value, inner, kind
                    continue
                for origin in module.objects.origins(inner.func):
                    made = _class_kind(module, origin)
                    if made in _LOSSES and isinstance(origin, ast.Call):
                        yield value, origin, made
                    elif made is not None:
                        yield value, inner, made

    def _running_mean(self, module: Module, maker: ast.expr, kind: str) -> Finding:
        """`metrics.MeanSquaredError()` in the place of `losses.MeanSquaredError()`."""
        assert isinstance(maker, ast.Call)
        read = any(
            node.attr in ("result", "reset_state", "reset_states", "update_state")
            and maker in module.objects.origins(node.value)
            for node in module.each(ast.Attribute)
        )
        spelled = module.spell(f"keras.losses.{kind}")
        edits: list[Edit] = [] if spelled else [AddImport("from tensorflow import keras")]
        edits.append(ReplaceExpression(module.span(maker.func), spelled or f"keras.losses.{kind}"))
        return self.finding(
            module,
            maker,
            f"This {kind} is a metric: it keeps a running mean in variables of its own, and no gradient comes out of "
            "them.",
            label="a metric",
            candidates=[Candidate("use the loss of the same name", tuple(edits))] if not read else [],
            advice=f"Compute the loss with keras.losses.{kind}, and keep the metric beside it." if read else "",
        )

    @staticmethod
    def _candidates(module: Module, place: ast.expr, maker: ast.expr, kind: str) -> list[Candidate]:
        if isinstance(maker, ast.Constant) and kind in _UNKNOWN:
            return _for_activation(module, maker)
        loss = _CLASSES.get(kind) or _STRINGS.get(kind)
        if loss is None:
            return []
        title = f"train with {loss}"
        span = module.span(place)
        if isinstance(maker, ast.Constant):
            quote = module.source(maker)[:1]
            return [Candidate(title, (ReplaceExpression(span, f"{quote}{loss}{quote}"),), safe=False)]
        spelled = module.spell(f"keras.losses.{loss}")
        edits: list[Edit] = [] if spelled else [AddImport("from tensorflow import keras")]
        spelled = spelled or f"keras.losses.{loss}"
        if not isinstance(maker, ast.Call):
            edits.append(ReplaceExpression(span, spelled))
        elif kind in _CLASSES and module.call_name(maker) is not None:
            edits.append(ReplaceExpression(span, f"{spelled}()"))
        elif len(maker.args) >= 2:
            # Of a function's value per sample, and of a metric object called with labels and predictions.
            parts = {"t": module.span(maker.args[0]), "p": module.span(maker.args[1])}
            function = f"{spelled}()" if kind in _CLASSES else spelled
            edits.append(ReplaceExpression(span, f"{function}($t, $p)", parts))
        else:
            return []
        return [Candidate(title, tuple(edits), safe=False)]


def _for_activation(module: Module, name: ast.Constant) -> list[Candidate]:
    """The cross entropies that fit the last layer of the model that is compiled with `loss="accuracy"`."""
    call = next((above for above in module.ancestors(name) if isinstance(above, ast.Call)), None)
    model = call.func.value if call is not None and isinstance(call.func, ast.Attribute) else None
    layers = module.layers.outputs(model) if model is not None else []
    losses = _OF_ACTIVATION.get(module.layers.activation(layers[0]), ()) if len(layers) == 1 else ()
    quote = module.source(name)[:1]
    return [
        Candidate(
            f"train with {loss}",
            (ReplaceExpression(module.span(name), f"{quote}{loss}{quote}"),),
            keeps_value=False,
            needs_proof=len(losses) > 1,
        )
        for loss in losses
    ]


def _class_kind(module: Module, origin: ast.AST) -> str | None:
    name = module.call_name(origin) or ""
    kind = name.rpartition(".")[2]
    return kind if name.startswith("keras.metrics.") and (kind in _CLASSES or kind in _LOSSES) else None


def _value(module: Module, target: object) -> ast.expr | None:
    if isinstance(target, ast.Name):
        definitions = module.definitions(target)
        return (
            definitions[0].value
            if len(definitions) == 1 and definitions[0].kind == "assign" and not definitions[0].path
            else None
        )
    return target if isinstance(target, ast.Call) else None
