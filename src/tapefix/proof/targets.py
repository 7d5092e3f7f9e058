"""What to exercise of a module that runs nothing: the functions and classes with findings, and losses."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tapefix.analysis.module import Module
from tapefix.analysis.training import LOSS_NAME
from tapefix.findings import Finding

MOST = 20
_MODELS = ("Model", "Sequential", "Functional")
_KINDS = ("layer", "model", "loss")


@dataclass(frozen=True, slots=True)
class Target:
    """A function or class at the top of a module, for the child to exercise.

    `method` is set where it is no plain call of an object that tells. `callers` are tried where it cannot be called
    itself. `tape`: it asks for gradients itself. `factory`: what it returns is to be called. `edges`: also with
    values at the ends of their range.
    """

    name: str
    line: int
    method: str
    callers: tuple[str, ...]
    tape: bool
    factory: bool
    loss: bool
    edges: bool

    @property
    def label(self) -> str:
        return f"{self.name}.{self.method}" if self.method else self.name

    def message(self, choice: Any) -> dict[str, Any]:
        """As the child reads it; `choice` are the inputs of an earlier run, None to look for some."""
        return {**{name: getattr(self, name) for name in (*self.__slots__, "label")}, "choice": choice}


def targets(text: str, findings: Iterable[Finding]) -> tuple[Target, ...]:
    """The targets of a module, () where it has none."""
    module = Module(text)
    found: dict[str, Target] = {}
    blamed: dict[str, list[Finding]] = {}
    for finding in findings:
        place = _place(module, finding.span.line)
        if place is not None:
            target = _target(module, *place)
            found.setdefault(target.label, target)
            blamed.setdefault(target.label, []).append(finding)
    for label, said in blamed.items():
        target = found[label]
        node = _top(module, target.name)
        kind = module.classes.kind(node) if isinstance(node, ast.ClassDef) else None
        if not (target.loss or target.tape or kind in _KINDS or any(one.certain for one in said)):
            del found[label]
        elif any(one.certain and one.numeric for one in said):
            found[label] = Target(**{**_fields(target), "edges": True})
    for node in _losses(module):
        target = _target(module, node, None)
        found.setdefault(target.label, target)
    return tuple(found.values())[:MOST]


def label_of(text: str, line: int) -> str | None:
    """The label of the target that a line belongs to, None outside of functions and classes."""
    module = Module(text)
    place = _place(module, line)
    return _target(module, *place).label if place is not None else None


def _fields(target: Target) -> dict[str, Any]:
    return {name: getattr(target, name) for name in target.__slots__}


def _tops(module: Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """The functions and classes at the top, also those in a `try` or an `if` there."""
    blocks: list[list[ast.stmt]] = [module.tree.body]
    while blocks:
        for node in blocks.pop():
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                yield node
            elif isinstance(node, (ast.If, ast.Try)):
                blocks += [node.body, node.orelse]


def _top(module: Module, name: str) -> ast.AST | None:
    return next((node for node in _tops(module) if node.name == name), None)


def _place(module: Module, line: int) -> tuple[ast.FunctionDef | ast.ClassDef, ast.FunctionDef | None] | None:
    """The function or class at the top around a line, and the method in it."""
    for node in _tops(module):
        first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        if first <= line <= (node.end_lineno or node.lineno):
            methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
            around = [m for m in methods if m.lineno <= line <= (m.end_lineno or m.lineno)]
            return node, around[0] if around and isinstance(node, ast.ClassDef) else None
    return None


def _target(module: Module, node: ast.FunctionDef | ast.ClassDef, method: ast.FunctionDef | None) -> Target:
    called = node
    name = ""
    if isinstance(node, ast.ClassDef) and method is not None:
        steps = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
        if _has_tape(method) or method.name == "train_step" or not steps & {"call", "__call__"}:
            called, name = method, method.name
        if name in ("__init__", "build") or module.classes.kind(node) == "loss":
            called, name = node, ""
            if "train_step" in steps and not steps & {"call", "__call__"}:
                name = "train_step"
    callers = [] if name else [one.name for one in _tops(module) if one is not node and _mentions(one, node.name)]
    return Target(
        node.name,
        node.lineno,
        name,
        tuple(callers[:4]),
        isinstance(called, ast.FunctionDef) and _has_tape(called),
        isinstance(node, ast.FunctionDef) and _makes(node),
        LOSS_NAME.search(node.name) is not None
        or (isinstance(node, ast.ClassDef) and module.classes.kind(node) == "loss")
        or any(isinstance(one, ast.FunctionDef) and LOSS_NAME.search(one.name) for one in ast.walk(node)),
        edges=False,
    )


def _has_tape(node: ast.AST) -> bool:
    return any(
        isinstance(one, (ast.Attribute, ast.Name)) and getattr(one, "attr", getattr(one, "id", "")) == "GradientTape"
        for one in ast.walk(node)
    )


def _mentions(node: ast.AST, name: str) -> bool:
    return any(isinstance(one, ast.Name) and one.id == name for one in ast.walk(node))


def _makes(node: ast.FunctionDef) -> bool:
    """Does it return a function of its own, or a model?"""
    inner = {one.name for one in ast.walk(node) if isinstance(one, (ast.FunctionDef, ast.ClassDef)) and one is not node}
    models = {
        name.id
        for one in ast.walk(node)
        if isinstance(one, ast.Assign) and _is_model(one.value)
        for name in one.targets
        if isinstance(name, ast.Name)
    }
    first = node.args.args[0].arg if node.args.args else ""
    for one in ast.walk(node):
        if not isinstance(one, ast.Return) or one.value is None:
            continue
        for part in ast.walk(one.value) if isinstance(one.value, (ast.Tuple, ast.Call)) else [one.value]:
            if isinstance(part, ast.Lambda) or (isinstance(part, ast.Name) and part.id in inner):
                return True
            if (isinstance(part, ast.Name) and part.id in models) or _is_model(part):
                return first not in ("x", "inputs", "input", "input_tensor", "inp")
    return False


def _is_model(node: ast.AST) -> bool:
    called = node.func if isinstance(node, ast.Call) else None
    return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) in _MODELS


def _losses(module: Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """What is a loss by its name and the parameters of its function, without any finding."""
    for node in _tops(module):
        for one in ast.walk(node):
            if isinstance(one, ast.FunctionDef) and module.training.named_prediction(one) is not None:
                if isinstance(node, ast.FunctionDef) or module.classes.kind(node) == "loss":
                    yield node
                break
