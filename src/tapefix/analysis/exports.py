"""Calls that take a value out of TensorFlow, by the way they do it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Literal

from tapefix.analysis.training import PREDICTS

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# operation: np.log(x); export: x.numpy(), float(x), np.array(x); predict: model.predict(x);
# random: np.random.normal(mu, sigma); wrapper: tf.py_function(f, [x], ...); constant: tf.constant(x)
Exit = Literal["operation", "export", "predict", "random", "wrapper", "constant"]

CONVERSIONS = {
    "np.array", "np.asarray", "np.asanyarray", "np.ascontiguousarray", "np.float32", "np.float64", "np.float16",
    "np.single", "np.double",
    "np.asfarray", "np.copy", "np.longdouble", "np.float_",
}  # fmt: skip
EXPORTS = {
    "float", "complex", "keras.backend.eval", "keras.backend.get_value", "keras.ops.convert_to_numpy",
    "tf.get_static_value", "tf.make_ndarray",
    "keras.backend.batch_get_value",
}  # fmt: skip
EXPORT_METHODS = {"numpy", "item", "tolist", "eval", "__array__", "__float__"}
ARRAYS = {"np.zeros", "np.ones", "np.empty", "np.zeros_like", "np.ones_like", "np.empty_like", "np.full"}
WRAPPERS = {"tf.py_function", "tf.numpy_function", "tf.compat.v1.py_func", "tf.compat.v1.py_function", "tf.py_func"}
CONSTANTS = {
    "tf.constant",
    "tf.convert_to_tensor",
    "tf.Variable",
    "keras.Variable",
    "keras.backend.constant",
    "keras.backend.variable",
}
DRAWN = {
    "normal",
    "uniform",
    "laplace",
    "exponential",
    "gumbel",
    "logistic",
    "lognormal",
    "multivariate_normal",
    "gamma",
    "beta",
    "rayleigh",
}
# Methods that only arrays have and that tensors get as functions.
CHANGERS = {
    "astype", "copy", "reshape", "mean", "sum", "std", "var", "max", "min", "prod", "dot", "transpose", "flatten",
    "ravel", "squeeze", "clip",
    "cumsum", "swapaxes", "repeat", "take", "round", "argmax", "argmin", "any", "all", "cumprod", "trace", "diagonal",
    "conj",
}  # fmt: skip
_OTHER_LIBRARIES = (
    "math.",
    "scipy.special.",
    "scipy.linalg.",
    "scipy.fft.",
    "scipy.spatial.distance.",
    "scipy.stats.",
    "numba.",
    "cmath.",
)
_NO_VALUES = {
    "np.shape", "np.ndim", "np.size", "np.zeros_like", "np.ones_like", "np.empty_like", "np.full_like", "np.save",
    "np.savez", "np.random.seed",
    "np.zeros", "np.ones", "np.empty", "np.arange", "np.random.default_rng", "np.random.RandomState", "np.finfo",
    "np.dtype", "np.random.choice",
    "np.random.shuffle", "np.random.permutation", "np.random.randint", "np.set_printoptions",
}  # fmt: skip


def exit_kind(module: Module, call: ast.Call) -> Exit | None:
    """How this call would take a tensor out of TensorFlow, None where it does not."""
    func = call.func
    name = module.call_name(call)
    if name is None:
        if not isinstance(func, ast.Attribute):
            return None
        if func.attr in PREDICTS and module.kinds.of(func.value) in ("model", "layer", "module"):
            return "predict" if not module.objects.callees(call) else None  # a class may have its own `predict`
        if func.attr in EXPORT_METHODS and (func.attr not in ("eval",) or not call.args):
            return "export"
        if func.attr in DRAWN and (call.args or call.keywords) and _is_generator(module, func.value):
            return "random"
        return None
    if name in _NO_VALUES or name.startswith("np.testing."):
        return None
    if name.startswith("np.random."):
        return "random" if name[10:] in DRAWN else None
    if name in CONVERSIONS or name in EXPORTS:
        return "export"
    if name.startswith("np.") or name.startswith(_OTHER_LIBRARIES):
        return "operation"
    if name in WRAPPERS:
        return "wrapper"
    return "constant" if name in CONSTANTS else None


def _is_generator(module: Module, node: ast.expr) -> bool:
    return any(
        module.call_name(origin) in ("np.random.default_rng", "np.random.RandomState", "np.random.Generator")
        for origin in module.objects.origins(node, 6)
        if isinstance(origin, ast.Call)
    )
