"""Repairs of values that another method, or the module, has computed before a tape records."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.moves import Moves
from tapefix.analysis.recording import Recording
from tapefix.analysis.scopes import Function
from tapefix.codemods.edits import Edit, Insert, Move, Where
from tapefix.findings import Candidate
from tapefix.rules._derived import as_properties, into_method, used_outside, uses_of

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.scopes import Def
    from tapefix.analysis.tapes import Tape


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


def title_of(statements: list[ast.stmt]) -> str:
    count = len(statements)
    return "move it into the tape's block" if count == 1 else f"move the {count} statements into the tape's block"


def of_module(module: Module, tape: Tape, statements: list[ast.stmt]) -> Candidate | None:
    """Statements of the module whose values the block reads as global names."""
    home = module.function(tape.block)
    if home is None or any(
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
    return Candidate(title_of(statements), _moved(module, tape, statements, set(made), len(here) == len(uses)))


def of_call(module: Module, tape: Tape, statements: list[ast.stmt]) -> Candidate | None:
    """A call just before the block, which runs the statements: it moves into the block, with all that follows it."""
    makers = {module.function(s) for s in statements}
    body = module.block(tape.block)
    before = body[: body.index(tape.block)]
    for i, statement in enumerate(before):
        if not isinstance(statement, (ast.Expr, ast.Assign)) or not isinstance(statement.value, ast.Call):
            continue
        if makers <= _run_by(module, statement.value):
            moves = Moves(module, tape.block)
            plan = moves.into_start(before[i:])
            if plan.blocked is not None or not all(isinstance(s, (ast.Expr, ast.Assign)) for s in plan.statements):
                return None
            return Candidate(title_of(plan.statements), _moved(module, tape, plan.statements, set(), True))
    return None


def of_object(module: Module, tape: Tape, statements: list[ast.stmt]) -> Candidate | None:
    """Statements `self.a = ...` of another method, of the same class or of that of an object which the block uses."""
    used: list[ast.Assign] = []
    owner, maker = module.class_of(statements[0]), module.function(statements[0])
    home = module.function(tape.block)
    if owner is None or not isinstance(maker, ast.FunctionDef) or maker is home:
        return None
    for statement in statements:
        target = statement.targets[0] if isinstance(statement, ast.Assign) and len(statement.targets) == 1 else None
        if not (isinstance(target, ast.Attribute) and module.classes.is_self(target.value)):
            return None
        if module.function(statement) is not maker or statement not in maker.body:
            return None
        if len(module.classes.attribute_writes.get((owner, target.attr), ())) != 1:
            return None
        assert isinstance(statement, ast.Assign)
        used.append(statement)
    names = {s.targets[0].attr for s in used if isinstance(s.targets[0], ast.Attribute)}
    forward = module.classes.forward_method(owner) if module.classes.kind(owner) in ("model", "layer") else None
    reads = [u for n in names for u in uses_of(module, owner, n) if not any(module.inside(u, s) for s in used)]
    if any(forward is not None and module.inside(u, forward) for u in reads):
        return None  # derived-in-build speaks of that
    outside = any(used_outside(module, n) for n in names)
    readers = {module.function(u) for u in reads}
    here = module.class_of(tape.block) is owner
    alone = not outside and len(readers) == 1
    reader = next(iter(readers)) if alone else None
    if here and reader is home and _needs_no_locals(module, maker, used):
        return Candidate(title_of(statements), _moved(module, tape, statements, set(), True))
    if here and maker.name not in ("__init__", "build") and _only_computes(module, maker):
        anchor, where = start_of(module, tape, set())
        call = f"{module.source(_first(used))}.{maker.name}()"
        return Candidate("compute it again inside the tape's block", (Insert(module.span(anchor), where, call),))
    if isinstance(reader, ast.FunctionDef) and reader in owner.body and reader is not home:
        edits = into_method(module, owner, reader, used)
        if edits is not None:
            return Candidate(f"compute it in {reader.name}", edits)
    edits = as_properties(module, used)
    return Candidate("compute it each time it is read", edits) if edits is not None else None


def _moved(module: Module, tape: Tape, statements: list[ast.stmt], made: set[Def], whole: bool) -> tuple[Edit, ...]:
    """The statements at the start of the block; `whole`: they leave their old place."""
    anchor, where = start_of(module, tape, made)
    if whole:
        return (Move(tuple(module.span(s) for s in statements), module.span(anchor), where),)
    return (Insert(module.span(anchor), where, "\n".join(module.source(s) for s in statements)),)


def _run_by(module: Module, call: ast.Call) -> set[Function | None]:
    """The functions of the module that this call may run."""
    found: set[Function | None] = set()
    queue: list[ast.AST] = [call]
    while queue:
        for node in ast.walk(queue.pop()):
            if isinstance(node, ast.Call):
                new = [f for f in module.objects.callees(node) if f not in found]
                found.update(new)
                queue += new
    return found


def _needs_no_locals(module: Module, maker: ast.FunctionDef, used: list[ast.Assign]) -> bool:
    return not any(
        isinstance(n, ast.Name)
        and not module.classes.is_self(n)
        and any(d.scope.node is maker for d in module.definitions(n))
        for s in used
        for n in ast.walk(s)
    )


def _only_computes(module: Module, maker: ast.FunctionDef) -> bool:
    """A method without parameters that only computes attributes, so that it may run once more."""
    return not module.objects.parameters(maker) and all(
        (isinstance(s, ast.Assign) and module.kinds.made(s.value) is None and not _changes(s))
        or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
        for s in maker.body
    )


def _changes(statement: ast.Assign) -> bool:
    """Does it depend on how often it runs?"""
    made = {ast.unparse(t) for t in statement.targets}
    return any(
        isinstance(n, (ast.Attribute, ast.Name))
        and isinstance(n.ctx, ast.Load)
        and (getattr(n, "attr", "") in ("append", "extend", "assign", "pop") or ast.unparse(n) in made)
        for n in ast.walk(statement)
    )


def _first(used: list[ast.Assign]) -> ast.expr:
    target = used[0].targets[0]
    assert isinstance(target, ast.Attribute)
    return target.value


def read_by_closure(module: Module, tape: Tape, outside: list[Def]) -> bool:
    """A function that the block runs reads the finished value: closure-over-tensor speaks of that."""
    run = Recording(module, tape.gradients[0], tape.block).run if tape.gradients else set()
    return any(module.function(use) in run for d in outside for use in d.uses)
