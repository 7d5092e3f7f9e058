"""Arrays take arrays of positions as an index, tensors do not: `x[rows, cols]` becomes `tf.gather_nd`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Edit
from tapefix.rules._numpy_calls import replaced

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.scopes import Def

# What an expression is when it stands in an index: positions, or one array of positions for each dimension.
Kind = Literal["positions", "coordinates"]
_WHERE = {"np.where", "np.nonzero"}
_COORDINATES = {
    "np.triu_indices", "np.tril_indices", "np.triu_indices_from", "np.tril_indices_from", "np.diag_indices",
    "np.diag_indices_from", "np.unravel_index",
}  # fmt: skip
_POSITIONS = {
    "np.arange", "np.argsort", "np.random.permutation", "np.flatnonzero", "np.argpartition", "np.lexsort",
    "tf.argsort", "tf.range", "range",
}  # fmt: skip
_CHOSEN = {"np.random.choice": 1, "np.random.randint": 2}
_MASK = re.compile(r"mask|valid|keep|select|where|bool|flag|key|name|slice|slc", re.IGNORECASE)
_LISTS = (ast.List, ast.ListComp)


def picked(module: Module, node: ast.Subscript) -> Iterator[Edit]:
    """The edit for an index that only arrays take."""
    index = node.slice
    parts = {"x": module.span(node.value), "i": module.span(index)}
    if isinstance(index, ast.Tuple):
        yield from _pair(module, node, index)
    elif isinstance(index, ast.Call) and module.call_name(index) in {*_WHERE, "np.flatnonzero"} and _one(index):
        parts["i"] = module.span(index.args[0])
        yield replaced(module, node, "tf.boolean_mask($x, $i)", parts)
    elif isinstance(index, ast.Call) and module.call_name(index) == "np.ix_" and len(index.args) == 2:
        parts = {"x": parts["x"], "i": module.span(index.args[0]), "j": module.span(index.args[1])}
        yield replaced(module, node, "tf.gather(tf.gather($x, $i), $j, axis=1)", parts)
    else:
        kind = _kind(module, index)
        if kind == "positions":
            yield replaced(module, node, "tf.gather($x, $i)", parts)
        elif kind == "coordinates":
            yield replaced(module, node, "tf.gather_nd($x, tf.stack($i, axis=-1))", parts)
        elif _may_be_positions(module, index) and not _is_container(module, node.value):
            yield replaced(module, node, "tf.gather($x, $i)", parts)


def _pair(module: Module, node: ast.Subscript, index: ast.Tuple) -> Iterator[Edit]:
    items = index.elts
    parts = {"x": module.span(node.value)}
    first, last = items[0], items[-1]
    if len(items) == 2 and _counts_rows(module, first) and not isinstance(last, (ast.Slice, ast.Constant)):
        parts["i"] = module.span(last)
        yield replaced(module, node, "tf.gather($x, $i, axis=1, batch_dims=1)", parts)
        return
    kinds = [None if isinstance(item, ast.Slice) else _kind(module, item) for item in items]
    unsure = [not isinstance(item, ast.Slice) and _may_be_positions(module, item) for item in items]
    if len(items) > 1 and all(kind == "positions" or perhaps for kind, perhaps in zip(kinds, unsure, strict=True)):
        parts |= {f"i{n}": module.span(item) for n, item in enumerate(items)}
        listed = ", ".join(f"$i{n}" for n in range(len(items)))
        yield replaced(module, node, f"tf.gather_nd($x, tf.stack([{listed}], axis=-1))", parts)
    elif (kinds[-1] == "positions" or unsure[-1]) and all(map(_whole, items[:-1])):
        parts["i"] = module.span(last)
        dotted = isinstance(first, ast.Constant)
        yield replaced(module, node, f"tf.gather($x, $i, axis={-1 if dotted else len(items) - 1})", parts)


def _may_be_positions(module: Module, node: ast.expr, depth: int = 4) -> bool:
    """May this be a list or an array of positions, as far as the text tells? Then `tf.gather` is right for a single
    position, too; slices, masks and keys are something else.
    """
    if isinstance(node, ast.Attribute):
        values = [value for value, path in module.objects.attribute_values(node) if not path]
        return not _MASK.search(node.attr) and all(_may_be_positions(module, v, depth - 1) for v in values if depth)
    if isinstance(node, ast.Subscript):
        # One of several lists: `neighbours[i]`; a column of an array: `pairs[:, 0]`.
        return not _MASK.search(ast.unparse(node.value))
    if isinstance(node, ast.Call):
        return module.op(node) in ("cast", "stop_gradient", "squeeze", "reshape") and bool(node.args)
    if not isinstance(node, ast.Name) or _MASK.search(node.id) or not depth:
        return False
    found = module.definitions(node)
    return bool(found) and all(_may_hold_positions(module, d, depth - 1) for d in found)


def _may_hold_positions(module: Module, definition: Def, depth: int) -> bool:
    value, path = definition.value, definition.path
    while path and isinstance(value, (ast.Tuple, ast.List)) and path[0] < len(value.elts):
        value, path = value.elts[path[0]], path[1:]
    if definition.kind == "parameter":
        given = module.objects.arguments_of(definition)
        # A letter is one position, as a rule.
        return bool(given or len(definition.name) > 2) and all(_may_be_positions(module, v, depth) for v in given)
    if value is None or path or definition.kind not in ("assign", "loop"):
        return False
    if definition.kind == "loop":
        return len(definition.name) > 2 and module.call_name(value) not in ("range", "enumerate", "zip")
    return _may_be_positions(module, value, depth)


def _is_container(module: Module, node: ast.expr) -> bool:
    """A list, a dictionary or a tuple of tensors, which takes one position or key."""
    made = module.objects.origins(node) if isinstance(node, (ast.Name, ast.Attribute)) else [node]
    containers = (ast.List, ast.ListComp, ast.Dict, ast.DictComp, ast.Tuple)
    return any(
        isinstance(one, containers) or module.call_name(one) in ("dict", "list", "tuple", "zip", "collections.deque")
        for one in made
    )


def _counts_rows(module: Module, node: ast.expr) -> bool:
    """`np.arange(n)`, also under a name: one position in each row."""
    if isinstance(node, ast.Name):
        values = [d.value for d in module.definitions(node) if d.kind == "assign" and not d.path]
        return 0 < len(values) == len(module.definitions(node)) and all(
            isinstance(value, ast.Call) and _counts_rows(module, value) for value in values
        )
    if isinstance(node, ast.Call) and module.call_name(node) == "list" and len(node.args) == 1:
        node = node.args[0]
    named = module.call_name(node) in ("np.arange", "range", "tf.range")
    return named and isinstance(node, ast.Call) and len(node.args) == 1


def _whole(node: ast.expr) -> bool:
    """`:` or `...`"""
    if isinstance(node, ast.Slice):
        return node.lower is None and node.upper is None and node.step is None
    return isinstance(node, ast.Constant) and node.value is ...


def _one(call: ast.Call) -> bool:
    return len(call.args) == 1 and not call.keywords


def _kind(module: Module, node: ast.expr, depth: int = 6) -> Kind | None:
    if depth <= 0:
        return None
    if isinstance(node, _LISTS):
        return "positions"
    if isinstance(node, ast.Subscript):
        inner = _kind(module, node.value, depth - 1)
        if inner == "coordinates":
            return "positions" if isinstance(node.slice, ast.Constant) else None
        return inner if isinstance(node.slice, ast.Slice) and not isinstance(node.value, _LISTS) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _kind(module, node.operand, depth - 1)
    if isinstance(node, ast.Name):
        kinds = {_defined(module, d, depth) for d in module.definitions(node)}
        return kinds.pop() if len(kinds) == 1 else None
    if not isinstance(node, ast.Call):
        return None
    name = module.call_name(node)
    if name is None:
        method = isinstance(node.func, ast.Attribute) and node.func.attr in ("astype", "copy", "ravel", "flatten")
        return _kind(module, node.func.value, depth - 1) if method else None  # type: ignore[attr-defined]
    if name in _COORDINATES or (name in _WHERE and _one(node)):
        return "coordinates"
    if name in _CHOSEN:
        return "positions" if argument(node, _CHOSEN[name], "size") is not None else None
    if name in ("np.argmax", "np.argmin", "tf.argmax", "tf.argmin"):
        return "positions" if argument(node, 1, "axis") is not None else None
    if name in ("np.array", "np.asarray", "tf.constant") and node.args and isinstance(node.args[0], ast.List):
        numbers = [e.value for e in node.args[0].elts if isinstance(e, ast.Constant)]
        whole = bool(numbers) and all(type(n) is int for n in numbers)
        return "positions" if whole and len(numbers) == len(node.args[0].elts) else None
    return "positions" if name in _POSITIONS else None


def _defined(module: Module, definition: Def, depth: int) -> Kind | None:
    if definition.kind != "assign" or definition.value is None:
        return None
    kind = _kind(module, definition.value, depth - 1)
    if definition.path:
        return "positions" if kind == "coordinates" and len(definition.path) == 1 else None
    return kind
