"""TPF114: a tape watches a tensor after it was used."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Move
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import Tape


class LateWatch(Rule):
    """A tape watches a tensor after it was used.

    What it finds:
        `tape.watch(x)` below the statements of the block that compute with `x`.

    Why the gradient stops:
        A tape records what is computed from a tensor from the moment at which it watches it. What came before is not
        on the tape.

    Example:
        ```python
        import tensorflow as tf

        x = tf.constant([1.0, 2.0])
        with tf.GradientTape() as tape:
            y = tf.square(x)
            tape.watch(x)
            total = tf.reduce_sum(y)
        print(tape.gradient(total, x))
        ```

    Fix safety:
        Safe: the same tensor is watched, before it is used.
    """

    code = "TPF114"
    name = "late-watch"
    safety = "safe"
    tokens = (".watch(",)

    def check(self, module: Module) -> Iterator[Finding]:
        for tape in module.tapes.tapes:
            for watch in tape.watches:
                finding = self._late(module, tape, watch)
                if finding is not None:
                    yield finding

    def _late(self, module: Module, tape: Tape, watch: ast.Call) -> Finding | None:
        statement = module.parent(watch)
        if not isinstance(statement, ast.Expr) or statement not in tape.block.body or len(watch.args) != 1:
            return None
        watched = watch.args[0]
        names = [n for n in ast.walk(watched) if isinstance(n, ast.Name)]
        if not isinstance(watched, (ast.Name, ast.List, ast.Tuple)) or not names:
            return None
        made = {d for name in names for d in module.definitions(name)}
        if any(module.inside(d.node, tape.block) for d in made):
            return None  # it is made in the block, and watched when it is there
        before = [s for s in tape.block.body[: tape.block.body.index(statement)] if not _is_watch(module, s, tape)]
        used = [n for s in before for n in ast.walk(s) if isinstance(n, ast.Name) and made & set(module.definitions(n))]
        # What was computed from it before the watch must be needed after it.
        later = {d for s in before for n in ast.walk(s) for d in module.reaching.bindings.get(n, ())}
        needed = any(use.lineno > statement.lineno for d in later for use in d.uses)
        sources = [n for g in tape.gradients for n in ast.walk(g.sources) if isinstance(n, ast.Name)]
        asked = {d for name in sources for d in module.definitions(name)}
        if not used or not needed or not made & asked:
            return None
        first = tape.block.body[0]
        return self.finding(
            module,
            watch,
            f"{module.source(watched)} is used before the tape watches it: what is computed above is not recorded.",
            label="watched too late",
            notes=[(used[0], "used here")],
            candidates=[
                Candidate(
                    "watch it before it is used",
                    (Move((module.span(statement),), module.span(first), "before"),),
                )
            ],
        )


def _is_watch(module: Module, statement: ast.stmt, tape: Tape) -> bool:
    return isinstance(statement, ast.Expr) and statement.value in tape.watches
