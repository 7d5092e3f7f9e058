"""NumPy functions whose arguments TensorFlow wants in another form, or that it has no name of its own for. Data only.

The templates are explained in `_numpy_table`.
"""

from __future__ import annotations

# Parts of longer templates. TensorFlow's variance divides by n.
VARIANCE_ALL = "tf.reduce_sum(tf.square($a - tf.reduce_mean($a))) / tf.cast(tf.size($a) - $ddof, tf.float32)"
VARIANCE = (
    "tf.reduce_sum(tf.square($a - tf.reduce_mean($a, axis=$axis, keepdims=True)), axis=$axis{, keepdims=$keepdims|})"
    " / tf.cast(tf.shape($a)[$axis] - $ddof, tf.float32)"
)
TRAPEZOID = (
    "tf.reduce_sum($y[..., 1:] + $y[..., :-1], axis=-1) / 2.0",
    "$dx * tf.reduce_sum($y[..., 1:] + $y[..., :-1], axis=-1) / 2.0",
    "tf.reduce_sum(($y[..., 1:] + $y[..., :-1]) * ($x[..., 1:] - $x[..., :-1]), axis=-1) / 2.0",
    "axis=-1 :: tf.reduce_sum($y[..., 1:] + $y[..., :-1], axis=-1) / 2.0",
)
DIFFERENCES = "tf.concat([$f[1:2] - $f[:1], ($f[2:] - $f[:-2]) / 2.0, $f[-1:] - $f[-2:-1]], axis=0)"
DIFFERENCES_SECOND = (
    "tf.concat([$f[:, 1:2] - $f[:, :1], ($f[:, 2:] - $f[:, :-2]) / 2.0, $f[:, -1:] - $f[:, -2:-1]], axis=1)"
)
DIFFERENCES_LAST = (
    "tf.concat([$f[..., 1:2] - $f[..., :1], ($f[..., 2:] - $f[..., :-2]) / 2.0, "
    "$f[..., -1:] - $f[..., -2:-1]], axis=-1)"
)
CONVOLVED = "tf.reshape(tf.nn.conv1d(tf.reshape({}, [1, -1, 1]), tf.reshape({}, [-1, 1, 1]), 1, '{}'), [-1])"
PADDED = "tf.pad($a, [[tf.size($v) - 1, tf.size($v) - 1]])"
COLUMNS = "tf.matmul($m - tf.reduce_mean($m, axis=0), $m - tf.reduce_mean($m, axis=0), transpose_a=True){}"
ROWS = (
    "tf.matmul($m - tf.reduce_mean($m, axis=1, keepdims=True), "
    "$m - tf.reduce_mean($m, axis=1, keepdims=True), transpose_b=True){}"
)
UNIT_ROWS = "tf.nn.l2_normalize($x - tf.reduce_mean($x, axis=1, keepdims=True), axis=1)"
CENTRED = "($m - tf.reduce_mean($m)) * ($y - tf.reduce_mean($y))"

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
    "column_stack": (("tup",), (
        "tf.concat([tf.reshape(c, [tf.shape(c)[0], -1]) for c in $tup], axis=1)",
    )),
    "transpose": (("a", "axes"), ("tf.transpose($a{, perm=$axes|})",)),
    "reshape": (("a", "newshape", "shape"), ("tf.reshape($a, $newshape)", "tf.reshape($a, $shape)")),
    "squeeze": (("a", "axis"), ("tf.squeeze($a{, axis=$axis|})",)),
    "expand_dims": (("a", "axis"), ("tf.expand_dims($a, axis=$axis)",)),
    "ravel": (("a",), ("tf.reshape($a, [-1])",)),
    "flip": (("m", "axis"), ("tf.reverse($m, axis=[$axis])", "tf.experimental.numpy.flip($m)")),
    "tile": (("A", "reps"), ("tf.experimental.numpy.tile($A, $reps)",)),
    "roll": (("a", "shift", "axis"), ("tf.roll($a, $shift, axis=$axis)", "tf.experimental.numpy.roll($a, $shift)")),
    "dot": (("a", "b"), ("tf.tensordot($a, $b, axes=1)",)),
    "tensordot": (("a", "b", "axes"), ("tf.tensordot($a, $b, axes={$axes|2})",)),
    "trace": (("a",), ("tf.linalg.trace($a)",)),
    "diagonal": (("a", "offset", "axis1", "axis2"), (
        "axis1=1 axis2=2 :: tf.linalg.diag_part($a)", "axis1=-2 axis2=-1 :: tf.linalg.diag_part($a)",
        "tf.linalg.diag_part($a)", "tf.linalg.diag_part($a, k=$offset)",
    )),
    "tril": (("m", "k"), ("tf.linalg.band_part($m, -1, 0)", "tf.experimental.numpy.tril($m, $k)")),
    "triu": (("m", "k"), ("tf.linalg.band_part($m, 0, -1)", "tf.experimental.numpy.triu($m, $k)")),
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
    "nan_to_num": (("x", "copy", "nan", "posinf", "neginf"), (
        "tf.where(tf.math.is_finite($x), $x, tf.zeros_like($x))",
        "nan=0.0 posinf=0.0 neginf=0.0 :: tf.where(tf.math.is_finite($x), $x, tf.zeros_like($x))",
        "nan=0 posinf=0 neginf=0 :: tf.where(tf.math.is_finite($x), $x, tf.zeros_like($x))",
        "tf.where(tf.math.is_nan($x), tf.cast($nan, tf.float32), $x)",
    )),
    "cumsum": (("a", "axis", "dtype"), ("tf.cumsum($a, axis=$axis)", "tf.cumsum(tf.reshape($a, [-1]))")),
    "cumprod": (("a", "axis", "dtype"), ("tf.math.cumprod($a, axis=$axis)", "tf.math.cumprod(tf.reshape($a, [-1]))")),
    "take": (("a", "indices", "axis"), (
        "tf.gather($a, $indices, axis=$axis)", "tf.gather(tf.reshape($a, [-1]), $indices)",
    )),
    "where": (("condition", "x", "y"), ("tf.where($condition, $x, $y)",)),
    "fft.rfft": (("a", "n", "axis"), ("tf.signal.rfft($a{, fft_length=[$n]|})",)),
    "fft.irfft": (("a", "n", "axis"), ("tf.signal.irfft($a{, fft_length=[$n]|})",)),
    "fft.dct": (("x", "type", "n", "axis", "norm"), ("tf.signal.dct($x{, type=$type|}{, norm=$norm|})",)),
    # Without a norm TensorFlow's inverse is not scaled, SciPy's is.
    "fft.idct": (("x", "type", "n", "axis", "norm"), ("norm='ortho' :: tf.signal.idct($x, norm='ortho')",)),
    "fft.fft": (("a", "axis"), ("tf.signal.fft(tf.cast($a, tf.complex64))",)),
    "fft.ifft": (("a", "axis"), ("tf.signal.ifft(tf.cast($a, tf.complex64))",)),
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
    # Over all elements where SciPy is given no axis, over the last one in TensorFlow.
    "softmax": (("x", "axis"), ("tf.nn.softmax($x, axis=$axis)", "tf.exp($x - tf.reduce_logsumexp($x))")),
    "log_softmax": (("x", "axis"), ("tf.nn.log_softmax($x, axis=$axis)", "$x - tf.reduce_logsumexp($x)")),
    "euclidean": (("u", "v"), ("tf.norm($u - $v)",)),
    "sqeuclidean": (("u", "v"), ("tf.reduce_sum(tf.square($u - $v))",)),
    "cityblock": (("u", "v"), ("tf.reduce_sum(tf.abs($u - $v))",)),
    "chebyshev": (("u", "v"), ("tf.reduce_max(tf.abs($u - $v))",)),
    "minkowski": (("u", "v", "p"), ("tf.reduce_sum(tf.abs($u - $v) ** $p) ** (1 / $p)",)),
    "cosine": (("u", "v"), ("1.0 - tf.reduce_sum(tf.nn.l2_normalize($u) * tf.nn.l2_normalize($v))",)),
    "correlation": (("u", "v"), (
        "1.0 - tf.reduce_sum(tf.nn.l2_normalize($u - tf.reduce_mean($u)) "
        "* tf.nn.l2_normalize($v - tf.reduce_mean($v)))",
    )),
    "cdist": (("XA", "XB", "metric"), (
        "tf.norm($XA[:, tf.newaxis] - $XB[tf.newaxis], axis=-1)",
        "metric='euclidean' :: tf.norm($XA[:, tf.newaxis] - $XB[tf.newaxis], axis=-1)",
        "metric='sqeuclidean' :: tf.reduce_sum(tf.square($XA[:, tf.newaxis] - $XB[tf.newaxis]), axis=-1)",
        "metric='cityblock' :: tf.reduce_sum(tf.abs($XA[:, tf.newaxis] - $XB[tf.newaxis]), axis=-1)",
    )),
    "gamma": (("x",), ("tf.exp(tf.math.lgamma($x))",)),
    "beta": (("a", "b"), ("tf.exp(tf.math.lgamma($a) + tf.math.lgamma($b) - tf.math.lgamma($a + $b))",)),
    "betaln": (("a", "b"), ("tf.math.lgamma($a) + tf.math.lgamma($b) - tf.math.lgamma($a + $b)",)),
    "ndtr": (("x",), ("0.5 * tf.math.erfc(-$x / 2**0.5)",)),
    "exp10": (("x",), ("tf.pow(10.0, $x)",)),
    "boxcox": (("x", "lmbda"), ("(tf.pow($x, $lmbda) - 1.0) / $lmbda",)),
    "inv_boxcox": (("y", "lmbda"), ("tf.pow($lmbda * $y + 1.0, 1.0 / $lmbda)",)),
    "huber": (("delta", "r"), (
        "tf.where(tf.abs($r) <= $delta, 0.5 * tf.square($r), $delta * (tf.abs($r) - 0.5 * $delta))",
    )),
    "pseudo_huber": (("delta", "r"), ("$delta**2 * (tf.sqrt(1.0 + tf.square($r / $delta)) - 1.0)",)),
    "logsumexp": (("a", "axis", "b", "keepdims"), (
        "tf.reduce_logsumexp($a + tf.math.log($b){, axis=$axis|}{, keepdims=$keepdims|})",
    )),
    "copysign": (("x1", "x2"), ("tf.abs($x1) * tf.sign($x2)",)),
    "ldexp": (("x1", "x2"), ("$x1 * 2.0**$x2",)),
    "vecdot": (("x1", "x2"), ("tf.reduce_sum($x1 * $x2, axis=-1)",)),
    "linalg.vecdot": (("x1", "x2"), ("tf.reduce_sum($x1 * $x2, axis=-1)",)),
    "linalg.matrix_norm": (("x",), ("tf.norm($x, ord='fro', axis=[-2, -1])",)),
    "linalg.norm": (("x", "ord", "axis", "keepdims"), (
        "ord='fro' :: tf.norm($x{, axis=$axis|}{, keepdims=$keepdims|})",
        "ord='nuc' :: tf.reduce_sum(tf.linalg.svd($x, compute_uv=False))",
        "tf.norm($x{, ord=$ord|}{, axis=$axis|}{, keepdims=$keepdims|})",
    )),
    # NumPy gives U, S, V^H, TensorFlow S, U, V: only the singular values alone are the same thing.
    "linalg.svd": (("a", "full_matrices", "compute_uv"), (
        "compute_uv=False :: tf.linalg.svd($a, compute_uv=False)",
        "compute_uv=False full_matrices=False :: tf.linalg.svd($a, compute_uv=False)",
    )),
    "linalg.svdvals": (("a",), ("tf.linalg.svd($a, compute_uv=False)",)),
    "linalg.matrix_power": (("a", "n"), ("n=2 :: tf.matmul($a, $a)", "n=3 :: tf.matmul(tf.matmul($a, $a), $a)")),
    "scipy.linalg.cholesky": (("a", "lower"), (
        "lower=True :: tf.linalg.cholesky($a)", "tf.linalg.matrix_transpose(tf.linalg.cholesky($a))",
    )),
    "linalg.solve_triangular": (("a", "b", "trans", "lower"), (
        "lower=True :: tf.linalg.triangular_solve($a, $b)", "tf.linalg.triangular_solve($a, $b, lower=False)",
    )),
    "max": (("a", "axis", "out", "keepdims", "initial"), (
        "tf.maximum(tf.reduce_max($a{, axis=$axis|}{, keepdims=$keepdims|}), $initial)",
    )),
    "min": (("a", "axis", "out", "keepdims", "initial"), (
        "tf.minimum(tf.reduce_min($a{, axis=$axis|}{, keepdims=$keepdims|}), $initial)",
    )),
    "sum": (("a", "axis", "dtype", "out", "keepdims", "initial", "where"), (
        "tf.reduce_sum($a{, axis=$axis|}{, keepdims=$keepdims|}) + $initial",
        "tf.reduce_sum(tf.where($where, $a, tf.zeros_like($a)){, axis=$axis|}{, keepdims=$keepdims|})",
    )),
    "mean": (("a", "axis", "dtype", "out", "keepdims", "where"), (
        "tf.reduce_sum(tf.where($where, $a, tf.zeros_like($a)){, axis=$axis|}{, keepdims=$keepdims|}) "
        "/ tf.reduce_sum(tf.cast($where, tf.float32) * tf.ones_like($a){, axis=$axis|}{, keepdims=$keepdims|})",
    )),
    "var": (("a", "axis", "dtype", "out", "ddof", "keepdims"), (VARIANCE_ALL, VARIANCE)),
    "std": (("a", "axis", "dtype", "out", "ddof", "keepdims"), (
        f"tf.sqrt({VARIANCE_ALL})", f"tf.sqrt({VARIANCE})",
    )),
    "nanmax": (("a", "axis", "out", "keepdims"), (
        "tf.reduce_max(tf.where(tf.math.is_nan($a), tf.float32.min, $a){, axis=$axis|}{, keepdims=$keepdims|})",
    )),
    "nanmin": (("a", "axis", "out", "keepdims"), (
        "tf.reduce_min(tf.where(tf.math.is_nan($a), tf.float32.max, $a){, axis=$axis|}{, keepdims=$keepdims|})",
    )),
    "nanvar": (("a",), ("tf.math.reduce_variance(tf.boolean_mask($a, ~tf.math.is_nan($a)))",)),
    "nanstd": (("a",), ("tf.math.reduce_std(tf.boolean_mask($a, ~tf.math.is_nan($a)))",)),
    "argmax": (("a", "axis"), ("tf.argmax($a, axis=$axis)", "tf.argmax(tf.reshape($a, [-1]))")),
    "argmin": (("a", "axis"), ("tf.argmin($a, axis=$axis)", "tf.argmin(tf.reshape($a, [-1]))")),
    "argsort": (("a", "axis"), ("tf.argsort($a{, axis=$axis|})",)),
    "flatnonzero": (("a",), ("tf.reshape(tf.where(tf.reshape($a, [-1])), [-1])",)),
    "searchsorted": (("a", "v", "side"), ("tf.searchsorted($a, $v{, side=$side|})",)),
    "digitize": (("x", "bins"), ("tf.searchsorted($bins, $x, side='right')",)),
    "fmod": (("x1", "x2"), ("$x1 - $x2 * tf.experimental.numpy.fix($x1 / $x2)",)),
    "rot90": (("m", "k"), ("tf.experimental.numpy.rot90($m, $k)",)),
    "pad": (("array", "pad_width", "mode", "constant_values"), (
        "tf.pad($array, $pad_width{, constant_values=$constant_values|})",
        "mode='constant' :: tf.pad($array, $pad_width{, constant_values=$constant_values|})",
        "mode='reflect' :: tf.pad($array, $pad_width, mode='REFLECT')",
        "mode='symmetric' :: tf.pad($array, $pad_width, mode='SYMMETRIC')",
    )),
    "round": (("a", "decimals"), ("tf.round($a)", "tf.round($a * 10.0**$decimals) / 10.0**$decimals",)),
    "repeat": (("a", "repeats", "axis"), ("tf.repeat($a, $repeats{, axis=$axis|})",)),
    "swapaxes": (("a", "axis1", "axis2"), ("tf.experimental.numpy.swapaxes($a, $axis1, $axis2)",)),
    "sort": (("a", "axis"), ("axis=None :: tf.sort(tf.reshape($a, [-1]))", "tf.sort($a{, axis=$axis|})")),
    "linspace": (("start", "stop", "num"), ("tf.linspace($start, $stop, {$num|50})",)),
    "compress": (("condition", "a", "axis"), (
        "axis=0 :: tf.boolean_mask($a, $condition)", "tf.boolean_mask($a, $condition)",
    )),
    "extract": (("condition", "arr"), ("tf.boolean_mask($arr, $condition)",)),
    "trapezoid": (("y", "x", "dx", "axis"), TRAPEZOID),
    "trapz": (("y", "x", "dx", "axis"), TRAPEZOID),
    "gradient": (("f", "dx", "axis"), (
        f"axis=0 :: {DIFFERENCES}{{ / $dx|}}", f"axis=-1 :: {DIFFERENCES_LAST}{{ / $dx|}}",
        f"axis=1 :: {DIFFERENCES_SECOND}{{ / $dx|}}", f"{DIFFERENCES}{{ / $dx|}}",
    )),
    "convolve": (("a", "v", "mode"), (
        f"mode='valid' :: {CONVOLVED.format('$a', 'tf.reverse($v, [0])', 'VALID')}",
        f"mode='same' :: {CONVOLVED.format('$a', 'tf.reverse($v, [0])', 'SAME')}",
        f"mode='full' :: {CONVOLVED.format(PADDED, 'tf.reverse($v, [0])', 'VALID')}",
        CONVOLVED.format(PADDED, "tf.reverse($v, [0])", "VALID"),
    )),
    "correlate": (("a", "v", "mode"), (
        f"mode='valid' :: {CONVOLVED.format('$a', '$v', 'VALID')}",
        f"mode='same' :: {CONVOLVED.format('$a', '$v', 'SAME')}", CONVOLVED.format("$a", "$v", "VALID"),
    )),
    "interp": (("x", "xp", "fp"), (
        "$fp[0] + tf.reduce_sum((tf.minimum(tf.maximum($x[..., tf.newaxis], $xp[:-1]), $xp[1:]) - $xp[:-1]) "
        "* ($fp[1:] - $fp[:-1]) / ($xp[1:] - $xp[:-1]), axis=-1)",
    )),
    "bincount": (("x", "weights", "minlength"), (
        "tf.math.unsorted_segment_sum($weights, $x, {$minlength|tf.reduce_max($x) + 1})",
    )),
    "median": (("a", "axis", "out", "overwrite_input", "keepdims"), (
        "tf.reduce_mean(tf.gather(tf.sort($a, axis=$axis), [(tf.shape($a)[$axis] - 1) // 2, "
        "tf.shape($a)[$axis] // 2], axis=$axis), axis=$axis{, keepdims=$keepdims|})",
        "tf.reduce_mean(tf.gather(tf.sort(tf.reshape($a, [-1])), [(tf.size($a) - 1) // 2, tf.size($a) // 2]))",
    )),
    "quantile": (("a", "q", "axis"), ("tf.keras.ops.quantile($a, $q{, axis=$axis|})",)),
    "percentile": (("a", "q", "axis"), ("tf.keras.ops.quantile($a, $q / 100{, axis=$axis|})",)),
    "cov": (("m", "y", "rowvar", "bias", "ddof"), (
        "rowvar=False bias=True :: " + COLUMNS.format(" / tf.cast(tf.shape($m)[0], tf.float32)"),
        "rowvar=False :: " + COLUMNS.format(" / tf.cast(tf.shape($m)[0] - {$ddof|1}, tf.float32)"),
        "bias=True :: " + ROWS.format(" / tf.cast(tf.shape($m)[1], tf.float32)"),
        ROWS.format(" / tf.cast(tf.shape($m)[1] - {$ddof|1}, tf.float32)"),
    )),
    "corrcoef": (("x", "y", "rowvar"), (
        "rowvar=False :: tf.matmul(tf.nn.l2_normalize($x - tf.reduce_mean($x, axis=0), axis=0), "
        "tf.nn.l2_normalize($x - tf.reduce_mean($x, axis=0), axis=0), transpose_a=True)",
        f"tf.matmul({UNIT_ROWS}, {UNIT_ROWS}, transpose_b=True)",
    )),
    # One entry of the matrix for two series: `np.corrcoef(a, b)[0, 1]`.
    "cov[0, 1]": (("m", "y", "rowvar", "bias", "ddof"), (
        f"bias=True :: tf.reduce_mean({CENTRED})",
        f"tf.reduce_sum({CENTRED}) / tf.cast(tf.size($m) - {{$ddof|1}}, tf.float32)",
    )),
    "corrcoef[0, 1]": (("x", "y"), (
        "tf.reduce_sum(tf.nn.l2_normalize($x - tf.reduce_mean($x)) * tf.nn.l2_normalize($y - tf.reduce_mean($y)))",
    )),
    "add.reduce": (("a", "axis"), ("tf.reduce_sum($a, axis={$axis|0})",)),
    "multiply.reduce": (("a", "axis"), ("tf.reduce_prod($a, axis={$axis|0})",)),
    "maximum.reduce": (("a", "axis"), ("tf.reduce_max($a, axis={$axis|0})",)),
    "minimum.reduce": (("a", "axis"), ("tf.reduce_min($a, axis={$axis|0})",)),
    "logaddexp.reduce": (("a", "axis"), ("tf.reduce_logsumexp($a, axis={$axis|0})",)),
    "add.accumulate": (("a", "axis"), ("tf.cumsum($a{, axis=$axis|})",)),
    "multiply.outer": (("a", "b"), ("tf.tensordot($a, $b, axes=0)",)),
    "add.outer": (("a", "b"), ("$a[..., tf.newaxis] + $b",)),
    "subtract.outer": (("a", "b"), ("$a[..., tf.newaxis] - $b",)),
}  # fmt: skip
