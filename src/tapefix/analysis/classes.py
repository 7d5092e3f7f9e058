"""The classes of a module: their bases, methods and attributes, and what an instance of them is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Function

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Base classes, by what an instance of them is.
BASES = {
    "keras.Model": "model",
    "keras.models.Model": "model",
    "keras.Sequential": "model",
    "keras.models.Sequential": "model",
    "keras.layers.Layer": "layer",
    "keras.Layer": "layer",
    "keras.layers.Wrapper": "layer",
    "keras.engine.topology.Layer": "layer",
    "keras.engine.base_layer.Layer": "layer",
    "keras.losses.Loss": "loss",
    "keras.Loss": "loss",
    "keras.metrics.Metric": "metric",
    "keras.Metric": "metric",
    "keras.optimizers.Optimizer": "optimizer",
    "tf.Module": "module",
    "keras.callbacks.Callback": "callback",
}


class Classes:
    """Answers for one module."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._selves: dict[ast.Name, bool] = {}

    @cached_property
    def by_name(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in self.module.all(ast.ClassDef)}  # type: ignore[misc,attr-defined]

    def bases(self, node: ast.ClassDef) -> Iterator[ast.ClassDef]:
        """The class and its base classes of this module, nearest first."""
        seen: list[ast.ClassDef] = []
        queue = [node]
        while queue:
            current = queue.pop(0)
            if current in seen:
                continue
            seen.append(current)
            yield current
            for base in current.bases:
                if isinstance(base, ast.Name) and base.id in self.by_name:
                    queue.append(self.by_name[base.id])

    def kind(self, node: ast.ClassDef) -> str | None:
        """What an instance of it is (`model`, `layer`, ...) for a subclass of a class of Keras or TensorFlow."""
        for current in self.bases(node):
            for base in current.bases:
                name = self.module.name(base)
                if name in BASES:
                    return BASES[name]
                if name is not None and name.startswith("keras.layers."):
                    return "layer"
                if name is not None and name.startswith("keras.losses."):
                    return "loss"
                if name is not None and name.startswith("keras.optimizers.") and "schedules" not in name:
                    return "optimizer"
        return None

    def method(self, node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
        for current in self.bases(node):
            for statement in current.body:
                if isinstance(statement, ast.FunctionDef) and statement.name == name:
                    return statement
        return None

    def forward_method(self, node: ast.ClassDef) -> ast.FunctionDef | None:
        """The method that runs when an instance is called."""
        kind = self.kind(node)
        order = ("call", "__call__") if kind in ("model", "layer", "loss") else ("__call__",)
        return next((m for m in (self.method(node, name) for name in order) if m is not None), None)

    @cached_property
    def attribute_writes(self) -> dict[tuple[ast.ClassDef, str], list[tuple[ast.expr, tuple[int, ...]]]]:
        """What is assigned to `self.name` anywhere in a class: expression and position unpacked from it."""
        found: dict[tuple[ast.ClassDef, str], list[tuple[ast.expr, tuple[int, ...]]]] = {}

        def note(target: ast.AST, value: ast.expr, path: tuple[int, ...]) -> None:
            if isinstance(target, (ast.Tuple, ast.List)):
                for i, item in enumerate(target.elts):
                    note(item, value, (*path, i))
            elif isinstance(target, ast.Attribute) and self.is_self(target.value):
                owner = self.module.class_of(target)
                if owner is not None:
                    found.setdefault((owner, target.attr), []).append((value, path))

        for node in self.module.all(ast.Assign, ast.AugAssign, ast.AnnAssign):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    note(target, node.value, ())
            elif isinstance(node, (ast.AugAssign, ast.AnnAssign)) and node.value is not None:
                note(node.target, node.value, ())
        for call in self.module.calls:
            # self.body.append(layer)
            if (
                isinstance(call.func, ast.Attribute)
                and call.func.attr in ("append", "extend", "assign", "assign_add")
                and call.args
            ):
                target = call.func.value
                if isinstance(target, ast.Attribute) and self.is_self(target.value):
                    owner = self.module.class_of(target)
                    if owner is not None:
                        found.setdefault((owner, target.attr), []).append((_list(call.args[0]), ()))
        return found

    def is_self(self, node: ast.AST) -> bool:
        """Is this the first parameter of the method around it (or of the method around a nested function)?"""
        if not isinstance(node, ast.Name) or node.id not in self._first_parameters:
            return False
        if node not in self._selves:
            self._selves[node] = self._is_first_parameter(node)
        return self._selves[node]

    def _is_first_parameter(self, node: ast.Name) -> bool:
        for function in self.module.ancestors(node):
            if (
                isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
                and self.module.method_class(function) is not None
            ):
                positional = [*function.args.posonlyargs, *function.args.args]
                return bool(positional) and positional[0].arg == node.id and not self.is_static(function)
        return False

    @cached_property
    def _first_parameters(self) -> set[str]:
        """What methods of this module call themselves: `self`, as a rule."""
        methods = (
            s
            for node in self.by_name.values()
            for s in node.body
            if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef))
        )
        return {a.arg for m in methods for a in [*m.args.posonlyargs, *m.args.args][:1]}

    @staticmethod
    def is_static(function: Function) -> bool:
        return not isinstance(function, ast.Lambda) and any(
            isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list
        )


def _list(value: ast.expr) -> ast.List:
    """A list literal around an expression of the tree, for tables that expect a container."""
    made = ast.List(elts=[value], ctx=ast.Load())
    return ast.copy_location(made, value)
