"""Whether statements may move into the block of a tape, and what has to go along."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.scopes import Def

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_STAY = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal,
    ast.Return, ast.Raise, ast.Break, ast.Continue,
)  # fmt: skip
_BUILD_READS = {
    "trainable_variables",
    "trainable_weights",
    "variables",
    "weights",
    "summary",
    "get_weights",
    "count_params",
}
_BRANCHES = (ast.If, ast.Try, ast.Match)


class Plan(NamedTuple):
    """The statements that move, in the order of the file; `blocked` names the statement that forbids it."""

    statements: list[ast.stmt]
    blocked: ast.AST | None = None


class Moves:
    """Moving statements of one function (or the module) into `block`, which stands in the same function."""

    def __init__(self, module: Module, block: ast.With | ast.AsyncWith) -> None:
        self.module = module
        self.block = block
        self.home = module.function(block)
        # The statements around the block, from the inside out, each with the list in which it stands.
        self.chain: list[tuple[list[ast.stmt], ast.stmt]] = []
        node: ast.AST = block
        while node is not self.home and not isinstance(node, ast.Module):
            if isinstance(node, ast.stmt):
                self.chain.append((module.block(node), node))
            above = module.parent(node)
            if above is None:
                break
            node = above

    # -------------------------------------------------------------- from before the block to its start

    def lift(self, node: ast.AST, after: bool = False) -> ast.stmt | None:
        """The statement before (or after) the block, in one of the lists around it, that holds `node`."""
        for body, anchor in self.chain[:1] if after else self.chain:
            for statement in body[body.index(anchor) + 1 :] if after else body[: body.index(anchor)]:
                if self.module.inside(node, statement):
                    return statement
        return None

    def before(self) -> list[ast.stmt]:
        """All statements that run before the block in the lists around it, in the order of the file."""
        found: list[ast.stmt] = []
        for body, anchor in reversed(self.chain):
            found += body[: body.index(anchor)]
        return found

    def into_start(self, wanted: list[ast.stmt]) -> Plan:
        """May the wanted statements, which stand before the block, run first in it? With what goes along."""
        order = self.before()
        moving = set(wanted)
        changed = True
        while changed:
            changed = False
            for i, statement in enumerate(order):
                if statement in moving or not any(s in moving for s in order[:i]):
                    continue
                earlier = [s for s in order[:i] if s in moving]
                if self.reads(statement, earlier) or self._disturbs(statement, earlier):
                    moving.add(statement)
                    changed = True
        statements = [s for s in order if s in moving]
        for statement in statements:
            if self._stays(statement):
                return Plan(statements, statement)
        if len(self._lists(statements)) and (problem := self._misfit(statements)) is not None:
            return Plan(statements, problem)
        return Plan(statements)

    def _lists(self, statements: list[ast.stmt]) -> list[list[ast.stmt]]:
        return [body for body, _ in self.chain if any(s in body for s in statements)]

    def _misfit(self, statements: list[ast.stmt]) -> ast.AST | None:
        """What forbids the new place: a reader that would come too early, a value that is another one there."""
        definitions = self.definitions(statements)
        for definition in definitions:
            for use in definition.uses:
                if not any(self.module.inside(use, s) for s in statements) and not self._runs_later(use, definition):
                    return use
        loops = self._entered_loops(statements)
        for statement in statements:
            for name in _names_read(statement):
                for definition in self.module.definitions(name):
                    if definition in definitions:
                        continue
                    if (
                        loops
                        and definition.scope is self.module.scope(self.block)
                        and self._rebound_in(definition.name, loops, statements)
                    ):
                        return name
            for node in ast.walk(statement):
                for definition in self.module.reaching.bindings.get(node, ()):
                    # A sum that grows with each round, or a list that does, must start afresh in each round, too.
                    if loops and any(p not in definitions for p in definition.previous):
                        return node
        return None

    def _entered_loops(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """The loops around the block that do not stand around all of the statements."""
        return [
            anchor
            for _, anchor in self.chain
            if isinstance(anchor, (ast.For, ast.AsyncFor, ast.While))
            and not all(self.module.inside(s, anchor) for s in statements)
        ]

    def _rebound_in(self, name: str, loops: list[ast.stmt], statements: list[ast.stmt]) -> bool:
        scope = self.module.scope(self.block)
        return any(
            d.kind != "mutate"
            and any(self.module.inside(d.node, loop) for loop in loops)
            and not any(self.module.inside(d.node, s) for s in statements)
            for d in scope.defs.get(name, ())
        )

    def _runs_later(self, use: ast.Name, definition: Def) -> bool:
        """Does this reader run after the start of the block, on every way that leads to it?"""
        function = self.module.function(use)
        scope_function = self.home
        if function is not scope_function:
            inner: ast.AST = use
            while self.module.function(inner) is not scope_function:
                above = self.module.function(inner)
                if above is None:
                    return False
                inner = above
            sites = self.module.objects.call_sites.get(inner, []) if not isinstance(inner, ast.Lambda) else []  # type: ignore[call-overload]
            if isinstance(inner, ast.Lambda):
                return self._after_start(inner, definition)
            return bool(sites) and all(
                self.module.function(c) is scope_function and self._after_start(c, definition) for c in sites
            )
        return self._after_start(use, definition)

    def _after_start(self, node: ast.AST, definition: Def) -> bool:
        if self.module.inside(node, self.block):
            return not any(self.module.inside(node, item) for item in self.block.items)
        for above in self.module.ancestors(node):
            body = next((b for b, _ in self.chain if above in b or (isinstance(node, ast.stmt) and node in b)), None)
            if body is None:
                continue
            anchor = next(a for b, a in self.chain if b is body)
            statement = above if above in body else node
            if body.index(statement) <= body.index(anchor):  # type: ignore[arg-type]
                return False
            # Branches between this list and the block may not have run.
            for _, step in self.chain:
                if step is anchor:
                    return not isinstance(step, _BRANCHES)
                if isinstance(step, _BRANCHES):
                    return False
            return True
        return False

    # -------------------------------------------------------------- from after the block to its end

    def into_end(self, wanted: list[ast.stmt]) -> Plan:
        """May the wanted statements, which stand after the block in its own list, run last in it?"""
        body, anchor = self.chain[0]
        order = body[body.index(anchor) + 1 :]
        moving = set(wanted)
        changed = True
        while changed:
            changed = False
            for i, statement in enumerate(order):
                if statement in moving:
                    continue
                later = [s for s in order[i + 1 :] if s in moving]
                if later and (any(self.reads(s, [statement]) for s in later) or self._rebinds_reads(statement, later)):
                    moving.add(statement)
                    changed = True
        statements = [s for s in order if s in moving]
        for statement in statements:
            if self._stays(statement):
                return Plan(statements, statement)
        if statements:
            for statement in order[: order.index(statements[-1])]:
                if statement not in moving and any(
                    isinstance(n, (ast.Return, ast.Break, ast.Continue, ast.Raise)) for n in ast.walk(statement)
                ):
                    return Plan(statements, statement)
        return Plan(statements)

    def _rebinds_reads(self, statement: ast.stmt, later: list[ast.stmt]) -> bool:
        """Does `statement` read a name to which one of the later statements gives a new value?"""
        made = {d.name for d in self.definitions(later)}
        return any(name.id in made for name in _names_read(statement))

    # -------------------------------------------------------------- reading and writing

    def definitions(self, statements: list[ast.stmt]) -> set[Def]:
        return {
            d
            for s in statements
            for node in ast.walk(s)
            for d in self.module.reaching.bindings.get(node, ())
            if d.scope is self.module.scope(self.block)
        }

    def reads(self, statement: ast.stmt, moving: list[ast.stmt]) -> bool:
        """Does `statement` read, or change, what the moving statements make?"""
        definitions = self.definitions(moving)
        if any(d in definitions for name in _names_read(statement) for d in self.module.definitions(name)):
            return True
        if any(p in definitions for d in self.definitions([statement]) for p in d.previous):
            return True
        written = {ast.unparse(t) for s in moving for t in _attributes_written(s)}
        return bool(written) and any(
            isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load) and ast.unparse(n) in written
            for n in ast.walk(statement)
        )

    def _disturbs(self, statement: ast.stmt, moving: list[ast.stmt]) -> bool:
        """Must `statement` stay behind the moving ones, because it changes what they read or needs the model built?"""
        read = {name.id for s in moving for name in _names_read(s)}
        made = {d.name for d in self.definitions(moving)}
        if any(d.name in read or d.name in made for d in self.definitions([statement])):
            return True
        for node in ast.walk(statement):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in _BUILD_READS
                and isinstance(node.value, (ast.Name, ast.Attribute))
            ):
                spelled = ast.unparse(node.value)
                if not is_built(self.module, node.value) and any(
                    isinstance(n, ast.Call) and ast.unparse(n.func) == spelled for s in moving for n in ast.walk(s)
                ):
                    return True
        return False

    @staticmethod
    def _stays(statement: ast.stmt) -> bool:
        """Statements that mean something else in another place."""
        if isinstance(statement, _STAY):
            return True
        loops = [n for n in ast.walk(statement) if isinstance(n, (ast.For, ast.While))]
        held = {id(n) for loop in loops for n in ast.walk(loop)}
        return any(
            isinstance(n, (ast.Return, ast.Yield, ast.YieldFrom, ast.Global, ast.Nonlocal))
            or (isinstance(n, (ast.Break, ast.Continue)) and id(n) not in held)
            for n in ast.walk(statement)
        )


def is_built(module: Module, model: ast.AST) -> bool:
    """Does the text show that this model has its variables from the start (functional, or Sequential with an input)?"""
    origins = [o for o in module.objects.origins(model) if isinstance(o, ast.Call)]
    return bool(origins) and all(_built_from_start(module, o) for o in origins)


def _built_from_start(module: Module, call: ast.Call) -> bool:
    name = module.call_name(call)
    if name is None:
        return False
    if name in ("keras.Sequential", "keras.models.Sequential"):
        layers = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "layers"), None)
        elements = layers.elts if isinstance(layers, (ast.List, ast.Tuple)) else []
        added = added_layers(module, call)
        first = elements[0] if elements else added[0] if added else None
        return isinstance(first, ast.Call) and (
            (module.call_name(first) or "").rpartition(".")[2] in ("Input", "InputLayer")
            or any(k.arg in ("input_shape", "input_dim", "batch_input_shape") for k in first.keywords)
        )
    if name in ("keras.Model", "keras.models.Model"):
        return True
    return name.startswith(("keras.applications.", "keras.models."))


def added_layers(module: Module, made: ast.Call) -> list[ast.expr]:
    """The layers given to `model.add(...)`, for a model that starts empty."""
    return [
        call.args[0]
        for call in module.calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "add"
        and call.args
        and made in module.objects.origins(call.func.value)
    ]


def _names_read(node: ast.AST) -> list[ast.Name]:
    found = [n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        found.append(node.target)
    return found


def _attributes_written(statement: ast.stmt) -> list[ast.Attribute]:
    return [n for n in ast.walk(statement) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)]
