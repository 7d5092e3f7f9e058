"""TPF115: an inner tape takes the name of the tape around it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import Tape


class ShadowedTape(Rule):
    """An inner tape takes the name of the tape around it.

    What it finds:
        `with tf.GradientTape() as tape:` inside another block of the same name, where `tape.gradient` is called after
        the outer block.

    Why the gradient stops:
        After the inner block the name means the inner tape, which has recorded only a part, and may be used up. Nobody
        asks the outer one.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable(3.0)
        with tf.GradientTape() as tape:
            with tf.GradientTape() as tape:
                y = w * w * w
            slope = tape.gradient(y, w)
            loss = slope * slope
        print(tape.gradient(loss, w))
        ```

    Fix safety:
        Safe: the inner tape gets a name of its own, inside the outer block.
    """

    code = "TPF115"
    name = "shadowed-tape"
    safety = "safe"
    tokens = ("GradientTape",)

    def check(self, module: Module) -> Iterator[Finding]:
        for outer in module.tapes.tapes:
            for inner in module.tapes.tapes:
                if inner is not outer and inner.block is not outer.block and self._hides(module, outer, inner):
                    yield self._finding(module, outer, inner)

    @staticmethod
    def _hides(module: Module, outer: Tape, inner: Tape) -> bool:
        """Is the name of both asked after the outer block?"""
        if inner.name is None or inner.name != outer.name or inner.definition is None:
            return False
        if not any(module.inside(inner.block, s) for s in outer.block.body):
            return False
        if module.function(inner.block) is not module.function(outer.block):
            return False
        return any(not module.inside(use, outer.block) for use in inner.definition.uses)

    def _finding(self, module: Module, outer: Tape, inner: Tape) -> Finding:
        assert inner.definition is not None and inner.name is not None and inner.item.optional_vars is not None
        used = {n.id for n in module.each(ast.Name)}
        name = next(n for n in (f"inner_{inner.name}", f"inner_{inner.name}_", f"{inner.name}_inside") if n not in used)
        places = [inner.item.optional_vars, *(u for u in inner.definition.uses if module.inside(u, outer.block))]
        return self.finding(
            module,
            inner.item.optional_vars,
            f"This tape takes the name of the one around it: after the block, `{inner.name}` is the inner tape.",
            label="the same name",
            notes=[(outer.call, "the outer tape")],
            candidates=[
                Candidate(
                    f"call the inner tape {name}",
                    tuple(ReplaceExpression(module.span(place), name) for place in places),
                    keeps_value=None,
                )
            ],
        )
