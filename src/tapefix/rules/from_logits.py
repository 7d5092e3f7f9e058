"""TPF609: a cross entropy for probabilities that is given the outputs of a layer without activation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import AddImport, Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._numeric import worth_a_look
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_CLASSES = {
    "CategoricalCrossentropy", "SparseCategoricalCrossentropy", "BinaryCrossentropy", "BinaryFocalCrossentropy",
    "CategoricalFocalCrossentropy",
}  # fmt: skip
_FUNCTIONS = {
    "categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy", "binary_focal_crossentropy",
    "categorical_focal_crossentropy",
}  # fmt: skip


class FromLogits(Rule):
    """A cross entropy that expects probabilities gets logits.

    What it finds:
        `CategoricalCrossentropy()` (or "categorical_crossentropy") for a model whose last layer has no softmax or
        sigmoid.

    Why the gradient stops:
        Keras divides such outputs by their sum and clips them to [0, 1]: 0 / 0 is NaN for a head that starts at zero,
        and where an output is clipped its gradient is zero.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(3, kernel_initializer="zeros")])
        model.compile(optimizer="sgd", loss=tf.keras.losses.CategoricalCrossentropy())
        model.fit(tf.random.normal([8, 4]), tf.one_hot([0, 1, 2, 0, 1, 2, 0, 1], 3), epochs=1, verbose=0)
        ```

    Fix safety:
        Safe: the outputs of a layer without activation are logits.
    """

    code = "TPF609"
    name = "loss-from-logits"
    safety = "safe"
    tokens = ("rossentropy",)

    def check(self, module: Module) -> Iterator[Finding]:
        if not worth_a_look(module):
            return
        seen: set[ast.AST] = set()
        for call in module.calls:
            for node in self._mismatches(module, call):
                if node not in seen:
                    seen.add(node)
                    yield self._finding(module, node)

    def _mismatches(self, module: Module, call: ast.Call) -> Iterator[ast.expr]:
        """The losses that `call` brings together with logits."""
        func = call.func
        if isinstance(func, ast.Attribute) and func.attr == "compile":
            loss = argument(call, 1, "loss")
            if loss is None or isinstance(loss, (ast.List, ast.Dict, ast.Tuple)):
                return
            layers = module.layers.outputs(func.value)
            if len(layers) == 1 and module.layers.activation(layers[0]) == "linear":
                yield from self._for_probabilities(module, loss)
            return
        name = module.call_name(call) or ""
        kind = name.rpartition(".")[2]
        if kind in _FUNCTIONS and name.startswith(("keras.losses.", "keras.backend.", "keras.metrics.", "keras.ops.")):
            given = _argument_of(call, "from_logits", 2)
            if given is None and len(call.args) >= 2 and self._are_logits(module, call.args[1]):
                yield call
        elif (
            name == ""
            and len(call.args) >= 2
            and module.kinds.of(func) == "loss"
            and self._are_logits(module, call.args[1])
        ):
            yield from self._for_probabilities(module, func)

    @staticmethod
    def _are_logits(module: Module, node: ast.expr) -> bool:
        return module.ranges.of(node).source == "output"

    @staticmethod
    def _for_probabilities(module: Module, loss: ast.expr) -> Iterator[ast.expr]:
        if isinstance(loss, ast.Constant):
            if loss.value in _FUNCTIONS:
                yield loss
            return
        for origin in module.objects.origins(loss):
            if isinstance(origin, ast.Constant) and origin.value in _FUNCTIONS:
                yield origin
            elif isinstance(origin, ast.Call):
                kind = (module.call_name(origin) or "").rpartition(".")[2]
                place = 0 if kind in ("CategoricalCrossentropy", "BinaryCrossentropy") else 9
                if kind in _CLASSES and _argument_of(origin, "from_logits", place) is None:
                    yield origin

    def _finding(self, module: Module, node: ast.expr) -> Finding:
        edits: list[Edit]
        span = module.span(node)
        if isinstance(node, ast.Constant):
            kind = "".join(word.capitalize() for word in str(node.value).split("_"))
            spelled = module.spell(f"keras.losses.{kind}")
            edits = [] if spelled is not None else [AddImport("from tensorflow import keras")]
            edits.append(ReplaceExpression(span, f"{spelled or f'keras.losses.{kind}'}(from_logits=True)"))
        else:
            made = _with_keyword(module, node)
            edits = [made] if made is not None else []
        return self.finding(
            module,
            node,
            "This loss expects probabilities, but the last layer has no activation: its outputs are logits.",
            label="from_logits=False",
            candidates=[Candidate("let the loss take logits", tuple(edits))] if edits else [],
            advice="Give the loss from_logits=True.",
            certain=False,
            numeric=True,
        )


def _argument_of(call: ast.Call, name: str, position: int) -> ast.expr | None:
    found = argument(call, position, name)
    unclear = any(k.arg is None for k in call.keywords)
    return found if found is not None or not unclear else call


def _with_keyword(module: Module, node: ast.expr) -> ReplaceExpression | None:
    """The call with from_logits=True after its other arguments, in its own layout."""
    assert isinstance(node, ast.Call)
    text = module.source(node)
    start = len(module.source(node.func))
    if not node.args and not node.keywords:
        return ReplaceExpression(module.span(node), f"{text[:start]}(from_logits=True)")
    if "#" in text:
        # A comment may end the last line: before the first keyword there is none.
        opening = text.index("(", start) + 1
        new = f"{text[:opening]}from_logits=True, {text[opening:]}"
        return ReplaceExpression(module.span(node), new) if not node.args else None
    trailing = re.search(r",(\s*)\)$", text)
    if trailing is None:
        return ReplaceExpression(module.span(node), f"{text[:-1].rstrip()}, from_logits=True)")
    last = [*node.args, *[k.value for k in node.keywords]][-1]
    line = module.line_text(last.end_lineno or last.lineno)
    indent = "\n" + line[: len(line) - len(line.lstrip())] if "\n" in trailing.group(1) else " "
    return ReplaceExpression(
        module.span(node), f"{text[: trailing.start()]},{indent}from_logits=True,{trailing.group(1)})"
    )
