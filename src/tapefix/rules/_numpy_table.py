"""NumPy, math and SciPy functions and what TensorFlow calls them. Data only: `_numpy_calls` reads it.

A template is TensorFlow source with `$parameter` for the arguments of the NumPy call. `{... $p ...|other}` stands
only where all its parameters are given, else what follows the bar stands there. Arguments that no template takes
up make a call untranslatable, apart from `dtype` (a cast) and `out=None`.
"""

from __future__ import annotations

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
    "expm": "tf.linalg.expm",
    "atleast_1d": "tf.experimental.numpy.atleast_1d", "atleast_2d": "tf.experimental.numpy.atleast_2d",
    "atleast_3d": "tf.experimental.numpy.atleast_3d", "diag": "tf.experimental.numpy.diag",
    "vstack": "tf.experimental.numpy.vstack",
    "hstack": "tf.experimental.numpy.hstack", "dstack": "tf.experimental.numpy.dstack",
    "row_stack": "tf.experimental.numpy.vstack",
    "fliplr": "tf.experimental.numpy.fliplr", "flipud": "tf.experimental.numpy.flipud",
    "ediff1d": "tf.experimental.numpy.diff",
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
    "kron": "tf.experimental.numpy.kron", "squared_difference": "tf.math.squared_difference",
    "hypot": "tf.experimental.numpy.hypot",
    "linalg.matmul": "tf.matmul", "linalg.outer": "tf.experimental.numpy.outer", "linalg.cross": "tf.linalg.cross",
    "vdot": "tf.experimental.numpy.vdot",
}  # fmt: skip

REDUCTIONS = {
    "sum": "tf.reduce_sum", "mean": "tf.reduce_mean", "prod": "tf.reduce_prod", "product": "tf.reduce_prod",
    "max": "tf.reduce_max",
    "amax": "tf.reduce_max", "min": "tf.reduce_min", "amin": "tf.reduce_min", "std": "tf.math.reduce_std",
    "var": "tf.math.reduce_variance",
    "nansum": "tf.experimental.numpy.nansum", "nanmean": "tf.experimental.numpy.nanmean",
    "logsumexp": "tf.reduce_logsumexp",
    "fsum": "tf.reduce_sum",
}  # fmt: skip
# Where NumPy takes the dtype, or something that TensorFlow lacks, between the axis and keepdims.
REDUCTION_PARAMETERS = {
    **dict.fromkeys(("sum", "mean", "prod", "product", "nansum", "nanmean"), ("a", "axis", "dtype", "out", "keepdims")),
    **dict.fromkeys(("std", "var"), ("a", "axis", "dtype", "out", "ddof", "keepdims")),
    **dict.fromkeys(("max", "amax", "min", "amin"), ("a", "axis", "out", "keepdims")),
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
    "tile": ("tf.tile", 2, frozenset()),
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
    "softmax": ("tf.nn.softmax", 2, frozenset({"axis"})),
    "log_softmax": ("tf.nn.log_softmax", 2, frozenset({"axis"})),
    "split": ("tf.split", 3, frozenset({"axis"})),
}

