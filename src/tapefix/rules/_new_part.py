"""A part of a tensor made anew: what `x[:, 0] = v` leaves in an array, as an expression for the whole of x."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.findings import Span
from tapefix.rules._numpy_calls import spelled

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# The text of a new value and the parts of the old code that it takes.
Made = tuple[str, dict[str, Span]]


def with_part(module: Module, x: str, index: ast.expr, value: ast.expr) -> Made | None:
    """The text of `x` with `value` at `index`: one position or one slice of one axis; None for what is more."""
    items = index.elts if isinstance(index, ast.Tuple) else [index]
    chosen = [place for place, item in enumerate(items) if not is_whole(item)]
    if len(chosen) != 1 or any(isinstance(i, ast.Constant) and i.value is ... for i in items):
        return None
    axis, item = chosen[0], items[chosen[0]]
    ahead = ":, " * axis
    parts = {"v": module.span(value)}
    if isinstance(item, ast.Slice):
        return None if item.step is not None else _slice(module, x, ahead, axis, item, value, parts)
    if not _is_number(value) and axis == 0 and not _is_from_the_end(item):
        parts["k"] = module.span(item)
        return f"{spelled(module, 'tf.tensor_scatter_nd_update')}({x}, [[$k]], [$v])", parts
    before, here, after, used = _around(module, x, ahead, item)
    return _joined(module, axis, before, _filled(module, x, here, axis, value), after), parts | used


def is_whole(node: ast.expr) -> bool:
    return isinstance(node, ast.Slice) and node.lower is None and node.upper is None and node.step is None


def _slice(
    module: Module, x: str, ahead: str, axis: int, item: ast.Slice, value: ast.expr, parts: dict[str, Span]
) -> Made:
    pieces = {"before": "", "after": ""}
    low, high = "", ""
    if item.lower is not None:
        parts["low"], low = module.span(item.lower), "$low"
        pieces["before"] = f"{x}[{ahead}:$low]"
    if item.upper is not None:
        parts["high"], high = module.span(item.upper), "$high"
        pieces["after"] = f"{x}[{ahead}$high:]"
    new = _of_number(module, f"{x}[{ahead}{low}:{high}]", value) if _is_number(value) else "$v"
    used = {name: span for name, span in parts.items() if name != "v" or "$v" in new}
    return _joined(module, axis, pieces["before"], new, pieces["after"]), used


def _around(module: Module, x: str, ahead: str, item: ast.expr) -> tuple[str, str, str, dict[str, Span]]:
    """What stands before, at and after one position."""
    if isinstance(item, ast.Constant) and item.value == 0:
        return "", f"{x}[{ahead}:1]", f"{x}[{ahead}1:]", {}
    if isinstance(item, ast.UnaryOp) and ast.unparse(item) == "-1":
        return f"{x}[{ahead}:-1]", f"{x}[{ahead}-1:]", "", {}
    following = "$k + 1"
    if isinstance(item, ast.Constant) and isinstance(item.value, int):
        following = str(item.value + 1)
    elif isinstance(item, ast.BinOp) and isinstance(item.op, ast.Sub) and ast.unparse(item.right) == "1":
        following = module.source(item.left)
    here = f"{x}[{ahead}$k:{following}]"
    return f"{x}[{ahead}:$k]", here, f"{x}[{ahead}{following}:]", {"k": module.span(item)}


def _filled(module: Module, x: str, here: str, axis: int, value: ast.expr) -> str:
    if _is_number(value):
        return _of_number(module, here, value)
    if isinstance(value, ast.Call):
        return f"{spelled(module, 'tf.expand_dims')}($v, {axis})"
    # A number or one for each row: which of them, the text does not tell.
    wide = f"{spelled(module, 'tf.broadcast_to')}($v, {spelled(module, 'tf.shape')}({x}[{':, ' * axis}0]))"
    return f"{spelled(module, 'tf.expand_dims')}({wide}, {axis})"


def _of_number(module: Module, here: str, value: ast.expr) -> str:
    if isinstance(value, ast.Constant) and value.value == 0:
        return f"{spelled(module, 'tf.zeros_like')}({here})"
    return f"$v * {spelled(module, 'tf.ones_like')}({here})"


def _joined(module: Module, axis: int, *pieces: str) -> str:
    left = [piece for piece in pieces if piece]
    return left[0] if len(left) == 1 else f"{spelled(module, 'tf.concat')}([{', '.join(left)}], axis={axis})"


def _is_number(node: ast.expr) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, (int, float))


def _is_from_the_end(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
