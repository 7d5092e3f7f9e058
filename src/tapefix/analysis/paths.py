"""Paths of values, call by call: what one value is computed from, with calls and returns matched.

`Flow` answers for a whole module at once and mixes the call sites of a helper. Here a state is a vertex of the flow,
the calls through which it was reached and the part of a container that is wanted of it, so that a helper
used on data and on predictions, or a record of (log_prob, value, reward), gives each reader only its own values.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.flow import Vertex
from tapefix.analysis.pathcalls import CallInputs
from tapefix.analysis.scopes import Def
from tapefix.analysis.values import ELEMENT, FLAT, GOOD, NO_VALUE_ATTRIBUTES, Field, Mode, without_element

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_MOST_STATES = 12000
_MOST_FIELDS = 4


class State(NamedTuple):
    """A value: the vertex, the calls that lead to it (outermost first) and the part of it that is wanted."""

    vertex: Vertex
    calls: tuple[ast.Call, ...] = ()
    fields: tuple[Field, ...] = ()


class Edge(NamedTuple):
    state: State
    mode: Mode


class Paths:
    """Everything that `targets` are computed from. `ends` says where the search need not go further."""

    def __init__(self, module: Module, targets: list[Vertex], ends: Callable[[Vertex], bool]) -> None:
        self.module = module
        self.objects = module.objects
        self._calls = CallInputs(module)
        self.targets = [State(target) for target in targets]
        self.inputs: dict[State, list[Edge]] = {}
        self.outputs: dict[State, list[Edge]] = {}
        self.complete = True
        queue = list(self.targets)
        while queue:
            state = queue.pop()
            if state in self.inputs:
                continue
            if len(self.inputs) >= _MOST_STATES:
                self.complete = False
                return
            self.inputs[state] = [] if ends(state.vertex) else list(self._inputs(state))
            for edge in self.inputs[state]:
                self.outputs.setdefault(edge.state, []).append(Edge(state, edge.mode))
                queue.append(edge.state)

    def reach(
        self, starts: list[State], modes: set[Mode], enter: Callable[[State], bool] = lambda state: True
    ) -> set[State]:
        """What is computed from `starts` along edges of these modes, through states that may be entered."""
        seen = set(starts)
        queue = list(starts)
        while queue:
            for edge in self.outputs.get(queue.pop(), ()):
                if edge.mode in modes and edge.state not in seen and enter(edge.state):
                    seen.add(edge.state)
                    queue.append(edge.state)
        return seen

    def sources(
        self, starts: list[State], modes: set[Mode], enter: Callable[[State], bool] = lambda state: True
    ) -> set[State]:
        """What `starts` are computed from along edges of these modes, through states that may be entered."""
        seen = set(starts)
        queue = list(starts)
        while queue:
            for edge in self.inputs.get(queue.pop(), ()):
                if edge.mode in modes and edge.state not in seen and enter(edge.state):
                    seen.add(edge.state)
                    queue.append(edge.state)
        return seen

    # -------------------------------------------------------------- edges

    def _inputs(self, state: State) -> Iterator[Edge]:
        seen = set()
        steps = self._definition(state) if isinstance(state.vertex, Def) else self._expression(state)
        for vertex, calls, fields, mode in steps:
            edge = Edge(State(vertex, calls, fields[:_MOST_FIELDS]), mode)
            if edge not in seen and edge.state != state:
                seen.add(edge)
                yield edge

    def _definition(self, state: State) -> Iterator[tuple[Vertex, tuple[ast.Call, ...], tuple[Field, ...], Mode]]:
        definition, calls, fields = state
        assert isinstance(definition, Def)
        if definition.kind == "parameter":
            yield from self._calls.arguments(definition, calls, fields)
            return
        for previous in definition.previous:
            yield previous, calls, fields, GOOD
        if definition.kind == "mutate":
            node = definition.node
            if isinstance(node, ast.Call):
                # `v.assign(x)` gives v a new value, but no gradient flows through it to x.
                method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                if not method.startswith("assign"):
                    inside = fields if method in ("extend", "update") else without_element(fields)
                    for argument in [*node.args[-1:], *[k.value for k in node.keywords]]:
                        yield argument, calls, inside, GOOD
            else:
                value = getattr(self.module.parent(node), "value", None)
                if isinstance(value, ast.expr):
                    yield value, calls, without_element(fields), GOOD
            return
        if definition.value is not None:
            inside = (*definition.path, *fields)
            yield definition.value, calls, (ELEMENT, *inside) if definition.kind == "loop" else inside, GOOD
        if definition.kind in ("assign", "loop", "with"):
            for other in definition.scope.defs.get(definition.name, []):
                if other.kind == "mutate" and not other.previous:
                    yield other, calls, fields, GOOD

    def _expression(self, state: State) -> Iterator[tuple[Vertex, tuple[ast.Call, ...], tuple[Field, ...], Mode]]:
        node, calls, fields = state
        if isinstance(node, ast.Name):
            for definition in self.module.definitions(node):
                yield definition, calls, fields, GOOD
        elif isinstance(node, ast.Call):
            yield from self._calls.inputs(node, calls, fields)
        elif isinstance(node, ast.Attribute):
            if node.attr in NO_VALUE_ATTRIBUTES:
                return
            writes = self.objects.attribute_values(node)
            for value, path in writes:
                listed = (
                    isinstance(value, ast.List)
                    and value not in self.module.reaching.bindings
                    and self.module.parent(value) is None
                )
                inside = without_element(fields) if listed else fields
                yield (value.elts[0] if listed else value), calls, (*path, *inside), GOOD  # type: ignore[attr-defined]
            if not writes and not self.module.classes.is_self(node.value):
                yield node.value, calls, (node.attr, *fields), GOOD
        elif isinstance(node, ast.Subscript):
            yield node.value, calls, self._picked(node, fields), GOOD
        elif isinstance(node, ast.BinOp):
            if not isinstance(node.op, ast.FloorDiv):
                inside = fields if isinstance(node.op, ast.Add) else ()
                yield node.left, calls, inside, GOOD
                yield node.right, calls, inside, GOOD
        elif isinstance(node, ast.IfExp):
            yield node.body, calls, fields, GOOD
            yield node.orelse, calls, fields, GOOD
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            yield node.elt, calls, without_element(fields), GOOD
        elif isinstance(node, (ast.DictComp, ast.NamedExpr, ast.Starred, ast.UnaryOp, ast.Await)):
            value = node.operand if isinstance(node, ast.UnaryOp) else node.value
            yield value, calls, without_element(fields) if isinstance(node, ast.DictComp) else fields, GOOD
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if (
                    not fields
                    or not isinstance(key, ast.Constant)
                    or not isinstance(fields[0], str)
                    or fields[0] == ELEMENT
                    or key.value == fields[0]
                ):
                    yield value, calls, without_element(fields) if key is not None else fields, GOOD
        elif isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            wanted = fields[0] if fields else ELEMENT
            plain = not any(isinstance(e, ast.Starred) for e in node.elts)
            chosen = [node.elts[wanted]] if isinstance(wanted, int) and plain and wanted < len(node.elts) else node.elts
            for item in chosen:
                yield item, calls, fields if isinstance(item, ast.Starred) else without_element(fields), GOOD
        elif isinstance(node, ast.Compare):
            for item in (node.left, *node.comparators):
                yield item, calls, (), FLAT
        elif isinstance(node, ast.BoolOp):
            for item in node.values:
                yield item, calls, fields, GOOD

    @staticmethod
    def _picked(node: ast.Subscript, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        index = node.slice
        if isinstance(index, ast.Constant) and isinstance(index.value, (int, str)):
            return (index.value, *fields)
        if isinstance(index, ast.Slice):
            return fields
        return (ELEMENT, *fields) if isinstance(index, (ast.Name, ast.UnaryOp)) else ()
