"""What has to change after a detour is gone: methods and indices that only arrays have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.detours import Detour
from tapefix.analysis.exports import CHANGERS, exit_kind
from tapefix.analysis.flow import Vertex
from tapefix.analysis.scopes import Def
from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.rules._detour_edits import constant, edits_for
from tapefix.rules._numpy_calls import replaced, translated_method
from tapefix.rules._numpy_dtypes import data_casts
from tapefix.rules._numpy_indices import picked
from tapefix.rules._stores import assigned, rebound, stores

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.findings import Span

_ARRAY_ONLY = CHANGERS | {"item", "tolist", "nonzero", "fill", "argsort", "sort", "tobytes", "view"}
_LIKE = {"np.zeros_like", "np.ones_like"}


def followers(module: Module, *, certain: bool) -> list[Edit]:
    """The edits of everything that handles the values which become tensors, in the order of the file."""
    detours = module.detours
    tensors = detours.tensors if certain else detours.tensors | detours.perhaps
    handled = set(detours.found)
    edits: list[Edit] = []
    for vertex in sorted((v for v in tensors if isinstance(v, ast.expr)), key=lambda v: (v.lineno, v.col_offset)):
        if vertex not in handled:
            edits += _on_path(module, vertex, tensors)
    edits += _beside(module, handled)
    edits += _branches(module, handled)
    functions = {module.function(node) for node in handled}
    for node, into in stores(module, tensors):
        made = rebound(module, node, into) if module.function(node) in functions else None
        edits += [made] if made is not None else []
    edits += assigned(module, handled)
    edits += _likes(module, tensors)
    data = list(data_casts(module, handled))
    arrays = {e.parts["call"] for e in data if isinstance(e, ReplaceExpression) and "call" in e.parts}
    edits += _off_path(module, tensors, arrays)
    edits += data
    return edits


def _beside(module: Module, handled: set[ast.expr]) -> Iterator[Edit]:
    functions = {module.function(node) for node in handled}
    for call in sorted(module.detours.beside - handled, key=lambda c: (c.lineno, c.col_offset)):
        kind = exit_kind(module, call)
        if kind is not None and module.function(call) in functions:
            yield from edits_for(module, Detour(call, kind, "factor", certain=True, silent=False)) or []


def _branches(module: Module, handled: set[ast.expr]) -> Iterator[Edit]:
    """A branch of a compiled loss on what is a tensor now: Python cannot take it in a graph, tf.function can."""
    converted = {*handled, *module.detours.beside}
    functions = {module.function(node) for node in converted}
    branching = {
        module.function(node)
        for node in module.all(ast.If, ast.IfExp, ast.While)
        if module.function(node) in functions and converted & module.flow.backward([node.test])  # type: ignore[attr-defined]
    }
    for call in module.calls if branching else ():
        if not isinstance(call.func, ast.Attribute) or call.func.attr != "compile":
            continue
        loss = argument(call, 1, "loss")
        for item in loss.elts if isinstance(loss, (ast.List, ast.Tuple)) else [loss] if loss is not None else []:
            if any(function in branching for function in module.training.loss_functions(item)):
                yield replaced(module, item, "tf.function($x)", {"x": module.span(item)})


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
        yield from picked(module, vertex)
    elif isinstance(vertex, ast.BinOp):
        for side in (vertex.left, vertex.right):
            if _is_mask(module, side, tensors):
                yield replaced(module, side, "tf.cast($c, tf.float32)", {"c": module.span(side)})


def _is_mask(module: Module, node: ast.expr, tensors: set[Vertex]) -> bool:
    """A comparison with one of the tensors: NumPy multiplies with it, TensorFlow wants numbers."""
    origins: list[ast.AST] = [node]
    if isinstance(node, ast.Name):
        origins = module.objects.origins(node)
    compared = [[o.left, *o.comparators] for o in origins if isinstance(o, ast.Compare)]
    return 0 < len(compared) == len(origins) and all(
        any(_from(module, p, tensors) for p in parts) for parts in compared
    )


def _from(module: Module, node: ast.AST, tensors: set[Vertex]) -> bool:
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    return node in tensors or any(d in tensors for name in names for d in module.definitions(name))


def _likes(module: Module, tensors: set[Vertex]) -> Iterator[Edit]:
    """`np.ones_like(tensor)` makes an array still, but fails in a graph."""
    for call in module.calls:
        name = module.call_name(call) or ""
        if name not in _LIKE or len(call.args) != 1 or call.keywords or not isinstance(call.args[0], ast.Name):
            continue
        if any(d in tensors for d in module.definitions(call.args[0])):
            yield ReplaceExpression(module.span(call.func), f"{module.tf}.{name[3:]}")


def _off_path(module: Module, tensors: set[Vertex], arrays: set[Span]) -> Iterator[Edit]:
    """Values for logging that come from what is a tensor now: `loss.item()`, `round(loss, 3)`.

    `arrays` are calls whose results are made arrays again where they are called.
    """
    seen = set(tensors)
    queue = list(tensors)
    while queue:
        for after in module.flow.uses(queue.pop()):
            back = isinstance(after, ast.Call) and module.span(after) in arrays
            if after not in seen and not back and _same_kind(module, after):
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
