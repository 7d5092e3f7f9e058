"""Samples looked up at computed positions: between two samples there is a straight line, which has a slope."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Edit, Insert, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate, Span
from tapefix.rules._spelling import Spelling

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_ROUNDED = ("round", "floor", "rint")
_NAMES = ("lower", "upper", "fraction")


def interpolated(module: Module, cut: ast.expr) -> list[Candidate]:
    """For `tf.gather(signal, tf.cast(tf.round(position), tf.int32))`, of which `cut` is the cast or the rounding."""
    cast = _cast_around(module, cut)
    gather = _gather_of(module, cast) if cast is not None else None
    if cast is None or gather is None:
        return []
    position = cast.args[0]
    while isinstance(position, ast.Call) and module.op(position) in _ROUNDED and len(position.args) == 1:
        position = position.args[0]
    statement = module.statement(gather)
    if not isinstance(statement, (ast.Assign, ast.Return)) or any(
        isinstance(above, (ast.Lambda, ast.ListComp, ast.GeneratorExp)) and module.inside(above, statement)
        for above in module.ancestors(gather)
    ):
        return []
    names = _NAMES if isinstance(position, ast.Name) else (*_NAMES, "position")
    if any(module.scope(gather).lookup(name) for name in names):
        return []
    spelling = Spelling(module, gather)
    parts = {"p": module.span(position), "s": module.span(gather.args[0])}
    look = module.source(gather.func)
    name = "$p" if isinstance(position, ast.Name) else "position"
    before = "\n".join(
        (
            *(["position = $p"] if name == "position" else []),
            f"lower = {spelling.op('floor')}({name})",
            f"fraction = {name} - lower",
            f"lower = {spelling.op('cast')}(lower, {spelling.op('int32')})",
            f"upper = {spelling.op('minimum')}(lower + 1, {spelling.op('shape')}($s)[0] - 1)",
        )
    )
    found = []
    for title, weight in (("", ""), (" of rows", "[..., None]")):
        mixed = f"(1.0 - fraction{weight}) * {look}($s, lower) + fraction{weight} * {look}($s, upper)"
        edits: list[Edit] = [
            _instead(module, cast, gather, before, parts),
            ReplaceExpression(module.span(gather), mixed, {"s": parts["s"]}),
            *spelling.imports,
        ]
        found.append(
            Candidate(f"interpolate between the two samples{title} next to the position", tuple(edits), safe=False)
        )
    return found


def _instead(module: Module, cast: ast.Call, gather: ast.Call, before: str, parts: dict[str, Span]) -> Edit:
    """The neighbours and the fraction in place of the statement that only gave the whole position a name, if any."""
    named, statement = module.parent(cast), module.statement(gather)
    samples = module.definitions(gather.args[0]) if isinstance(gather.args[0], ast.Name) else ()
    known = all(getattr(d.node, "lineno", 0) < cast.lineno for d in samples)
    if isinstance(named, ast.Assign) and module.block(named) is module.block(statement) and known:
        return ReplaceStatement(module.span(named), before, parts)
    return Insert(module.span(statement), "before", before, parts)


def _cast_around(module: Module, cut: ast.expr) -> ast.Call | None:
    """The cast to integers that a rounded value goes into, directly or by a name, or that the cut is."""
    if isinstance(cut, ast.Call) and module.op(cut) == "cast":
        return cut
    uses = _uses(module, cut)
    above = module.parent(uses[0]) if len(uses) == 1 else None
    return above if isinstance(above, ast.Call) and module.op(above) == "cast" else None


def _gather_of(module: Module, cast: ast.Call) -> ast.Call | None:
    """The gather along the first axis that the positions are for; None where anything else is done with them."""
    uses = _uses(module, cast)
    above = module.parent(uses[0]) if len(uses) == 1 else None
    plain = isinstance(above, ast.Call) and module.op(above) == "gather" and len(above.args) == 2 and not above.keywords
    return above if plain and isinstance(above, ast.Call) and above.args[1] is uses[0] else None


def _uses(module: Module, node: ast.expr) -> list[ast.expr]:
    """Where a value is used, through the name that it is given."""
    parent = module.parent(node)
    if isinstance(parent, ast.Assign) and len(parent.targets) == 1 and isinstance(parent.targets[0], ast.Name):
        return [use for d in module.reaching.bindings.get(parent.targets[0], []) for use in d.uses]
    return [node]
