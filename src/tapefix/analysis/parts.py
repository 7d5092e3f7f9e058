"""What a value that left TensorFlow means to a target: all of it, a term, what a layer is fed with, or a factor."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Literal

from tapefix.analysis.exports import CHANGERS
from tapefix.analysis.paths import Paths, State
from tapefix.analysis.scopes import Def
from tapefix.analysis.values import SUMS, Mode

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# What a detour does to the loss: all of it is cut off; a term that is added; what a layer is fed with; or a
# part of a formula, which may be meant as a constant (a target, a weight, an advantage).
Part = Literal["all", "term", "fed", "factor"]


class Parts:
    """Answers for the paths to one target, of which `live` still carry a gradient."""

    def __init__(self, module: Module, paths: Paths, live: set[State]) -> None:
        self.module = module
        self.objects = module.objects
        self.training = module.training
        self.paths = paths
        self.live = live

    def of(self, start: State, modes: set[Mode]) -> set[Part]:
        """How the dead value meets living ones on its way to the target."""
        found: set[Part] = set()
        goals = set(self.paths.targets)
        seen = {(start, "all")}
        queue: list[tuple[State, Part]] = [(start, "all")]
        while queue:
            state, part = queue.pop()
            if state in goals:
                found.add(part)
            for edge in self.paths.outputs.get(state, ()):
                if edge.mode not in modes:
                    continue
                step = (edge.state, self._met(state, edge.state, part))
                if step not in seen:
                    seen.add(step)
                    queue.append(step)
        return found

    def _met(self, state: State, after: State, part: Part) -> Part:
        if part in ("factor", "fed") or (part == "all" and after not in self.live):
            return part
        vertex = after.vertex
        if isinstance(vertex, Def):
            if vertex.kind != "augment" or (vertex.value is not state.vertex and state.vertex not in vertex.previous):
                return part
            operator = getattr(vertex.node, "op", None)
            if isinstance(operator, (ast.Add, ast.Sub)):
                return "term"
            return part if not self._other_lives(state, after) else "factor"
        if isinstance(vertex, ast.BinOp):
            if isinstance(vertex.op, (ast.Add, ast.Sub)):
                return "term" if self._other_lives(state, after) else part
            # A sum that holds the dead term, times a number, is still a sum with it; times something alive it is not.
            if isinstance(vertex.op, (ast.Mult, ast.Div)) and not self._other_lives(state, after):
                return part
            return "factor"
        if isinstance(vertex, ast.Call):
            if self.objects.callees(vertex) and not any(a is state.vertex for a in vertex.args):
                return part
            if self.training.is_forward(vertex):
                return "fed"
            name = self.module.call_name(vertex)
            last = name.rpartition(".")[2] if name is not None else ""
            if last in SUMS:
                return "term"
            method = vertex.func.attr if isinstance(vertex.func, ast.Attribute) else ""
            if name is None and method in (
                "numpy",
                "item",
                "mean",
                "sum",
                "get",
                "values",
                "pop",
                "stack",
                "read",
                "write",
                "items",
                *CHANGERS,
            ):
                return part
            if name in ("zip", "list", "tuple", "reversed", "enumerate", "map", "sorted", "iter"):
                return part
            return "factor"
        return part

    def _other_lives(self, state: State, after: State) -> bool:
        return any(e.state in self.live and e.state != state for e in self.paths.inputs[after])
