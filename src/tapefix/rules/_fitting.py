"""What the rules about compile and fit share: who trains which model, on what."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_TRAINS = ("fit", "train_on_batch")
_KNOWN_LIBRARIES = {
    "tf", "np", "keras", "pandas", "sklearn", "scipy", "matplotlib", "seaborn", "PIL", "cv2", "tqdm", "os", "sys",
    "re", "math", "random", "time", "datetime", "json", "pickle", "csv", "collections", "itertools", "functools",
    "pathlib", "typing", "dataclasses", "argparse", "logging", "glob", "string", "shutil", "copy", "warnings",
    "__future__", "tensorflow_datasets", "gym", "gymnasium", "h5py", "urllib", "io", "gc", "tempfile", "abc",
}  # fmt: skip


def supplies_no_loss(module: Module) -> bool:
    """Nothing in the file adds a loss in another way than through compile."""
    return not any(
        word in module.text
        for word in ("add_loss", "def train_step", "def compute_loss", "regularizer", "ActivityRegularization")
    )


def trainings(module: Module) -> list[ast.Call]:
    return [
        c
        for c in module.calls
        if isinstance(c.func, ast.Attribute) and c.func.attr in _TRAINS and (c.args or c.keywords)
    ]


def compiles(module: Module, model: ast.expr) -> list[ast.Call]:
    return [
        c
        for c in module.calls
        if isinstance(c.func, ast.Attribute) and c.func.attr == "compile" and same_model(module, model, c.func.value)
    ]


def same_model(module: Module, one: ast.expr, two: ast.expr) -> bool:
    """Do two expressions stand for one model: by their definitions, or by their spelling in one class?"""
    first, second = module.objects.origins(one), module.objects.origins(two)
    if first and any(origin in second for origin in first):
        return True
    if isinstance(one, ast.Name) and isinstance(two, ast.Name):
        return bool(set(module.definitions(one)) & set(module.definitions(two)))
    return False


def is_plain_model(module: Module, model: ast.expr) -> bool:
    """A Sequential or functional model made in this file, without a class of the author's own."""
    origins = module.objects.origins(model)
    return bool(origins) and all(
        (module.call_name(o) or "")
        in ("keras.Sequential", "keras.models.Sequential", "keras.Model", "keras.models.Model")
        for o in origins
    )


def is_array(module: Module, data: ast.AST, depth: int = 6) -> bool:
    """An array or a tensor, also computed from one, and not a data set or a generator."""
    origins = [data] if isinstance(data, (ast.Call, ast.BinOp, ast.Subscript)) else module.objects.origins(data)
    if not origins:
        made = module.objects.made_at(data)
        return made is not None and (module.call_name(made[0]) or "").endswith(".load_data")
    return depth > 0 and all(_makes_array(module, origin, depth - 1) for origin in origins)


def _makes_array(module: Module, origin: ast.AST, depth: int) -> bool:
    if isinstance(origin, ast.BinOp):
        return is_array(module, origin.left, depth) or is_array(module, origin.right, depth)
    if isinstance(origin, ast.Subscript):
        return is_array(module, origin.value, depth)
    if not isinstance(origin, ast.Call):
        return False
    name = module.call_name(origin) or ""
    if name.startswith(("np.", "tf.random.")):
        return True
    if name in ("tf.constant", "tf.ones", "tf.zeros", "tf.convert_to_tensor", "tf.cast"):
        return True
    func = origin.func
    # An array's own methods, and those of a random generator.
    if isinstance(func, ast.Attribute) and func.attr in ("astype", "reshape", "copy"):
        return is_array(module, func.value, depth)
    if isinstance(func, ast.Attribute) and func.attr in ("normal", "uniform", "random", "standard_normal"):
        made = module.objects.origins(func.value)
        return bool(made) and all((module.call_name(m) or "").startswith("np.random.") for m in made)
    return False


def knows_all_layers(module: Module) -> bool:
    """Are all imports from libraries whose layers add no losses of their own?"""
    return not any(name.split(".")[0] not in _KNOWN_LIBRARIES for name in module.aliases) and not any(
        isinstance(s, ast.ImportFrom) and s.level for s in module.tree.body
    )
