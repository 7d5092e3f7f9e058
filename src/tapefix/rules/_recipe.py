"""How a value is computed from what its function knows, written so that it can be computed again elsewhere."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def, Scope
from tapefix.rules._text import enclosed, rewritten

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_DRAWS = {
    "categorical", "sample", "normal", "uniform", "choice", "choices", "multinomial", "randint", "integers", "random",
    "shuffle", "bernoulli", "permutation", "rand", "randn", "truncated_normal", "stateless_categorical",
    "stateless_normal", "stateless_uniform",
}  # fmt: skip
_FLAT = {"argmax", "argmin", "int", "round", "cast", "top_k"}
_CHANGES = {"append", "extend", "insert", "pop", "assign", "assign_add", "assign_sub", "add", "update", "step", "reset"}


class Recipe:
    """How a stored value is computed: its text, and the local values that have to be kept for it."""

    def __init__(self) -> None:
        self.leaves: dict[str, tuple[Def, ...]] = {}
        self.inlined = 0


def recomputed(
    module: Module, node: ast.expr, append: ast.Call, home: ast.FunctionDef, outside: set[Def], recipe: Recipe,
    read: ast.expr,
) -> str | None:  # fmt: skip
    """The text of `node` as it can stand where the list is read; what is not known there becomes a leaf."""
    changes: dict[ast.AST, str] = {}
    for part in ast.walk(node):
        if isinstance(part, (ast.Lambda, ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp, ast.NamedExpr)):
            return None
        if isinstance(part, ast.Call) and (draws(part) or _has_effects(module, part)):
            return None
        if not isinstance(part, ast.Name):
            continue
        if module.classes.is_self(part):
            if module.class_of(read) is not module.class_of(node) or _self_name(module, read) != part.id:
                return None
            continue
        definitions = module.definitions(part)
        if not any(d.scope.node is home for d in definitions):
            if any(part.id in s.defs for s in _scopes(module, read) if s is not module.reaching.module):
                return None  # another value has this name there
            if any(d.scope is not module.reaching.module for d in definitions):
                return None
            continue
        if len(definitions) == 1 and definitions[0] in outside and _computed(module, definitions[0]):
            definition = definitions[0]
            assert definition.value is not None
            if not _before(module, definition, append, home):
                return None
            inner = recomputed(module, definition.value, append, home, outside, recipe, read)
            if inner is None:
                return None
            recipe.inlined += 1
            inner = enclosed(module, definition.value, inner, part)
            changes[part] = inner + "".join(f"[{i}]" for i in definition.path)
        else:
            if any(d in outside and not _chosen(module, d) for d in definitions):
                return None
            if recipe.leaves.setdefault(part.id, definitions) != definitions:
                return None
            if _rebound(module, part, append, home):
                return None
    return rewritten(module, node, changes)


def _computed(module: Module, definition: Def) -> bool:
    """Can this local value be computed again from what it is made of?"""
    value = definition.value
    return definition.kind == "assign" and value is not None and not _chosen(module, definition)


def _chosen(module: Module, definition: Def) -> bool:
    """Is the value drawn at random, or a choice without a gradient, so that it must be kept as it is?"""
    value = definition.value
    return value is not None and any(
        isinstance(n, ast.Call) and (draws(n) or _last(n) in _FLAT) for n in ast.walk(value)
    )


def _last(call: ast.Call) -> str:
    func = call.func
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def draws(call: ast.Call) -> bool:
    """Does the call draw at random?"""
    return _last(call) in _DRAWS


def _has_effects(module: Module, call: ast.Call) -> bool:
    """Does the call change something, so that it must not run a second time?"""
    if isinstance(call.func, ast.Attribute) and call.func.attr in _CHANGES:
        return True
    for callee in module.objects.callees(call):
        for node in ast.walk(callee):
            if isinstance(node, ast.Call) and _last(node) in _CHANGES | _DRAWS:
                return True
            if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
                return True
    return False


def _before(module: Module, definition: Def, append: ast.Call, home: ast.FunctionDef) -> bool:
    """Is the value made in the same round as it is stored?"""
    block = module.block(module.statement(definition.node))
    return module.statement(append) in block and line_of(definition) <= append.lineno


def _rebound(module: Module, name: ast.Name, append: ast.Call, home: ast.FunctionDef) -> bool:
    """Has the name got another value between this use and the append?"""
    scope = module.reaching.scope_of[home]
    return any(
        name.lineno <= line_of(d) <= append.lineno and d.kind != "mutate"
        for d in scope.defs.get(name.id, ())
        if d not in module.definitions(name)
    )


def line_of(definition: Def) -> int:
    return getattr(definition.node, "lineno", 0)


def _self_name(module: Module, node: ast.AST) -> str | None:
    for function in module.ancestors(node):
        if isinstance(function, ast.FunctionDef) and module.method_class(function) is not None:
            return function.args.args[0].arg if function.args.args else None
    return None


def _scopes(module: Module, node: ast.AST) -> list[Scope]:
    scope: Scope | None = module.scope(node)
    found = []
    while scope is not None:
        found.append(scope)
        scope = scope.parent
    return found
