"""The flow of values through a module: what a value is computed from, and what it goes into.

The graph's vertices are expressions and definitions. An edge runs from a value to what is computed from it: through
names, attributes of self, lists, helper functions, methods, closures and lambdas of the same module. It ignores what
carries no value on (shapes, dtypes, lengths, indices) and ends at `tf.stop_gradient`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def
from tapefix.analysis.tapes import argument

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

Vertex = ast.AST | Def

# Calls and attributes whose result does not carry the value of their argument on.
NO_VALUE_CALLS = {
    "tf.stop_gradient", "tf.compat.v1.stop_gradient",
    "keras.backend.stop_gradient", "keras.ops.stop_gradient", "tf.shape", "tf.size", "tf.rank",
    "keras.backend.shape", "keras.backend.int_shape", "keras.backend.ndim", "keras.ops.shape", "tf.zeros_like",
    "tf.ones_like", "np.shape", "np.ndim", "np.size", "np.zeros_like", "np.ones_like", "len", "range", "isinstance",
    "type", "print", "id", "hasattr", "tf.print",
    "keras.backend.zeros_like", "keras.backend.ones_like",
}  # fmt: skip
NO_VALUE_ATTRIBUTES = {"shape", "dtype", "ndim", "name", "path", "size", "device", "get_shape", "trainable", "losses"}
# Operations of which only some arguments carry a value that a gradient could follow: position and keyword.
VALUE_ARGUMENTS: dict[str, tuple[tuple[int, str], ...]] = {
    "one_hot": (),
    "gather": ((0, "params"),),
    "gather_nd": ((0, "params"),),
    "boolean_mask": ((0, "tensor"),),
    "where": ((1, "x"), (2, "y")),
    "embedding_lookup": ((0, "params"),),
}
# Drawing at random: the result is a choice, not a value computed from the probabilities.
_DRAWS = {
    "choice",
    "categorical",
    "multinomial",
    "integers",
    "randint",
    "choices",
    "shuffle",
    "permutation",
    "binomial",
}


class Flow:
    """The value-flow graph of one module."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.objects = module.objects
        self._inputs: dict[Vertex, tuple[Vertex, ...]] = {}

    # -------------------------------------------------------------- the graph

    def inputs(self, vertex: Vertex) -> tuple[Vertex, ...]:
        """What the value at `vertex` is directly computed from."""
        known = self._inputs.get(vertex)
        if known is None:
            known = self._inputs[vertex] = tuple(
                self._definition(vertex) if isinstance(vertex, Def) else self._expression(vertex)
            )
        return known

    def _definition(self, definition: Def) -> list[Vertex]:
        if definition.kind == "parameter":
            return [*self.objects.arguments_of(definition), *self._callback_arguments(definition)]
        found: list[Vertex] = list(definition.previous)
        if definition.kind == "mutate":
            node = definition.node
            if isinstance(node, ast.Call):
                found += [*node.args, *[k.value for k in node.keywords]]
            else:
                parent = self.module.parent(node)
                value = getattr(parent, "value", None)
                if isinstance(value, ast.expr):
                    found.append(value)
            return found
        if definition.value is not None:
            found += self.unpacked(definition.value, definition.path)
        if definition.kind in ("assign", "loop", "with"):
            # Later changes of the same object by functions that see it as an outer name.
            found += [
                d for d in definition.scope.defs.get(definition.name, []) if d.kind == "mutate" and not d.previous
            ]
        return found

    def unpacked(self, value: ast.expr, path: tuple[int, ...]) -> list[Vertex]:
        """The part of `value` that unpacking takes, where the text tells; else all of it."""
        if not path:
            return [value]
        if (
            isinstance(value, (ast.Tuple, ast.List))
            and path[0] < len(value.elts)
            and not any(isinstance(e, ast.Starred) for e in value.elts)
        ):
            return self.unpacked(value.elts[path[0]], path[1:])
        if isinstance(value, ast.Call):
            name = self.module.call_name(value)
            if name == "zip" and len(path) == 1 and path[0] < len(value.args):
                return [value.args[path[0]]]
            if name == "enumerate" and value.args:
                return [value.args[0]] if path[0] == 1 else []
            if isinstance(value.func, ast.Attribute) and value.func.attr == "items" and not value.args:
                return [value.func.value] if path[0] == 1 else []
            returned = [r for callee in self.objects.callees(value) for r in self.objects.returns.get(callee, [])]
            if returned and all(isinstance(r, ast.Tuple) and path[0] < len(r.elts) for r in returned):
                return [v for r in returned for v in self.unpacked(r.elts[path[0]], path[1:])]  # type: ignore[attr-defined]
        return [value]

    def _callback_arguments(self, parameter: Def) -> list[Vertex]:
        """A function handed to something unknown (`tf.map_fn(f, xs)`, `Lambda(f)(x)`) gets what that is given."""
        function = parameter.scope.node
        found: list[Vertex] = []
        for call, name in self._handed_over.get(function, ()):
            found += [a for a in call.args if a is not name]
            outer = self.module.parent(call)
            if isinstance(outer, ast.Call) and outer.func is call:
                found += outer.args
        return found

    @cached_property
    def _handed_over(self) -> dict[ast.AST, list[tuple[ast.Call, ast.expr]]]:
        found: dict[ast.AST, list[tuple[ast.Call, ast.expr]]] = {}
        for call in self.module.calls:
            if self.objects.callees(call):
                continue
            for passed in [*call.args, *[k.value for k in call.keywords]]:
                for function in self._functions_meant(passed):
                    found.setdefault(function, []).append((call, passed))
        return found

    def _functions_meant(self, node: ast.expr) -> list[ast.AST]:
        if isinstance(node, ast.Lambda):
            return [node]
        if isinstance(node, ast.Attribute) and self.module.classes.is_self(node.value):
            owner = self.module.class_of(node)
            method = self.module.classes.method(owner, node.attr) if owner is not None else None
            return [method] if method is not None else []
        if isinstance(node, ast.Name):
            return [d.node for d in self.module.definitions(node) if d.kind == "function"]
        return []

    def _expression(self, node: ast.AST) -> list[Vertex]:
        if isinstance(node, ast.Name):
            return list(self.module.definitions(node))
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Attribute):
            if node.attr in NO_VALUE_ATTRIBUTES:
                return []
            writes = self.objects.attribute_values(node)
            if writes:
                return [v for value, path in writes for v in self.unpacked(value, path)]
            return [node.value]
        if isinstance(node, ast.Subscript):
            return [node.value]
        if isinstance(node, ast.IfExp):
            return [node.body, node.orelse]
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            return [node.elt]
        if isinstance(node, ast.DictComp):
            return [node.value]
        if isinstance(node, ast.Dict):
            return list(node.values)
        if isinstance(node, (ast.Lambda, ast.Constant, ast.JoinedStr)):
            return []
        return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]

    def _call(self, node: ast.Call) -> list[Vertex]:
        name = self.module.call_name(node)
        if name in NO_VALUE_CALLS:
            return []
        if isinstance(node.func, ast.Attribute) and node.func.attr in _DRAWS:
            return []
        operation = self.module.op(node)
        if operation in VALUE_ARGUMENTS and (operation != "where" or len(node.args) + len(node.keywords) > 1):
            wanted = [argument(node, position, keyword) for position, keyword in VALUE_ARGUMENTS[operation]]
            return [value for value in wanted if value is not None]
        arguments: list[Vertex] = [*node.args, *[k.value for k in node.keywords]]
        callees = self.objects.callees(node)
        if callees:
            found: list[Vertex] = [value for callee in callees for value in self.objects.returns.get(callee, [])]
            if self.module.kinds.of(node.func) in ("model", "layer", "loss"):
                found += arguments
            return found
        for passed in [*node.args, *[k.value for k in node.keywords]]:
            for function in self._functions_meant(passed):
                arguments += self.objects.returns.get(function, [])  # type: ignore[call-overload]
        if isinstance(node.func, ast.Attribute) and name is None:
            arguments.append(node.func.value)
        elif isinstance(node.func, ast.Call):
            arguments.append(node.func)
        return arguments

    # -------------------------------------------------------------- reachability

    def backward(self, starts: Iterable[Vertex]) -> set[Vertex]:
        """Everything that the values at `starts` are computed from, themselves included."""
        seen: set[Vertex] = set()
        queue = list(starts)
        while queue:
            vertex = queue.pop()
            if vertex in seen:
                continue
            seen.add(vertex)
            queue.extend(self.inputs(vertex))
        return seen

    @cached_property
    def _outputs(self) -> dict[Vertex, list[Vertex]]:
        found: dict[Vertex, list[Vertex]] = {}
        vertices: list[Vertex] = [n for n in self.module.nodes if isinstance(n, ast.expr)]
        vertices += [
            d for scope in self.module.reaching.scope_of.values() for defs in scope.defs.values() for d in defs
        ]
        for vertex in vertices:
            for source in self.inputs(vertex):
                found.setdefault(source, []).append(vertex)
        return found

    def forward(self, starts: Iterable[Vertex]) -> set[Vertex]:
        """Everything that is computed from the values at `starts`, themselves included."""
        seen: set[Vertex] = set()
        queue = list(starts)
        while queue:
            vertex = queue.pop()
            if vertex in seen:
                continue
            seen.add(vertex)
            queue.extend(self._outputs.get(vertex, ()))
        return seen

    def uses(self, vertex: Vertex) -> list[Vertex]:
        """What is directly computed from the value at `vertex`."""
        return self._outputs.get(vertex, [])

    # -------------------------------------------------------------- learning

    @cached_property
    def learned(self) -> set[Vertex]:
        """Values that depend on something trainable: variables, model and layer calls, watched tensors, predictions."""
        return self.forward(self.module.training.parameters)

    @cached_property
    def toward_loss(self) -> set[Vertex]:
        """The values that some loss, tape target or layer output is computed from."""
        return self.backward(self.module.training.targets)

    def on_path(self, node: Vertex) -> bool:
        """Does `node` lie between something trainable and a loss?"""
        return node in self.learned and node in self.toward_loss
