"""TPF403: a return inside the loop that accumulates."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.control import ends, own_nodes
from tapefix.analysis.scopes import MUTATORS
from tapefix.codemods.edits import Delete, Edit, Move
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class ReturnInLoop(Rule):
    """A function returns in the first round of the loop that sums up its result.

    What it finds:
        `for ...: total += term` with `return total` as the loop's last statement, one indent too deep. Also lists
        that a loop appends to, and values that a loop hands from layer to layer.

    Why the gradient stops:
        Only the first round runs. What the later rounds would add never reaches the loss, so the layers behind those
        terms have the gradient None.

    Example:
        ```python
        import tensorflow as tf

        heads = [tf.keras.layers.Dense(1) for _ in range(3)]
        for head in heads:
            head.build((None, 2))


        def total_loss(x, y):
            total = 0.0
            for head in heads:
                total += tf.reduce_mean(tf.square(head(x) - y))
                return total


        with tf.GradientTape() as tape:
            loss = total_loss(tf.ones([4, 2]), tf.ones([4, 1]))
        gradients = tape.gradient(loss, [head.kernel for head in heads])
        ```

    Fix safety:
        Safe: an accumulator that is returned after one round accumulates nothing.
    """

    code = "TPF403"
    name = "return-in-loop"
    safety = "safe"
    tokens = ("for ", "while ")

    def check(self, module: Module) -> Iterator[Finding]:
        for node in module.all(ast.Return):
            assert isinstance(node, ast.Return)
            loop = module.parent(node)
            if (
                not isinstance(loop, (ast.For, ast.While))
                or node.value is None
                or loop.body[-1] is not node
                or len(loop.body) < 2
                or loop.orelse
                or (isinstance(loop, ast.While) and isinstance(loop.test, ast.Constant))
            ):
                continue
            carried = self._carried(module, loop, node.value)
            if carried is None or self._leaves_early(loop):
                continue
            outer: ast.stmt = loop
            # An outer loop around it that accumulates into the same name is left, too.
            while isinstance(above := module.parent(outer), (ast.For, ast.While)) and self._made_before(
                module, above, carried
            ):
                outer = above
            block = module.block(outer)
            following = block[block.index(outer) + 1 :]
            edit: Edit
            if following and not ends(following):
                edit = Delete(module.span(node))
            elif following:
                continue
            else:
                edit = Move((module.span(node),), module.span(outer), "after")
            yield self.finding(
                module,
                node,
                f"The function returns in the loop's first round, so later rounds never add to {carried}.",
                label="leaves the loop in its first round",
                candidates=[Candidate("return after the loop", (edit,), keeps_value=False)],
                notes=[(loop.target if isinstance(loop, ast.For) else loop.test, "only the first round runs")],
            )

    def _carried(self, module: Module, loop: ast.For | ast.While, value: ast.expr) -> str | None:
        """The name in the returned value that the loop changes from round to round, made before the loop."""
        returned = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
        target = loop.target if isinstance(loop, ast.For) else loop.test
        varying = {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
        for statement in loop.body[:-1]:
            for node in [statement, *own_nodes(statement)]:
                name = None
                if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                    name = node.target.id
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    own = node.targets[0].id
                    read = {inner.id for inner in ast.walk(node.value) if isinstance(inner, ast.Name)}
                    # h = layer(h), total = total + term
                    name = own if own in read and (read & varying or isinstance(node.value, ast.BinOp)) else None
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
                    name = node.func.value.id if isinstance(node.func.value, ast.Name) else None
                if name in returned and name not in varying and self._made_before(module, loop, name):
                    return name
        return None

    def _made_before(self, module: Module, loop: ast.For | ast.While, name: str | None) -> bool:
        scope = module.scope(loop)
        definitions = scope.defs.get(name or "", [])
        return any(
            d.kind in ("assign", "parameter") and getattr(d.node, "lineno", 0) < loop.lineno for d in definitions
        )

    def _leaves_early(self, loop: ast.For | ast.While) -> bool:
        """Does the loop skip rounds (`continue`), so that the first round that is not skipped is meant?"""
        return any(isinstance(node, (ast.Continue, ast.Break)) for node in own_nodes(loop))
