"""Adding variables to the list that a tape differentiates by and an optimiser updates: both places, one list."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import GradientCall
from tapefix.codemods.edits import Edit, Insert, ReplaceExpression

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


def with_more(
    module: Module, gradient: GradientCall, extra: str, *, single: bool, first: bool = False
) -> tuple[Edit, ...] | None:
    """Edits after which `gradient` and the updates made with it also cover `extra`, or None where none is plain.

    `single`: extra is one variable, else a list of them. `first` puts it before what is there.
    """
    sources = gradient.sources
    places = [sources, *_updated(module, gradient)]
    if isinstance(sources, (ast.List, ast.Tuple)):
        if any(not isinstance(place, type(sources)) for place in places):
            return None
        return tuple(_with_element(module, place, extra if single else f"*{extra}", first) for place in places)  # type: ignore[arg-type]
    added = f"[{extra}]" if single else extra
    template = f"{added} + $list" if first else f"$list + {added}"
    if isinstance(sources, ast.Name):
        definitions = module.definitions(sources)
        value = definitions[0].value if len(definitions) == 1 and not definitions[0].path else None
        if value is None or definitions[0].kind != "assign" or module.scope(value) is not module.scope(sources):
            return None
        if any(not isinstance(place, ast.Name) or place.id != sources.id for place in places):
            return None
        if isinstance(value, (ast.List, ast.Tuple)):
            return (_with_element(module, value, extra if single else f"*{extra}", first),)
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


def _with_element(module: Module, node: ast.List | ast.Tuple, extra: str, first: bool) -> Edit:
    opening, closing = ("[", "]") if isinstance(node, ast.List) else ("(", ")")
    elements = [module.source(e) for e in node.elts]
    listed = [extra, *elements] if first else [*elements, extra]
    return ReplaceExpression(module.span(node), f"{opening}{', '.join(listed)}{closing}")


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
