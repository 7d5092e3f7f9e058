"""What functions of Python that are looped over hand out: `enumerate`, `zip`, `reversed`, `items`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


def iterated(module: Module, call: ast.Call, path: tuple[int, ...]) -> tuple[ast.expr, tuple[int, ...]] | None:
    """The container whose elements stand at `path` of what such a call gives, and the position in each of them."""
    func, name = call.func, module.call_name(call)
    if isinstance(func, ast.Attribute) and name is None and not call.args:
        if func.attr == "values":
            return func.value, path
        return (func.value, path[1:]) if func.attr == "items" and path[:1] == (1,) else None
    if name == "zip" and path and path[0] < len(call.args):
        return call.args[path[0]], path[1:]
    if name == "enumerate" and path[:1] == (1,) and call.args:
        return call.args[0], path[1:]
    return (call.args[0], path) if name in ("list", "tuple", "reversed", "sorted") and call.args else None
