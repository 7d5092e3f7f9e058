"""The log of 1 - tanh(u) ** 2, which corrects the likelihood of a squashed action, taken of the scaled action."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.rules._numeric import Risk


def unscaled(module: Module, risks: list[Risk]) -> Candidate | None:
    """`log(1 - action ** 2)` of `action = tanh(u) * limit` is the log of a negative number where the limit is not 1."""
    edits: list[Edit] = []
    for risk in risks:
        for node in ast.walk(risk.argument):
            squared = _subtracted_square(module, node)
            tanh = _scaled_tanh(module, squared) if squared is not None else None
            if squared is not None and tanh is not None and _is_known_at(module, tanh, squared):
                edits.append(ReplaceExpression(module.span(squared), module.source(tanh)))
    return Candidate("take the log of the action before it is scaled", tuple(edits)) if edits else None


def _subtracted_square(module: Module, node: ast.AST) -> ast.expr | None:
    """`x` of `1 - x ** 2`."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Sub):
        return None
    if module.ranges.of(node.left).constant != 1:
        return None
    square = node.right
    if isinstance(square, ast.Call) and square.args:
        name = module.op(square)
        two = len(square.args) == 2 and module.ranges.of(square.args[1]).constant == 2
        return square.args[0] if name == "square" or (name in ("pow", "power") and two) else None
    if isinstance(square, ast.BinOp) and isinstance(square.op, ast.Pow):
        return square.left if module.ranges.of(square.right).constant == 2 else None
    return None


def _scaled_tanh(module: Module, node: ast.expr, depth: int = 3) -> ast.expr | None:
    """The tanh, or the name of it, in `tanh(u) * limit` and `tanh(u) * limit + middle`, also behind a name."""
    if isinstance(node, ast.Name) and depth:
        value = _value(module, node)
        return _scaled_tanh(module, value, depth - 1) if value is not None else None
    if isinstance(node, ast.Call) and module.op(node) in ("multiply", "add") and len(node.args) == 2:
        sides, product = node.args, module.op(node) == "multiply"
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Add)):
        sides, product = [node.left, node.right], isinstance(node.op, ast.Mult)
    else:
        return None
    for side in sides:
        value = _value(module, side) if isinstance(side, ast.Name) else side
        if product and value is not None and module.op(value) == "tanh":
            return side
        found = _scaled_tanh(module, side, depth - 1) if not product and depth else None
        if found is not None:
            return found
    return None


def _value(module: Module, name: ast.Name) -> ast.expr | None:
    definitions = module.definitions(name)
    alone = len(definitions) == 1 and definitions[0].kind == "assign" and not definitions[0].path
    return definitions[0].value if alone else None


def _is_known_at(module: Module, value: ast.expr, place: ast.expr) -> bool:
    """Do the names in `value` still mean at `place` what they meant where it stands?"""
    if module.function(value) is not module.function(place):
        return False
    names = [n for n in ast.walk(value) if isinstance(n, ast.Name)]
    written = [d for n in names for found in module.definitions(n) for d in found.scope.defs.get(found.name, [])]
    return all(getattr(d.node, "lineno", 0) <= value.lineno for d in written)
