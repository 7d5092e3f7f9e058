"""What has to change after a detour is gone: methods and indices that only arrays have, on values that are tensors now."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.exports import CHANGERS
from tapefix.analysis.flow import Vertex
from tapefix.analysis.scopes import Def
from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.rules._detour_edits import constant
from tapefix.rules._numpy_calls import replaced, translated, translated_method

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_ARRAY_ONLY = CHANGERS | {"item", "tolist", "nonzero", "fill", "argsort", "sort", "tobytes", "view"}
_LIKE = {"np.zeros_like", "np.ones_like"}
_INDICES = {"np.where", "np.nonzero", "np.flatnonzero", "np.argwhere"}
_INTEGERS = {
    "np.arange",
    "np.argsort",
    "np.random.permutation",
    "np.random.choice",
    "np.random.randint",
    "np.argmax",
    "np.argmin",
}


def followers(module: Module, *, certain: bool) -> list[Edit]:
    """The edits of everything that handles the values which become tensors, in the order of the file."""
    detours = module.detours
    tensors = detours.tensors if certain else detours.tensors | detours.perhaps
    handled = set(detours.found)
    edits: list[Edit] = []
    for vertex in sorted((v for v in tensors if isinstance(v, ast.expr)), key=lambda v: (v.lineno, v.col_offset)):
        if vertex not in handled:
            edits += _on_path(module, vertex, tensors)
    for call in sorted(detours.beside - handled, key=lambda c: (c.lineno, c.col_offset)):
        edits += translated(module, call) or []
    edits += _likes(module, tensors)
    edits += _off_path(module, tensors)
    return edits


def _on_path(module: Module, vertex: ast.expr, tensors: set[Vertex]) -> Iterator[Edit]:
    if isinstance(vertex, ast.Call):
        func = vertex.func
        name = module.call_name(vertex)
        if name is None and isinstance(func, ast.Attribute) and func.attr in _ARRAY_ONLY and func.value in tensors:
            yield from translated_method(module, vertex) or []
        elif name == "tf.constant":
            yield from constant(module, vertex) or []
    elif isinstance(vertex, ast.Attribute) and vertex.attr == "T" and vertex.value in tensors:
        yield replaced(module, vertex, "tf.transpose($x)", {"x": module.span(vertex.value)})
    elif isinstance(vertex, ast.Subscript) and vertex.value in tensors and isinstance(vertex.ctx, ast.Load):
        yield from _picked(module, vertex)
    elif isinstance(vertex, ast.BinOp):
        for side in (vertex.left, vertex.right):
            if isinstance(side, ast.Compare) and any(part in tensors for part in (side.left, *side.comparators)):
                yield replaced(module, side, "tf.cast($c, tf.float32)", {"c": module.span(side)})


def _picked(module: Module, node: ast.Subscript) -> Iterator[Edit]:
    """Arrays take arrays of positions as an index, tensors do not."""
    index = node.slice
    parts = {"x": module.span(node.value), "i": module.span(index)}
    if isinstance(index, ast.Tuple):
        if (
            len(index.elts) == 2
            and module.call_name(index.elts[0]) in ("np.arange", "range", "tf.range")
            and not isinstance(index.elts[1], (ast.Slice, ast.Constant))
        ):
            parts["i"] = module.span(index.elts[1])
            yield replaced(module, node, "tf.gather($x, $i, axis=1, batch_dims=1)", parts)
        return
    origins = (
        [o for o in module.objects.origins(index) if isinstance(o, ast.Call)]
        if not isinstance(index, ast.Constant)
        else []
    )
    names = {module.call_name(o) for o in origins}
    if (
        isinstance(index, ast.Call)
        and names & _INDICES
        and len(index.args) == 1
        and module.call_name(index) != "np.argwhere"
    ):
        parts["i"] = module.span(index.args[0])
        yield replaced(module, node, "tf.boolean_mask($x, $i)", parts)
    elif names & _INTEGERS or isinstance(index, (ast.List, ast.ListComp)):
        yield replaced(module, node, "tf.gather($x, $i)", parts)


def _likes(module: Module, tensors: set[Vertex]) -> Iterator[Edit]:
    """`np.ones_like(tensor)` makes an array still, but fails in a graph."""
    for call in module.calls:
        name = module.call_name(call) or ""
        if name in _LIKE and len(call.args) == 1 and not call.keywords and isinstance(call.args[0], ast.Name):
            if any(d in tensors for d in module.definitions(call.args[0])):
                yield ReplaceExpression(module.span(call.func), f"{module.tf}.{name[3:]}")


def _off_path(module: Module, tensors: set[Vertex]) -> Iterator[Edit]:
    """Values for logging that come from what is a tensor now: `loss.item()`, `round(loss, 3)`."""
    seen = set(tensors)
    queue = list(tensors)
    while queue:
        for after in module.flow.uses(queue.pop()):
            if after not in seen and _same_kind(module, after):
                seen.add(after)
                queue.append(after)
    for call in module.calls:
        func = call.func
        if call in tensors or call in module.detours.found:
            continue
        if (
            isinstance(func, ast.Attribute)
            and func.attr in _ARRAY_ONLY
            and func.value in seen
            and module.name(func) is None
        ):
            value = {"x": module.span(func.value)}
            if func.attr == "item" and not call.args:
                yield ReplaceExpression(module.span(call), "float($x)", value)
            elif func.value not in module.detours.live:
                yield ReplaceExpression(module.span(func.value), "$x.numpy()", value)
        elif module.call_name(call) == "round" and call.args and call.args[0] in seen:
            yield ReplaceExpression(module.span(call.args[0]), "float($x)", {"x": module.span(call.args[0])})


def _same_kind(module: Module, vertex: Vertex) -> bool:
    """Is what is computed here a tensor if what goes in is one?"""
    if isinstance(vertex, Def):
        return vertex.kind in ("assign", "augment", "parameter") and not isinstance(vertex.value, (ast.List, ast.Dict))
    if isinstance(vertex, ast.Call):
        return bool(module.objects.callees(vertex))
    return isinstance(vertex, (ast.Name, ast.BinOp, ast.UnaryOp, ast.Subscript, ast.IfExp))
