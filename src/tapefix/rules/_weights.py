"""Writing a value that was meant as a weight as one: `self.add_weight(...)`, `tf.Variable(...)`."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import AddImport, Edit, ReplaceExpression

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Functions that fill a tensor at random: what Keras calls the initialiser, and its settings by position and keyword.
_RANDOM: dict[str, tuple[str, tuple[tuple[int, str, str], ...]]] = {
    "tf.random.normal": ("RandomNormal", ((1, "mean", "mean"), (2, "stddev", "stddev"))),
    "tf.random.truncated_normal": ("TruncatedNormal", ((1, "mean", "mean"), (2, "stddev", "stddev"))),
    "tf.random.uniform": ("RandomUniform", ((1, "minval", "minval"), (2, "maxval", "maxval"))),
    "keras.random.normal": ("RandomNormal", ((1, "mean", "mean"), (2, "stddev", "stddev"))),
    "keras.random.uniform": ("RandomUniform", ((1, "minval", "minval"), (2, "maxval", "maxval"))),
    "keras.backend.random_normal": ("RandomNormal", ((1, "mean", "mean"), (2, "stddev", "stddev"))),
}
_DEFAULTS = {
    "RandomNormal": {"mean": "0.0", "stddev": "1.0"},
    "TruncatedNormal": {"mean": "0.0", "stddev": "1.0"},
    "RandomUniform": {"minval": "0.0", "maxval": "1.0"},
}
_FILLED = {
    "tf.zeros": "zeros",
    "tf.ones": "ones",
    "np.zeros": "zeros",
    "np.ones": "ones",
    "keras.ops.zeros": "zeros",
    "keras.ops.ones": "ones",
}
_NUMPY_RANDOM = (
    "np.random.randn",
    "np.random.normal",
    "np.random.uniform",
    "np.random.rand",
    "np.random.standard_normal",
)


# What makes a plain variable, which Keras 3 does not track.
PLAIN_VARIABLES = ("tf.Variable", "keras.backend.variable")
# Layers with weights.
_WEIGHTED = re.compile(
    r"^(Dense|EinsumDense|Conv\w*|DepthwiseConv\w*|SeparableConv\w*|LocallyConnected\w*|Embedding|LSTM|GRU|SimpleRNN|RNN"
    r"|Bidirectional|TimeDistributed|BatchNormalization|LayerNormalization|GroupNormalization|MultiHeadAttention|PReLU)$"
)


def makes_weighted_layer(module: Module, call: ast.AST) -> bool:
    """Does this call make a layer of Keras that has weights?"""
    name = module.call_name(call) or ""
    return name.startswith("keras.layers.") and _WEIGHTED.match(name.rpartition(".")[2]) is not None


def initial_value(node: ast.Call) -> ast.expr | None:
    """The value that a plain variable starts with."""
    return argument(node, 0, "initial_value") or argument(node, 0, "value")


def is_random(module: Module, node: ast.expr) -> bool:
    """Does this expression fill a tensor or an array at random: `tf.random.normal([3, 4]) * 0.1`?"""
    node = _unwrapped(module, node)
    if isinstance(node, ast.BinOp):
        left, right = is_random(module, node.left), is_random(module, node.right)
        return (left and _is_plain(node.right)) or (right and _is_plain(node.left))
    if not isinstance(node, ast.Call):
        return False
    name = module.call_name(node) or ""
    if name in _RANDOM or name in _NUMPY_RANDOM:
        return True
    # An initialiser that is called: GlorotUniform()(shape)
    makers = [node.func] if isinstance(node.func, ast.Call) else module.objects.origins(node.func)
    return bool(makers) and all((module.call_name(m) or "").startswith("keras.initializers.") for m in makers)


def is_filled(module: Module, node: ast.expr) -> bool:
    """Zeros or ones of a given shape."""
    node = _unwrapped(module, node)
    return isinstance(node, ast.Call) and module.call_name(node) in _FILLED


def _unwrapped(module: Module, node: ast.expr) -> ast.expr:
    """Without `tf.cast(..., tf.float32)`, `tf.constant(...)`, `.astype(...)` and `tf.Variable(...)` around it."""
    while isinstance(node, ast.Call):
        name = module.call_name(node)
        if name in ("tf.cast", "tf.constant", "tf.convert_to_tensor", "tf.Variable") and node.args:
            node = node.args[0]
        elif name in PLAIN_VARIABLES and (value := initial_value(node)) is not None:
            node = value
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "astype" and name is None:
            node = node.func.value
        else:
            break
    return node


def _is_plain(node: ast.expr) -> bool:
    """A number or a name, to scale by."""
    return isinstance(node, ast.Constant) or (isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant))


def add_weight(module: Module, owner: str, node: ast.expr, name: str, trainable: ast.expr | None = None) -> str:
    """The call of `owner.add_weight` that makes a weight with the value that `node` has."""
    made = _shape_and_initializer(module, node)
    if made is None:
        # A value of unknown shape: a variable of Keras 3, which a layer tracks as it does its own weights.
        made_by = module.spell("keras.Variable") or "tf.keras.Variable"
        kind = _dtype(module, node)
        typed = f", dtype={kind}" if kind is not None else ""
        return f'{made_by}({module.source(_inner(module, node))}{typed}, name="{name}")'
    shape, initializer = made
    last = f", trainable={module.source(trainable)}" if trainable is not None else ""
    return f'{owner}.add_weight(name="{name}", shape={shape}, initializer={initializer}{last})'


def _dtype(module: Module, node: ast.expr) -> str | None:
    """The type that is stated for a plain variable."""
    if not isinstance(node, ast.Call) or module.call_name(node) not in PLAIN_VARIABLES:
        return None
    stated = argument(node, 1 if module.call_name(node) == "keras.backend.variable" else 6, "dtype")
    return module.source(stated) if stated is not None else None


def _inner(module: Module, node: ast.expr) -> ast.expr:
    """The initial value of a tf.Variable, else the expression itself."""
    if isinstance(node, ast.Call) and module.call_name(node) in PLAIN_VARIABLES:
        return initial_value(node) or node
    return node


def imports_for(module: Module, text: str) -> list[Edit]:
    """The import that a text with `tf.` in it needs where the file has none."""
    return (
        [AddImport("import tensorflow as tf")] if "tf." in text and module.needs_tf_import and module.tf == "tf" else []
    )


def as_variable(module: Module, node: ast.expr) -> tuple[Edit, ...]:
    """The edits that make a tf.Variable of a constant, an array or a random tensor, with the same value."""
    tf = module.tf
    imports = imports_for(module, f"{tf}.")
    if isinstance(node, ast.Call) and module.call_name(node) in ("tf.constant", "tf.convert_to_tensor") and node.args:
        value = node.args[0]
        text = _as_float(value, len(node.args) > 1 or bool(node.keywords)) or module.source(value)
        if len(node.args) > 1:
            text += f", dtype={module.source(node.args[1])}"
        for keyword in node.keywords:
            if keyword.arg not in ("dtype", "name", "shape"):
                return (
                    ReplaceExpression(module.span(node), f"{tf}.Variable($value)", {"value": module.span(node)}),
                    *imports,
                )
            text += f", {keyword.arg}={module.source(keyword.value)}"
        if any(k.arg == "shape" for k in node.keywords):
            return (
                ReplaceExpression(module.span(node), f"{tf}.Variable($value)", {"value": module.span(node)}),
                *imports,
            )
        return (ReplaceExpression(module.span(node), f"{tf}.Variable({text})"), *imports)
    number = _as_float(node, typed=False)
    if number is not None:
        return (ReplaceExpression(module.span(node), f"{tf}.Variable({number})"), *imports)
    return (ReplaceExpression(module.span(node), f"{tf}.Variable($value)", {"value": module.span(node)}), *imports)


def _as_float(value: ast.expr, typed: bool) -> str | None:
    """`3` as `3.0`: whole numbers have no gradient."""
    if not typed and isinstance(value, ast.Constant) and type(value.value) is int:
        return f"{value.value}.0"
    return None


def _shape_and_initializer(module: Module, node: ast.expr) -> tuple[str, str] | None:
    value = _unwrapped(module, node)
    initializers = module.spell("keras.initializers") or "tf.keras.initializers"
    if isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Mult, ast.Div)):
        scaled = _scaled(module, value, initializers)
        if scaled is not None:
            return scaled
    if isinstance(value, ast.Call):
        made = module.call_name(value) or ""
        if made in _FILLED:
            shape = argument(value, 0, "shape")
            if shape is not None:
                return _shape(module, shape), f'"{_FILLED[made]}"'
        if made in _RANDOM:
            shape = argument(value, 0, "shape")
            if shape is not None:
                return _shape(module, shape), _random(module, value, initializers)
        if made == "tf.fill" and len(value.args) == 2:
            return _shape(module, value.args[0]), f"{initializers}.Constant({module.source(value.args[1])})"
        if isinstance(value.func, ast.Call) and (module.call_name(value.func) or "").startswith("keras.initializers."):
            shape = argument(value, 0, "shape")
            if shape is not None:
                return _shape(module, shape), module.source(value.func)
        if made == "np.random.randn" and value.args and not any(isinstance(a, ast.Starred) for a in value.args):
            inner = ", ".join(module.source(a) for a in value.args)
            return f"({inner},)" if len(value.args) == 1 else f"({inner})", f"{initializers}.RandomNormal(stddev=1.0)"
    if (isinstance(value, ast.Constant) and isinstance(value.value, (int, float))) or (
        isinstance(value, ast.UnaryOp) and isinstance(value.operand, ast.Constant)
    ):
        return "()", f"{initializers}.Constant({module.source(value)})"
    size = _literal_shape(value)
    text = module.source(value)
    if size is not None:
        return size, f"{initializers}.Constant({text})"
    return None


def _literal_shape(node: ast.expr) -> str | None:
    sizes = []
    while isinstance(node, (ast.List, ast.Tuple)):
        sizes.append(len(node.elts))
        if not node.elts:
            return None
        node = node.elts[0]
    if not sizes:
        return None
    return f"({', '.join(map(str, sizes))},)" if len(sizes) == 1 else f"({', '.join(map(str, sizes))})"


def _shape(module: Module, node: ast.expr) -> str:
    """A shape as add_weight takes it: a plain number becomes a tuple."""
    text = module.source(node)
    return (
        text
        if isinstance(node, (ast.List, ast.Tuple, ast.Attribute, ast.BinOp)) or not isinstance(node, ast.Constant)
        else f"({text},)"
    )


def _random(module: Module, call: ast.Call, initializers: str, factor: str | None = None) -> str:
    kind, settings = _RANDOM[module.call_name(call) or ""]
    found = {}
    for position, keyword, own in settings:
        given = argument(call, position, keyword)
        found[own] = module.source(given) if given is not None else _DEFAULTS[kind][own]
    if factor is not None:
        found = {
            own: (text if text in ("0.0", "0", "0.") else factor if text in ("1.0", "1", "1.") else f"{text}{factor}")
            for own, text in found.items()
        }
    # Zero is the initialisers' own default of a mean.
    shown = ", ".join(
        f"{own}={text}" for own, text in found.items() if not (own == "mean" and text in ("0.0", "0", "0."))
    )
    return f"{initializers}.{kind}({shown})"


def _scaled(module: Module, value: ast.BinOp, initializers: str) -> tuple[str, str] | None:
    """`tf.random.normal(shape) * 0.1`: the initialiser with the scale in it."""
    call, scale = value.left, value.right
    if not isinstance(call, ast.Call) and isinstance(value.op, ast.Mult):
        call, scale = value.right, value.left
    if not (isinstance(call, ast.Call) and isinstance(scale, ast.Constant)):
        return None
    made = module.call_name(call) or ""
    text = module.source(scale)
    if made == "np.random.randn" and isinstance(value.op, ast.Mult) and call.args:
        inner = ", ".join(module.source(a) for a in call.args)
        return f"({inner},)" if len(call.args) == 1 else f"({inner})", f"{initializers}.RandomNormal(stddev={text})"
    shape = argument(call, 0, "shape")
    if made not in _RANDOM or shape is None or not isinstance(value.op, ast.Mult):
        return None
    kind, settings = _RANDOM[made]
    if any(argument(call, position, keyword) is not None for position, keyword, _ in settings) or (
        kind == "RandomUniform" and text.startswith("-")
    ):
        return None
    return _shape(module, shape), _random(module, call, initializers, text)
