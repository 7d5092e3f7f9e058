"""TPF106: a variable is overwritten by a tensor in the update step."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def
from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.codemods.edits import ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_METHODS = {ast.Sub: "assign_sub", ast.Add: "assign_add"}
_FUNCTIONS = {"subtract": "assign_sub", "add": "assign_add"}


class VariableOverwritten(Rule):
    """The update step replaces a variable by a plain tensor.

    What it finds:
        `w = w - rate * gradient` and `w -= rate * gradient` where w is a tf.Variable, also in a loop over
        `zip(variables, gradients)`.

    Why the gradient stops:
        `w - ...` is a tensor, so after the first step the name stands for a constant that no tape watches, and the
        gradient of the second step is None. In a loop over a list the variables themselves are never changed.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable(2.0)
        for step in range(3):
            with tf.GradientTape() as tape:
                loss = tf.square(w * 3.0 - 1.0)
            gradient = tape.gradient(loss, w)
            w = w - 0.01 * gradient
        ```

    Fix safety:
        Safe: the variable gets the value that was meant.
    """

    code = "TPF106"
    name = "variable-overwritten"
    safety = "safe"
    tokens = ("GradientTape",)

    def check(self, module: Module) -> Iterator[Finding]:
        if not module.tapes.gradients:
            return
        asked = [g.call for g in module.tapes.gradients]
        for node in module.all(ast.Assign, ast.AugAssign):
            update = _update(module, node)
            if update is None:
                continue
            target, value, method = update
            if (
                module.tapes.around(node)
                or not self._from_gradient(module, value, asked)
                or not self._is_variable(module, node, target)
            ):
                continue
            if self._is_watched(module, target):
                continue
            self_or_subscript = isinstance(target, (ast.Attribute, ast.Subscript))
            if not self_or_subscript and not isinstance(node, ast.AugAssign) and not self._repeated(module, node):
                continue
            text = module.source(target)
            template = f"{text}.{method}($value)"
            yield self.finding(
                module,
                node,
                f"`{text}` is a tf.Variable and becomes a plain tensor here, which no tape watches: "
                "the next gradient is None.",
                label="overwrites the variable",
                candidates=[
                    Candidate(
                        f"update it with {method}",
                        (ReplaceStatement(module.span(node), template, {"value": module.span(value)}),),
                    )
                ],
            )
        yield from self._lists(module, asked)

    def _lists(self, module: Module, asked: list[ast.Call]) -> Iterator[Finding]:
        """`params = [p - rate * g for p, g in zip(params, gradients)]`."""
        for node in module.all(ast.Assign):
            assert isinstance(node, ast.Assign)
            comp = node.value
            if not (
                isinstance(comp, ast.ListComp)
                and len(comp.generators) == 1
                and len(node.targets) == 1
                and isinstance(node.targets[0], ast.Name)
            ):
                continue
            if (
                module.tapes.around(node)
                or comp.generators[0].ifs
                or not isinstance(comp.elt, ast.BinOp)
                or type(comp.elt.op) not in _METHODS
            ):
                continue
            name, generator, left = node.targets[0].id, comp.generators[0], comp.elt.left
            names = [n for n in ast.walk(generator.iter) if isinstance(n, ast.Name) and n.id == name]
            if not isinstance(left, ast.Name) or not names or not self._from_gradient(module, generator.iter, asked):
                continue
            if not any(
                module.kinds.made(o) == "variable" for o in module.objects.members(names[0])
            ) or not self._repeated(module, node):
                continue
            method = _METHODS[type(comp.elt.op)]
            template = f"for {module.source(generator.target)} in $pairs:\n    {left.id}.{method}($value)"
            parts = {"pairs": module.span(generator.iter), "value": module.span(comp.elt.right)}
            yield self.finding(
                module,
                node,
                f"The variables in `{name}` become plain tensors here, which no tape watches: "
                "the next gradients are None.",
                label="overwrites the variables",
                candidates=[
                    Candidate(f"update them with {method}", (ReplaceStatement(module.span(node), template, parts),))
                ],
            )

    @staticmethod
    def _is_watched(module: Module, target: ast.expr) -> bool:
        """`tape.watch(w)` at every step: then a plain tensor does as well as a variable."""
        text = ast.unparse(target)
        return any(ast.unparse(a) == text for tape in module.tapes.tapes for w in tape.watches for a in w.args)

    @staticmethod
    def _from_gradient(module: Module, value: ast.expr, asked: list[ast.Call]) -> bool:
        behind = module.flow.backward([value])
        return any(call in behind for call in asked)

    @staticmethod
    def _is_variable(module: Module, node: ast.AST, target: ast.expr) -> bool:
        """Is what is overwritten a variable, on the first round at least?"""
        origins: list[ast.AST] = []
        if isinstance(target, ast.Name):
            before = _previous(module, node, target)
            if any(d.kind == "loop" and d.value is not None and _over_variables(module, d) for d in before):
                return True
            for definition in before:
                if definition.node not in (target, node) and definition.kind in ("assign", "parameter"):
                    origins += module.objects.definition_origins(definition)
        elif isinstance(target, ast.Attribute):
            for value, path in module.objects.attribute_values(target):
                if not path:
                    origins += module.objects.origins(value)
        elif isinstance(target, ast.Subscript):
            origins = module.objects.members(target.value)
        return any(module.kinds.made(o) == "variable" for o in origins)

    @staticmethod
    def _repeated(module: Module, node: ast.AST) -> bool:
        """Does the step run more than once, so that the tensor is differentiated?"""
        for above in module.ancestors(node):
            if isinstance(above, (ast.For, ast.While)):
                return True
            if isinstance(above, (ast.FunctionDef, ast.AsyncFunctionDef)):
                return False
        return False


def _update(module: Module, node: ast.AST) -> tuple[ast.expr, ast.expr, str] | None:
    """`w = w - value`, `w -= value`, `w = tf.subtract(w, value)`: target, value and the method to do it in place."""
    if isinstance(node, ast.AugAssign) and type(node.op) in _METHODS:
        return node.target, node.value, _METHODS[type(node.op)]
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or isinstance(node.targets[0], (ast.Tuple, ast.List)):
        return None
    target, value = node.targets[0], node.value
    if isinstance(value, ast.BinOp) and type(value.op) in _METHODS and ast.unparse(value.left) == ast.unparse(target):
        return target, value.right, _METHODS[type(value.op)]
    operation = module.op(value)
    if (
        isinstance(value, ast.Call)
        and operation in _FUNCTIONS
        and len(value.args) == 2
        and ast.unparse(value.args[0]) == ast.unparse(target)
    ):
        return target, value.args[1], _FUNCTIONS[operation]
    return None


def _previous(module: Module, node: ast.AST, target: ast.Name) -> tuple[Def, ...]:
    if isinstance(node, ast.AugAssign):
        return tuple(p for d in module.reaching.bindings.get(node, ()) for p in d.previous)
    for name in ast.walk(node.value):  # type: ignore[attr-defined]
        if isinstance(name, ast.Name) and name.id == target.id and isinstance(name.ctx, ast.Load):
            return module.definitions(name)
    return ()


def _over_variables(module: Module, definition: Def) -> bool:
    """A loop variable that takes variables: `for w, g in zip(variables, gradients)`."""
    for vertex in module.flow.unpacked(definition.value, definition.path) if definition.value is not None else ():
        if not isinstance(vertex, ast.expr):
            continue
        for origin in module.objects.origins(vertex):
            if isinstance(origin, ast.Attribute) and origin.attr in VARIABLE_LISTS:
                return True
        if any(module.kinds.made(o) == "variable" for o in module.objects.members(vertex)):
            return True
    return False
