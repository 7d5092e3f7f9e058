"""What a gradient is asked for: which calls and variables of the module belong to the sources of one gradient."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.flow import Vertex
from tapefix.analysis.scopes import Def
from tapefix.analysis.training import PREDICTS, VARIABLE_LISTS

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


# Methods of models that give no tensors.
_NO_FORWARD = {
    "predict", "predict_on_batch", "predict_proba", "get_weights", "set_weights", "save", "save_weights",
    "load_weights", "summary", "compile", "fit", "evaluate", "train_on_batch", "test_on_batch", "get_config",
    "count_params", "get_layer", "build", "reset_states",
}  # fmt: skip


class Asked:
    """The sources of one gradient as a predicate on vertices; without an expression, all that can be trained."""

    def __init__(self, module: Module, sources: ast.expr | None) -> None:
        self.module = module
        self.objects = module.objects
        self.values: set[Vertex] = set()
        self._origins: set[int] = set()
        self._places: set[str] = set()
        self._classes: set[ast.ClassDef] = set()
        self._everything = sources is None
        if sources is not None:
            self._read(sources)

    def _read(self, sources: ast.expr) -> None:
        behind = self.module.flow.backward([sources])
        lists = [v for v in behind if isinstance(v, ast.Attribute) and v.attr in VARIABLE_LISTS]
        items = sources.elts if isinstance(sources, (ast.List, ast.Tuple)) else [sources]
        for item in items:
            if self.module.kinds.of(item) in ("model", "layer"):
                self._own(item)
            elif isinstance(item, ast.Name):
                self.values.update(d for d in self.module.definitions(item) if d.kind != "import")
            else:
                self.values.add(item)
        self.values.update(v for v in behind if isinstance(v, ast.Call) and self.module.kinds.made(v) == "variable")
        for attribute in lists:
            self._own(attribute.value)

    def _own(self, owner: ast.expr) -> None:
        if self.module.classes.is_self(owner):
            found = self.module.class_of(owner)
            if found is not None:
                self._enclose(found)
            return
        origins = self.objects.origins(owner)
        if not any(isinstance(o, ast.Call) for o in origins):
            self._everything = True
        for origin in origins:
            self._origins.add(id(origin))
            made = self.objects.instance_class(origin)
            if made is not None:
                self._enclose(made)
        if isinstance(owner, ast.Attribute):
            self._places.add(ast.unparse(owner))

    def _enclose(self, node: ast.ClassDef) -> None:
        """A class with its bases and the classes of which its instances hold instances."""
        if node in self._classes:
            return
        for current in self.module.classes.bases(node):
            self._classes.add(current)
        for call in self.module.calls:
            if self.module.class_of(call) in self._classes and (held := self.objects.instance_class(call)) is not None:
                self._enclose(held)

    def _is_own_method(self, call: ast.Call) -> bool:
        """`self.actor.sample(state)`, a method of a model that is defined elsewhere, runs the model."""
        func = call.func
        return (
            isinstance(func, ast.Attribute)
            and isinstance(func.value, ast.Attribute)
            and ast.unparse(func.value) in self._places
            and func.attr not in _NO_FORWARD
            and not self.objects.callees(call)
        )

    def __call__(self, vertex: Vertex) -> bool:
        """Does a trainable value that was asked for enter here?"""
        if isinstance(vertex, Def):
            return vertex in self.values
        if vertex in self.values:
            return True
        if isinstance(vertex, ast.Attribute):
            return vertex.attr in VARIABLE_LISTS and not self.objects.attribute_values(vertex)
        if not isinstance(vertex, ast.Call):
            return False
        if self.module.kinds.made(vertex) == "variable":
            return self._everything or self.module.class_of(vertex) in self._classes
        if not self.module.training.is_forward(vertex):
            return self._is_own_method(vertex)
        if self._everything or self.module.class_of(vertex) in self._classes:
            return True
        func = vertex.func
        if isinstance(func, ast.Attribute) and func.attr in ("call", "__call__", *PREDICTS):
            func = func.value
        if isinstance(func, ast.Attribute) and ast.unparse(func) in self._places:
            return True
        return any(id(origin) in self._origins for origin in self.objects.origins(func))
