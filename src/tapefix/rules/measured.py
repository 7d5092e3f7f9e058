"""TPF901: a gradient is measured broken, and no other rule knows the cause."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.findings import Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class BrokenGradient(Rule):
    """A gradient was measured broken when the code ran.

    What it finds:
        With a run (`--verify`, `--diff`, `--write`): gradients that are None, NaN, infinite or all zero, and runs
        that fail, where no other rule knows the cause.

    Why the gradient stops:
        The run shows where: the line of the gradient call and, as far as it can be seen, the line at which the chain
        from the variables to the loss was cut.

    Example:
        ```python
        import tensorflow as tf

        inner, outer = tf.Variable(1.0), tf.Variable(2.0)
        with tf.GradientTape() as tape:
            loss = tf.square(inner)
        gradients = tape.gradient(loss, [inner, outer])
        ```

    Fix safety:
        Advice: no edit is made, since the cause is not known.
    """

    code = "TPF901"
    name = "broken-gradient"
    safety = "advice"

    def check(self, module: Module) -> Iterator[Finding]:
        # Of made-up inputs it cannot be said that the code, and not the inputs, is to blame.
        if module.measured is None or module.measured.exercised:
            return
        from tapefix.proof.verdict import problems

        found = problems(module.measured)
        if not found:
            return
        first = found[0]
        more = len({(p.kind, p.subject) for p in found}) - 1
        text = str(first)[0].upper() + str(first)[1:] + (f", and {more} more are broken" if more else "") + "."
        cuts = [place for place in module.measured.breaks if 0 < place.line <= len(module.lines)]
        if cuts:
            text += f" The run shows a break at line {cuts[0].line}: {cuts[0].what}."
        line = (cuts[0].line if cuts else 0) or first.line
        yield self.finding(
            module,
            self._node_at(module, line),
            text,
            label="measured here",
            certain=False,
            advice="tapefix knows no repair for this; the table shows which variables are starved.",
        )

    @staticmethod
    def _node_at(module: Module, line: int) -> ast.AST:
        """The innermost statement at a line; the first statement of the file where there is none."""
        best: ast.stmt = module.tree.body[0]
        for node in module.nodes:
            if (
                isinstance(node, ast.stmt)
                and node.lineno <= line <= (node.end_lineno or node.lineno)
                and node.lineno >= best.lineno
            ):
                best = node
        return best
