"""Settings that a script makes before it imports Keras, and that a process with Keras in it comes too late for."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

_NAMES = ("KERAS_BACKEND", "TF_USE_LEGACY_KERAS")


def settings_of(text: str) -> dict[str, str]:
    """What the script sets to something else than it is already. Such a script needs a fork server of its own."""
    if not any(name in text for name in _NAMES):
        return {}
    try:
        tree = ast.parse(text)
    except SyntaxError:  # whoever runs it will say so
        return {}
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        for name, value in _set_by(node):
            if isinstance(name, ast.Constant) and isinstance(value, ast.Constant) and name.value in _NAMES:
                found[str(name.value)] = str(value.value)
    return {name: value for name, value in found.items() if value != _now(name)}


def _set_by(node: ast.AST) -> list[tuple[ast.expr | None, ast.expr]]:
    """Keys and values that a statement puts into os.environ."""
    if isinstance(node, ast.Assign):
        target = node.targets[0]
        return [(target.slice, node.value)] if isinstance(target, ast.Subscript) and _is_environ(target.value) else []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_environ(node.func.value):
        if node.func.attr == "setdefault" and len(node.args) == 2:
            return [(node.args[0], node.args[1])]
        if node.func.attr == "update" and node.args and isinstance(node.args[0], ast.Dict):
            return list(zip(node.args[0].keys, node.args[0].values, strict=True))
    return []


def _is_environ(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "environ") or (
        isinstance(node, ast.Name) and node.id == "environ"
    )


def _now(name: str) -> str:
    if name in os.environ:
        return os.environ[name]
    if name != "KERAS_BACKEND":
        return "0"
    try:
        chosen = json.loads((Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras.json").read_text())
        return str(chosen["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"
