"""TPF408: a model that is fitted on inputs alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._fitting import (
    compiles,
    is_array,
    is_plain_model,
    knows_all_layers,
    supplies_no_loss,
    trainings,
)
from tapefix.rules._text import rewritten
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# How people call inputs, and what they then call the targets.
_PARTNERS = (
    ("x", "y"), ("X", "y"), ("X", "Y"), ("images", "labels"), ("features", "labels"), ("features", "targets"),
    ("inputs", "targets"), ("inputs", "labels"), ("inputs", "outputs"), ("data", "labels"), ("data", "targets"),
)  # fmt: skip
# Methods of a data set that keep the structure of its elements.
_KEEPING = ("batch", "shuffle", "repeat", "prefetch", "cache", "take", "skip")
_WORD = "(?<![A-Za-z0-9]){}(?![A-Za-z0-9])"


class FitWithoutTargets(Rule):
    """A compiled model is fitted on inputs alone.

    What it finds:
        `fit(x)` without `y` on a model that was compiled with a loss, where `x` is an array, a tensor, or a data set
        of single arrays.

    Why the gradient stops:
        There is nothing to compare the prediction with: the loss gets None for the target, and fit fails.

    Example:
        ```python
        import tensorflow as tf

        signals = tf.random.normal([8, 4])
        autoencoder = tf.keras.Sequential(
            [tf.keras.Input((4,)), tf.keras.layers.Dense(2, activation="relu"), tf.keras.layers.Dense(4)]
        )
        autoencoder.compile(optimizer="adam", loss="mse")
        autoencoder.fit(signals, epochs=1, verbose=0)
        ```

    Fix safety:
        An autoencoder, whose output is as wide as its input, gets the input again, and `x_train` gets the `y_train`
        that the file has: safe, and applied only where a run proves it. Elsewhere advice: where the targets are is for
        the author to say.
    """

    code = "TPF408"
    name = "fit-without-targets"
    safety = "safe"
    tokens = (".fit(", ".train_on_batch(")

    def check(self, module: Module) -> Iterator[Finding]:
        if not supplies_no_loss(module):
            return
        for call in trainings(module):
            assert isinstance(call.func, ast.Attribute)
            data = argument(call, 0, "x")
            if (
                data is None
                or len(call.args) > 1
                or any(k.arg in ("y", None) for k in call.keywords)
                or isinstance(data, ast.Starred)
            ):
                continue
            sliced = _sliced(module, data)
            if not (sliced is not None or is_array(module, data)) or not is_plain_model(module, call.func.value):
                continue
            if not any(argument(c, 1, "loss") is not None for c in compiles(module, call.func.value)):
                continue
            targets = self._targets(module, call.func.value, data if sliced is None else sliced)
            yield self.finding(
                module,
                call,
                f"{call.func.attr} gets inputs but no targets: the loss has nothing to compare the prediction with.",
                label="no targets",
                candidates=[self._candidate(module, call, data, sliced, targets)] if targets is not None else (),
                certain=knows_all_layers(module),
                advice="Pass the targets as the second argument (for an autoencoder: the inputs again).",
            )

    @staticmethod
    def _candidate(module: Module, call: ast.Call, data: ast.expr, sliced: ast.expr | None, targets: str) -> Candidate:
        if sliced is not None:
            edit = ReplaceExpression(module.span(sliced), f"($x, {targets})", {"x": module.span(sliced)})
        else:
            named = "" if call.args else "y="
            text = rewritten(module, call, {data: f"{module.source(data)}, {named}{targets}"})
            edit = ReplaceExpression(module.span(call), text)
        return Candidate(f"pass {targets} as the targets", (edit,), keeps_value=False, needs_proof=True)

    def _targets(self, module: Module, model: ast.expr, data: ast.expr) -> str | None:
        """The labels that the file has for these inputs, or the inputs themselves for an autoencoder."""
        text = module.source(data)
        for inputs, labels in _PARTNERS:
            other = re.sub(_WORD.format(inputs), labels, text.replace("_", " ")).replace(" ", "_")
            if isinstance(data, ast.Name) and other != text and module.scope(data).lookup(other):
                return other
        return text if isinstance(data, (ast.Name, ast.Attribute)) and _is_as_wide(module, model) else None


def _sliced(module: Module, data: ast.expr) -> ast.expr | None:
    """The one array of `Dataset.from_tensor_slices(array).batch(...)`."""
    node: ast.AST | None = data
    while node is not None:
        origins = [node] if isinstance(node, ast.Call) else module.objects.origins(node)
        if len(origins) != 1 or not isinstance(origins[0], ast.Call) or not origins[0].args:
            return None
        call = origins[0]
        if module.call_name(call) == "tf.data.Dataset.from_tensor_slices":
            return call.args[0] if is_array(module, call.args[0]) else None
        plain = isinstance(call.func, ast.Attribute) and call.func.attr in _KEEPING
        node = call.func.value if plain and isinstance(call.func, ast.Attribute) else None
    return None


def _is_as_wide(module: Module, model: ast.expr) -> bool:
    """Does the last layer make as many numbers (or channels) as the input has?"""
    last = module.layers.outputs(model)
    width = argument(last[0], 0, "units") or argument(last[0], 0, "filters") if len(last) == 1 else None
    if width is None:
        return False
    for call in module.calls:
        is_input = module.call_name(call) in ("keras.Input", "keras.layers.Input", "keras.layers.InputLayer")
        shape = argument(call, 0, "shape") if is_input else _keyword(call, "input_shape")
        sizes = shape.elts if isinstance(shape, (ast.Tuple, ast.List)) else [_keyword(call, "input_dim")]
        if sizes and sizes[-1] is not None and ast.dump(sizes[-1]) == ast.dump(width):
            return True
        numbers = [module.ranges.of(size).constant for size in sizes if size is not None]
        known = [number for number in numbers if number is not None]
        if known and len(known) == len(numbers) and module.ranges.of(width).constant in (known[-1], prod(known)):
            return True
    return False


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((k.value for k in call.keywords if k.arg == name), None)
