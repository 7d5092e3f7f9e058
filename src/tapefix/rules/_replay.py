"""A list that is filled while no tape records (log-probabilities of a rollout), and summed up under the tape.

The repair keeps in the list what the value is computed from (state, action), and computes it where the list is read.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.recording import Recording
from tapefix.analysis.scopes import Def, Function
from tapefix.codemods.edits import Delete, Edit, Insert, ReplaceExpression
from tapefix.findings import Candidate
from tapefix.rules._recipe import Recipe, recomputed
from tapefix.rules._text import assigned

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import Tape

_WIDTH = 110


def of_list(module: Module, tape: Tape, writes: list[ast.expr], outside: list[Def]) -> Candidate | None:
    """The candidate for lists that are attributes of self or names of the module; None where it does not fit."""
    appends = [c for c in (_append_of(module, w) for w in writes) if c is not None]
    if len(appends) < len(writes):
        return None
    appends += [d.node for d in outside if d.kind == "mutate" and isinstance(d.node, ast.Call)]
    appends = list(dict.fromkeys(appends))
    run = Recording(module, tape.gradients[0], tape.block).run if tape.gradients else set()
    edits: list[Edit] = []
    for append in appends:
        found = _for_list(module, tape, append, set(outside), run)
        if found is None:
            return None
        edits += found
    if not appends:
        appends = _handed_appends(module, tape)
        for append in appends:
            scope = module.scope(append)
            learned = {d for ds in scope.defs.values() for d in ds if d in module.flow.learned}
            edits += _for_list(module, tape, append, learned, run) or []
    if not edits:
        return None
    # What becomes of a list that is handed over cannot be seen in full.
    passed = any(_is_local(module, _list_of(a)) for a in appends)
    title = "keep what it is computed from, and compute it inside the tape's block"
    return Candidate(title, tuple(edits), needs_proof=passed)


def _is_local(module: Module, held: ast.expr) -> bool:
    return isinstance(held, ast.Name) and any(d.scope is not module.reaching.module for d in module.definitions(held))


def _append_of(module: Module, value: ast.expr) -> ast.Call | None:
    call = module.parent(value)
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "append":
        return call
    return None


def _for_list(module: Module, tape: Tape, append: ast.Call, outside: set[Def], run: set[Function]) -> list[Edit] | None:
    func, home = append.func, module.function(append)
    if not (isinstance(func, ast.Attribute) and func.attr == "append" and len(append.args) == 1):
        return None
    if not isinstance(home, ast.FunctionDef) or not isinstance(module.statement(append), ast.Expr):
        return None
    uses = _mentions(module, func.value)
    if sum(_is_append(module, u) for u in uses) != 1:
        return None
    block = module.function(tape.block)
    reads = [u for u in uses if isinstance(u.ctx, ast.Load) and not _keeps(module, u)]
    if isinstance(func.value, ast.Name) and module.scope(append) is not module.reaching.module:
        reads = _handed_over(module, tape, append, reads) or reads
    if len(reads) != 1:
        return None
    read, reader = reads[0], module.function(reads[0])
    if not (module.inside(read, tape.block) or (reader is not block and reader in run)):
        return None
    recipe, stored = Recipe(), append.args[0]
    parts = stored.elts if isinstance(stored, ast.Tuple) else [stored]
    texts = []
    for part in parts:
        text = recomputed(module, part, append, home, outside, recipe, read)
        if text is None:
            return None
        texts.append(text)
    if not recipe.inlined or not recipe.leaves:
        return None
    names = list(recipe.leaves)
    together = names[0] if len(names) == 1 else f"({', '.join(names)})"
    parallel = _parallel(module, append, recipe, func.value)
    held = None
    if parallel is not None and not any(_is_length(module, u) for u in uses):
        held = parallel[0] if len(parallel) == 1 else f"zip({', '.join(parallel)})"
        edits: list[Edit] = [Delete(module.span(module.statement(append))), *_without(module, uses)]
    else:
        edits = [ReplaceExpression(module.span(stored), together)]
    loop = _loop(module, read, names, together, list(zip(parts, texts, strict=True)), stored)
    if loop is not None:
        return [*edits, *loop, *([ReplaceExpression(module.span(read), held)] if held is not None else [])]
    text = texts[0] if stored is parts[0] else f"({', '.join(texts)})"
    made = _comprehension(module, read, text, names, held or module.source(read))
    return [*edits, ReplaceExpression(module.span(read), made)]


def _loop(
    module: Module,
    read: ast.expr,
    names: list[str],
    together: str,
    parts: list[tuple[ast.expr, str]],
    stored: ast.expr,
) -> list[Edit] | None:
    """Where a `for` of the function goes through the list: the loop takes what is kept, and computes the value."""
    above = module.parent(read)
    statement = module.statement(read)
    if not isinstance(statement, ast.For):
        return None
    target: ast.expr
    if statement.iter is read:
        target = statement.target
    elif (
        isinstance(above, ast.Call)
        and above is statement.iter
        and module.call_name(above) == "zip"
        and isinstance(statement.target, ast.Tuple)
        and len(statement.target.elts) == len(above.args)
    ):
        target = statement.target.elts[above.args.index(read)]
        if len(names) == 1:
            together = names[0]
    else:
        return None
    targets = target.elts if isinstance(target, ast.Tuple) and isinstance(stored, ast.Tuple) else [target]
    if len(targets) != len(parts) or not all(isinstance(t, ast.Name) for t in targets):
        return None
    if any(module.scope(read).lookup(n) for n in names):
        return None
    lines = [
        assigned(t.id, text)
        for t, (_, text) in zip(targets, parts, strict=True)
        if isinstance(t, ast.Name) and t.id != text
    ]
    edits: list[Edit] = [ReplaceExpression(module.span(target), together)]
    return [*edits, Insert(module.span(statement), "first", "\n".join(lines))]


def _handed_over(
    module: Module, tape: Tape, append: ast.Call, reads: list[ast.Attribute | ast.Name]
) -> list[ast.Attribute | ast.Name] | None:
    """For a local list that its function returns: the one read of it under the tape, as a parameter."""
    home = module.function(tape.block)
    if home is None or not all(_is_returned(module, r) for r in reads):
        return None
    made = set(module.reaching.bindings.get(append, ()))
    found: list[ast.Attribute | ast.Name] = []
    for name in module.all(ast.Name):
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Load) and module.inside(name, tape.block):
            definitions = module.definitions(name)
            own = [d.kind for d in definitions] == ["parameter"] and definitions[0].scope.node is home
            if own and made & module.flow.backward(definitions):
                found.append(name)
    return found


def _handed_appends(module: Module, tape: Tape) -> list[ast.Call]:
    """What fills the local lists of other functions that come into the function of the tape as parameters."""
    home = module.function(tape.block)
    parameters = [d for ds in module.reaching.scope_of[home].defs.values() for d in ds] if home is not None else []
    behind = module.flow.backward(d for d in parameters if d.kind == "parameter")
    found = [d.node for d in behind if isinstance(d, Def) and d.kind == "mutate" and isinstance(d.node, ast.Call)]
    return sorted((n for n in found if _is_local(module, _list_of(n))), key=lambda n: n.lineno)


def _list_of(append: ast.Call) -> ast.expr:
    return append.func.value if isinstance(append.func, ast.Attribute) else append.func


def _is_returned(module: Module, node: ast.expr) -> bool:
    above = module.parent(node)
    return isinstance(above, ast.Return) or (
        isinstance(above, ast.Tuple) and isinstance(module.parent(above), ast.Return)
    )


def _comprehension(module: Module, read: ast.expr, text: str, names: list[str], held: str) -> str:
    line = module.line_text(read.lineno)
    made = f"[{text} for {', '.join(names)} in {held}]"
    if len(line) - len(module.source(read)) + len(made) <= _WIDTH and "\n" not in made:
        return made
    return f"[\n    {text}\n    for {', '.join(names)} in {held}\n]"


# -------------------------------------------------------------- the uses of the list


def _mentions(module: Module, held: ast.expr) -> list[ast.Attribute | ast.Name]:
    """Every mention of the list: `self.log_probs` in its class, or a name of the module."""
    if isinstance(held, ast.Attribute) and module.classes.is_self(held.value):
        owner = module.class_of(held)
        attributes = [n for n in module.all(ast.Attribute) if isinstance(n, ast.Attribute) and n.attr == held.attr]
        return [n for n in attributes if not module.classes.is_self(n.value) or module.class_of(n) is owner]
    if isinstance(held, ast.Name):
        scopes = {d.scope for d in module.definitions(held)}
        names = [n for n in module.all(ast.Name) if isinstance(n, ast.Name) and n.id == held.id]
        return [
            n
            for n in names
            if ({d.scope for d in module.definitions(n)} or {d.scope for d in module.reaching.bindings.get(n, ())})
            <= scopes
        ]
    return []


def _keeps(module: Module, node: ast.expr) -> bool:
    """Does this mention of the list not ask for what is in it?"""
    return any(test(module, node) for test in (_is_append, _is_clear, _is_length, _is_slot))


def _is_append(module: Module, node: ast.expr) -> bool:
    above = module.parent(node)
    return isinstance(above, ast.Attribute) and above.attr in ("append", "extend", "insert", "appendleft")


def _is_clear(module: Module, node: ast.expr) -> bool:
    above = module.parent(node)
    return isinstance(above, ast.Attribute) and above.attr == "clear"


def _is_length(module: Module, node: ast.expr) -> bool:
    above = module.parent(node)
    return isinstance(above, ast.Call) and module.call_name(above) == "len"


def _is_slot(module: Module, node: ast.expr) -> bool:
    """`del self.saved[:]`"""
    above = module.parent(node)
    return isinstance(above, ast.Subscript) and not isinstance(above.ctx, ast.Load)


def _without(module: Module, uses: list[ast.Attribute | ast.Name]) -> list[Edit]:
    """The list is not needed any more: what empties it goes, too."""
    edits: list[Edit] = []
    for use in uses:
        statement = module.statement(use)
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
            if target is use:
                edits.append(Delete(module.span(statement)))
            elif (
                isinstance(target, ast.Tuple)
                and isinstance(value, ast.Tuple)
                and use in target.elts
                and len(target.elts) == len(value.elts) > 2
            ):
                place = target.elts.index(use)
                for side in (target, value):
                    rest = [module.source(e) for i, e in enumerate(side.elts) if i != place]
                    edits.append(ReplaceExpression(module.span(side), ", ".join(rest)))
        elif _is_clear(module, use) or isinstance(statement, ast.Delete):
            edits.append(Delete(module.span(statement)))
    return edits


def _parallel(module: Module, append: ast.Call, recipe: Recipe, held: ast.expr) -> list[str] | None:
    """The lists that hold the needed values already, since they are filled beside this one."""
    found = []
    body = module.block(module.statement(append))
    resets = _resets(module, held)
    for name in recipe.leaves:
        for statement in body:
            call = statement.value if isinstance(statement, ast.Expr) else None
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "append"):
                continue
            value = call.args[0] if len(call.args) == 1 else None
            other = call.func.value
            if isinstance(value, ast.Name) and value.id == name and type(other) is type(held):
                uses = _mentions(module, other)
                once = sum(_is_append(module, u) for u in uses) == 1 and _resets(module, other) == resets
                if once and set(module.definitions(value)) == set(recipe.leaves[name]):
                    found.append(module.source(other))
                    break
        else:
            return None
    return found


def _resets(module: Module, held: ast.expr) -> set[Function | None]:
    """The functions that empty the list."""
    return {
        module.function(u)
        for u in _mentions(module, held)
        if isinstance(u.ctx, ast.Store) or _is_clear(module, u) or _is_slot(module, u)
    }
