"""TPF409 and TPF408: a model that is fitted without a loss, or without targets."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.findings import Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_TRAINS = ("fit", "train_on_batch")
_KNOWN_LIBRARIES = {
    "tf", "np", "keras", "pandas", "sklearn", "scipy", "matplotlib", "seaborn", "PIL", "cv2", "tqdm", "os", "sys",
    "re", "math", "random", "time", "datetime", "json", "pickle", "csv", "collections", "itertools", "functools",
    "pathlib", "typing", "dataclasses", "argparse", "logging", "glob", "string", "shutil", "copy", "warnings",
    "__future__", "tensorflow_datasets", "gym", "gymnasium", "h5py", "urllib", "io", "gc", "tempfile", "abc",
}  # fmt: skip


class CompileWithoutLoss(Rule):
    """A model is compiled without a loss and then fitted.

    What it finds:
        `compile(optimizer=...)` without `loss`, followed by `fit` or `train_on_batch` on the same model, where neither
        `add_loss` nor a training step of the author's own supplies one.

    Why the gradient stops:
        There is nothing to differentiate: Keras 3 says `No loss to compute`, Keras 2 `No gradients provided for any
        variable`.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        model.compile(optimizer="adam", metrics=["accuracy"])
        model.fit(tf.ones([4, 2]), tf.ones([4, 1]))
        ```

    Fix safety:
        Advice only: which loss is meant is for the author to say.
    """

    code = "TPF409"
    name = "compile-without-loss"
    safety = "advice"
    tokens = (".compile(",)

    def check(self, module: Module) -> Iterator[Finding]:
        if not supplies_no_loss(module):
            return
        for call in module.calls:
            if not (isinstance(call.func, ast.Attribute) and call.func.attr == "compile"):
                continue
            loss = argument(call, 1, "loss")
            if any(k.arg is None for k in call.keywords) or any(isinstance(a, ast.Starred) for a in call.args):
                continue
            if loss is not None and not (isinstance(loss, ast.Constant) and loss.value is None):
                continue
            if not is_plain_model(module, call.func.value):
                continue
            fit = next((c for c in trainings(module) if same_model(module, call.func.value, c.func.value)), None)  # type: ignore[attr-defined]
            if fit is None or any(
                k.arg == "loss" for c in compiles(module, call.func.value) for k in c.keywords if c is not call
            ):
                continue
            yield self.finding(
                module,
                call,
                "compile gets no loss, so fit has nothing to differentiate.",
                label="no loss",
                notes=[(fit, "trained here")],
                certain=knows_all_layers(module),
                advice="Pass loss=... to compile: the loss that suits the model's last layer and the targets.",
            )


class FitWithoutTargets(Rule):
    """A compiled model is fitted on inputs alone.

    What it finds:
        `fit(x)` without `y` on a model that was compiled with a loss, where `x` is an array or a tensor.

    Why the gradient stops:
        There is nothing to compare the prediction with: the loss gets None for the target, and fit fails.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(2)])
        model.compile(optimizer="adam", loss="mse")
        model.fit(tf.ones([4, 2]), epochs=2)
        ```

    Fix safety:
        Advice only: where the targets are is for the author to say.
    """

    code = "TPF408"
    name = "fit-without-targets"
    safety = "advice"
    tokens = (".fit(",)

    def check(self, module: Module) -> Iterator[Finding]:
        if not supplies_no_loss(module):
            return
        for call in trainings(module):
            assert isinstance(call.func, ast.Attribute)
            data = argument(call, 0, "x")
            if (
                data is None
                or len(call.args) > 1
                or any(k.arg in ("y", None) for k in call.keywords)
                or isinstance(data, ast.Starred)
            ):
                continue
            if not is_array(module, data) or not is_plain_model(module, call.func.value):
                continue
            if not any(argument(c, 1, "loss") is not None for c in compiles(module, call.func.value)):
                continue
            yield self.finding(
                module,
                call,
                f"{call.func.attr} gets inputs but no targets: the loss has nothing to compare the prediction with.",
                label="no targets",
                certain=knows_all_layers(module),
                advice="Pass the targets as the second argument (for an autoencoder: the inputs again).",
            )


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


def is_array(module: Module, data: ast.expr) -> bool:
    origins = module.objects.origins(data)
    for origin in origins:
        name = module.call_name(origin) or ""
        if not (
            name.startswith(("np.", "tf.random."))
            or name in ("tf.constant", "tf.ones", "tf.zeros", "tf.convert_to_tensor")
        ):
            return False
    return bool(origins)


def knows_all_layers(module: Module) -> bool:
    """Are all imports from libraries whose layers add no losses of their own?"""
    return not any(name.split(".")[0] not in _KNOWN_LIBRARIES for name in module.aliases) and not any(
        isinstance(s, ast.ImportFrom) and s.level for s in module.tree.body
    )
