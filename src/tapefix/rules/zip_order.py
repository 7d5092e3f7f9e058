"""TPF406: gradients and variables that are not in (gradient, variable) pairs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import GradientCall
from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_VARIABLES = re.compile(r"(^|_)(t?vars?\d*|variables?|params?|parameters|weights)(_list)?$", re.IGNORECASE)
_GRADIENTS = re.compile(r"(^|_)(grads?|gradients?)\d*(_list)?$|^(clipped|zero|new)_?grad", re.IGNORECASE)


class ZipOrder(Rule):
    """The optimiser does not get (gradient, variable) pairs.

    What it finds:
        `optimizer.apply_gradients(zip(variables, gradients))`, `apply_gradients(gradients)` without the variables, and
        `apply_gradients(gradients, variables)` with two lists, `apply(zip(...))` with pairs, `zip(gradient, variable)`
        of one tensor and one variable.

    Why the gradient stops:
        `apply_gradients` takes pairs of (gradient, variable). The other way round the optimiser tries to update the
        gradients and fails with an AttributeError. Without pairs it fails with `too many values to unpack`. A `zip`
        of tensors pairs their rows.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        optimizer = tf.keras.optimizers.SGD(0.1)
        x, y = tf.ones([4, 2]), tf.ones([4, 1])
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(model.trainable_variables, gradients))
        ```

    Fix safety:
        Safe: what is there has no meaning.
    """

    code = "TPF406"
    name = "swapped-zip"
    safety = "safe"
    tokens = ("apply_gradients", ".apply(")

    def check(self, module: Module) -> Iterator[Finding]:
        own = self._has_own_optimizer(module)
        for call in module.calls:
            if not (isinstance(call.func, ast.Attribute) and call.args):
                continue
            if call.func.attr == "apply":
                yield from self._applied_pairs(module, call, call.func)
            if call.func.attr != "apply_gradients":
                continue
            if module.objects.callees(call) or (own and not _is_keras(module, call.func.value)):
                continue  # an optimiser of the author's own takes what it likes
            pairs = call.args[0]
            if isinstance(pairs, ast.Call) and module.call_name(pairs) == "zip" and len(pairs.args) == 2:
                yield from self._swapped(module, pairs)
                yield from self._rows(module, pairs)
            else:
                yield from self._unpaired(module, call)

    @staticmethod
    def _has_own_optimizer(module: Module) -> bool:
        """Does a class that is neither a model nor an optimiser of Keras define `apply_gradients`?"""
        for function in module.each(ast.FunctionDef):
            owner = module.method_class(function) if function.name == "apply_gradients" else None
            if owner is not None and module.classes.kind(owner) not in ("model", "layer", "optimizer"):
                return True
        return False

    def _applied_pairs(self, module: Module, call: ast.Call, func: ast.Attribute) -> Iterator[Finding]:
        """`optimizer.apply(zip(gradients, variables))`: apply takes two lists."""
        pairs = call.args[0]
        is_zip = isinstance(pairs, ast.Call) and module.call_name(pairs) == "zip" and len(call.args) == 1
        if not is_zip or module.kinds.of(func.value) != "optimizer":
            return
        yield self.finding(
            module,
            call,
            "apply takes the gradients and the variables as two lists; pairs are for apply_gradients.",
            label="pairs",
            candidates=[
                Candidate(
                    "use apply_gradients",
                    (ReplaceExpression(module.span(func), "$o.apply_gradients", {"o": module.span(func.value)}),),
                    keeps_value=False,
                )
            ],
        )

    def _swapped(self, module: Module, pairs: ast.Call) -> Iterator[Finding]:
        first, second = pairs.args
        made = _gradient(module, second) is not None and _gradient(module, first) is None
        if made or (_are_variables(first) and _are_gradients(second)):
            swap = (
                ReplaceExpression(module.span(first), "$other", {"other": module.span(second)}),
                ReplaceExpression(module.span(second), "$other", {"other": module.span(first)}),
            )
            yield self.finding(
                module,
                pairs,
                "apply_gradients takes (gradient, variable) pairs, but here the variables come first.",
                label="variables, then gradients",
                candidates=[Candidate("zip the gradients first", swap)],
            )

    def _rows(self, module: Module, pairs: ast.Call) -> Iterator[Finding]:
        """`zip(gradient, variable)` of a single variable goes through the rows of both."""
        first, second = pairs.args
        gradient, variable = _only(first), _only(second)
        made = _gradient(module, gradient if gradient is not None else first)
        alone = variable if variable is not None else second
        if made is None or module.kinds.of(alone) != "variable":
            return
        single = self._is_single(module, made.sources)
        listed = single is False or (single and gradient is not None)
        if single is None or (listed and variable is not None):
            return
        template = "zip($gradients, [$variable])" if listed else "[($gradients, $variable)]"
        parts = {"gradients": module.span(first), "variable": module.span(alone)}
        yield self.finding(
            module,
            pairs,
            "zip goes through the rows of a tensor: apply_gradients gets no pair of a gradient and its variable.",
            label="pairs of rows",
            candidates=[
                Candidate(
                    "pair the gradient with its variable",
                    (ReplaceExpression(module.span(pairs), template, parts),),
                    keeps_value=False,
                )
            ],
        )

    def _unpaired(self, module: Module, call: ast.Call) -> Iterator[Finding]:
        """Gradients without their variables, or both as two lists."""
        value = call.args[0]
        variables: ast.expr | None = call.args[1] if len(call.args) == 2 else None
        gradients = value
        if isinstance(value, ast.Call) and module.call_name(value) == "zip" and len(value.args) == 1:
            gradients = value.args[0]
        elif isinstance(value, (ast.List, ast.Tuple)) and len(value.elts) == 2 and variables is None:
            gradients, variables = value.elts
        made = _gradient(module, gradients)
        if made is None:
            return
        single = self._is_single(module, made.sources)
        listed = variables is None and isinstance(value, (ast.List, ast.Tuple))
        if single is None or (listed and single):
            return
        if variables is not None:
            second = module.source(variables)
        elif module.scope(made.sources) is module.scope(call) and self._readable(made.sources):
            second = module.source(made.sources)
        else:
            second = None
        candidates = []
        if second is not None:
            shape = "[($gradients, $variables)]" if single else "zip($gradients, $variables)"
            text = shape.replace("$variables", second)
            edit = ReplaceExpression(module.span(value), text, {"gradients": module.span(gradients)})
            if len(call.args) == 2 or isinstance(value, ast.Tuple):
                # The arguments change in number, or the parentheses go: the whole call is written anew.
                others = [f"{k.arg}={module.source(k.value)}" for k in call.keywords]
                inner = ", ".join([text.replace("$gradients", module.source(gradients)), *others])
                edit = ReplaceExpression(module.span(call), f"$method({inner})", {"method": module.span(call.func)})
            candidates = [Candidate("pair each gradient with its variable", (edit,), keeps_value=False)]
        yield self.finding(
            module,
            value,
            "apply_gradients takes (gradient, variable) pairs: it cannot know here which gradient "
            "belongs to which variable.",
            label="not in pairs",
            candidates=candidates,
            certain=variables is None or module.kinds.of(call.func.value) == "optimizer",  # type: ignore[attr-defined]
            advice="" if candidates else "Pass zip(gradients, variables).",
        )

    @staticmethod
    def _readable(node: ast.expr) -> bool:
        return not any(isinstance(inner, ast.Call) for inner in ast.walk(node))

    @staticmethod
    def _is_single(module: Module, sources: ast.expr) -> bool | None:
        """One variable rather than a list of them; None where the text does not tell."""
        if isinstance(sources, (ast.List, ast.Tuple, ast.BinOp, ast.ListComp)):
            return False
        if isinstance(sources, ast.Attribute) and sources.attr in VARIABLE_LISTS:
            return False
        origins = module.objects.origins(sources)
        if origins and all(
            isinstance(o, (ast.List, ast.Tuple, ast.BinOp, ast.ListComp)) or getattr(o, "attr", "") in VARIABLE_LISTS
            for o in origins
        ):
            return False
        return True if module.kinds.of(sources) == "variable" else None


def _only(node: ast.expr) -> ast.expr | None:
    """What a list of one holds."""
    return node.elts[0] if isinstance(node, (ast.List, ast.Tuple)) and len(node.elts) == 1 else None


def _is_keras(module: Module, optimizer: ast.expr) -> bool:
    """An optimiser of Keras, or the base class of one's own: `super().apply_gradients(...)`."""
    base = isinstance(optimizer, ast.Call) and isinstance(optimizer.func, ast.Name) and optimizer.func.id == "super"
    return base or module.kinds.of(optimizer) == "optimizer"


def _are_variables(node: ast.expr) -> bool:
    """Does a list's own name say that it holds variables: `model.trainable_variables`, `params`, `self._variables`?"""
    if isinstance(node, ast.Attribute) and node.attr in VARIABLE_LISTS:
        return True
    return _VARIABLES.search(_last_name(node)) is not None and not _are_gradients(node)


def _are_gradients(node: ast.expr) -> bool:
    """The same of gradients computed elsewhere: `grads`, `self.actor_gradients`."""
    return _GRADIENTS.search(_last_name(node)) is not None


def _last_name(node: ast.expr) -> str:
    """The name of a list; of a written list, that of the first in it."""
    if isinstance(node, (ast.List, ast.Tuple)) and node.elts:
        return _last_name(node.elts[0])
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _gradient(module: Module, node: ast.expr, depth: int = 3) -> GradientCall | None:
    """The `tape.gradient` call that a list of gradients comes from, also where they were clipped on the way."""
    if depth <= 0:
        return None
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        return _gradient(module, node.value, depth - 1)
    for origin in module.objects.origins(node):
        if isinstance(origin, ast.ListComp) and not isinstance(origin.elt, ast.Tuple):
            iterated = origin.generators[0].iter
            is_zip = (
                isinstance(iterated, ast.Call) and module.call_name(iterated) in ("zip", "enumerate") and iterated.args
            )
            first = iterated.args[0] if is_zip else iterated  # type: ignore[attr-defined]
            return _gradient(module, first, depth - 1)
        for gradient in module.tapes.gradients:
            if gradient.call is origin and gradient.call.func.attr == "gradient":  # type: ignore[attr-defined]
                return gradient
    if isinstance(node, ast.Name):
        for definition in module.definitions(node):
            value = definition.value
            if (
                isinstance(value, ast.Call)
                and definition.path == (0,)
                and module.op(value) == "clip_by_global_norm"
                and value.args
            ):
                return _gradient(module, value.args[0], depth - 1)
    return None
