"""What an expression has to do with a unit: is it the unit, does a call run it, may a call run it out of sight?"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.sources import Unit
from tapefix.analysis.training import SCALES

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Methods of arrays, lists and strings.
_OF_ARRAYS = {
    "astype", "reshape", "mean", "sum", "max", "min", "copy", "flatten", "squeeze", "transpose", "format", "join",
    "split", "shape", "batch", "append", "extend", "items", "keys", "values", "get", "index", "count", "cast", "clip",
    "ravel", "pop", "update", "std", "result",
}  # fmt: skip


class UnitUse:
    """Answers for one unit."""

    def __init__(self, module: Module, unit: Unit) -> None:
        self.module = module
        self.unit = unit

    def is_unit(self, node: ast.AST) -> bool:
        """Is this expression the model, or the source, itself?"""
        if isinstance(node, ast.Name):
            return any(d in self.unit.definitions for d in self.module.definitions(node))
        if isinstance(node, ast.Attribute):
            if self.module.classes.is_self(node.value):
                owner = self.module.class_of(node)
                if owner in self.unit.classes and self.module.kinds.of(node) in (
                    "model",
                    "layer",
                    "variable",
                    "module",
                ):
                    return True
            return (
                isinstance(self.unit.node, ast.Attribute)
                and ast.dump(node) == ast.dump(self.unit.node)
                and self.module.class_of(node) is self.module.class_of(self.unit.node)
            )
        return False

    def runs(self, func: ast.expr) -> bool:
        """Does a call of `func` run the model, or a part of it?"""
        if self.is_unit(func) or self.module.classes.is_self(func):
            return self.is_unit(func) or self.module.class_of(func) in self.unit.classes
        if not self.unit.model:
            return False
        if isinstance(func, ast.Attribute) and func.attr in ("call", "__call__"):
            return self.runs(func.value)
        origins = self.module.objects.origins(func)
        return any(origin in self.unit.origins for origin in origins) and not self.is_twin(func, origins)

    def is_twin(self, func: ast.expr, origins: list[ast.AST]) -> bool:
        """Is this another model than the unit, made by the same helper?"""
        one, two = self.module.objects.made_at(func), self.module.objects.made_at(self.unit.node)
        return (
            one is not None
            and two is not None
            and one != two
            and origins == self.module.objects.origins(self.unit.node)
        )

    def is_opaque(self, func: ast.expr) -> bool:
        """May this call run code of which the module shows nothing, on an object that may hold the variables?"""
        if isinstance(func, ast.Attribute) and func.attr in {*_OF_ARRAYS, *SCALES}:
            return False
        root: ast.expr = func
        while isinstance(root, (ast.Attribute, ast.Subscript, ast.Call)):
            root = root.func if isinstance(root, ast.Call) else root.value
        if self._is_kept(func):
            return False
        if not isinstance(root, ast.Name) or self.module.kinds.of(func) is not None:
            return False
        if self.module.classes.is_self(root):
            return True
        return any(
            d.kind in ("parameter", "import") for d in self.module.definitions(root)
        ) and not self.module.objects.origins(root)

    def _is_kept(self, func: ast.expr) -> bool:
        """Something else that the unit's owner keeps, and calls: `self.target_network(x)` beside `self.network`."""
        own = self.unit.node
        if not isinstance(func, ast.Attribute) or not isinstance(own, ast.Attribute):
            return False
        if not self.module.classes.is_self(func.value) or not self.module.classes.is_self(own.value):
            return False
        holding = {ast.unparse(own), *(ast.unparse(v) for v in self._written(own))}
        parts = [n for value in self._written(func) for n in ast.walk(value) if isinstance(n, ast.expr)]
        return bool(parts) and not any(ast.unparse(n) in holding for n in parts)

    def _written(self, node: ast.Attribute) -> list[ast.expr]:
        return [
            v for value, path in self.module.objects.attribute_values(node) for v in unpacked(self.module, value, path)
        ]


def unpacked(module: Module, value: ast.expr, path: tuple[int, ...]) -> list[ast.expr]:
    if path and isinstance(value, ast.Call) and module.call_name(value) not in ("zip", "enumerate"):
        return [value]  # never into a helper without the frame of its call
    return [v for v in module.flow.unpacked(value, path) if isinstance(v, ast.expr)]
