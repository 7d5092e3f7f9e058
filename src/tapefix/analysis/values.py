"""What calls do to a value on its way: carry it with a gradient, carry it without one, or drop it. Data only."""

from __future__ import annotations

import re
from typing import Literal

# How a value passes an edge: with its gradient; through code nobody knows; as the gradient of another tape;
# or as an operation whose derivative is zero or None.
Mode = Literal["good", "unknown", "derived", "flat"]
GOOD: Mode = "good"
UNKNOWN: Mode = "unknown"
DERIVED: Mode = "derived"
FLAT: Mode = "flat"

# A part of a container: an attribute or key, a position, or any one of its elements.
Field = str | int
ELEMENT = "[]"

NO_VALUE_CALLS = {
    "tf.stop_gradient", "tf.compat.v1.stop_gradient",
    "keras.backend.stop_gradient", "keras.ops.stop_gradient", "tf.shape", "tf.size", "tf.rank",
    "keras.backend.shape", "keras.backend.int_shape", "keras.backend.ndim", "keras.ops.shape", "tf.zeros_like",
    "tf.ones_like", "np.shape", "np.ndim", "np.size", "np.zeros_like", "np.ones_like", "np.full_like",
    "np.empty_like", "len", "range",
    "isinstance", "type", "print", "id", "hasattr", "str", "repr", "format", "tf.print", "keras.backend.zeros_like",
    "keras.backend.ones_like",
    "keras.ops.zeros_like", "keras.ops.ones_like", "np.save", "np.testing.assert_allclose", "keras.Input",
    "keras.layers.Input",
}  # fmt: skip
NO_VALUE_ATTRIBUTES = {
    "shape", "dtype", "ndim", "name", "path", "size", "device", "get_shape", "trainable", "losses", "nbytes",
    "set_shape",
}  # fmt: skip
# Drawing at random: the result is a choice, not a value computed from the probabilities.
DRAWS = {
    "choice",
    "categorical",
    "multinomial",
    "integers",
    "randint",
    "choices",
    "shuffle",
    "permutation",
    "binomial",
    "bernoulli",
}
# Only these arguments carry a value that a gradient could follow, by the whole name or its last part: position and
# keyword.
VALUE_ARGUMENTS: dict[str, tuple[tuple[int, str], ...]] = {
    "one_hot": (),
    "gather": ((0, "params"),),
    "gather_nd": ((0, "params"),),
    "boolean_mask": ((0, "tensor"),),
    "embedding_lookup": ((0, "params"),),
    "take": ((0, "a"),),
    "take_along_axis": ((0, "arr"),),
    "reshape": ((0, "tensor"), (0, "a")),
    "tile": ((0, "input"), (0, "A")),
    "broadcast_to": ((0, "input"), (0, "array")),
    "full": ((1, "fill_value"), (1, "value")),
    "fill": ((1, "value"),),
    "tensor_scatter_nd_update": ((0, "tensor"), (2, "updates")),
    "scatter_nd": ((1, "updates"),),
    "Variable": ((0, "initial_value"), (0, "initializer")),
    "tf.random.normal": ((1, "mean"), (2, "stddev")),
    "tf.random.truncated_normal": ((1, "mean"), (2, "stddev")),
    "tf.random.uniform": ((1, "minval"), (2, "maxval")),
}
# Keywords that say what a result is called or how it is laid out, in any function.
SETTINGS = {"name", "dtype", "shape", "axis", "keepdims", "seed", "trainable"}
# Last parts of names whose derivative is zero or None wherever it exists.
FLAT_OPS = {
    "argmax", "argmin", "argsort", "round", "around", "rint", "floor", "ceil", "trunc", "fix", "sign", "equal",
    "not_equal", "greater", "less",
    "greater_equal", "less_equal", "logical_and", "logical_or", "logical_not", "logical_xor", "nonzero",
    "count_nonzero", "isnan", "isfinite",
    "isinf", "isclose", "allclose", "array_equal", "in_top_k", "searchsorted", "digitize", "unique", "bincount",
    "histogram", "floor_divide", "heaviside",
    "signbit", "flatnonzero", "argwhere", "any", "all", "int32", "int64", "int8", "uint8", "int16", "bool_", "zeros",
    "ones", "empty", "int",
    "bool", "confusion_matrix", "top_k_accuracy",
}  # fmt: skip
KNOWN_ROOTS = (
    "tf.",
    "keras.",
    "np.",
    "math.",
    "scipy.special.",
    "scipy.stats.",
    "tensorflow_probability.",
    "tensorflow_addons.",
)
BUILTINS = {"abs", "sum", "max", "min", "pow", "float", "complex", "next"}
CONTAINER_CALLS = {"list", "tuple", "sorted", "reversed", "iter", "set", "collections.deque"}
# Methods of tensors, arrays and containers that hand on the value they are called on.
METHODS = {
    "numpy", "item", "tolist", "copy", "astype", "reshape", "mean", "sum", "std", "var", "max", "min", "prod", "dot",
    "transpose", "flatten",
    "ravel", "squeeze", "clip", "cumsum", "cumprod", "swapaxes", "repeat", "take", "trace", "diagonal", "conj",
    "conjugate", "ptp", "read_value",
    "value", "stack", "read", "concat", "gather", "values", "get", "pop", "popleft", "items", "ref", "detach", "cpu",
    "map", "matmul", "eval",
    "__float__", "__array__",
    # of the distributions of TensorFlow Probability
    "log_prob", "prob", "entropy", "cross_entropy", "kl_divergence", "log_cdf", "cdf", "stddev",
    "variance",
}  # fmt: skip
# NumPy functions with which the best of several values is picked, and names of what is often held constant.
PICKS = {"np.max", "np.amax", "np.min", "np.amin", "np.sign", "np.nanmax"}
HELD = re.compile(
    r"target|advant|return|reward|baseline|discount|_$|(^|_)(adv|td|delta|next|old|gaes?|weights?|masks?|scale|coefs?|norm|iou"
    r"|stats?|avg|alpha|beta|factor|goal)($|_|\d)",
    re.IGNORECASE,
)
SUMS = {
    "add", "subtract", "add_n", "reduce_sum", "reduce_mean", "sum", "mean", "accumulate_n", "stack",
    "convert_to_tensor", "cast", "squeeze",
    "reshape", "negative", "identity", "concat", "constant", "as_tensor", "tensor", "float32", "float", "array",
    "asarray", "compute_average_loss",
}  # fmt: skip
CONTAINER_METHODS = {
    "copy": (),
    "values": (),
    "items": (),
    "pop": (ELEMENT,),
    "popleft": (ELEMENT,),
    "read": (ELEMENT,),
}


def without_element(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """The part that is wanted of one element of a container."""
    return fields[1:]
