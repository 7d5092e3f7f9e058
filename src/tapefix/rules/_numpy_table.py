"""NumPy, math and SciPy functions and what TensorFlow calls them. Data only: `_numpy_calls` reads it.

A template is TensorFlow source with `$parameter` for the arguments of the NumPy call. `{... $p ...|other}` stands
only where all its parameters are given, else what follows the bar stands there. Arguments that no template takes
up make a call untranslatable, apart from `dtype` (a cast) and `out=None`. `mode='same' :: ...` holds only where
that argument is just that constant.
"""

from __future__ import annotations

from tapefix.rules._numpy_templates import TEMPLATES as TEMPLATES

# One array in, one out, element by element; the same name in tf, tf.math and so on under another prefix.
UNARY = {
    "round": "tf.round",
    "rint": "tf.round",
    "floor": "tf.floor",
    "ceil": "tf.math.ceil",
    "sign": "tf.sign",
    "logical_not": "tf.logical_not",
    "isnan": "tf.math.is_nan",
    "isinf": "tf.math.is_inf",
    "isfinite": "tf.math.is_finite",
    "abs": "tf.abs", "absolute": "tf.abs", "fabs": "tf.abs", "exp": "tf.exp", "log": "tf.math.log",
    "log1p": "tf.math.log1p",
    "expm1": "tf.math.expm1", "sqrt": "tf.sqrt", "square": "tf.square", "sin": "tf.sin", "cos": "tf.cos",
    "tan": "tf.tan", "arcsin": "tf.asin",
    "arccos": "tf.acos", "arctan": "tf.atan", "asin": "tf.asin", "acos": "tf.acos", "atan": "tf.atan",
    "sinh": "tf.sinh", "cosh": "tf.cosh",
    "tanh": "tf.tanh", "arcsinh": "tf.asinh", "arccosh": "tf.acosh", "arctanh": "tf.atanh", "asinh": "tf.asinh",
    "acosh": "tf.acosh",
    "atanh": "tf.atanh", "negative": "tf.negative", "reciprocal": "tf.math.reciprocal", "real": "tf.math.real",
    "imag": "tf.math.imag",
    "angle": "tf.math.angle", "conj": "tf.math.conj", "conjugate": "tf.math.conj", "sinc": "tf.experimental.numpy.sinc",
    "expit": "tf.sigmoid", "erf": "tf.math.erf", "erfc": "tf.math.erfc", "gammaln": "tf.math.lgamma",
    "lgamma": "tf.math.lgamma",
    "digamma": "tf.math.digamma", "psi": "tf.math.digamma", "ndtri": "tf.math.ndtri", "i0": "tf.math.bessel_i0",
    "linalg.inv": "tf.linalg.inv",
    "linalg.det": "tf.linalg.det", "linalg.slogdet": "tf.linalg.slogdet", "linalg.cholesky": "tf.linalg.cholesky",
    "linalg.pinv": "tf.linalg.pinv",
    "linalg.eigh": "tf.linalg.eigh", "linalg.eigvalsh": "tf.linalg.eigvalsh", "linalg.qr": "tf.linalg.qr",
    "atleast_1d": "tf.experimental.numpy.atleast_1d", "atleast_2d": "tf.experimental.numpy.atleast_2d",
    "atleast_3d": "tf.experimental.numpy.atleast_3d", "diag": "tf.experimental.numpy.diag",
    "vstack": "tf.experimental.numpy.vstack",
    "hstack": "tf.experimental.numpy.hstack", "dstack": "tf.experimental.numpy.dstack",
    "row_stack": "tf.experimental.numpy.vstack",
    "fliplr": "tf.experimental.numpy.fliplr", "flipud": "tf.experimental.numpy.flipud",
    "ediff1d": "tf.experimental.numpy.diff", "trunc": "tf.experimental.numpy.fix",
    "fix": "tf.experimental.numpy.fix", "erfinv": "tf.math.erfinv", "erfcinv": "tf.math.erfcinv",
    "loggamma": "tf.math.lgamma", "log_expit": "tf.math.log_sigmoid", "softplus": "tf.math.softplus",
    "i1": "tf.math.bessel_i1", "i0e": "tf.math.bessel_i0e", "i1e": "tf.math.bessel_i1e",
    "k0": "tf.math.special.bessel_k0", "k1": "tf.math.special.bessel_k1", "k0e": "tf.math.special.bessel_k0e",
    "k1e": "tf.math.special.bessel_k1e", "j0": "tf.math.special.bessel_j0", "j1": "tf.math.special.bessel_j1",
    "dawsn": "tf.math.special.dawsn", "spence": "tf.math.special.spence", "expi": "tf.math.special.expint",
    "signbit": "tf.experimental.numpy.signbit", "argwhere": "tf.where", "rot90": "tf.experimental.numpy.rot90",
    "linalg.trace": "tf.linalg.trace", "linalg.diagonal": "tf.linalg.diag_part", "linalg.sqrtm": "tf.linalg.sqrtm",
    "linalg.expm": "tf.linalg.expm", "permute_dims": "tf.transpose",
    "matrix_transpose": "tf.linalg.matrix_transpose", "linalg.matrix_transpose": "tf.linalg.matrix_transpose",
    "diagflat": "tf.experimental.numpy.diagflat",
}  # fmt: skip

