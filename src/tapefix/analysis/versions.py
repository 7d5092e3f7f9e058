"""Which Keras a text was written for, where it uses what only Keras 2 has."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Modules that cannot be imported beside Keras 3, or that bring a Keras 2 of their own; also all that is in them.
_MODULES = (
    "tensorflow.python.keras",
    "tensorflow.contrib",
    "tensorflow.keras.experimental",
    "tensorflow.keras.layers.experimental",
    "tensorflow.keras.mixed_precision.experimental",
    "tensorflow.keras.optimizers.legacy",
    "tensorflow_addons",
    "tf_keras",
    "keras.engine",
    "keras.experimental",
    "keras.layers.advanced_activations",
    "keras.layers.convolutional",
    "keras.layers.core",
    "keras.layers.embeddings",
    "keras.layers.experimental",
    "keras.layers.merge",
    "keras.layers.normalization",
    "keras.layers.pooling",
    "keras.layers.recurrent",
    "keras.layers.wrappers",
    "keras.objectives",
    "keras.optimizers.legacy",
    "keras.utils.generic_utils",
    "keras.utils.np_utils",
    "keras.utils.vis_utils",
    "keras.wrappers",
)
# Names that end like this: of TensorFlow 1, or gone from Keras.
_NAMES = {
    "contrib": ("tf.contrib",),
    "experimental": (
        "keras.experimental",
        "keras.layers.experimental",
        "keras.mixed_precision.experimental",
        "keras.optimizers.experimental",
    ),
    "legacy": ("keras.optimizers.legacy",),
    "Session": ("tf.Session", "tf.compat.v1.Session"),
    "placeholder": ("tf.placeholder", "tf.compat.v1.placeholder", "keras.backend.placeholder"),
    "get_variable": ("tf.get_variable", "tf.compat.v1.get_variable"),
    "variable_scope": ("tf.variable_scope", "tf.compat.v1.variable_scope"),
    "enable_eager_execution": ("tf.enable_eager_execution",),
    "disable_v2_behavior": ("tf.disable_v2_behavior", "tf.compat.v1.disable_v2_behavior"),
    "estimator": ("tf.estimator", "keras.estimator"),
    "get_session": ("keras.backend.get_session",),
    "learning_phase": ("keras.backend.learning_phase",),
    "set_learning_phase": ("keras.backend.set_learning_phase",),
    "multi_gpu_model": ("keras.utils.multi_gpu_model",),
    "CuDNNLSTM": ("keras.layers.CuDNNLSTM",),
    "CuDNNGRU": ("keras.layers.CuDNNGRU",),
}
_REMOVED_METHODS = ("fit_generator", "predict_generator", "evaluate_generator")
# TensorFlow up to 2.15 comes with Keras 2: `tensorflow==2.4.1`, `tensorflow>=2.3,<2.16`, `tensorflow = "2.8"`.
_PINNED = re.compile(
    r"\btensorflow(?:[-_](?:gpu|cpu))?(?:\[[^\]\n]*\])?\s*(?:>=?\s*[\d.]+\s*,\s*)?"
    r"""(?:(?:={1,3}|~=|<=?)\s*["']?(?:1\.|2\.(?:\d|1[0-5])(?!\d))|<\s*2\.16\b)"""
)


def keras_of_text(module: Module) -> int:
    """2 where the text uses what Keras 3 does not have any more, else 3."""
    return 2 if _is_for_keras_2(module) else 3


def asks_for_keras_2(text: str) -> bool:
    """Does a text (a list of requirements, a line that installs) ask for a TensorFlow with Keras 2?"""
    return _PINNED.search(text) is not None


def _is_for_keras_2(module: Module) -> bool:
    if "TF_USE_LEGACY_KERAS" in module.text or asks_for_keras_2(module.text):
        return True
    for imported in module.each(ast.Import):
        if any(_is_old(item.name) for item in imported.names):
            return True
    for imported_from in module.each(ast.ImportFrom):
        if not imported_from.level and any(_is_old(f"{imported_from.module}.{i.name}") for i in imported_from.names):
            return True
    for attribute in module.each(ast.Attribute):
        if attribute.attr in _REMOVED_METHODS:
            return True
        if attribute.attr in _NAMES and module.name(attribute) in _NAMES[attribute.attr]:
            return True
    return any(_is_old_call(module, call) for call in module.calls)


def _is_old(name: str) -> bool:
    return any(name == old or name.startswith(f"{old}.") for old in _MODULES)


def _is_old_call(module: Module, call: ast.Call) -> bool:
    """`Adam(lr=0.1)`, `LSTM(4, batch_input_shape=...)`, `self.add_weight("kernel", ...)`: errors in Keras 3."""
    for keyword in call.keywords:
        if keyword.arg == "lr" and (module.call_name(call) or "").startswith("keras.optimizers."):
            return True
        if keyword.arg == "batch_input_shape" and (module.call_name(call) or "").startswith("keras.layers."):
            return True
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr in ("add_weight", "add_variable")
        and bool(call.args)
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    )
