"""The values that a list or dict of parameters is filled with, wherever that happens."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_COPIES = ("list", "tuple", "sorted")


def filled_with(module: Module, container: ast.expr) -> list[ast.expr]:
    """What is put into the container that `container` names: `list(parameters.values())`, `self.weights`."""
    found: list[ast.expr] = []
    for origin in module.objects.origins(_unwrapped(module, container)):
        if isinstance(origin, ast.Dict):
            found += origin.values
        elif isinstance(origin, (ast.List, ast.Tuple)):
            found += [e for e in origin.elts if not isinstance(e, ast.Starred)]
        elif isinstance(origin, ast.ListComp):
            found.append(origin.elt)
        elif isinstance(origin, ast.DictComp):
            found.append(origin.value)
        elif not (isinstance(origin, ast.Call) and module.call_name(origin) in ("dict", "list")):
            continue
        for node in module.each(ast.Assign):
            target = node.targets[0]
            if isinstance(target, ast.Subscript) and origin in module.objects.origins(target.value):
                found.append(node.value)
        for call in module.calls:
            added = isinstance(call.func, ast.Attribute) and call.func.attr == "append" and len(call.args) == 1
            if added and origin in module.objects.origins(call.func.value):  # type: ignore[attr-defined]
                found.append(call.args[0])
    return found


def _unwrapped(module: Module, node: ast.expr) -> ast.expr:
    """Without `list(...)` and `.values()` around it, also behind a name."""
    for _ in range(4):
        if isinstance(node, ast.Call) and module.call_name(node) in _COPIES and len(node.args) == 1:
            node = node.args[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "values":
            node = node.func.value
        elif isinstance(node, ast.Name):
            definitions = module.definitions(node)
            value = definitions[0].value if len(definitions) == 1 and not definitions[0].path else None
            if not isinstance(value, ast.Call) or definitions[0].kind != "assign":
                break
            inner = _unwrapped(module, value)
            if inner is value:
                break
            node = inner
        else:
            break
    return node