BINARY = {
    "equal": "tf.equal",
    "not_equal": "tf.not_equal",
    "greater": "tf.greater",
    "greater_equal": "tf.greater_equal",
    "less": "tf.less",
    "less_equal": "tf.less_equal",
    "logical_and": "tf.logical_and",
    "logical_or": "tf.logical_or",
    "add": "tf.add", "subtract": "tf.subtract", "multiply": "tf.multiply", "divide": "tf.divide",
    "true_divide": "tf.divide", "power": "tf.pow",
    "float_power": "tf.pow", "pow": "tf.pow", "maximum": "tf.maximum", "minimum": "tf.minimum", "fmax": "tf.maximum",
    "fmin": "tf.minimum",
    "arctan2": "tf.atan2", "atan2": "tf.atan2", "mod": "tf.math.floormod", "remainder": "tf.math.floormod",
    "matmul": "tf.matmul",
    "cross": "tf.linalg.cross", "linalg.solve": "tf.linalg.solve", "xlogy": "tf.math.xlogy",
    "xlog1py": "tf.math.xlog1py",
    "logaddexp": "tf.experimental.numpy.logaddexp", "outer": "tf.experimental.numpy.outer",
    "inner": "tf.experimental.numpy.inner",
    "kron": "tf.experimental.numpy.kron", "hypot": "tf.experimental.numpy.hypot",
    "linalg.matmul": "tf.matmul", "linalg.outer": "tf.experimental.numpy.outer", "linalg.cross": "tf.linalg.cross",
    "vdot": "tf.experimental.numpy.vdot", "logaddexp2": "tf.experimental.numpy.logaddexp2",
    "logical_xor": "tf.math.logical_xor", "isclose": "tf.experimental.numpy.isclose",
    "allclose": "tf.experimental.numpy.allclose", "array_equal": "tf.experimental.numpy.array_equal",
    "heaviside": "tf.experimental.numpy.heaviside", "floor_divide": "tf.math.floordiv",
    "polygamma": "tf.math.polygamma", "zeta": "tf.math.zeta", "gammainc": "tf.math.igamma",
    "gammaincc": "tf.math.igammac",
}  # fmt: skip

REDUCTIONS = {
    "sum": "tf.reduce_sum", "mean": "tf.reduce_mean", "prod": "tf.reduce_prod", "product": "tf.reduce_prod",
    "max": "tf.reduce_max",
    "amax": "tf.reduce_max", "min": "tf.reduce_min", "amin": "tf.reduce_min", "std": "tf.math.reduce_std",
    "var": "tf.math.reduce_variance",
    "nansum": "tf.experimental.numpy.nansum", "nanmean": "tf.experimental.numpy.nanmean",
    "logsumexp": "tf.reduce_logsumexp",
    "fsum": "tf.reduce_sum", "nanprod": "tf.experimental.numpy.nanprod", "any": "tf.reduce_any",
    "all": "tf.reduce_all", "count_nonzero": "tf.math.count_nonzero",
}  # fmt: skip
# Where NumPy takes the dtype, or something that TensorFlow lacks, between the axis and keepdims.
REDUCTION_PARAMETERS = {
    **dict.fromkeys(
        ("sum", "mean", "prod", "product", "nansum", "nanmean", "nanprod"), ("a", "axis", "dtype", "out", "keepdims")
    ),
    **dict.fromkeys(("std", "var"), ("a", "axis", "dtype", "out", "ddof", "keepdims")),
    **dict.fromkeys(("max", "amax", "min", "amin", "any", "all", "count_nonzero"), ("a", "axis", "out", "keepdims")),
    "logsumexp": ("a", "axis", "b", "keepdims"),
    "fsum": ("a",),
}

