"""TPF104: two gradients are asked of a tape that is not persistent."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import GradientCall, Tape

_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class TapeUsedTwice(Rule):
    """A tape is asked for gradients more than once, but is not persistent.

    What it finds:
        Two calls of `tape.gradient` that can both run after one block, or one in a loop over several losses, where
        the tape was made without `persistent=True`.

    Why the gradient stops:
        A tape lets go of what it recorded at the first `gradient()`; the second one raises a RuntimeError.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable(2.0)
        b = tf.Variable(1.0)
        with tf.GradientTape() as tape:
            loss = tf.square(w * 3.0 + b)
        w.assign_sub(0.01 * tape.gradient(loss, w))
        b.assign_sub(0.01 * tape.gradient(loss, b))
        ```

    Fix safety:
        Safe: a persistent tape gives the same gradients, it only keeps its memory longer.
    """

    code = "TPF104"
    name = "tape-used-twice"
    safety = "safe"
    tokens = ("GradientTape",)

    def check(self, module: Module) -> Iterator[Finding]:
        for tape in module.tapes.tapes:
            if tape.persistent or not tape.gradients:
                continue
            again = self._again(module, tape)
            if again is not None and not _is_awaited(module, again):
                yield self.finding(
                    module,
                    again,
                    "A tape that is not persistent can be asked for gradients once only: this call raises "
                    "a RuntimeError.",
                    label="asked a second time",
                    notes=[(tape.call, "made without persistent=True")],
                    candidates=[Candidate("make the tape persistent", (_persistent(module, tape.call),))],
                )

    @staticmethod
    def _again(module: Module, tape: Tape) -> ast.Call | None:
        """The call that comes second, or runs repeatedly."""
        calls = sorted(tape.gradients, key=lambda g: (g.call.lineno, g.call.col_offset))
        for gradient in calls:
            for above in module.ancestors(gradient.call):
                if (
                    isinstance(above, _LOOPS)
                    and not module.inside(tape.block, above)
                    and _repeats(module, gradient, above)
                ):
                    return gradient.call
                if above is tape.block or isinstance(above, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                    break
        for i, first in enumerate(calls):
            for second in calls[i + 1 :]:
                if module.function(first.call) is module.function(second.call) and not _exclusive(
                    module, first.call, second.call
                ):
                    return second.call
        return None


def _is_awaited(module: Module, call: ast.Call) -> bool:
    """Does the text wait for the RuntimeError of this call, as a lesson does?"""
    for above in module.ancestors(call):
        if isinstance(above, ast.Try) and any(module.inside(call, s) for s in above.body):
            return any(isinstance(h.type, ast.Name) and h.type.id == "RuntimeError" for h in above.handlers)
        if isinstance(above, ast.With) and any("assertRaises" in ast.unparse(i.context_expr) for i in above.items):
            return True
        if isinstance(above, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            break
    return False


def _repeats(module: Module, gradient: GradientCall, loop: ast.AST) -> bool:
    """Does the loop run the call more than once: no break or return right behind it, not the first iterable?"""
    if isinstance(loop, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        return not module.inside(gradient.call, loop.generators[0].iter)
    if isinstance(loop, (ast.For, ast.AsyncFor)) and (
        module.inside(gradient.call, loop.iter) or any(module.inside(gradient.call, s) for s in loop.orelse)
    ):
        return False
    return not _ends(module, gradient.call, loop)


def _ends(module: Module, node: ast.AST, outer: ast.AST) -> bool:
    """Does control leave `outer` after `node`, in one of the lists between them?"""
    statement: ast.AST = module.statement(node)
    while statement is not outer and isinstance(statement, ast.stmt):
        body = module.block(statement)
        if any(isinstance(s, (ast.Return, ast.Raise, ast.Break)) for s in body[body.index(statement) :]):
            return True
        above = module.parent(statement)
        while above is not None and not isinstance(above, ast.stmt):
            above = module.parent(above)
        if above is None:
            return False
        statement = above
    return False


def _exclusive(module: Module, first: ast.AST, second: ast.AST) -> bool:
    """Can only one of the two run: branches of one `if`, or a return behind the first?"""
    above_first = [first, *module.ancestors(first)]
    together = module.statement(first) is module.statement(second)
    for above in module.ancestors(second):
        if above not in above_first:
            continue
        if isinstance(above, (ast.If, ast.IfExp)):
            sides = []
            for node in (first, second):
                in_body = any(
                    module.inside(node, b) for b in (above.body if isinstance(above.body, list) else [above.body])
                )
                in_else = any(
                    module.inside(node, b) for b in (above.orelse if isinstance(above.orelse, list) else [above.orelse])
                )
                sides.append("body" if in_body else "else" if in_else else "test")
            return set(sides) == {"body", "else"} or _ends(module, first, above)
        if isinstance(above, ast.Try):
            return any(module.inside(second, h) for h in above.handlers) or any(
                module.inside(first, h) for h in above.handlers
            )
        return not together and _ends(module, first, above)
    return False


def _persistent(module: Module, call: ast.Call) -> ReplaceExpression:
    """The same call with persistent=True."""
    for keyword in call.keywords:
        if keyword.arg == "persistent":
            return ReplaceExpression(module.span(keyword.value), "True")
    given = [f"$k{i}" if k.arg is None else f"{k.arg}=$k{i}" for i, k in enumerate(call.keywords)]
    parts = {f"k{i}": module.span(k.value) for i, k in enumerate(call.keywords)}
    return ReplaceExpression(
        module.span(call), f"$func({', '.join(['persistent=True', *given])})", {"func": module.span(call.func), **parts}
    )
