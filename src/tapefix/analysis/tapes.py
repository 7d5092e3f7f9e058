"""Tapes: the `with tf.GradientTape()` blocks, what they watch, and the gradients asked of them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_GRADIENT_METHODS = ("gradient", "jacobian", "batch_jacobian")


class GradientCall:
    """`tape.gradient(target, sources)`: `tape` is None where the tape comes from elsewhere (a parameter, say)."""

    __slots__ = ("call", "sources", "tape", "target")

    def __init__(self, call: ast.Call, tape: Tape | None, target: ast.expr, sources: ast.expr) -> None:
        self.call = call
        self.tape = tape
        self.target = target
        self.sources = sources

    @property
    def lines(self) -> range:
        """The lines of the call: a run measures a gradient at one of them."""
        return range(self.call.lineno, (self.call.end_lineno or self.call.lineno) + 1)

    def source_items(self) -> list[ast.expr]:
        """The single sources where they are written as a list, a tuple or one value."""
        return list(self.sources.elts) if isinstance(self.sources, (ast.List, ast.Tuple)) else [self.sources]


class Tape:
    """One `with tf.GradientTape(...) as name` block."""

    __slots__ = ("block", "call", "definition", "gradients", "item", "persistent", "watches")

    def __init__(
        self,
        call: ast.Call,
        block: ast.With | ast.AsyncWith,
        item: ast.withitem,
        definition: Def | None,
        persistent: bool,
    ) -> None:
        self.call = call
        self.block = block
        self.item = item
        self.definition = definition
        self.persistent = persistent
        self.watches: list[ast.Call] = []
        self.gradients: list[GradientCall] = []

    @property
    def name(self) -> str | None:
        return self.definition.name if self.definition is not None else None


class Tapes:
    """All tapes and gradient calls of one module."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.tapes: list[Tape] = []
        self.gradients: list[GradientCall] = []
        for block in module.all(ast.With, ast.AsyncWith):
            assert isinstance(block, (ast.With, ast.AsyncWith))
            for item in block.items:
                if module.call_name(item.context_expr) in ("tf.GradientTape", "tf.compat.v1.GradientTape"):
                    self.tapes.append(self._tape(block, item))
        self.tapes.sort(key=lambda tape: (tape.block.lineno, tape.call.col_offset))
        for call in module.calls:
            self._use(call)

    def _tape(self, block: ast.With | ast.AsyncWith, item: ast.withitem) -> Tape:
        call = item.context_expr
        assert isinstance(call, ast.Call)
        persistent = bool(call.args) or any(
            k.arg == "persistent" and not (isinstance(k.value, ast.Constant) and not k.value.value)
            for k in call.keywords
        )
        definition = None
        if isinstance(item.optional_vars, ast.Name):
            bound = self.module.reaching.bindings.get(item.optional_vars, [])
            definition = bound[0] if bound else None
        return Tape(call, block, item, definition, persistent)

    def _use(self, call: ast.Call) -> None:
        func = call.func
        if not isinstance(func, ast.Attribute):
            return
        if func.attr == "watch":
            tape = self.tape_of(func.value)
            if tape is not None:
                tape.watches.append(call)
        elif func.attr in _GRADIENT_METHODS:
            tape = self.tape_of(func.value)
            if tape is None and self.module.kinds.of(func.value) != "tape":
                return
            target = argument(call, 0, "target")
            sources = argument(call, 1, "sources") or argument(call, 1, "source")
            if target is None or sources is None or _is_asserted_none(self.module, call):
                return
            made = GradientCall(call, tape, target, sources)
            self.gradients.append(made)
            if tape is not None:
                tape.gradients.append(made)

    def tape_of(self, node: ast.AST) -> Tape | None:
        """The tape that a name stands for; the nearest one above where several have the same name."""
        if not isinstance(node, ast.Name):
            return None
        definitions = self.module.definitions(node)
        for definition in definitions:
            # tape = hvd.DistributedGradientTape(tape)
            made = definition.value
            if not isinstance(made, ast.Call) or not ast.unparse(made.func).endswith("GradientTape") or not made.args:
                continue
            if made.args[0] is not node and (wrapped := self.tape_of(made.args[0])) is not None:
                return wrapped
        found = [tape for tape in self.tapes if tape.definition is not None and tape.definition in definitions]
        before = [tape for tape in found if tape.block.lineno <= node.lineno]
        nearest = before or found
        return self._meant(nearest[-1], node) if nearest else None

    def _meant(self, tape: Tape, node: ast.Name) -> Tape:
        """Behind the block of an outer tape whose name an inner one has taken, the outer one is meant (TPF115)."""
        for outer in self.tapes:
            hidden = outer.name == tape.name and any(self.module.inside(tape.block, s) for s in outer.block.body)
            same = self.module.function(outer.block) is self.module.function(tape.block)
            if hidden and same and not self.module.inside(node, outer.block):
                return outer
        return tape

    def around(self, node: ast.AST) -> list[Tape]:
        """The tapes that record while `node` runs, as far as its own function shows: innermost first."""
        found = []
        for above in self.module.ancestors(node):
            for tape in reversed(self.tapes):
                if tape.block is above and not self.module.inside(node, tape.call):
                    found.append(tape)
            if isinstance(above, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                break
        return found


def _is_asserted_none(module: Module, call: ast.Call) -> bool:
    """Does the text assert that the gradient, or one of several, is None? Then it is a test, and right as it is."""
    places: list[ast.AST] = [call]
    statement = module.statement(call)
    if isinstance(statement, ast.Assign) and statement.value is call:
        for name in (n for target in statement.targets for n in ast.walk(target) if isinstance(n, ast.Name)):
            places += [use for bound in module.reaching.bindings.get(name, ()) for use in bound.uses]
    return any(_is_said_to_be_none(module, place) for place in places)


def _is_said_to_be_none(module: Module, place: ast.AST) -> bool:
    """`assert x is None`, `self.assertIsNone(x[0])`, `self.assertIs(x, None)`."""
    above = module.parent(place)
    while isinstance(above, ast.Subscript):
        place, above = above, module.parent(above)
    if isinstance(above, ast.Compare) and isinstance(module.parent(above), ast.Assert):
        return above.left is place and isinstance(above.ops[0], ast.Is) and _is_none(above.comparators[0])
    if not (isinstance(above, ast.Call) and isinstance(above.func, ast.Attribute) and place in above.args):
        return False
    return above.func.attr == "assertIsNone" or (above.func.attr == "assertIs" and _is_none(above.args[-1]))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    """An argument by position or keyword; None where it is not given (or hidden in *args)."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    if position < len(call.args) and not any(isinstance(a, ast.Starred) for a in call.args[: position + 1]):
        return call.args[position]
    return None
