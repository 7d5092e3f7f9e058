"""TPF101: a value that the loss needs is computed before the tape records."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.marks import CHOICES
from tapefix.analysis.moves import Moves, Plan
from tapefix.codemods.edits import Edit, Insert, Move
from tapefix.findings import Candidate, Finding
from tapefix.rules._elsewhere import of_call, of_module, of_object, read_by_closure, start_of, title_of
from tapefix.rules._parameters import of_parameters
from tapefix.rules._replay import of_list
from tapefix.rules._text import listing
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.recording import Road
    from tapefix.analysis.scopes import Def
    from tapefix.analysis.tapes import GradientCall, Tape


_OF_TAPE = re.compile(r"tape|gradient|record|back-?prop", re.IGNORECASE)


class ForwardPassOutsideTape(Rule):
    """What the loss is made of is computed before the tape starts recording.

    What it finds:
        A model call, a concat of variables, `tf.exp(log_sigma)` and the like that stands before the
        `with tf.GradientTape()` block, while the block only computes the rest of the loss from it. The value may also
        come from another method through an attribute or a list (the log-probabilities of a rollout), or from the
        caller as an argument.

    Why the gradient stops:
        A tape knows only the operations that run inside its block. What was computed before is a constant to it, so
        the gradient of every variable behind that value is None.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        optimizer = tf.keras.optimizers.SGD(0.1)
        x, y = tf.ones([4, 2]), tf.ones([4, 1])
        predictions = model(x)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(predictions - y))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        ```

    Fix safety:
        Safe: the same statements run, inside the block. Where a list was filled before, it keeps what its values are
        computed from; where the caller computed the value, it passes what that is made of.
    """

    code = "TPF101"
    name = "forward-pass-outside-tape"
    safety = "safe"
    tokens = ("GradientTape",)

    def check(self, module: Module) -> Iterator[Finding]:
        blocks: dict[ast.AST, list[tuple[GradientCall, Tape]]] = {}
        known: set[Tape] = set()
        for gradient in module.tapes.gradients:
            if gradient.tape is not None:
                blocks.setdefault(gradient.tape.block, []).append((gradient, gradient.tape))
        for gradients in blocks.values():
            roads = [road for gradient, _ in gradients for road in module.recordings[gradient][1]]
            broken = [road for road in roads if road.marks == {"out"}]
            partly = [road for road in roads if road.marks == {"out", "in"}]
            for certain, found in ((True, broken), (False, partly)):
                tape = gradients[0][1]
                if (
                    found
                    and (
                        finding := self._finding(module, tape, found, certain)
                        or self._distant(module, tape, found, certain)
                    )
                    is not None
                ):
                    known.add(tape)
                    yield finding
                    break
        for tape in module.tapes.tapes if module.measured is not None else ():
            if tape not in known and (measured := self._measured(module, tape)) is not None:
                yield measured

    def _measured(self, module: Module, tape: Tape) -> Finding | None:
        """A call before the block that keeps what it computes where only the run can follow it: `self.forward(x)`."""
        run = module.measured
        lines = {line for gradient in module.tapes.gradients if gradient.tape is tape for line in gradient.lines}
        asked = [g for g in run.gradients if g.line in lines or not lines] if run is not None else []
        if run is None or not asked or any(source.state == "ok" for gradient in asked for source in gradient.sources):
            return None
        moves = Moves(module, tape.block)
        ran = [(*place.calls, place.line) for place in run.breaks if place.kind == "outside"]
        hit = [s for s in moves.before() if any(s.lineno <= n <= (s.end_lineno or n) for lines in ran for n in lines)]
        wanted = _without_targets(module, moves, hit)
        plan = moves.into_start(wanted)
        if not wanted or plan.blocked is not None:
            return None
        return self.finding(
            module,
            wanted[0],
            f"{_what(module, wanted[0])} is computed before the tape starts recording, as the run shows.",
            label="runs before the tape records",
            notes=[(tape.call, "recording starts here")],
            candidates=[Candidate(title_of(plan.statements), start_edits(module, moves, tape, plan), needs_proof=True)],
            certain=False,
        )

    def _finding(self, module: Module, tape: Tape, roads: list[Road], certain: bool) -> Finding | None:
        moves = Moves(module, tape.block)
        outside = list(dict.fromkeys(d for road in roads for d in road.outside))
        certain = certain and not any(road.opaque for road in roads)
        wanted: list[ast.stmt] = []
        for definition in outside:
            statement = moves.lift(definition.node)
            if statement is not None and statement not in wanted:
                wanted.append(statement)
        wanted = _without_targets(module, moves, wanted)
        if not wanted or not self._read_by_block(module, moves, wanted):
            return None
        if not certain and _same_calls(module, tape, wanted):
            return None
        first = min(wanted, key=lambda s: s.lineno)
        units = list(dict.fromkeys(road.unit.text for road in roads))
        plan = moves.into_start(wanted)
        candidates = []
        if plan.blocked is None:
            candidates.append(Candidate(title_of(plan.statements), start_edits(module, moves, tape, plan)))
        elif (copies := self._copies(module, tape, wanted, outside)) is not None:
            candidates.append(Candidate("compute it again inside the tape's block", copies, needs_proof=not certain))
        what = _what(module, first)
        return self.finding(
            module,
            first,
            f"{what} is computed before the tape starts recording, so nothing connects the loss with {_listed(units)}.",
            label="runs before the tape records",
            notes=[(tape.call, "recording starts here")],
            candidates=candidates,
            certain=certain,
            advice="Compute it inside the block of the tape." if not candidates else "",
        )

    @staticmethod
    def _read_by_block(module: Module, moves: Moves, wanted: list[ast.stmt]) -> bool:
        """Is the value read in the block itself (or in the gradient call), rather than in a function that it calls?"""
        return any(
            module.function(use) is moves.home
            for d in moves.definitions(wanted)
            for use in d.uses
            if use.lineno >= moves.block.lineno
        )

    def _distant(self, module: Module, tape: Tape, roads: list[Road], certain: bool) -> Finding | None:
        """The value is computed in another function, or in the module, and handed over or kept in a name, an
        attribute or a list."""
        certain = certain and not any(road.opaque for road in roads)
        writes = list(dict.fromkeys(_real(module, w) for road in roads for w in road.writes))
        outside = list(dict.fromkeys(d for road in roads for d in road.outside))
        home = module.function(tape.block)
        if home is not None and any(module.inside(d.node, home) for d in outside):
            return None
        statements = sorted({module.statement(n) for n in [*writes, *(d.node for d in outside)]}, key=_line)
        if home is None and not writes:
            return None
        if not statements:
            return self._passed(module, tape, roads, certain)
        kept = sorted({module.statement(w) for w in writes}, key=_line)
        candidates = [
            c
            for c in (
                of_call(module, tape, statements),
                of_object(module, tape, kept) if kept and not outside else None,
                of_module(module, tape, statements) if not kept else None,
                of_list(module, tape, writes, outside),
                of_parameters(module, tape, outside) if not kept else None,
            )
            if c is not None
        ]
        if not candidates and read_by_closure(module, tape, outside):
            return None
        units = list(dict.fromkeys(road.unit.text for road in roads))
        return self.finding(
            module,
            statements[0],
            f"{_what(module, statements[0])} is computed once, before the tape starts recording, so nothing connects "
            f"the loss with {_listed(units)}.",
            label="runs before the tape records",
            notes=[(tape.call, "recording starts here")],
            candidates=candidates,
            # Without a repair it is worth a word only where a run shows the gradient broken.
            certain=certain and bool(candidates),
            advice="" if candidates else "Keep what it is computed from, and compute it inside the block of the tape.",
        )

    def _passed(self, module: Module, tape: Tape, roads: list[Road], certain: bool) -> Finding | None:
        """The value is computed in the call of the function: `train(y, model(x))`."""
        candidate = of_parameters(module, tape, [])
        if candidate is None:
            return None
        units = list(dict.fromkeys(road.unit.text for road in roads))
        return self.finding(
            module,
            tape.call,
            f"What the loss is made of comes from the caller, computed before the tape starts recording, so nothing "
            f"connects it with {_listed(units)}.",
            label="recording starts here",
            candidates=[candidate],
            certain=certain,
        )

    @staticmethod
    def _copies(module: Module, tape: Tape, wanted: list[ast.stmt], outside: list[Def]) -> tuple[Edit, ...] | None:
        """The statements once more inside the block, where they cannot leave their place."""
        lines = []
        for statement in sorted(wanted, key=lambda s: s.lineno):
            if not isinstance(statement, ast.Assign) or not all(isinstance(t, ast.Name) for t in statement.targets):
                return None
            names = {n.id for n in ast.walk(statement.value) if isinstance(n, ast.Name)}
            if any(isinstance(t, ast.Name) and t.id in names for t in statement.targets):
                return None
            lines.append(module.source(statement))
        scope = module.scope(tape.block)
        made = {d.name for d in outside}
        for statement in wanted:
            for name in ast.walk(statement):
                if (
                    isinstance(name, ast.Name)
                    and name.id not in made
                    and len([d for d in scope.defs.get(name.id, []) if d.kind != "mutate"]) > 1
                ):
                    return None
        if any(len([d for d in scope.defs.get(name, []) if d.kind != "mutate"]) > 1 for name in made):
            return None
        anchor, where = start_of(module, tape, set())
        return (Insert(module.span(anchor), where, "\n".join(lines)),)


def _without_targets(module: Module, moves: Moves, wanted: list[ast.stmt]) -> list[ast.stmt]:
    """The statements that make the prediction, where others make its target (of Q-learning) from the same model."""
    chosen = [s for s in wanted if any(module.op(n) in CHOICES for n in ast.walk(s))]
    before, after = list(chosen), list(chosen)
    for statement in sorted(wanted, key=_line, reverse=True):
        if statement not in before and any(moves.reads(s, [statement]) for s in before):
            before.append(statement)
    for statement in sorted(wanted, key=_line):
        if statement not in after and moves.reads(statement, after):
            after.append(statement)
    rest = [s for s in wanted if s not in before and s not in after]
    runs = any(isinstance(n, ast.Call) and module.training.is_forward(n) for s in rest for n in ast.walk(s))
    return rest if runs else wanted


def _same_calls(module: Module, tape: Tape, statements: list[ast.stmt]) -> bool:
    """Do the statements run only models that the block runs, too? Then they make a target (of Q-learning, say)."""

    def called(nodes: list[ast.stmt]) -> set[str]:
        calls = [n for s in nodes for n in ast.walk(s) if isinstance(n, ast.Call)]
        return {module.source(c.func) for c in calls if module.kinds.of(c.func) in ("model", "layer")}

    outside = called(statements)
    return bool(outside) and outside <= called(tape.block.body)


def start_edits(module: Module, moves: Moves, tape: Tape, plan: Plan) -> tuple[Edit, ...]:
    anchor, where = start_of(module, tape, moves.definitions(plan.statements))
    spans = tuple(module.span(s) for s in plan.statements)
    return (Move(spans, module.span(anchor), where, _is_of_tape(module, tape, plan.statements)),)


def _is_of_tape(module: Module, tape: Tape, statements: list[ast.stmt]) -> bool:
    """Does the comment above the statement speak of the tape that follows?"""
    body = module.block(tape.block)
    place = body.index(tape.block) if tape.block in body else 0
    if len(statements) != 1 or place == 0 or body[place - 1] is not statements[0]:
        return False
    lines = module.text.splitlines()
    above = []
    for line in reversed(lines[: statements[0].lineno - 1]):
        if not line.lstrip().startswith("#"):
            break
        above.append(line)
    return _OF_TAPE.search(" ".join(above)) is not None


def _what(module: Module, statement: ast.stmt) -> str:
    """The value of a statement in a few words."""
    if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        if isinstance(target, ast.Attribute):
            return f"`{module.source(target)}`"
        names = [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]
        if names:
            return f"`{', '.join(names)}`" if len(names) < 4 else f"`{', '.join(names[:3])}, ...`"
    return f"What line {statement.lineno} makes"


def _real(module: Module, value: ast.expr) -> ast.expr:
    """The expression in the file, where the tables have wrapped it in a list of their own."""
    return value.elts[0] if isinstance(value, ast.List) and module.parent(value) is None else value


def _line(statement: ast.stmt) -> int:
    return statement.lineno


def _listed(names: list[str]) -> str:
    shown = [f"`{n}`" for n in names[:3]]
    if len(names) > 3:
        return ", ".join(shown) + f" and {len(names) - 3} more"
    return listing(shown)
