"""What a tape records between its sources and its target, and what runs outside of it.

Each value is marked with how it hangs on the sources (see `marks`): `ref` (it is the source itself, or holds it: later
operations can still be recorded), `in` (computed from it while the tape records), `out` (computed from it while the
tape does not record), `cut` (computed from it while the tape records, but taken out of TensorFlow on the way).
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.marks import FUNCTIONS, Marks, Walk
from tapefix.analysis.scopes import Def, Function
from tapefix.analysis.sources import Sources, Unit
from tapefix.analysis.tapes import GradientCall

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class Road(NamedTuple):
    """How one unit is connected with the target. `outside` holds the definitions (and attribute writes) that are
    computed from it while the tape does not record, `cuts` the calls that take it out of TensorFlow."""

    unit: Unit
    marks: Marks
    outside: list[Def]
    writes: list[ast.expr]
    opaque: bool
    cuts: list[ast.Call]

    @property
    def is_starved(self) -> bool:
        """Does all that the target has of the unit leave TensorFlow on its way, as far as anyone can tell?"""
        return "cut" in self.marks and not self.marks & {"in", "ref"} and not self.opaque


class Recording:
    """The roads from the sources of one gradient call to its target.

    `extended`: as if the tape recorded until the gradient is asked for.
    """

    def __init__(
        self, module: Module, gradient: GradientCall, block: ast.With | ast.AsyncWith | Function, extended: bool = False
    ) -> None:
        self.module = module
        self.objects = module.objects
        self.gradient = gradient
        # What is recorded: the block of a tape, or a function that something like minimize() runs.
        self.block = block
        self.tape = gradient.tape
        self.home = block if isinstance(block, FUNCTIONS) else module.function(block)
        self.extended = extended
        self.run = self._functions_run(block)

    def roads(self) -> list[Road]:
        """One road for each source whose identity the text shows."""
        return [self._road(unit) for unit in Sources(self.module).units(self.gradient.sources)]

    def _road(self, unit: Unit) -> Road:
        walk = Walk(self, unit)
        marks = walk.marks()
        marks = marks - {"decay"} or frozenset({"in"} if marks else ())
        return Road(unit, marks, list(walk.outside), list(walk.writes), walk.opaque, list(walk.cuts))

    def _functions_run(self, block: ast.With | ast.AsyncWith | Function) -> set[Function]:
        found: set[Function] = {block} if isinstance(block, FUNCTIONS) else set()
        queue: list[ast.AST] = list(block.body) if isinstance(block.body, list) else [block.body]
        while queue:
            for node in ast.walk(queue.pop()):
                callees: tuple[Function | None, ...] = ()
                if isinstance(node, ast.Call):
                    callees = self.objects.callees(node)
                elif isinstance(node, ast.Attribute):
                    callees = (self.objects.property_of(node),)
                for callee in callees:
                    if callee is not None and callee not in found:
                        found.add(callee)
                        queue.append(callee)
        return found


def both_roads(module: Module, gradient: GradientCall) -> tuple[list[Road], list[Road]]:
    """The roads as recorded, and as they were if the tape recorded until the gradient is asked for."""
    assert gradient.tape is not None
    strict = Recording(module, gradient, gradient.tape.block).roads()
    if all(road.marks == {"in"} for road in strict):
        return strict, strict
    return strict, Recording(module, gradient, gradient.tape.block, True).roads()
