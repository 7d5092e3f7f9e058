"""Adding variables to the list that a tape differentiates by and an optimiser updates: both places, one list."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import GradientCall
from tapefix.codemods.edits import Edit, Insert, ReplaceExpression

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


def with_more(
    module: Module, gradient: GradientCall, *, lists: Sequence[str] = (), variables: Sequence[str] = ()
) -> tuple[Edit, ...] | None:
    """Edits after which `gradient` and the updates made with it also cover these, or None where none is plain.

    `lists` (as written: `encoder.trainable_variables`) come before what is there, single `variables` after it.
    """
    sources = gradient.sources
    places = [sources, *_updated(module, gradient)]
    if isinstance(sources, (ast.List, ast.Tuple)):
        if any(not isinstance(place, type(sources)) for place in places):
            return None
        return tuple(_with_elements(module, place, lists, variables) for place in places)  # type: ignore[arg-type]
    template = " + ".join([*lists, "$list", *([f"[{', '.join(variables)}]"] if variables else [])])
    if isinstance(sources, ast.Name):
        definitions = module.definitions(sources)
        value = definitions[0].value if len(definitions) == 1 and not definitions[0].path else None
        if value is None or definitions[0].kind != "assign" or module.scope(value) is not module.scope(sources):
            return None
        if any(not isinstance(place, ast.Name) or place.id != sources.id for place in places):
            return None
        if isinstance(value, (ast.List, ast.Tuple)):
            return (_with_elements(module, value, lists, variables),)
        return (ReplaceExpression(module.span(value), template, {"list": module.span(value)}),)
    if isinstance(sources, ast.Attribute) and len(places) == 1:
        return (ReplaceExpression(module.span(sources), template, {"list": module.span(sources)}),)
    if isinstance(sources, (ast.Attribute, ast.BinOp)):
        name = _free_name(module, sources)
        text = template.replace("$list", module.source(sources))
        statement = module.statement(gradient.call)
        return (
            Insert(module.span(statement), "before", f"{name} = {text}"),
            *(ReplaceExpression(module.span(place), name) for place in places),
        )
    return None


def _with_elements(module: Module, node: ast.List | ast.Tuple, lists: Sequence[str], variables: Sequence[str]) -> Edit:
    opening, closing = ("[", "]") if isinstance(node, ast.List) else ("(", ")")
    elements = [*(f"*{text}" for text in lists), *(module.source(e) for e in node.elts), *variables]
    return ReplaceExpression(module.span(node), f"{opening}{', '.join(elements)}{closing}")


def _updated(module: Module, gradient: GradientCall) -> list[ast.expr]:
    """The lists that are zipped in the same function and are written as the gradient's sources are."""
    wanted = module.source(gradient.sources)
    function = module.function(gradient.call)
    found = []
    for call in module.calls:
        if module.call_name(call) != "zip" or module.function(call) is not function:
            continue
        for argument in call.args:
            if module.source(argument) == wanted and argument is not gradient.sources:
                found.append(argument)
    return found


def _free_name(module: Module, sources: ast.expr) -> str:
    """A name for the list: `variables`, or after its owner where that is taken."""
    scope = module.scope(sources)
    if not scope.lookup("variables"):
        return "variables"
    owner = sources.value if isinstance(sources, ast.Attribute) else None
    base = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else "trained"
    name = f"{base}_variables"
    while scope.lookup(name):
        name = f"all_{name}"
    return name
