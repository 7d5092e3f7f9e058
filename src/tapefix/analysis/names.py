"""Canonical names: what `tfm.log`, `K.log` or a bare `log` means, whatever the import aliases are.

Canonical roots are `tf`, `np`, `keras` (also for tf.keras), `keras.backend`, and any other module by its own name.
"""

from __future__ import annotations

import ast
from functools import lru_cache

_ROOTS = (
    ("tensorflow.python.keras", "keras"),
    ("tensorflow.keras", "keras"),
    ("tensorflow.compat.v2", "tf"),
    ("tensorflow.compat.v1.keras", "keras"),
    ("tensorflow.compat.v1", "tf.compat.v1"),
    ("tensorflow", "tf"),
    ("keras.src", "keras"),
    ("tf.keras", "keras"),
    ("numpy", "np"),
)

# Rooms of tf that hold the classes of Keras (their functions, also MSE and its like, are others in TensorFlow 1).
_KERAS_ROOMS = {"tf.losses", "tf.metrics", "tf.optimizers", "tf.initializers"}

# Names under which one operation is known: the last part of the name decides, under these prefixes.
_OP_PREFIXES = (
    "tf.math.",
    "tf.nn.",
    "tf.linalg.",
    "tf.raw_ops.",
    "tf.compat.v1.",
    "tf.",
    "keras.backend.",
    "keras.ops.",
    "keras.activations.",
)


@lru_cache(maxsize=4096)
def canonical(dotted: str) -> str:
    """`tensorflow.keras.losses.Loss` to `keras.losses.Loss`; a name that needs no change comes back as it is."""
    for prefix, root in _ROOTS:
        if dotted == prefix or dotted.startswith(prefix + "."):
            return canonical(root + dotted[len(prefix) :])
    room, _, last = dotted.rpartition(".")
    return f"keras{dotted[2:]}" if room in _KERAS_ROOMS and last[:1].isupper() and not last.isupper() else dotted


def dotted_name(node: ast.AST) -> str | None:
    """`a.b.c` of an attribute chain on a plain name, None for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    parts.append(node.id)
    return ".".join(reversed(parts))


@lru_cache(maxsize=4096)
def tensor_op(name: str | None) -> str | None:
    """The bare operation of a TensorFlow or Keras function: `log` for tf.math.log, K.log and keras.ops.log."""
    if name is None:
        return None
    for prefix in _OP_PREFIXES:
        if name.startswith(prefix):
            rest = name[len(prefix) :]
            return rest if "." not in rest else None
    return None


def imported_names(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Local name to canonical name for one import statement."""
    found = {}
    if isinstance(node, ast.Import):
        for item in node.names:
            if item.asname:
                found[item.asname] = canonical(item.name)
            else:
                root = item.name.split(".")[0]
                found[root] = canonical(root)
    elif node.module and not node.level:
        for item in node.names:
            if item.name != "*":
                found[item.asname or item.name] = canonical(f"{node.module}.{item.name}")
    return found
