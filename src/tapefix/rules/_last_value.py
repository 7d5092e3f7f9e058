"""The value that a block computes last, and the edits that return it."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.control import own_nodes
from tapefix.analysis.scopes import Def, Function
from tapefix.codemods.edits import Edit, Insert, ReplaceStatement

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Calls that are made for what they do: what they return is not what a function computes.
_EFFECT_ROOTS = (
    "logging.",
    "warnings.",
    "plt.",
    "matplotlib.",
    "tf.summary.",
    "tf.debugging.",
    "wandb.",
    "mlflow.",
    "os.",
    "sys.",
    "time.",
    "gc.",
)
_EFFECT_METHODS = {
    "apply_gradients", "update_state", "reset_state", "reset_states", "add_loss", "add_metric", "write", "close",
    "flush", "watch", "assign", "assign_add", "assign_sub", "info", "debug", "warning", "error", "log",
    "set_weights", "save", "save_weights", "set_shape", "assert_has_rank", "train_on_batch", "fit", "evaluate",
    "super", "start", "stop", "join", "put", "print", "scalar", "set_description", "reset",
}  # fmt: skip
# Methods that change the object that they are called on: the object is what the function made.
_BUILDERS = {"compile", "add", "append", "extend", "summary", "build", "load_weights", "insert"}
_ARITHMETIC = (ast.BinOp, ast.UnaryOp, ast.Subscript)
_LITERALS = (ast.Dict, ast.Tuple, ast.List)
# What a function is called that is called for what it does.
_DOES = re.compile(
    r"_*(add|append|apply|assert|assign|build|check|clear|display|init|log|maybe_build|monitor|notify|plot|print|raise|"
    r"record|register|report|reset|save|set|show|store|summar|super|update|validate|verify|warn|write)(_|[A-Z]|\d|$)"
)


class Last(NamedTuple):
    """The value computed last: the statement that computes it, its text (a name), and the edits that return it.

    `dead` says that nothing reads the value, so it can only have been meant as the result.
    """

    node: ast.AST
    text: str
    edits: tuple[Edit, ...]
    dead: bool


class LastValue:
    """Finds the last values of one function."""

    def __init__(self, module: Module, function: Function, expected: int = 0, *, needed: bool = False) -> None:
        self.module = module
        self.function = function
        # How many values a caller unpacks; 0 where it takes one.
        self.expected = expected
        # Does Keras itself use the result? Then a bare call at the end is there for its value, whatever it calls.
        self.needed = needed

    def of(self, block: list[ast.stmt]) -> Last | None:
        """The value that `block` computes last, with the edits that return it at the block's end."""
        tail = block[-1]
        bare = isinstance(tail, ast.Return) and tail.value is None
        work = block[:-1] if bare else block
        printed = self._printed(work[-1]) if work else None
        while work and self._is_effect(work[-1]):
            work = work[:-1]
        found = self._of_print(printed, tail, bare) if printed is not None else None
        if found is not None and isinstance(printed, ast.Name):
            return found
        computed = self._of_work(work, tail, bare) if work else None
        if found is None or computed is None:
            return computed or found
        # A value that is computed in the print itself is meant where nothing before it waits to be used.
        read = {node.id for node in ast.walk(printed) if isinstance(node, ast.Name)} if printed is not None else set()
        return computed if computed.dead and computed.text not in read else found

    def unread(self, block: list[ast.stmt]) -> Last | None:
        """The one value that `block` computes and nothing reads, wherever it stands: `result = function(*args)`."""
        found = [
            (name, statement)
            for statement in block
            if isinstance(statement, (ast.Assign, ast.AnnAssign))
            and (name := self._name_of(statement)) is not None
            and name.isidentifier()
            and name not in self._outer_names
            and self._is_dead(name, statement)
        ]
        if len(found) != 1 or isinstance(block[-1], ast.Return):
            return None
        return self._named(*found[0], block[-1], False)

    @property
    def _outer_names(self) -> set[str]:
        """Names that the function gives values to for others."""
        return {name for n in own_nodes(self.function) if isinstance(n, (ast.Global, ast.Nonlocal)) for name in n.names}

    def _of_work(self, work: list[ast.stmt], tail: ast.stmt, bare: bool) -> Last | None:
        """The value of the last statement that is there for its value; `tail` is the block's last of all."""
        last = work[-1]
        if isinstance(last, ast.If):
            return self._of_branches(last, tail, bare)
        if isinstance(last, (ast.With, ast.AsyncWith)):
            inner = self._name_of(last.body[-1])
            if inner is not None:
                return self._named(inner, last.body[-1], tail, bare)
            return None if bare or last is not tail else self.of(last.body)
        if isinstance(last, ast.Expr):
            return self._of_expression(last, tail, bare)
        name = self._name_of(last)
        return self._named(name, last, tail, bare) if name is not None else None

    # -------------------------------------------------------------- single statements

    def _name_of(self, statement: ast.stmt) -> str | None:
        """The name that holds what `statement` computes."""
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            target = statement.targets[-1] if isinstance(statement, ast.Assign) else statement.target
            if (
                isinstance(target, ast.Name)
                and not target.id.startswith("_")
                and not isinstance(statement.value, ast.Constant)
            ):
                return target.id if self.expected < 2 else None
            if (
                isinstance(target, (ast.Tuple, ast.List))
                and self.expected == len(target.elts)
                and all(isinstance(e, ast.Name) for e in target.elts)
            ):
                return ", ".join(e.id for e in target.elts)  # type: ignore[attr-defined]
            # outputs["total"] = ...
            if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and self.expected < 2:
                return target.value.id if self._is_filled(target) else None
            return None
        if isinstance(statement, (ast.For, ast.While)):
            return self._accumulated(statement)
        return None

    def _is_filled(self, place: ast.Subscript) -> bool:
        """Is this a part of a container that the function is given or makes?"""
        return isinstance(place.slice, ast.Constant) and isinstance(place.slice.value, str)

    def _accumulated(self, loop: ast.For | ast.While) -> str | None:
        """The one name that a loop carries on from round to round, made before it."""
        before = {
            d.name for d in self._definitions() if d.node is not loop and getattr(d.node, "lineno", 0) < loop.lineno
        }
        found: list[str] = []
        for node in own_nodes(loop):
            name = None
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                own = node.targets[0].id
                if any(isinstance(inner, ast.Name) and inner.id == own for inner in ast.walk(node.value)):
                    name = own
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
                name = node.func.value.id if isinstance(node.func.value, ast.Name) else None
            if name is not None and name in before and name not in found:
                found.append(name)
        return found[0] if len(found) == 1 else None

    def _definitions(self) -> list[Def]:
        scope = self.module.reaching.scope_of.get(self.function)
        return [d for defs in scope.defs.values() for d in defs] if scope is not None else []

    def _of_expression(self, statement: ast.Expr, tail: ast.stmt, bare: bool) -> Last | None:
        value = statement.value
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in _BUILDERS:
            receiver = value.func.value
            if isinstance(receiver, ast.Name) and receiver.id in {
                d.name for d in self._definitions() if d.kind == "assign"
            }:
                return self._named(receiver.id, statement, tail, bare)
            return None
        several = isinstance(value, ast.Tuple) and len(value.elts) == self.expected
        if not self.is_value(value) or (self.expected > 1 and not several):
            return None
        if statement is not tail:
            # Something is printed or logged after it: the value needs a name until then.
            name = self._free_name()
            first = ReplaceStatement(
                self.module.span(statement), f"{name} = $value", {"value": self.module.span(value)}
            )
            span = self.module.span(tail)
            last: Edit = ReplaceStatement(span, f"return {name}") if bare else Insert(span, "after", f"return {name}")
            return Last(statement, name, (first, last), True)
        edit = ReplaceStatement(self.module.span(statement), "return $value", {"value": self.module.span(value)})
        return Last(statement, self.module.source(value), (edit,), True)

    def is_value(self, node: ast.expr) -> bool:
        """Is a bare expression there for its value: a layer's call, an operation, arithmetic?"""
        if isinstance(node, (*_ARITHMETIC, *_LITERALS)):
            return True
        if not isinstance(node, ast.Call):
            return isinstance(node, ast.Name) or (self.needed and isinstance(node, ast.Attribute))
        if any(gradient.call is node for gradient in self.module.tapes.gradients) or self._is_wrapped_call(node):
            return True
        name = self.module.call_name(node)
        if (
            self.module.op(node) is not None
            or self.module.numpy_op(node) is not None
            or self.module.training.is_forward(node)
        ):
            return not (isinstance(node.func, ast.Attribute) and node.func.attr in _EFFECT_METHODS)
        if name is not None and name.startswith(("tf.", "keras.")):
            return not name.startswith(_EFFECT_ROOTS)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _EFFECT_METHODS:
            return False
        callees = self.module.objects.callees(node)
        if not callees and self.needed:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            return bool(node.args) and _DOES.match(called) is None and called not in _BUILDERS
        return bool(callees) and all(self.module.objects.returns.get(callee) for callee in callees)

    def _is_wrapped_call(self, node: ast.Call) -> bool:
        """`fn(*args, **kwargs)` in a decorator's inner function."""
        if not isinstance(node.func, ast.Name) or not any(isinstance(a, ast.Starred) for a in node.args):
            return False
        outer = self.module.function(self.function)
        return any(d.kind == "parameter" and d.scope.node is outer for d in self.module.definitions(node.func))

    def _named(self, name: str, statement: ast.stmt, tail: ast.stmt, bare: bool) -> Last:
        span = self.module.span(tail)
        edit: Edit = ReplaceStatement(span, f"return {name}") if bare else Insert(span, "after", f"return {name}")
        return Last(statement, name, (edit,), self._is_dead(name, statement))

    def _is_dead(self, name: str, statement: ast.stmt) -> bool:
        """Does nothing but printing read what `statement` gave `name`?"""
        if isinstance(statement, (ast.For, ast.While, ast.Expr)):
            return True
        for definition in self._definitions():
            if definition.name in name.split(", ") and self.module.inside(definition.node, statement):
                uses = [u for u in definition.uses if not self._is_effect(self.module.statement(u))]
                if uses:
                    return False
        return True

    def _free_name(self) -> str:
        scope = self.module.reaching.scope_of[self.function]
        return "result" if not scope.lookup("result") else "result_"

    # -------------------------------------------------------------- print and other effects

    def _printed(self, statement: ast.stmt) -> ast.expr | None:
        """`x` of a last statement `print(x)`."""
        if isinstance(statement, ast.Expr) and self.module.call_name(statement.value) in ("print", "tf.print"):
            values = [a for a in statement.value.args if not _is_text(a)]  # type: ignore[attr-defined]
            return values[0] if len(values) == 1 else None
        return None

    def _of_print(self, value: ast.expr, tail: ast.stmt, bare: bool) -> Last | None:
        statement = self.module.statement(value)
        if isinstance(value, ast.Name):
            made = [
                d
                for d in self.module.definitions(value)
                if d.kind in ("assign", "augment") and d.scope.node is self.function
            ]
            return self._named(value.id, self.module.statement(made[-1].node), tail, bare) if made else None
        if bare or statement is not tail or not self.is_value(value) or isinstance(value, ast.Subscript):
            return None
        call = statement.value  # type: ignore[attr-defined]
        if call.keywords:
            return None
        name = self._free_name()
        shown = ", ".join(name if argument is value else self.module.source(argument) for argument in call.args)
        template = f"{name} = $value\n{self.module.source(call.func)}({shown})\nreturn {name}"
        edits = (ReplaceStatement(self.module.span(statement), template, {"value": self.module.span(value)}),)
        return Last(statement, name, edits, True)

    def _is_effect(self, statement: ast.stmt) -> bool:
        if isinstance(statement, (ast.Pass, ast.Assert, ast.Delete, ast.Import, ast.ImportFrom)):
            return True
        if not isinstance(statement, ast.Expr):
            return False
        value = statement.value
        if isinstance(value, ast.Constant):
            return True
        if not isinstance(value, ast.Call):
            return False
        name = self.module.call_name(value) or ""
        if name in ("print", "tf.print") or name.startswith(_EFFECT_ROOTS):
            return True
        return (
            isinstance(value.func, ast.Attribute)
            and value.func.attr in _EFFECT_METHODS
            and self.module.op(value) is None
        )

    # -------------------------------------------------------------- branches

    def _of_branches(self, branch: ast.If, tail: ast.stmt, bare: bool) -> Last | None:
        blocks = self.branches(branch)
        names = {self._name_of(block[-1]) for block in blocks if not isinstance(block[-1], ast.Raise)}
        name = next(iter(names)) if len(names) == 1 else None
        if name is not None:
            known = {d.name for d in self._definitions() if getattr(d.node, "lineno", 0) < branch.lineno}
            if has_else(branch) or set(name.split(", ")) <= known:
                return self._named(name, blocks[0][-1], tail, bare)
            return None
        if bare or tail is not branch or not has_else(branch):
            return None
        found = [self.of(block) for block in blocks if not isinstance(block[-1], (ast.Raise, ast.Return))]
        if not found or any(last is None for last in found):
            return None
        edits = tuple(edit for last in found if last is not None for edit in last.edits)
        return Last(branch, "the value of each branch", edits, all(last.dead for last in found if last is not None))

    def branches(self, branch: ast.If) -> list[list[ast.stmt]]:
        """The blocks of an if / elif / else chain."""
        if len(branch.orelse) == 1 and isinstance(branch.orelse[0], ast.If):
            return [branch.body, *self.branches(branch.orelse[0])]
        return [branch.body, branch.orelse] if branch.orelse else [branch.body]


def _is_text(node: ast.expr) -> bool:
    """A string, also one with values put in: `"loss %.3f" % loss`, `"loss {}".format(loss)`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mod, ast.Add)):
        return _is_text(node.left)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return _is_text(node.func.value)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def has_else(branch: ast.If) -> bool:
    if len(branch.orelse) == 1 and isinstance(branch.orelse[0], ast.If):
        return has_else(branch.orelse[0])
    return bool(branch.orelse)
