"""Through calls: what the result of a call is computed from, and what a parameter gets at one call site."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.flow import Vertex
from tapefix.analysis.scopes import Def, Function
from tapefix.analysis.tapes import argument
from tapefix.analysis.training import SCALES
from tapefix.analysis.values import (
    BUILTINS,
    CONTAINER_CALLS,
    CONTAINER_METHODS,
    DERIVED,
    DRAWS,
    ELEMENT,
    FLAT,
    FLAT_OPS,
    GOOD,
    KNOWN_ROOTS,
    METHODS,
    NO_VALUE_ATTRIBUTES,
    NO_VALUE_CALLS,
    SETTINGS,
    UNKNOWN,
    VALUE_ARGUMENTS,
    Field,
    Mode,
    without_element,
)

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

Step = tuple[Vertex, tuple[ast.Call, ...], tuple[Field, ...], Mode]
_DEEPEST = 6
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_PY_FUNCTIONS = {
    "tf.py_function",
    "tf.numpy_function",
    "tf.compat.v1.py_func",
    "tf.compat.v1.py_function",
    "tf.py_func",
}


class CallInputs:
    def __init__(self, module: Module) -> None:
        self.module = module
        self.objects = module.objects
        self._named: dict[ast.AST, list[str] | None] = {}

    # -------------------------------------------------------------- results

    def _is_made_elsewhere(self, node: ast.expr) -> bool:
        """Is this what a function of some other library returns?"""
        root = (self.module.call_name(node) or "").partition(".")
        return bool(root[1]) and root[0] not in ("tf", "keras", "np", "math", "collections", "itertools", "os")

    def inputs(self, node: ast.Call, calls: tuple[ast.Call, ...], fields: tuple[Field, ...]) -> Iterator[Step]:
        name = self.module.call_name(node)
        func = node.func
        if name == "len" and node.args and self._is_made_elsewhere(node.args[0]):
            yield node.args[0], calls, (), FLAT  # the size of what is compressed or encoded depends on its values
            return
        if name in NO_VALUE_CALLS or (isinstance(func, ast.Attribute) and func.attr in DRAWS | NO_VALUE_ATTRIBUTES):
            return
        callees = self.objects.callees(node)
        if callees:
            for callee in callees:
                yield from self._returned(node, callee, calls, fields)
            return
        names = self._field_names(node)
        if names is not None:
            yield from self._record(node, names, calls, fields)
            return
        if name in CONTAINER_CALLS and node.args:
            yield node.args[0], calls, fields, GOOD
            return
        if name in ("zip", "enumerate", "map", "filter") and node.args:
            yield from self._iterated(name, node, calls, fields)
            return
        values: list[ast.expr] = [*node.args, *[k.value for k in node.keywords]]
        mode = self._mode(node, name)
        if mode is None:
            return
        if name is not None:
            operation = name.rpartition(".")[2]
            carrying = VALUE_ARGUMENTS.get(name, VALUE_ARGUMENTS.get(operation))
            if name.startswith(KNOWN_ROOTS):
                values = [*node.args, *[k.value for k in node.keywords if k.arg not in SETTINGS]]
            if carrying is not None and name.startswith(KNOWN_ROOTS):
                values = [
                    v for v in (argument(node, position, keyword) for position, keyword in carrying) if v is not None
                ]
            elif operation == "where" and len(values) > 1:
                yield node.args[0] if node.args else values[0], calls, (), FLAT
                values = [v for v in (argument(node, 1, "x"), argument(node, 2, "y")) if v is not None]
        passed = [(value, function) for value in values for function in self._functions_meant(value)]
        for _, function in passed:
            yield from self._returned(node, function, calls, fields)
        handed = {id(value) for value, _ in passed}
        if passed and name is not None and name.startswith("tf."):
            return  # tf.map_fn, tf.scan, tf.py_function: the values go through the function
        for value in values:
            if id(value) not in handed:
                yield value, calls, (), mode
        if isinstance(func, ast.Attribute) and name is None:
            yield func.value, calls, self._of_receiver(node, func.attr, fields), mode

    def _returned(
        self, node: ast.Call, function: Function, calls: tuple[ast.Call, ...], fields: tuple[Field, ...]
    ) -> Iterator[Step]:
        if node in calls or len(calls) >= _DEEPEST:
            return
        for value in self.objects.returns.get(function, []):
            yields = isinstance(self.module.parent(value), ast.Yield)
            yield value, (*calls, node), without_element(fields) if yields else fields, GOOD

    def _mode(self, node: ast.Call, name: str | None) -> Mode | None:
        func = node.func
        if name is not None:
            operation = name.rpartition(".")[2]
            if name.startswith(KNOWN_ROOTS) or name in BUILTINS or name in ("int", "bool", "round"):
                if operation in FLAT_OPS or (operation == "where" and len(node.args) + len(node.keywords) == 1):
                    return FLAT
                if operation == "cast" and _is_integer(self.module, argument(node, 1, "dtype")):
                    return FLAT
                return (
                    None
                    if self.module.kinds.made(node) in ("layer", "model", "optimizer", "metric", "tape", "loss")
                    else GOOD
                )
            return UNKNOWN
        kind = self.module.kinds.of(func)
        if kind in ("model", "layer", "module", "loss"):
            return GOOD
        if kind == "metric":
            return None
        if isinstance(func, ast.Attribute):
            if func.attr in ("gradient", "jacobian", "batch_jacobian"):
                return DERIVED
            if func.attr in SCALES:
                return GOOD  # an optimizer of mixed precision
            owner = self.module.kinds.of(func.value)
            if owner in ("metric", "optimizer"):
                return None
            if owner in ("model", "layer", "module", "loss"):
                return GOOD
            if func.attr == "astype" and node.args and _is_integer(self.module, node.args[0]):
                return FLAT
            if func.attr in FLAT_OPS:
                return FLAT
            if func.attr in METHODS:
                return GOOD
            if func.attr in (
                "normal",
                "uniform",
                "standard_normal",
                "laplace",
                "exponential",
                "gumbel",
                "logistic",
                "lognormal",
            ):
                return GOOD
        return UNKNOWN

    @staticmethod
    def _of_receiver(node: ast.Call, method: str, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        if (
            method == "get"
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            return (node.args[0].value, *fields)
        if method == "items":
            return (ELEMENT, *fields[2:]) if len(fields) > 1 else ()
        if method in CONTAINER_METHODS:
            return (*CONTAINER_METHODS[method], *fields)
        return fields if method in ("numpy", "tolist", "astype") else ()

    # -------------------------------------------------------------- containers

    def _record(
        self, node: ast.Call, names: list[str], calls: tuple[ast.Call, ...], fields: tuple[Field, ...]
    ) -> Iterator[Step]:
        """A named tuple or data class: the field that is wanted, all of them where any is."""
        given = (
            dict(zip(names, node.args, strict=False)) if not any(isinstance(a, ast.Starred) for a in node.args) else {}
        )
        given.update({k.arg: k.value for k in node.keywords if k.arg})
        wanted = fields[0] if fields else ELEMENT
        if isinstance(wanted, int) and wanted < len(names):
            wanted = names[wanted]
        if wanted in given:
            yield given[wanted], calls, fields[1:], GOOD
        elif wanted not in names:
            for value in [*node.args, *[k.value for k in node.keywords]]:
                yield value, calls, fields[1:], GOOD

    def _iterated(
        self, name: str, node: ast.Call, calls: tuple[ast.Call, ...], fields: tuple[Field, ...]
    ) -> Iterator[Step]:
        if name == "map":
            for function in self._functions_meant(node.args[0]):
                yield from self._returned(node, function, calls, without_element(fields))
            if not self._functions_meant(node.args[0]):
                for value in node.args[1:]:
                    yield value, calls, fields, UNKNOWN
            return
        if name == "filter":
            yield node.args[-1], calls, fields, GOOD
            return
        position = fields[1] if len(fields) > 1 else None
        if name == "enumerate":
            if position != 0:
                yield node.args[0], calls, (ELEMENT, *fields[2:]), GOOD
            return
        chosen = [node.args[position]] if isinstance(position, int) and position < len(node.args) else node.args
        for value in chosen:
            # zip(*rows) turns rows into columns: a column is one field of all rows.
            if isinstance(value, ast.Starred):
                yield value.value, calls, (ELEMENT, *fields[:1], *fields[2:]) if fields else (), GOOD
            else:
                yield value, calls, (ELEMENT, *fields[2:]), GOOD

    def _field_names(self, node: ast.Call) -> list[str] | None:
        """The fields of the named tuple or data class that a call makes."""
        if not isinstance(node.func, ast.Name):
            return None
        for definition in self.module.definitions(node.func):
            if definition.node not in self._named:
                self._named[definition.node] = self._declared_fields(definition)
            return self._named[definition.node]
        return None

    def _declared_fields(self, definition: Def) -> list[str] | None:
        if isinstance(definition.node, ast.ClassDef):
            made = definition.node
            bases = [self.module.name(b) for b in made.bases]
            marks = [self.module.name(d.func if isinstance(d, ast.Call) else d) for d in made.decorator_list]
            if "typing.NamedTuple" in bases or any(m in ("dataclasses.dataclass", "dataclasses") for m in marks):
                return [
                    s.target.id for s in made.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
                ]
            return None
        value = definition.value
        if (
            self.module.call_name(value) not in ("collections.namedtuple", "typing.NamedTuple")
            if value is not None
            else True
        ):
            return None
        listed = argument(value, 1, "field_names")  # type: ignore[arg-type]
        if isinstance(listed, ast.Constant) and isinstance(listed.value, str):
            return listed.value.replace(",", " ").split()
        if isinstance(listed, (ast.List, ast.Tuple)):
            items = [i.elts[0] if isinstance(i, ast.Tuple) and i.elts else i for i in listed.elts]
            return [i.value for i in items if isinstance(i, ast.Constant) and isinstance(i.value, str)]
        return None

    # -------------------------------------------------------------- parameters

    def arguments(self, parameter: Def, calls: tuple[ast.Call, ...], fields: tuple[Field, ...]) -> Iterator[Step]:
        """What a parameter gets: at the call it was reached through, at every call site where none is known."""
        function = parameter.scope.node
        if not isinstance(function, _FUNCTIONS):
            return
        if calls:
            site, rest = calls[-1], calls[:-1]
            if function in self.objects.callees(site):
                yield from ((v, rest, f, GOOD) for v, f in self._at(site, function, parameter, fields))
            elif any(
                function is f for a in [*site.args, *[k.value for k in site.keywords]] for f in self._functions_meant(a)
            ):
                yield from ((v, rest, f, GOOD) for v, f in self._handed(site, function, parameter, fields))
            else:
                # The parameter of a function around this one: nobody knows which call made it.
                yield from (
                    (v, (), f, GOOD)
                    for site in self.objects.call_sites.get(function, [])
                    for v, f in self._at(site, function, parameter, fields)
                )
            return
        for site in self.objects.call_sites.get(function, []):
            yield from ((v, (), f, GOOD) for v, f in self._at(site, function, parameter, fields))

    def _at(
        self, site: ast.Call, function: Function, parameter: Def, fields: tuple[Field, ...]
    ) -> Iterator[tuple[Vertex, tuple[Field, ...]]]:
        arg = parameter.node
        names = [a.arg for a in self.objects.parameters(function)]
        if arg is function.args.vararg:
            for value in site.args[len(names) - len(function.args.kwonlyargs) :]:
                yield value, without_element(fields)
            return
        if parameter.name not in names:
            return
        position = names.index(parameter.name)
        for keyword in site.keywords:
            if keyword.arg == parameter.name:
                yield keyword.value, fields
                return
        for i, value in enumerate(site.args):
            if isinstance(value, ast.Starred):
                yield value.value, (position - i, *fields)
                return
            if i == position and arg not in function.args.kwonlyargs:
                yield value, fields
                return
        default = self.objects._default(function, parameter.name)
        if default is not None:
            yield default, fields

    def _handed(
        self, site: ast.Call, function: Function, parameter: Def, fields: tuple[Field, ...]
    ) -> Iterator[tuple[Vertex, tuple[Field, ...]]]:
        """A function given to `tf.map_fn(f, xs)` or `tf.py_function(f, [a, b], ...)` gets what that is given."""
        names = [a.arg for a in self.objects.parameters(function)]
        position = names.index(parameter.name) if parameter.name in names else 0
        if self.module.call_name(site) in _PY_FUNCTIONS:
            given = argument(site, 1, "inp")
            if given is not None:
                yield given, (position, *fields)
            return
        values = [a for a in [*site.args, *[k.value for k in site.keywords]] if not self._functions_meant(a)]
        for value in values:
            yield value, fields

    def _functions_meant(self, node: ast.expr) -> list[Function]:
        if isinstance(node, ast.Lambda):
            return [node]
        if isinstance(node, ast.Attribute) and self.module.classes.is_self(node.value):
            owner = self.module.class_of(node)
            method = self.module.classes.method(owner, node.attr) if owner is not None else None
            return [method] if method is not None else []
        if isinstance(node, ast.Name):
            return [
                d.node
                for d in self.module.definitions(node)
                if isinstance(d.node, (ast.FunctionDef, ast.AsyncFunctionDef))
            ]
        return []


def _is_integer(module: Module, node: ast.expr | None) -> bool:
    """Is this dtype an integer or boolean one?"""
    if node is None:
        return False
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else (module.name(node) or "")
    last = text.rpartition(".")[2]
    return last.startswith(("int", "uint", "bool"))
