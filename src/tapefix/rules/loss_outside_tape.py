"""TPF102: the loss is computed after the tape has stopped recording."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.moves import Moves
from tapefix.codemods.edits import Delete, Edit, Insert, Move, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.recording import Road
    from tapefix.analysis.scopes import Def
    from tapefix.analysis.tapes import GradientCall, Tape


class LossOutsideTape(Rule):
    """The loss, or its last step, is computed after the tape's block.

    What it finds:
        A loss computed after the `with tf.GradientTape()` block, and arithmetic in the call itself, as in
        `tape.gradient(0.5 * loss, variables)`.

    Why the gradient stops:
        The tape stops recording at the end of its block. What is computed later has no recorded way back to the
        variables, so every gradient is None.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable(2.0)
        with tf.GradientTape() as tape:
            prediction = w * 3.0
        loss = tf.square(prediction - 1.0)
        gradient = tape.gradient(loss, w)
        w.assign_sub(0.01 * gradient)
        ```

    Fix safety:
        Safe: the same value is computed, inside the block.
    """

    code = "TPF102"
    name = "loss-outside-tape"
    safety = "safe"
    tokens = ("GradientTape",)

    def check(self, module: Module) -> Iterator[Finding]:
        seen: set[ast.stmt] = set()
        for gradient in module.tapes.gradients:
            tape = gradient.tape
            if tape is None or module.inside(gradient.call, tape.block):
                continue
            if module.function(gradient.call) is not module.function(tape.block) or self._opened_again(module, tape):
                continue
            strict, extended = module.recordings[gradient]
            if not any(
                "out" in s.marks and not s.marks & {"in", "ref"} and "in" in e.marks
                for s, e in zip(strict, extended, strict=True)
            ):
                continue
            finding = self._finding(module, gradient, tape, strict, seen)
            if finding is not None:
                yield finding

    @staticmethod
    def _opened_again(module: Module, tape: Tape) -> bool:
        """`with tape:` a second time."""
        return any(
            isinstance(item.context_expr, ast.Name) and module.tapes.tape_of(item.context_expr) is tape
            for block in module.all(ast.With)
            for item in block.items  # type: ignore[attr-defined]
        )

    def _finding(
        self, module: Module, gradient: GradientCall, tape: Tape, roads: list[Road], seen: set[ast.stmt]
    ) -> Finding | None:
        moves = Moves(module, tape.block)
        wanted: list[ast.stmt] = []
        for definition in dict.fromkeys(d for road in roads for d in road.outside):
            statement = moves.lift(definition.node, after=True)
            if statement is not None and statement not in wanted and not module.inside(gradient.call, statement):
                wanted.append(statement)
        expressions = self._operations(module, gradient.target)
        if not wanted and not expressions:
            return self._below(module, moves, gradient, tape, roads)
        if seen.issuperset(wanted) and not expressions:
            return None
        seen.update(wanted)
        names = {d.name for d in moves.definitions(wanted)}
        plan = moves.into_end([*wanted, *self._made_after(module, moves, expressions)])
        edits: list[Edit] = []
        if plan.statements:
            edits.append(Move(tuple(module.span(s) for s in plan.statements), module.span(tape.block), "last"))
        for expression in expressions:
            name = self._new_name(module, expression, names)
            names.add(name)
            source = module.source(expression)
            edits.append(
                Insert(
                    module.span(tape.block), "last", f"{name} = ({source})" if "\n" in source else f"{name} = {source}"
                )
            )
            edits.append(ReplaceExpression(module.span(expression), name))
        if plan.blocked is None and edits:
            candidates = [Candidate("compute it inside the tape's block", tuple(edits))]
        else:
            candidates = []
        place: ast.AST = wanted[0] if wanted else expressions[0] if expressions else gradient.target
        what = (
            f"`{module.source(place).splitlines()[0]}`"
            if not wanted
            else f"`{', '.join(sorted(n for n in names))}`"
            if names
            else "The loss"
        )
        return self.finding(
            module,
            place,
            f"{what} is computed after the tape has stopped recording, so the gradient of every variable is None.",
            label="runs after the block",
            notes=[(tape.call, "the tape records this block only")],
            candidates=candidates,
            advice="" if candidates else "Compute it inside the block of the tape.",
        )

    def _below(
        self, module: Module, moves: Moves, gradient: GradientCall, tape: Tape, roads: list[Road]
    ) -> Finding | None:
        """The loss is computed, and the gradient asked for, inside a loop or branch after the block."""
        body = module.block(module.statement(gradient.call))
        made = dict.fromkeys(module.statement(d.node) for road in roads for d in road.outside)
        found = [s for s in body if s in made and s.end_lineno is not None and s.end_lineno < gradient.call.lineno]
        if not found or len(found) < len(made) or not all(isinstance(s, (ast.Assign, ast.AugAssign)) for s in found):
            return None
        first, last = body.index(found[0]), body.index(found[-1])
        group = body[first : last + 1]
        if not all(isinstance(s, (ast.Assign, ast.AugAssign)) for s in group) or tape.name is None:
            return None
        edits: tuple[Edit, ...]
        if self._may_run_always(module, moves, group):
            edits = (Move(tuple(module.span(s) for s in group), module.span(tape.block), "last"),)
            title = "compute it inside the tape's block"
        else:
            # Entering the block of a tape once more makes it record again.
            lines = [f"    {line}" for s in group for line in module.source(s).split("\n")]
            text = "\n".join([f"with {tape.name}:", *lines])
            edits = (ReplaceStatement(module.span(group[0]), text), *(Delete(module.span(s)) for s in group[1:]))
            title = "let the tape record it, too"
        names = sorted({d.name for s in found for n in ast.walk(s) for d in module.reaching.bindings.get(n, ())})
        return self.finding(
            module,
            found[0],
            f"`{', '.join(names)}` is computed after the tape has stopped recording, so the gradient of every variable "
            "is None.",
            label="runs after the block",
            notes=[(tape.call, "the tape records this block only")],
            candidates=[Candidate(title, edits)],
        )

    @staticmethod
    def _may_run_always(module: Module, moves: Moves, group: list[ast.stmt]) -> bool:
        """Can the statements run at the end of the block, whether or not their own branch is taken?"""
        read = {n.id for s in group for n in ast.walk(s) if isinstance(n, ast.Name)}
        made = {d for s in group for n in ast.walk(s) for d in module.reaching.bindings.get(n, ())}
        tested: set[str] = set()
        for above in module.ancestors(group[0]):
            if isinstance(above, ast.If):
                tested |= {n.id for n in ast.walk(above.test) if isinstance(n, ast.Name)}
            if moves.chain and above in moves.chain[0][0]:
                early = all(
                    d in made or d.scope is not module.scope(moves.block) or _line(d) <= (moves.block.end_lineno or 0)
                    for s in group
                    for n in ast.walk(s)
                    if isinstance(n, ast.Name)
                    for d in module.definitions(n)
                )
                alone = all(len(d.scope.defs.get(d.name, ())) == 1 for d in made)
                return isinstance(above, (ast.If, ast.Try)) and not tested & read and early and alone
            if not isinstance(above, (ast.If, ast.Try)):
                return False
        return False

    @staticmethod
    def _operations(module: Module, target: ast.expr) -> list[ast.expr]:
        """The computations that stand in the gradient call itself."""
        items = list(target.elts) if isinstance(target, (ast.List, ast.Tuple)) else [target]
        return [item for item in items if isinstance(item, (ast.BinOp, ast.UnaryOp, ast.Call, ast.Subscript))]

    @staticmethod
    def _made_after(module: Module, moves: Moves, expressions: list[ast.expr]) -> list[ast.stmt]:
        """The statements after the block that make what these expressions read."""
        found = []
        for expression in expressions:
            for name in ast.walk(expression):
                if isinstance(name, ast.Name):
                    for definition in module.definitions(name):
                        statement = moves.lift(definition.node, after=True)
                        if statement is not None and statement.lineno < expression.lineno:
                            found.append(statement)
        return found

    @staticmethod
    def _new_name(module: Module, expression: ast.expr, taken: set[str]) -> str:
        base = next(
            (
                n.id
                for n in ast.walk(expression)
                if isinstance(n, ast.Name) and "loss" in n.id.lower() and n.id.islower()
            ),
            "target",
        )
        if isinstance(expression, ast.UnaryOp):
            base = f"negative_{base}"
        elif isinstance(expression, ast.BinOp):
            base = (
                f"scaled_{base}"
                if isinstance(expression.op, (ast.Mult, ast.Div))
                else f"total_{base}"
                if base != "target"
                else base
            )
        elif isinstance(expression, ast.Call):
            function = expression.func.attr if isinstance(expression.func, ast.Attribute) else ""
            base = (
                f"mean_{base}"
                if "mean" in function
                else f"total_{base}"
                if "sum" in function
                else "loss"
                if base == "target"
                else f"{base}_value"
            )
        used = taken | {n.id for n in module.all(ast.Name)} | {a.arg for a in module.all(ast.arg)}  # type: ignore[attr-defined]
        name, number = base, 2
        while name in used:
            name, number = f"{base}_{number}", number + 1
        return name


def _line(definition: Def) -> int:
    return getattr(definition.node, "lineno", 0)