# Everything else: parameters and template. The first whose template fits is taken.
TEMPLATES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "clip": (("a", "a_min", "a_max", "out", "min", "max"), (
        "tf.clip_by_value($a, $a_min, $a_max)", "tf.clip_by_value($a, $min, $max)", "tf.maximum($a, $a_min)",
        "tf.minimum($a, $a_max)",
        "tf.maximum($a, $min)", "tf.minimum($a, $max)",
    )),
    "concatenate": (("arrays", "axis", "out", "dtype"), ("tf.concat($arrays, axis={$axis|0})",)),
    "concat": (("arrays", "axis", "out", "dtype"), ("tf.concat($arrays, axis={$axis|0})",)),
    "stack": (("arrays", "axis", "out", "dtype"), ("tf.stack($arrays{, axis=$axis|})",)),
    "append": (("arr", "values", "axis"), (
        "tf.concat([$arr, $values], axis=$axis)",
        "tf.concat([tf.reshape(tf.cast($arr, tf.float32), [-1]), tf.reshape($values, [-1])], axis=0)",
    )),
    "column_stack": (("tup",), ("tf.stack($tup, axis=1)",)),
    "transpose": (("a", "axes"), ("tf.transpose($a{, perm=$axes|})",)),
    "reshape": (("a", "newshape", "shape"), ("tf.reshape($a, $newshape)", "tf.reshape($a, $shape)")),
    "squeeze": (("a", "axis"), ("tf.squeeze($a{, axis=$axis|})",)),
    "expand_dims": (("a", "axis"), ("tf.expand_dims($a, axis=$axis)",)),
    "ravel": (("a",), ("tf.reshape($a, [-1])",)),
    "flip": (("m", "axis"), ("tf.reverse($m, axis=[$axis])", "tf.experimental.numpy.flip($m)")),
    "tile": (("A", "reps"), ("tf.tile($A, $reps)",)),
    "roll": (("a", "shift", "axis"), ("tf.roll($a, $shift, axis=$axis)", "tf.experimental.numpy.roll($a, $shift)")),
    "dot": (("a", "b"), ("tf.tensordot($a, $b, axes=1)",)),
    "tensordot": (("a", "b", "axes"), ("tf.tensordot($a, $b, axes={$axes|2})",)),
    "trace": (("a",), ("tf.linalg.trace($a)",)),
    "diagonal": (("a",), ("tf.linalg.diag_part($a)",)),
    "tril": (("m",), ("tf.linalg.band_part($m, -1, 0)",)),
    "triu": (("m",), ("tf.linalg.band_part($m, 0, -1)",)),
    "log2": (("x",), ("tf.math.log($x) / tf.math.log(2.0)",)),
    "log10": (("x",), ("tf.math.log($x) / tf.math.log(10.0)",)),
    "exp2": (("x",), ("tf.pow(2.0, $x)",)),
    "cbrt": (("x",), ("tf.sign($x) * tf.pow(tf.abs($x), 1 / 3)",)),
    "positive": (("x",), ("$x",)),
    "rad2deg": (("x",), ("$x * (180 / PI)",)),
    "degrees": (("x",), ("$x * (180 / PI)",)),
    "deg2rad": (("x",), ("$x * (PI / 180)",)),
    "radians": (("x",), ("$x * (PI / 180)",)),
    "ptp": (("a", "axis"), ("tf.reduce_max($a{, axis=$axis|}) - tf.reduce_min($a{, axis=$axis|})",)),
    "nan_to_num": (("x",), ("tf.where(tf.math.is_finite($x), $x, tf.zeros_like($x))",)),
    "cumsum": (("a", "axis", "dtype"), ("tf.cumsum($a, axis=$axis)", "tf.cumsum(tf.reshape($a, [-1]))")),
    "cumprod": (("a", "axis", "dtype"), ("tf.math.cumprod($a, axis=$axis)", "tf.math.cumprod(tf.reshape($a, [-1]))")),
    "take": (("a", "indices", "axis"), (
        "tf.gather($a, $indices, axis=$axis)", "tf.gather(tf.reshape($a, [-1]), $indices)",
    )),
    "where": (("condition", "x", "y"), ("tf.where($condition, $x, $y)",)),
    "fft.fft": (("a", "axis"), ("tf.signal.fft(tf.cast($a, tf.complex64))",)),
    "fft.ifft": (("a", "axis"), ("tf.signal.ifft(tf.cast($a, tf.complex64))",)),
    "fft.rfft": (("a", "axis"), ("tf.signal.rfft($a)",)),
    "fft.irfft": (("a", "axis"), ("tf.signal.irfft($a)",)),
    "fft.fft2": (("a",), ("tf.signal.fft2d(tf.cast($a, tf.complex64))",)),
    "fft.ifft2": (("a",), ("tf.signal.ifft2d(tf.cast($a, tf.complex64))",)),
    "fft.rfft2": (("a",), ("tf.signal.rfft2d($a)",)),
    "fft.irfft2": (("a",), ("tf.signal.irfft2d($a)",)),
    "fft.fftshift": (("x", "axes"), ("tf.signal.fftshift($x{, axes=$axes|})",)),
    "fft.ifftshift": (("x", "axes"), ("tf.signal.ifftshift($x{, axes=$axes|})",)),
    "logit": (("x",), ("tf.math.log($x / (1 - $x))",)),
    "entr": (("x",), ("-tf.math.xlogy($x, $x)",)),
    "rel_entr": (("x", "y"), ("tf.math.xlogy($x, $x) - tf.math.xlogy($x, $y)",)),
    "kl_div": (("x", "y"), ("tf.math.xlogy($x, $x) - tf.math.xlogy($x, $y) - $x + $y",)),
    "math.log": (("x", "base"), ("tf.math.log($x) / tf.math.log(1.0 * $base)", "tf.math.log($x)")),
    "dist": (("p", "q"), ("tf.norm(tf.subtract($p, $q))",)),
    "full": (("shape", "fill_value"), ("tf.fill($shape, $fill_value)",)),
    "softmax": (("x", "axis"), ("tf.nn.softmax($x{, axis=$axis|})",)),
    "euclidean": (("u", "v"), ("tf.norm($u - $v)",)),
    "sqeuclidean": (("u", "v"), ("tf.reduce_sum(tf.square($u - $v))",)),
    "cityblock": (("u", "v"), ("tf.reduce_sum(tf.abs($u - $v))",)),
}  # fmt: skip

# Methods of arrays that take the same arguments as the function of their name, the array first.
METHODS = {
    "sum", "mean", "std", "var", "max", "min", "prod", "dot", "squeeze", "clip", "cumsum", "cumprod", "repeat",
    "ravel", "take", "swapaxes", "trace",
    "diagonal", "conj", "ptp",
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
}  # fmt: skip