# Only the name changes while no more arguments are given by position than this, and no keywords but these.
SAME_ARGUMENTS: dict[str, tuple[str, int, frozenset[str]]] = {
    "stack": ("tf.stack", 2, frozenset({"axis"})),
    "reshape": ("tf.reshape", 2, frozenset({"shape"})),
    "transpose": ("tf.transpose", 2, frozenset()),
    "expand_dims": ("tf.expand_dims", 2, frozenset({"axis"})),
    "squeeze": ("tf.squeeze", 2, frozenset({"axis"})),
    "tile": ("tf.experimental.numpy.tile", 2, frozenset()),
    "repeat": ("tf.repeat", 3, frozenset({"repeats", "axis"})),
    "sort": ("tf.sort", 2, frozenset({"axis"})),
    "roll": ("tf.roll", 3, frozenset({"shift", "axis"})),
    "where": ("tf.where", 3, frozenset()),
    "einsum": ("tf.einsum", 9, frozenset()),
    "linalg.norm": ("tf.norm", 4, frozenset({"ord", "axis", "keepdims"})),
    "concatenate": ("tf.concat", 2, frozenset({"axis"})),
    "concat": ("tf.concat", 2, frozenset({"axis"})),
    "broadcast_to": ("tf.broadcast_to", 2, frozenset({"shape"})),
    "meshgrid": ("tf.meshgrid", 9, frozenset({"indexing"})),
    "linspace": ("tf.linspace", 3, frozenset({"num"})),
    "swapaxes": ("tf.experimental.numpy.swapaxes", 3, frozenset({"axis1", "axis2"})),
    "moveaxis": ("tf.experimental.numpy.moveaxis", 3, frozenset({"source", "destination"})),
    "diff": ("tf.experimental.numpy.diff", 3, frozenset({"n", "axis"})),
    "average": ("tf.experimental.numpy.average", 3, frozenset({"axis", "weights"})),
    "take_along_axis": ("tf.experimental.numpy.take_along_axis", 3, frozenset({"indices", "axis"})),
    "vander": ("tf.experimental.numpy.vander", 3, frozenset({"N", "increasing"})),
    "polyval": ("tf.experimental.numpy.polyval", 2, frozenset()),
    "broadcast_arrays": ("tf.experimental.numpy.broadcast_arrays", 9, frozenset()),
    "select": ("tf.experimental.numpy.select", 3, frozenset({"default"})),
    "hsplit": ("tf.experimental.numpy.hsplit", 2, frozenset()),
    "vsplit": ("tf.experimental.numpy.vsplit", 2, frozenset()),
    "linalg.vector_norm": ("tf.norm", 1, frozenset({"ord", "axis", "keepdims"})),
    "betainc": ("tf.math.betainc", 3, frozenset()),
    "split": ("tf.split", 3, frozenset({"axis"})),
}

# Methods of arrays that take the same arguments as the function of their name, the array first.
METHODS = {
    "sum", "mean", "std", "var", "max", "min", "prod", "dot", "squeeze", "clip", "cumsum", "cumprod", "repeat",
    "ravel", "take", "swapaxes", "trace",
    "diagonal", "conj", "ptp", "argmax", "argmin", "any", "all", "round", "argsort",
}  # fmt: skip

# Drawing from a distribution whose parameters are learned, as a function of its parameters and of pure noise.
DRAWN: dict[str, tuple[tuple[str, ...], str]] = {
    "normal": (("loc", "scale", "size"), "$loc + $scale * tf.random.normal(SHAPE)"),
    "lognormal": (("mean", "sigma", "size"), "tf.exp($mean + $sigma * tf.random.normal(SHAPE))"),
    "uniform": (("low", "high", "size"), "$low + ($high - $low) * tf.random.uniform(SHAPE)"),
    "exponential": (("scale", "size"), "-$scale * tf.math.log(1.0 - tf.random.uniform(SHAPE))"),
    "gumbel": (
        ("loc", "scale", "size"),
        "$loc - $scale * tf.math.log(-tf.math.log(tf.random.uniform(SHAPE, 1e-7, 1.0 - 1e-7)))",
    ),
    "logistic": (
        ("loc", "scale", "size"),
        "$loc + $scale * tf.math.log(1.0 / tf.random.uniform(SHAPE, 1e-7, 1.0 - 1e-7) - 1.0)",
    ),
    "rayleigh": (("scale", "size"), "$scale * tf.sqrt(-2.0 * tf.math.log(1.0 - tf.random.uniform(SHAPE)))"),
    "multivariate_normal": (
        ("mean", "cov", "size"),
        "$mean + tf.linalg.matvec(tf.linalg.cholesky($cov), tf.random.normal(SHAPE))",
    ),
}
DRAWN_DEFAULTS = {"loc": "0.0", "scale": "1.0", "low": "0.0", "high": "1.0", "mean": "0.0", "sigma": "1.0"}

# These convert their arguments one by one: float64 data does not meet a float32 tensor halfway.
STRICT = {
    "dot", "matmul", "tensordot", "einsum", "inner", "outer", "vdot", "kron", "cross", "linalg.solve", "hstack",
    "vstack", "dstack", "average",
    "column_stack", "row_stack", "logaddexp", "hypot", "append", "linalg.matmul", "linalg.outer", "linalg.cross",
    "convolve", "correlate", "linalg.solve_triangular", "vecdot", "linalg.vecdot",
}  # fmt: skip
# So do these, but their arguments are mostly computed ones: they are cast only where the text shows float64.
MIXED = {"where", "cov", "corrcoef", "cdist", "euclidean", "linspace"}
