"""Moving statements `self.kernel = ...`, which compute an attribute from weights too early, to where it is used."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Delete, Edit, Insert, Move, ReplaceExpression
from tapefix.rules._recipe import draws
from tapefix.rules._text import rewritten

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


def into_method(
    module: Module, owner: ast.ClassDef, method: ast.FunctionDef, used: list[ast.Assign]
) -> tuple[Edit, ...] | None:
    """The statements, with the local values that only they need, at the start of the method that reads them."""
    maker = module.function(used[0])
    if not isinstance(maker, ast.FunctionDef) or any(module.function(d) is not maker for d in used):
        return None
    moving = _with_locals(module, maker, used)
    if moving is None:
        return None
    edits: list[Edit] = [Move(tuple(module.span(s) for s in moving), module.span(method), "first")]
    taken = set(module.reaching.scope_of[method].defs)
    for assignment in used:
        name = attribute_name(assignment)
        uses = uses_of(module, owner, name)
        inside = [n for n in uses if module.inside(n, method) or any(module.inside(n, s) for s in moving)]
        if len(inside) != len(uses) or name in taken or used_outside(module, name):
            continue  # read elsewhere, too: it stays an attribute
        edits += [ReplaceExpression(module.span(n), name) for n in [assignment.targets[0], *inside]]
    moved_names = {t.id for s in moving if isinstance(s, ast.Assign) for t in s.targets if isinstance(t, ast.Name)}
    if moved_names & taken:
        return None
    shapes = _input_parameter(maker)
    arguments = module.objects.parameters(method)
    for name_node, kept in _kept_parameters(module, maker, moving).items():
        edits.append(ReplaceExpression(module.span(name_node), kept))
    for statement in moving:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id == shapes and isinstance(node.ctx, ast.Load):
                if not arguments:
                    return None
                edits.append(ReplaceExpression(module.span(node), f"{arguments[0].arg}.shape"))
    return tuple(edits)


def as_properties(module: Module, used: list[ast.Assign]) -> tuple[Edit, ...] | None:
    """The attributes as properties, which are computed from the weights each time they are read."""
    maker = module.function(used[0])
    if not isinstance(maker, ast.FunctionDef) or any(module.function(d) is not maker for d in used):
        return None
    if _input_parameter(maker) is not None or _with_locals(module, maker, used) != used:
        return None
    itself = maker.args.args[0].arg
    if any(_set_elsewhere(module, maker, attribute_name(s)) for s in used):
        return None
    if any(isinstance(n, ast.Call) and draws(n) for s in used for n in ast.walk(s)):
        return None  # two reads would see two samples
    kept = _kept_parameters(module, maker, list(used))
    edits: list[Edit] = [Delete(module.span(s)) for s in used]
    for statement in used:
        value = rewritten(module, statement.value, kept)
        value = f"({value})" if "\n" in value and not value.endswith((")", "]")) else value
        method = f"\n@property\ndef {attribute_name(statement)}({itself}):\n    return {value}\n"
        edits.append(Insert(module.span(maker), "after", method))
    return tuple(edits)


def _set_elsewhere(module: Module, maker: ast.FunctionDef, name: str) -> bool:
    """Is the attribute set anywhere else, so that it cannot be a property?"""
    return any(
        isinstance(n, ast.Attribute)
        and n.attr == name
        and not isinstance(n.ctx, ast.Load)
        and not module.inside(n, maker)
        for n in module.all(ast.Attribute)
    )


def attribute_name(statement: ast.Assign) -> str:
    target = statement.targets[0]
    assert isinstance(target, ast.Attribute)
    return target.attr


def uses_of(module: Module, owner: ast.ClassDef, name: str) -> list[ast.Attribute]:
    """Where methods of the class read `self.name`."""
    found: list[ast.Attribute] = [n for n in module.all(ast.Attribute) if isinstance(n, ast.Attribute)]
    return [
        n
        for n in found
        if n.attr == name
        and isinstance(n.ctx, ast.Load)
        and module.class_of(n) is owner
        and module.classes.is_self(n.value)
    ]


def used_outside(module: Module, name: str) -> bool:
    """Is the attribute read on something else than self: `layer.kernel`?"""
    return any(
        isinstance(n, ast.Attribute)
        and n.attr == name
        and isinstance(n.ctx, ast.Load)
        and not module.classes.is_self(n.value)
        for n in module.all(ast.Attribute)
    )


def _input_parameter(maker: ast.FunctionDef) -> str | None:
    names = [a.arg for a in maker.args.args][1:]
    return names[0] if maker.name == "build" and names else None


def _kept_parameters(module: Module, maker: ast.FunctionDef, statements: list[ast.stmt]) -> dict[ast.AST, str]:
    """The reads of parameters that the class keeps as they are (`self.x = x`), with the attributes that hold them."""
    found: dict[ast.AST, str] = {}
    owner = module.method_class(maker)
    held: dict[str, str] = {}
    for assignment in _flat(maker.body):
        for target, value in _pairs(assignment):
            if not (isinstance(target, ast.Attribute) and isinstance(value, ast.Name)) or owner is None:
                continue
            definitions = module.definitions(value)
            writes = module.classes.attribute_writes.get((owner, target.attr), ())
            if len(writes) == 1 and [d.kind for d in definitions] == ["parameter"]:
                held.setdefault(value.id, module.source(target))
    for statement in statements:
        for node in ast.walk(statement):
            if not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in held):
                continue
            if [d.kind for d in module.definitions(node)] == ["parameter"]:
                found[node] = held[node.id]
    return found


def _flat(body: list[ast.stmt]) -> list[ast.Assign]:
    return [s for s in body if isinstance(s, ast.Assign) and len(s.targets) == 1]


def _pairs(statement: ast.Assign) -> list[tuple[ast.expr, ast.expr]]:
    target, value = statement.targets[0], statement.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def _with_locals(module: Module, maker: ast.FunctionDef, used: list[ast.Assign]) -> list[ast.stmt] | None:
    """`used` and the assignments of local names that nothing else needs, in their order; None where that is not all."""
    moving: list[ast.stmt] = list(used)
    queue: list[ast.stmt] = list(used)
    allowed = _input_parameter(maker)
    while queue:
        statement = queue.pop()
        kept = _kept_parameters(module, maker, [statement])
        for node in ast.walk(statement):
            if not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)) or node in kept:
                continue
            for definition in module.definitions(node):
                if definition.scope.node is not maker or module.classes.is_self(node) or definition.name == allowed:
                    continue
                home = module.statement(definition.node) if definition.kind == "assign" else None
                made = module.kinds.made(definition.value or node)
                if home is None or home not in maker.body or made is not None:
                    return None  # a parameter of __init__, a loop, a layer: not known in the other method
                if home not in moving:
                    moving.append(home)
                    queue.append(home)
    for statement in moving:
        for definitions in module.reaching.scope_of[maker].defs.values():
            for one in definitions:
                if module.inside(one.node, statement) and any(
                    not any(module.inside(u, s) for s in moving) for u in one.uses
                ):
                    return None  # needed by what stays
    return [s for s in maker.body if s in moving]
