"""TPF402: one branch of a function returns its value, another only computes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.control import End, ends, is_generator, own_nodes
from tapefix.codemods.edits import Insert
from tapefix.findings import Candidate, Finding
from tapefix.rules._last_value import Last, LastValue
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class BranchWithoutReturn(Rule):
    """One branch of a function returns, another computes its value and falls off the end.

    What it finds:
        A loss, a forward pass, a training step or a helper with whose result a caller computes, in which some
        branches end with `return value` and another ends with the value computed but not returned.

    Why the gradient stops:
        Where the other branch runs, the function gives None, and nothing of what it computed reaches the loss.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])


        def error(y_true, y_pred, robust=False):
            difference = y_true - y_pred
            if robust:
                return tf.reduce_mean(tf.abs(difference))
            else:
                squared = tf.reduce_mean(tf.square(difference))


        with tf.GradientTape() as tape:
            loss = error(tf.ones([4, 1]), model(tf.ones([4, 2])))
        gradients = tape.gradient(loss, model.trainable_variables)
        ```

    Fix safety:
        Safe: the branch returns what it computes, as the others do.
    """

    code = "TPF402"
    name = "branch-without-return"
    safety = "safe"
    tokens = ("def ",)

    def check(self, module: Module) -> Iterator[Finding]:
        returning = {
            module.function(node)
            for node in module.each(ast.Return)
            if node.value is not None and not _is_none(node.value)
        }
        for function in module.all(ast.FunctionDef):
            assert isinstance(function, ast.FunctionDef)
            if function not in returning or not module.results.is_possible(function):
                continue
            places = ends(function.body)
            if (
                not places
                or is_generator(function)
                or any(isinstance(e.block[-1], (ast.For, ast.While)) for e in places)
            ):
                continue
            width = _width(function)
            if width is None:
                continue
            found = [self._last(module, function, end, width) for end in places]
            values = [last for last in found if last is not None]
            if len(values) != len(found) or not values:
                continue
            need = module.results.need(function)
            if need is None:
                continue
            edits = tuple(edit for last in values for edit in last.edits)
            yield self.finding(
                module,
                values[0].node,
                f"This branch of {function.name} ends without return, so it gives None where the "
                f"others return a value: {need.reason}.",
                label="computed, but not returned",
                candidates=[Candidate(f"return {values[0].text} here, too", edits)],
                notes=[(need.place, "the result is used here")] if need.place is not None else (),
                certain=all(last.dead for last in values) and need.kind != "step",
                latent=True,
            )

    def _last(self, module: Module, function: ast.FunctionDef, end: End, width: int) -> Last | None:
        if end.missing_branch is None:
            return LastValue(module, function, width).of(end.block)
        # `if training: return f(h)` and nothing after it: the value so far.
        branch = end.missing_branch
        before = end.block[:-1]
        simple = not branch.orelse and isinstance(branch.test, (ast.Name, ast.Attribute, ast.UnaryOp))
        if width > 1 or not before or not simple or module.results.need(function) is None:
            return None
        last = LastValue(module, function).of(before)
        if last is None or not isinstance(last.node, ast.Assign):
            return None
        return Last(branch, last.text, (Insert(module.span(branch), "after", f"return {last.text}"),), True)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _width(function: ast.FunctionDef) -> int | None:
    """How many values the `return`s of a function give (0: one value); None where they do not agree."""
    widths = set()
    for node in own_nodes(function):
        if isinstance(node, ast.Return) and node.value is not None:
            if isinstance(node.value, ast.Constant) and not isinstance(node.value.value, (int, float)):
                return None
            widths.add(len(node.value.elts) if isinstance(node.value, ast.Tuple) else 0)
    return widths.pop() if len(widths) == 1 else None
