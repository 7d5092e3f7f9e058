"""Which variables, tensors and models the sources of a gradient name."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def
from tapefix.analysis.training import VARIABLE_LISTS

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Calls whose result holds their arguments as they are.
HOLDERS = {
    "list",
    "tuple",
    "dict",
    "zip",
    "enumerate",
    "reversed",
    "sorted",
    "set",
    "tf.nest.flatten",
    "getattr",
    "next",
    "iter",
}


class Unit:
    """One thing that gradients are asked for: a variable or tensor, or all variables of a model."""

    __slots__ = ("classes", "definitions", "model", "node", "origins", "text")

    def __init__(self, text: str, node: ast.expr, model: bool, origins: set[ast.AST] | None = None) -> None:
        self.text = text
        self.node = node
        self.model = model
        self.definitions: set[Def] = set()
        self.origins = origins if origins is not None else set()
        self.classes: set[ast.ClassDef] = set()


class Sources:
    """Reads the `sources` expressions of one module."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.objects = module.objects

    def units(self, node: ast.expr, depth: int = 8) -> list[Unit]:
        """The single variables and models that a `sources` expression names."""
        if depth <= 0:
            return []
        if isinstance(node, (ast.List, ast.Tuple)):
            return [u for item in node.elts for u in self.units(item, depth - 1)]
        if isinstance(node, ast.Starred):
            return self.units(node.value, depth - 1)
        if isinstance(node, ast.BinOp):
            if not self._is_list(node):
                return []
            return self.units(node.left, depth - 1) + self.units(node.right, depth - 1)
        if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Attribute) and n.attr in VARIABLE_LISTS]
            return [u for n in inner for u in self.units(n, depth - 1)]
        if isinstance(node, ast.Attribute) and node.attr in VARIABLE_LISTS and not self.objects.attribute_values(node):
            return [self._model_unit(node.value)]
        if isinstance(node, ast.Call) and self.module.call_name(node) in HOLDERS and node.args:
            return [u for a in node.args for u in self.units(a, depth - 1)]
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript, ast.Call)):
            found = []
            for origin in self.objects.origins(node):
                if origin is not node and self._is_list(origin):
                    found += self.units(origin, depth - 1)  # type: ignore[arg-type]
            if found:
                return found
            if isinstance(node, (ast.Name, ast.Attribute)):
                return [self._value_unit(node)]
            held = node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else node
            if held is not node and ast.unparse(node).endswith(".values()"):
                members = self.objects.members(held)
            else:
                members = self.objects.members(node.value) if isinstance(node, ast.Subscript) else []
            # Any of the variables that a dict or a list holds.
            if members and all(self.module.kinds.made(m) == "variable" for m in members):
                return [Unit(self.module.source(node), node, False, set(members))]
        return []

    def _is_list(self, node: ast.AST, depth: int = 4) -> bool:
        """Is this a list of variables: a literal, `model.trainable_variables`, a sum of such?"""
        if depth <= 0:
            return False
        if isinstance(node, ast.BinOp):
            return isinstance(node.op, ast.Add) and (
                self._is_list(node.left, depth - 1) or self._is_list(node.right, depth - 1)
            )
        if isinstance(node, ast.Name):
            return any(o is not node and self._is_list(o, depth - 1) for o in self.objects.origins(node))
        if isinstance(node, ast.Attribute):
            return node.attr in VARIABLE_LISTS
        if isinstance(node, ast.Call):
            return bool(node.args) and self.module.call_name(node) in HOLDERS
        return isinstance(node, (ast.List, ast.Tuple, ast.ListComp))

    def _model_unit(self, node: ast.expr) -> Unit:
        unit = Unit(self.module.source(node), node, True)
        if isinstance(node, ast.Name):
            unit.definitions.update(self.module.definitions(node))
        queue: list[ast.AST] = [o for o in self.objects.origins(node) if isinstance(o, ast.Call)]
        if self.module.classes.is_self(node) and (owner := self.module.class_of(node)) is not None:
            unit.classes.update(self.module.classes.bases(owner))
            queue += self._attribute_parts(owner)
        # The layers and models that it is built of belong to it.
        while queue:
            part = queue.pop()
            if part in unit.origins:
                continue
            unit.origins.add(part)
            made = self.objects.instance_class(part)
            if made is not None and made not in unit.classes:
                unit.classes.update(self.module.classes.bases(made))
                queue += self._attribute_parts(made)
            if isinstance(part, ast.Call):
                queue += self._parts(part)
        return unit

    def _attribute_parts(self, owner: ast.ClassDef) -> list[ast.AST]:
        values = [
            v
            for (c, _), writes in self.module.classes.attribute_writes.items()
            if c in set(self.module.classes.bases(owner))
            for v, _ in writes
        ]
        return [o for value in values for o in self._made(value)]

    def _parts(self, call: ast.Call) -> list[ast.AST]:
        found: list[ast.AST] = []
        for vertex in self.module.flow.backward([*call.args, *[k.value for k in call.keywords]]):
            if isinstance(vertex, ast.Call):
                found += self._made(vertex)
                found += self._made(vertex.func)
        return found

    def _made(self, node: ast.expr) -> list[ast.AST]:
        if isinstance(node, (ast.List, ast.Tuple)):
            return [o for item in node.elts for o in self._made(item)]
        return [
            o
            for o in self.objects.origins(node, 6)
            if self.module.kinds.made(o) in ("model", "layer", "variable", "module")
        ]

    def _value_unit(self, node: ast.Name | ast.Attribute) -> Unit:
        unit = Unit(self.module.source(node), node, False)
        queue: list[ast.AST] = [node]
        while queue:
            value = queue.pop()
            if isinstance(value, ast.Name):
                for definition in self.module.definitions(value):
                    if definition in unit.definitions or definition.kind in ("import", "function", "class"):
                        continue
                    unit.definitions.add(definition)
                    if (
                        definition.kind == "assign"
                        and not definition.path
                        and isinstance(definition.value, (ast.Name, ast.Attribute))
                    ):
                        queue.append(definition.value)
                    elif definition.kind == "parameter":
                        queue += self.objects.arguments_of(definition)
            elif isinstance(value, ast.Attribute):
                unit.origins.update(o for o in self.objects.origins(value) if isinstance(o, ast.Call))
            elif isinstance(value, ast.Call):
                unit.origins.add(value)
        for definition in unit.definitions:
            if (
                isinstance(definition.value, ast.Call)
                and not definition.path
                and self.module.kinds.made(definition.value) == "variable"
            ):
                unit.origins.add(definition.value)
        return unit
