"""TPF116: `with tf.GradientTape as tape`, without the parentheses."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class TapeNotCalled(Rule):
    """A `with` statement gets the class GradientTape instead of a tape.

    What it finds:
        `with tf.GradientTape as tape:`

    Why the gradient stops:
        Only a tape can record. Entering the class fails.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable(2.0)
        with tf.GradientTape as tape:
            loss = w * w
        print(tape.gradient(loss, w))
        ```

    Fix safety:
        Safe: the class itself has no other use there.
    """

    code = "TPF116"
    name = "tape-not-called"
    safety = "safe"
    tokens = ("GradientTape as ", "GradientTape:")

    def check(self, module: Module) -> Iterator[Finding]:
        for block in module.each(ast.With):
            for item in block.items:
                if module.name(item.context_expr) not in ("tf.GradientTape", "tf.compat.v1.GradientTape"):
                    continue
                span = module.span(item.context_expr)
                edit = ReplaceExpression(span, "$tape()", {"tape": span})
                yield self.finding(
                    module,
                    item.context_expr,
                    "This is the class GradientTape, not a tape: the parentheses are missing.",
                    label="not called",
                    candidates=[Candidate("make a tape", (edit,), keeps_value=False)],
                )
