"""Variables of an object that are assigned while a tape records: a tape does not follow assignments."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapefix.codemods.edits import Delete, Edit, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

CHANGES = {"assign": "=", "assign_add": "+=", "assign_sub": "-="}
_OPERATORS = {"assign_add": "+", "assign_sub": "-"}


class Assigned(NamedTuple):
    """A change of `self.<attribute>` that a tape records, and the repair of it."""

    call: ast.Call
    text: str
    candidate: Candidate


def assigned(module: Module) -> Iterator[Assigned]:
    """The changes of variables on objects that a tape misses, the state of a simulation or an inner step."""
    for (owner, name), writes in module.classes.attribute_writes.items():
        written = [value for value, _ in writes if module.parent(value) is not None]  # not what `assign` is given
        made = written[0] if len(written) == 1 else None
        if made is None or module.call_name(made) != "tf.Variable" or not isinstance(made, ast.Call):
            continue
        places = [node for node in module.each(ast.Attribute) if node.attr == name]
        of_self = [p for p in places if module.class_of(p) is owner and module.classes.is_self(p.value)]
        changes = [call for p in of_self if (call := _change(module, p)) is not None]
        recorded = [call for call in changes if module.training.is_recorded(call)]
        if not recorded:
            continue
        text = module.source(recorded[0].func.value)  # type: ignore[attr-defined]
        if _is_asked_for(module, places):
            edits = _handed_back(module, recorded)
            title = "hand back the changed value"
        else:
            others = [p for p in places if p not in of_self]
            mine = all(owner in map(module.objects.instance_class, module.objects.origins(p.value)) for p in others)
            edits = list(_as_tensor(module, made, of_self, others)) if mine and made.args else []
            title = f"keep {text} in a tensor"
        if edits:
            yield Assigned(recorded[0], text, Candidate(title, tuple(edits), needs_proof=True))


def _change(module: Module, place: ast.Attribute) -> ast.Call | None:
    """The statement `self.x.assign_add(...)`."""
    method = module.parent(place)
    call = module.parent(method) if isinstance(method, ast.Attribute) and method.attr in CHANGES else None
    whole = isinstance(call, ast.Call) and call.func is method and len(call.args) == 1 and not call.keywords
    return call if whole and isinstance(module.parent(call), ast.Expr) else None  # type: ignore[arg-type, return-value]


def _is_asked_for(module: Module, places: list[ast.Attribute]) -> bool:
    """Is it a source of some gradient, also in a list?"""
    return any(
        isinstance(module.parent(p), (ast.List, ast.Tuple))
        or any(module.inside(p, g.sources) for g in module.tapes.gradients)
        for p in places
    )


def _handed_back(module: Module, changes: list[ast.Call]) -> list[Edit]:
    """`self.w.assign_sub(step)` and `return self.w`, as `return self.w - step`."""
    edits: list[Edit] = []
    for call in changes:
        assert isinstance(call.func, ast.Attribute)
        statement = module.statement(call)
        body = module.block(statement)
        after = body[body.index(statement) + 1 :]
        last = after[0] if after else None
        variable = module.source(call.func.value)
        returned = last.value if isinstance(last, ast.Return) else None
        if last is None or returned is None or module.source(returned) != variable:
            return []
        parts = {"variable": module.span(call.func.value), "value": module.span(call.args[0])}
        operator = _OPERATORS.get(call.func.attr)
        template = f"return $variable {operator} $value" if operator else "return $value"
        edits += [ReplaceStatement(module.span(statement), template, parts), Delete(module.span(last))]
    return edits


def _as_tensor(
    module: Module, made: ast.Call, of_self: list[ast.Attribute], others: list[ast.Attribute]
) -> Iterator[Edit]:
    """The attribute holds a tensor, which each change replaces."""
    convert = module.spell("tf.convert_to_tensor") or "tf.convert_to_tensor"
    kind = next((f", dtype={module.source(k.value)}" for k in made.keywords if k.arg == "dtype"), "")
    yield ReplaceExpression(module.span(made), f"{convert}($initial{kind})", {"initial": module.span(made.args[0])})
    for place in [*of_self, *others]:
        method = module.parent(place)
        call = module.parent(method) if isinstance(method, ast.Attribute) else None
        if not isinstance(method, ast.Attribute) or not isinstance(call, ast.Call) or call.func is not method:
            continue
        parts = {"place": module.span(place)}
        if method.attr in CHANGES and call.args:
            template = f"$place {CHANGES[method.attr]} $value"
            parts["value"] = module.span(call.args[0])
            yield ReplaceStatement(module.span(module.statement(call)), template, parts)
        elif method.attr in ("value", "read_value"):
            yield ReplaceExpression(module.span(call), "$place", parts)
