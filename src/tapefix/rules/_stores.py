"""Stores into arrays that become tensors: `row[n:] = 0` gives the name a new value, as a tensor takes no stores."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def
from tapefix.codemods.edits import ReplaceStatement
from tapefix.findings import Span
from tapefix.rules._numpy_calls import spelled

if TYPE_CHECKING:
    from tapefix.analysis.flow import Vertex
    from tapefix.analysis.module import Module


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
    """`x[n:] = 0`, `x[:n] = 0` and `x[x > 1] = 0` as a new value of x; None where that is something else."""
    statement = module.statement(node)
    if (
        not isinstance(statement, ast.Assign)
        or statement.targets != [node]
        or not isinstance(node.value, ast.Name)
        or not isinstance(statement.value, (ast.Constant, ast.UnaryOp))
        or not all(_is_own(module, d) for d in into)
    ):
        return None
    x, index = node.value.id, node.slice
    parts: dict[str, Span] = {"v": module.span(statement.value)}
    zero = isinstance(statement.value, ast.Constant) and statement.value.value == 0

    def filled(part: str) -> str:
        return (
            f"{spelled(module, 'tf.zeros_like')}({part})" if zero else f"$v * {spelled(module, 'tf.ones_like')}({part})"
        )

    if isinstance(index, ast.Slice) and index.step is None and (index.lower is None) != (index.upper is None):
        edge = index.lower or index.upper
        assert edge is not None
        parts["n"] = module.span(edge)
        pieces = [f"{x}[:$n]", filled(f"{x}[$n:]")] if index.upper is None else [filled(f"{x}[:$n]"), f"{x}[$n:]"]
        text = f"{spelled(module, 'tf.concat')}([{', '.join(pieces)}], axis=0)"
    elif isinstance(index, ast.Compare):
        parts["m"] = module.span(index)
        text = f"{spelled(module, 'tf.where')}($m, {filled(x)}, {x})"
    else:
        return None
    used = {name: span for name, span in parts.items() if f"${name}" in text}
    return ReplaceStatement(module.span(statement), f"{x} = {text}", used)


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
