"""Stores into arrays that become tensors: `row[n:] = 0` gives the name a new value, as a tensor takes no stores."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def
from tapefix.codemods.edits import ReplaceStatement
from tapefix.rules._new_part import Made, with_part
from tapefix.rules._numpy_calls import spelled

if TYPE_CHECKING:
    from tapefix.analysis.flow import Vertex
    from tapefix.analysis.module import Module


_ASSIGNS = {"assign": "$v", "assign_add": "{} + $v", "assign_sub": "{} - $v"}


def stores(module: Module, tensors: set[Vertex]) -> Iterator[tuple[ast.Subscript, list[Def]]]:
    """Each store into what becomes a tensor, and where that comes from."""
    for node in module.each(ast.Subscript):
        if isinstance(node.ctx, ast.Store):
            before = [d for made in module.reaching.bindings.get(node, ()) for d in _roots(made)]
            into = [
                d
                for d in before
                if _becomes(module, d, tensors) and not isinstance(d.value, (ast.List, ast.Dict, ast.ListComp))
            ]
            if into:
                yield node, into


def _becomes(module: Module, definition: Def, tensors: set[Vertex]) -> bool:
    """Is this a tensor then, or a row of one that the loss does not read as such?"""
    if definition in tensors:
        return True
    value = definition.value
    base = _rows(module, value, definition.path) if definition.kind == "loop" and value is not None else None
    return isinstance(base, ast.Name) and any(d in tensors for d in module.definitions(base))


def _roots(stored: Def) -> list[Def]:
    """What is stored into, behind the stores before."""
    found: list[Def] = []
    queue: list[Def] = list(stored.previous)
    seen: set[Def] = set()
    while queue:
        definition = queue.pop()
        if definition not in seen:
            seen.add(definition)
            found += [] if definition.kind == "mutate" else [definition]
            queue += definition.previous if definition.kind == "mutate" else []
    return found


def rebound(module: Module, node: ast.Subscript, into: list[Def]) -> ReplaceStatement | None:
    """`x[n:] = v`, `x[:, 0] = v` and `x[x > 1] = 0` as a new value of x; None where that is something else."""
    statement = module.statement(node)
    if (
        not isinstance(statement, ast.Assign)
        or statement.targets != [node]
        or not isinstance(node.value, ast.Name)
        or not all(_is_own(module, d) for d in into)
    ):
        return None
    x, index = node.value.id, node.slice
    if isinstance(index, ast.Compare):
        if not isinstance(statement.value, (ast.Constant, ast.UnaryOp)):
            return None
        parts = {"v": module.span(statement.value), "m": module.span(index)}
        zero = isinstance(statement.value, ast.Constant) and statement.value.value == 0
        like = spelled(module, "tf.zeros_like" if zero else "tf.ones_like")
        text = f"{spelled(module, 'tf.where')}($m, {'' if zero else '$v * '}{like}({x}), {x})"
        made: Made | None = (text, {name: span for name, span in parts.items() if f"${name}" in text})
    else:
        made = with_part(module, x, index, statement.value) if _is_one_place(module, index) else None
    return ReplaceStatement(module.span(statement), f"{x} = {made[0]}", made[1]) if made is not None else None


def assigned(module: Module, handled: set[ast.expr]) -> Iterator[ReplaceStatement]:
    """`u[:, 0].assign(v)` of a variable that was made of a tensor, and is that tensor now."""
    for call in module.calls:
        func, statement = call.func, module.statement(call)
        if not isinstance(func, ast.Attribute) or not isinstance(statement, ast.Expr) or statement.value is not call:
            continue
        place = func.value.value if isinstance(func.value, ast.Subscript) else func.value
        if not isinstance(place, ast.Name) or len(call.args) != 1:
            continue
        made = [d for definition in module.definitions(place) for d in (definition, *_roots(definition))]
        if not any(d.value in handled for d in made):
            continue
        span, parts = module.span(statement), {"v": module.span(call.args[0])}
        if isinstance(func.value, ast.Subscript):
            new = with_part(module, place.id, func.value.slice, call.args[0]) if func.attr == "assign" else None
            if new is not None:
                yield ReplaceStatement(span, f"{place.id} = {new[0]}", new[1])
        elif func.attr in _ASSIGNS:
            yield ReplaceStatement(span, f"{place.id} = {_ASSIGNS[func.attr].format(place.id)}", parts)


def _is_one_place(module: Module, index: ast.expr) -> bool:
    """Slices and numbers; a name may be an array of positions."""
    items = index.elts if isinstance(index, ast.Tuple) else [index]
    return all(
        isinstance(item, (ast.Slice, ast.UnaryOp)) or module.ranges.of(item).constant is not None for item in items
    )


def _is_own(module: Module, definition: Def) -> bool:
    """Does nobody else see what is stored here: is it a result of its own, or a row of what is not read again?"""
    value = definition.value
    if definition.kind == "assign":
        return isinstance(value, (ast.Call, ast.BinOp))
    if definition.kind != "loop" or value is None:
        return False
    loop = module.statement(definition.node)
    base = _rows(module, value, definition.path)
    uses = [use for d in module.definitions(base) for use in d.uses] if isinstance(base, ast.Name) else []
    return bool(uses) and all(use.lineno <= loop.lineno for use in uses)


def _rows(module: Module, value: ast.expr, path: tuple[int, ...]) -> ast.expr | None:
    """What a loop takes the rows from: `values` of `zip(values, lengths)` and of `enumerate(values)`."""
    name = module.call_name(value)
    if not isinstance(value, ast.Call):
        return value
    if name == "zip" and path and path[0] < len(value.args):
        return value.args[path[0]]
    return value.args[0] if name == "enumerate" and path == (1,) and value.args else None
