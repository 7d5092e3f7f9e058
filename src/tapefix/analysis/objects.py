"""Where a value comes from: the places that make it, the functions that a call may run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from tapefix.analysis.iteration import iterated
from tapefix.analysis.scopes import Def, Function

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_DEPTH = 12
_UNDER_WAY = 40


class Objects:
    """Answers for one module; every method is memoised where that matters."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._callees: dict[ast.Call, tuple[Function, ...]] = {}
        self._busy: set[int] = set()
        self._sites: dict[Function, list[ast.Call]] | None = None
        self._sites_known = False
        self._origins_of: dict[tuple[ast.AST, int], list[ast.AST]] = {}
        self._arguments_of: dict[Def, list[ast.expr]] = {}
        self._of_self: dict[ast.Attribute, list[tuple[ast.expr, tuple[int, ...]]]] = {}

    # -------------------------------------------------------------- tables of the module

    @cached_property
    def functions(self) -> list[Function]:
        return list(self.module.all(ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))  # type: ignore[arg-type]

    @cached_property
    def returns(self) -> dict[Function, list[ast.expr]]:
        """The expressions that each function returns or yields."""
        found: dict[Function, list[ast.expr]] = {f: [] for f in self.functions}
        for function in self.functions:
            if isinstance(function, ast.Lambda):
                found[function].append(function.body)
        for node in self.module.all(ast.Return, ast.Yield):
            owner = self.module.function(node)
            value = node.value  # type: ignore[attr-defined]
            if owner is not None and value is not None:
                found[owner].append(value)
        return found

    # -------------------------------------------------------------- where values come from

    def origins(self, node: ast.AST, depth: int = _DEPTH) -> list[ast.AST]:
        """The expressions (calls, lambdas, literals) or definitions (functions, classes) that `node` may stand for.

        Follows names, attributes of self, parameters to the call sites, and what functions of the module return.
        """
        # Callees ask for origins and origins for callees: how many are under way bounds the two together.
        if depth <= 0 or id(node) in self._busy or len(self._busy) > _UNDER_WAY:
            return []
        # Only an answer that nothing under way has cut short is worth keeping.
        whole = not self._busy and self._sites_known
        if whole and (node, depth) in self._origins_of:
            return list(self._origins_of[node, depth])
        self._busy.add(id(node))
        try:
            found = self._origins(node, depth - 1)
        finally:
            self._busy.discard(id(node))
        if whole:
            self._origins_of[node, depth] = list(found)
        return found

    def _origins(self, node: ast.AST, depth: int) -> list[ast.AST]:
        if isinstance(node, ast.Name):
            found = []
            for definition in self.module.definitions(node):
                found += self.definition_origins(definition, depth)
            return found
        if isinstance(node, ast.Attribute):
            if self._is_imported(node):
                return [node]
            writes = self.attribute_values(node)
            found = []
            for value, path in writes:
                found += self.elements(value, path, depth)
            return found or [node]
        if isinstance(node, ast.Subscript):
            return self.members(node.value, depth) or [node]
        if isinstance(node, ast.IfExp):
            return self.origins(node.body, depth) + self.origins(node.orelse, depth)
        if isinstance(node, ast.NamedExpr):
            return self.origins(node.value, depth)
        if isinstance(node, ast.Call):
            callees = self.callees(node)
            if callees and not self.instance_class(node):
                found = []
                values = [value for callee in callees for value in self.returns.get(callee, [])]
                return [made for value in values for made in self.origins(value, depth)] or [node]
        return [node]

    def made_at(self, node: ast.AST, depth: int = _DEPTH) -> tuple[ast.Call, tuple[int, ...]] | None:
        """The one call, as written where the object is named, that makes it, and the position unpacked from it.

        Unlike `origins` this does not look into functions: two networks from one helper are two things.
        """
        if depth <= 0:
            return None
        found: list[tuple[ast.expr, tuple[int, ...]]] = []
        if isinstance(node, ast.Call):
            return node, ()
        if isinstance(node, ast.Name):
            for definition in self.module.definitions(node):
                if definition.kind == "parameter":
                    found += [(argument, ()) for argument in self.arguments_of(definition)]
                elif definition.kind == "assign" and definition.value is not None:
                    found.append((definition.value, definition.path))
        elif isinstance(node, ast.Attribute):
            found = self.attribute_values(node)
        made = {self._made_at_position(value, path, depth - 1) for value, path in found}
        return made.pop() if len(made) == 1 else None

    def same(self, one: ast.AST, two: ast.AST) -> bool:
        """Do two expressions surely stand for one object, also where a function made it and handed it out?"""
        first, second = self.made_at(one), self.made_at(two)
        if first is None or second is None or first == second:
            return first is not None and first == second
        made, other = self.origins(one), self.origins(two)
        if len(made) != 1 or made != other:
            return False
        # One of them is the name of the object inside the function that makes it.
        return any(place[0] is made[0] for place in (first, second))

    def _made_at_position(
        self, value: ast.expr, path: tuple[int, ...], depth: int
    ) -> tuple[ast.Call, tuple[int, ...]] | None:
        while path and isinstance(value, (ast.Tuple, ast.List)) and path[0] < len(value.elts):
            value, path = value.elts[path[0]], path[1:]
        if path:
            return (value, path) if isinstance(value, ast.Call) else None
        return self.made_at(value, depth)

    def definition_origins(self, definition: Def, depth: int = _DEPTH) -> list[ast.AST]:
        if definition.kind in ("function", "class", "import"):
            return [definition.node]
        if definition.kind == "parameter":
            return [made for argument in self.arguments_of(definition) for made in self.origins(argument, depth)]
        if definition.kind == "loop" and definition.value is not None:
            return self.members(definition.value, depth, definition.path)
        if definition.kind == "mutate":
            if depth <= 0:
                return []
            return [o for made in _before_changes(definition) for o in self.definition_origins(made, depth - 1)]
        if definition.value is not None and definition.kind in ("assign", "with"):
            return self.elements(definition.value, definition.path, depth)
        return []

    def elements(self, value: ast.expr, path: tuple[int, ...], depth: int = _DEPTH) -> list[ast.AST]:
        """The origins of what is unpacked from `value` at `path`."""
        if not path:
            return self.origins(value, depth)
        found = []
        for origin in self.origins(value, depth):
            if isinstance(origin, (ast.Tuple, ast.List)) and path[0] < len(origin.elts):
                found += self.elements(origin.elts[path[0]], path[1:], depth - 1)
        return found

    def members(self, node: ast.AST, depth: int = _DEPTH, path: tuple[int, ...] = ()) -> list[ast.AST]:
        """The origins of the things held by a list, tuple or dict."""
        found: list[ast.AST] = []
        if depth <= 0:
            return found
        sources = self.origins(node, depth)
        if isinstance(node, ast.Name):
            for definition in self.module.definitions(node):
                for mutation in definition.scope.defs.get(definition.name, []):
                    arguments = mutation.node.args if isinstance(mutation.node, ast.Call) else []
                    found += self.origins(arguments[-1], depth) if mutation.kind == "mutate" and arguments else []
        for origin in sources:
            if isinstance(origin, (ast.List, ast.Tuple, ast.Set)):
                for item in origin.elts:
                    found += (
                        self.elements(item, path, depth)
                        if not isinstance(item, ast.Starred)
                        else self.members(item.value, depth - 1, path)
                    )
            elif isinstance(origin, (ast.ListComp, ast.GeneratorExp)):
                found += self.origins(origin.elt, depth)
            elif isinstance(origin, ast.Dict):
                found += [made for value in origin.values for made in self.origins(value, depth)]
            elif isinstance(origin, ast.BinOp):
                found += self.members(origin.left, depth - 1, path) + self.members(origin.right, depth - 1, path)
            elif isinstance(origin, ast.Call) and (inner := iterated(self.module, origin, path)) is not None:
                found += self.members(inner[0], depth - 1, inner[1])
        return found

    def attribute_values(self, node: ast.Attribute) -> list[tuple[ast.expr, tuple[int, ...]]]:
        """What may have been assigned to this attribute: of self, or of an instance of a class of the module."""
        if node in self._of_self:
            return self._of_self[node]
        found = []
        for owner in self._owners(node):
            for current in self.module.classes.bases(owner):
                found += self.module.classes.attribute_writes.get((current, node.attr), [])
        if not found and node.attr in self._properties:
            getter = self.property_of(node)
            found = [(value, ()) for value in self.returns.get(getter, [])] if getter is not None else []
        if self.module.classes.is_self(node.value):
            self._of_self[node] = found
        return found

    def _owners(self, node: ast.Attribute) -> list[ast.ClassDef]:
        """The classes of the module of which this is an attribute: where it is of self, the class around it."""
        if self.module.classes.is_self(node.value):
            owner = self.module.class_of(node)
            return [owner] if owner is not None else []
        return [c for c in (self.instance_class(o) for o in self.origins(node.value, 6)) if c is not None]

    def property_of(self, node: ast.Attribute) -> ast.FunctionDef | None:
        """The method that runs when this attribute is read, where a class of the module makes it a property."""
        if node.attr not in self._properties:
            return None
        methods = (self.module.classes.method(c, node.attr) for c in self._owners(node))
        found = [m for m in methods if m is not None and _is_property(m)]
        return found[0] if found else None

    @cached_property
    def _properties(self) -> set[str]:
        return {f.name for f in self.functions if isinstance(f, ast.FunctionDef) and _is_property(f)}

    def instance_class(self, node: ast.AST) -> ast.ClassDef | None:
        """The class of this module of which `node` (a call) makes an instance."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            for definition in self.module.definitions(node.func):
                if definition.kind == "class":
                    return definition.node  # type: ignore[return-value]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            # Scaler().fit(data), where fit returns self
            owner = self.instance_class(node.func.value)
            method = self.module.classes.method(owner, node.func.attr) if owner is not None else None
            returned = self.returns.get(method, []) if method is not None else []
            return owner if returned and all(self.module.classes.is_self(value) for value in returned) else None
        return None

    # -------------------------------------------------------------- calls

    def callees(self, call: ast.Call) -> tuple[Function, ...]:
        """The functions of this module that a call may run (a class gives none, an instance its `call`)."""
        known = self._callees.get(call)
        if known is None:
            self._callees[call] = ()  # a recursion finds nothing new here
            known = self._callees[call] = tuple(dict.fromkeys(self._find_callees(call)))
        return known

    def _is_imported(self, node: ast.expr) -> bool:
        """A name of another module or of Python, or a part of one: nothing here makes it. Most of what is called is."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and all(d.kind == "import" for d in self.module.definitions(node))

    def _find_callees(self, call: ast.Call) -> Iterator[Function]:
        func = call.func
        if self._is_imported(func):
            return
        if isinstance(func, ast.Attribute):
            owners: list[ast.ClassDef] = []
            if self.module.classes.is_self(func.value):
                owner = self.module.class_of(func)
                owners = [owner] if owner is not None else []
            elif (
                isinstance(func.value, ast.Call)
                and isinstance(func.value.func, ast.Name)
                and func.value.func.id == "super"
            ):
                owner = self.module.class_of(func)
                owners = [b for b in self.module.classes.bases(owner) if b is not owner] if owner is not None else []
            else:
                origins = self.origins(func.value, 6)
                owners = [c for c in (self.instance_class(o) for o in origins) if c is not None]
                owners += [o for o in origins if isinstance(o, ast.ClassDef)]
            for owner in owners:
                method = self.module.classes.method(owner, func.attr)
                if method is not None:
                    yield method
                    return
        elif self.module.classes.is_self(func) and (owner := self.module.class_of(func)) is not None:
            method = self.module.classes.forward_method(owner)
            yield from [method] if method is not None else []
        for origin in self.origins(func, 8):
            if isinstance(origin, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                yield origin
            elif isinstance(origin, ast.Call):
                made = self.instance_class(origin)
                forward = self.module.classes.forward_method(made) if made is not None else None
                if forward is not None:
                    yield forward
                elif (
                    self.module.call_name(origin) in ("tf.function", "functools.partial", "tf.custom_gradient")
                    and origin.args
                ):
                    for inner in self.origins(origin.args[0], 4):
                        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                            yield inner

    @property
    def call_sites(self) -> dict[Function, list[ast.Call]]:
        """The calls of this module that may run each function (for a class: its __init__).

        Built in two rounds, since a function that is passed as an argument is known only by the call sites.
        """
        if self._sites is None:
            self._sites = {}
            for _ in range(2):
                self._callees.clear()
                self._sites = self._collect_sites()
            self._callees.clear()
            self._sites_known = True
        return self._sites

    def _collect_sites(self) -> dict[Function, list[ast.Call]]:
        found: dict[Function, list[ast.Call]] = {}
        for call in self.module.calls:
            for callee in self.callees(call):
                found.setdefault(callee, []).append(call)
            made = self.instance_class(call)
            start = self.module.classes.method(made, "__init__") if made is not None else None
            if start is not None:
                found.setdefault(start, []).append(call)
        return found

    def parameters(self, function: Function) -> list[ast.arg]:
        """The parameters that take arguments at a call: without self."""
        positional = [*function.args.posonlyargs, *function.args.args]
        if (
            not isinstance(function, ast.Lambda)
            and self.module.method_class(function) is not None
            and not self.module.classes.is_static(function)
        ):
            positional = positional[1:]
        return [*positional, *function.args.kwonlyargs]

    def arguments_of(self, parameter: Def) -> list[ast.expr]:
        """What call sites of this module pass for a parameter, and its default."""
        known = self._arguments_of.get(parameter)
        if known is None:
            known = self._find_arguments(parameter)
            if self._sites_known:
                self._arguments_of[parameter] = known
        return known

    def _find_arguments(self, parameter: Def) -> list[ast.expr]:
        function = parameter.scope.node
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return []
        names = [a.arg for a in self.parameters(function)]
        if parameter.name not in names:
            return []
        position = names.index(parameter.name)
        found = []
        for site in self.call_sites.get(function, []):
            for keyword in site.keywords:
                if keyword.arg == parameter.name:
                    found.append(keyword.value)
            if position < len(site.args) and not any(isinstance(a, ast.Starred) for a in site.args[: position + 1]):
                found.append(site.args[position])
        default = self._default(function, parameter.name)
        return [*found, *([default] if default is not None else [])]

    @staticmethod
    def _default(function: Function, name: str) -> ast.expr | None:
        positional = [*function.args.posonlyargs, *function.args.args]
        defaults = function.args.defaults
        for arg, default in zip(positional[len(positional) - len(defaults) :], defaults, strict=True):
            if arg.arg == name:
                return default
        for arg, value in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
            if arg.arg == name:
                return value
        return None


def _before_changes(definition: Def) -> list[Def]:
    """The definitions of what `definition` and those before it change in place, each once."""
    found: dict[Def, None] = {}
    seen = {definition}
    todo = [definition]
    while todo:
        for previous in todo.pop().previous:
            if previous in seen:
                continue
            seen.add(previous)
            if previous.kind == "mutate":
                todo.append(previous)
            else:
                found[previous] = None
    return list(found)


def _is_property(function: ast.FunctionDef) -> bool:
    return any(
        (isinstance(d, ast.Name) and d.id in ("property", "cached_property"))
        or (isinstance(d, ast.Attribute) and d.attr == "cached_property")
        for d in function.decorator_list
    )
