"""TPF101: a value that the loss needs is computed before the tape records."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.moves import Moves, Plan
from tapefix.analysis.recording import Recording
from tapefix.codemods.edits import Edit, Insert, Move, Where
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.recording import Road
    from tapefix.analysis.scopes import Def
    from tapefix.analysis.tapes import GradientCall, Tape


class ForwardPassOutsideTape(Rule):
    """What the loss is made of is computed before the tape starts recording.

    What it finds:
        A model call, a concat of variables, `tf.exp(log_sigma)` and the like that stands before the
        `with tf.GradientTape()` block, while the block only computes the rest of the loss from it.

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
        Safe: the same statements run, inside the block.
    """

    code = "TPF101"
    name = "forward-pass-outside-tape"
    safety = "safe"
    tokens = ("GradientTape",)

    def check(self, module: Module) -> Iterator[Finding]:
        blocks: dict[ast.AST, list[tuple[GradientCall, Tape]]] = {}
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
                    yield finding
                    break

    def _finding(self, module: Module, tape: Tape, roads: list[Road], certain: bool) -> Finding | None:
        moves = Moves(module, tape.block)
        outside = list(dict.fromkeys(d for road in roads for d in road.outside))
        certain = certain and not any(road.opaque for road in roads)
        wanted: list[ast.stmt] = []
        for definition in outside:
            statement = moves.lift(definition.node)
            if statement is not None and statement not in wanted:
                wanted.append(statement)
        if not wanted or not self._read_by_block(module, moves, wanted):
            return None
        first = min(wanted, key=lambda s: s.lineno)
        units = list(dict.fromkeys(road.unit.text for road in roads))
        plan = moves.into_start(wanted)
        candidates = []
        if plan.blocked is None:
            candidates.append(Candidate(_title(plan.statements), start_edits(module, moves, tape, plan)))
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
        """The value is computed in another function, or in the module, and kept in a global name or an attribute."""
        home = module.function(tape.block)
        if home is None or isinstance(home, ast.Lambda):
            return None
        certain = certain and not any(road.opaque for road in roads)
        writes = list(dict.fromkeys(_real(module, w) for road in roads for w in road.writes))
        outside = list(dict.fromkeys(d for road in roads for d in road.outside))
        if writes and not outside:
            statements = [module.statement(w) for w in writes]
            edits = self._attributes(module, tape, statements)
        elif outside and not writes and all(d.scope is module.reaching.module for d in outside):
            statements = sorted({module.statement(d.node) for d in outside}, key=lambda s: s.lineno)
            edits = self._globals(module, tape, home, statements)
        elif (writes or outside) and not any(module.inside(d.node, home) for d in outside):
            statements = sorted(
                {module.statement(n) for n in [*writes, *(d.node for d in outside if not isinstance(d.node, ast.arg))]},
                key=_line,
            )
            edits = None
        else:
            return None
        if not statements or (edits is None and self._read_by_closure(module, tape, outside)):
            return None
        units = list(dict.fromkeys(road.unit.text for road in roads))
        return self.finding(
            module,
            statements[0],
            f"{_what(module, statements[0])} is computed once, before the tape starts recording, so nothing connects "
            f"the loss with {_listed(units)}.",
            label="runs before the tape records",
            notes=[(tape.call, "recording starts here")],
            candidates=[Candidate(_title(statements), edits)] if edits is not None else [],
            # Without a repair it is worth a word only where a run shows the gradient broken.
            certain=certain and edits is not None,
            advice=""
            if edits is not None
            else "Keep what it is computed from, and compute it inside the block of the tape.",
        )

    @staticmethod
    def _read_by_closure(module: Module, tape: Tape, outside: list[Def]) -> bool:
        """A function that the block runs reads the finished value: closure-over-tensor speaks of that."""
        run = Recording(module, tape.gradients[0], tape.block).run if tape.gradients else set()
        return any(module.function(use) in run for d in outside for use in d.uses)

    @staticmethod
    def _globals(module: Module, tape: Tape, home: ast.AST, statements: list[ast.stmt]) -> tuple[Edit, ...] | None:
        """Statements of the module whose values the block reads as global names."""
        if any(
            not isinstance(s, ast.Assign) or s.col_offset or not all(isinstance(t, ast.Name) for t in s.targets)
            for s in statements
        ):
            return None
        made = [d for s in statements for n in ast.walk(s) for d in module.reaching.bindings.get(n, ())]
        if any(len(d.scope.defs.get(d.name, [])) > 1 for d in made):
            return None
        uses = [u for d in made for u in d.uses if not any(module.inside(u, s) for s in statements)]
        here = [u for u in uses if module.inside(u, home)]
        if not here or any(module.function(u) is not home or u.lineno <= tape.block.lineno for u in here):
            return None
        anchor, where = start_of(module, tape, set(made))
        if len(here) == len(uses):
            return (Move(tuple(module.span(s) for s in statements), module.span(anchor), where),)
        return (Insert(module.span(anchor), where, "\n".join(module.source(s) for s in statements)),)

    @staticmethod
    def _attributes(module: Module, tape: Tape, statements: list[ast.stmt]) -> tuple[Edit, ...] | None:
        """Statements `self.a = ...` of another method of the same class."""
        owner = module.class_of(tape.block)
        if owner is None or module.objects.class_kind(owner) in ("model", "layer"):
            return None
        names = set()
        for statement in statements:
            target = statement.targets[0] if isinstance(statement, ast.Assign) and len(statement.targets) == 1 else None
            if (
                not (isinstance(target, ast.Attribute) and module.objects.is_self(target.value))
                or module.class_of(statement) is not owner
            ):
                return None
            home = module.function(statement)
            if home is module.function(tape.block) or home is None:
                return None
            for node in ast.walk(statement):
                if (
                    isinstance(node, ast.Name)
                    and not module.objects.is_self(node)
                    and any(d.scope.node is home for d in module.definitions(node))
                ):
                    return None
            names.add(target.attr)
        reads = [n for n in module.all(ast.Attribute) if n.attr in names and isinstance(n.ctx, ast.Load)]  # type: ignore[attr-defined]
        reads = [n for n in reads if not any(module.inside(n, s) for s in statements)]
        anchor, where = start_of(module, tape, set())
        if all(module.inside(n, module.function(tape.block) or owner) for n in reads):
            return (Move(tuple(module.span(s) for s in statements), module.span(anchor), where),)
        return (Insert(module.span(anchor), where, "\n".join(module.source(s) for s in statements)),)

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


def start_of(module: Module, tape: Tape, moved: set[Def]) -> tuple[ast.stmt, Where]:
    """Where new first statements of a block go: after the watches at its head that do not need them."""
    place: tuple[ast.stmt, Where] = (tape.block.body[0], "before")
    for statement in tape.block.body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "watch"):
            break
        if any(d in moved for n in ast.walk(call) if isinstance(n, ast.Name) for d in module.definitions(n)):
            break
        place = (statement, "after")
    return place


def start_edits(module: Module, moves: Moves, tape: Tape, plan: Plan) -> tuple[Edit, ...]:
    anchor, where = start_of(module, tape, moves.definitions(plan.statements))
    return (Move(tuple(module.span(s) for s in plan.statements), module.span(anchor), where),)


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


def _title(statements: list[ast.stmt]) -> str:
    count = len(statements)
    return "move it into the tape's block" if count == 1 else f"move the {count} statements into the tape's block"


def _listed(names: list[str]) -> str:
    shown = [f"`{n}`" for n in names[:3]]
    if len(names) > 3:
        return ", ".join(shown) + f" and {len(names) - 3} more"
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]
