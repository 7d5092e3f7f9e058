"""TPF117: a context manager hands out its tape after the tape's block has ended."""

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


class YieldedLate(Rule):
    """A context manager hands out its tape after the tape's block has ended.

    What it finds:
        A function under `contextlib.contextmanager` that yields a tape below the `with` block of the tape.

    Why the gradient stops:
        What the caller computes runs at the `yield`. There the tape has stopped recording.

    Example:
        ```python
        import contextlib

        import tensorflow as tf


        @contextlib.contextmanager
        def recorded():
            with tf.GradientTape() as tape:
                pass
            yield tape


        w = tf.Variable(2.0)
        with recorded() as tape:
            loss = w * w
        print(tape.gradient(loss, w))
        ```

    Fix safety:
        Safe: the tape records what runs while it is handed out.
    """

    code = "TPF117"
    name = "yielded-late"
    safety = "safe"
    tokens = ("contextmanager",)

    def check(self, module: Module) -> Iterator[Finding]:
        for tape in module.tapes.tapes:
            function = module.function(tape.block)
            decorators = getattr(function, "decorator_list", ())
            if tape.definition is None or not any("contextmanager" in ast.unparse(d) for d in decorators):
                continue
            uses = [u for u in tape.definition.uses if isinstance(module.parent(u), ast.Yield)]
            if uses and not any(module.inside(u, tape.block) for u in uses):
                finding = self._finding(module, tape, uses[0])
                if finding is not None:
                    yield finding

    def _finding(self, module: Module, tape: Tape, handed: ast.Name) -> Finding | None:
        after = module.block(tape.block)[module.block(tape.block).index(tape.block) + 1 :]
        count = next((i for i, s in enumerate(after) if module.inside(handed, s)), None)
        if count is None:
            return None
        moved = tuple(module.span(s) for s in after[: count + 1])
        return self.finding(
            module,
            handed,
            f"`{tape.name}` has stopped recording when it is handed out: the block of the caller is not on it.",
            label="after the tape's block",
            notes=[(tape.call, "records this block only")],
            candidates=[
                Candidate(
                    "hand it out while it records",
                    (Move(moved, module.span(tape.block), "last"),),
                    keeps_value=False,
                )
            ],
        )
