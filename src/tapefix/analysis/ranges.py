"""Ranges: what the text tells about the numbers that a value may take, in float32.

Rules about log, sqrt, division and powers ask it whether an argument can be 0, negative or too large. It reckons in
float32, because there `1 - 1e-8` is 1 and a sigmoid is exactly 0 or 1 for large inputs.
"""

from __future__ import annotations

import ast
import math
import re
from typing import TYPE_CHECKING

from tapefix.analysis.intervals import (
    INF,
    NOT_NEGATIVE,
    TOP,
    UNIT,
    Range,
    bound,
    combine,
    exp,
    float32,
    sum_of,
    union,
)
from tapefix.analysis.scopes import Def
from tapefix.analysis.tapes import argument

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_SMALL_NAME = re.compile(
    r"(^|_)(eps\w*|epsilon|smooth\w*|tiny|small\w*|fuzz|jitter|safe\w*|min_?\w*)($|_)", re.IGNORECASE
)
_LABEL = re.compile(r"^(y|y_?true|labels?|targets?|truth|class(es)?|class_id)$", re.IGNORECASE)


_GUARD = Range(1e-7, 1e-3, guarded=True)

# Operations whose results are some of the numbers that they are given, or lie between these.
SAME = {
    "reshape", "squeeze", "expand_dims", "transpose", "cast", "identity", "gather", "gather_nd", "boolean_mask",
    "tile", "flatten", "batch_flatten", "convert_to_tensor", "stop_gradient", "reduce_mean", "mean", "reduce_max",
    "max", "amax", "reduce_min", "min", "amin", "permute_dimensions", "broadcast_to", "repeat", "repeat_elements",
    "slice", "roll", "reverse", "sort", "ensure_shape", "copy", "array", "asarray", "ravel", "float32", "float64",
    "constant", "variable", "moveaxis", "swapaxes", "take", "take_along_axis", "cumulative_max", "float", "unstack",
    "split",
}  # fmt: skip
_SUMS = {"reduce_sum", "sum", "cumsum", "add_n", "l1", "trace"}
_FIXED: dict[str, Range] = {
    "sigmoid": Range(0.0, 1.0, source="sigmoid"), "hard_sigmoid": Range(0.0, 1.0, source="sigmoid"),
    "expit": Range(0.0, 1.0, source="sigmoid"), "softmax": Range(0.0, 1.0, source="softmax"),
    "relu": Range(0.0, INF, source="relu"), "relu6": Range(0.0, 6.0, source="relu"), "square": NOT_NEGATIVE,
    "squared_difference": NOT_NEGATIVE, "abs": NOT_NEGATIVE, "fabs": NOT_NEGATIVE, "softplus": NOT_NEGATIVE,
    "sqrt": NOT_NEGATIVE, "norm": NOT_NEGATIVE, "reduce_euclidean_norm": NOT_NEGATIVE,
    "reduce_variance": NOT_NEGATIVE, "variance": NOT_NEGATIVE, "var": NOT_NEGATIVE, "reduce_std": NOT_NEGATIVE,
    "std": NOT_NEGATIVE, "l2_loss": NOT_NEGATIVE, "tanh": Range(-1.0, 1.0), "sin": Range(-1.0, 1.0),
    "cos": Range(-1.0, 1.0), "softsign": Range(-1.0, 1.0), "sign": Range(-1.0, 1.0), "erf": Range(-1.0, 1.0),
    "one_hot": UNIT, "ones_like": Range(1.0, 1.0), "ones": Range(1.0, 1.0), "zeros_like": Range(0.0, 0.0),
    "zeros": Range(0.0, 0.0), "shape": Range(1.0, INF), "size": Range(1.0, INF), "int_shape": Range(1.0, INF),
    "rank": Range(1.0, INF), "len": Range(1.0, INF), "epsilon": _GUARD, "sequence_mask": UNIT,
    "log_softmax": Range(-INF, 0.0), "log_sigmoid": Range(-INF, 0.0), "finfo": _GUARD, "equal": UNIT,
    "not_equal": UNIT, "greater": UNIT, "greater_equal": UNIT, "less": UNIT, "less_equal": UNIT, "logical_and": UNIT,
    "logical_not": UNIT, "cosine_similarity": Range(-1.0, 1.0), "is_nan": UNIT, "matmul": Range(source="linear"),
    "dense": Range(source="linear"), "eye": UNIT,
}  # fmt: skip
_ACTIVATIONS: dict[str, Range] = {
    "softmax": _FIXED["softmax"], "sigmoid": _FIXED["sigmoid"], "hard_sigmoid": _FIXED["sigmoid"],
    "relu": _FIXED["relu"], "softplus": Range(0.0, INF, guarded=True), "exponential": Range(0.0, INF, guarded=True),
    "exp": Range(0.0, INF, guarded=True), "tanh": Range(-1.0, 1.0), "linear": Range(source="output"),
}  # fmt: skip


_TESTS = {"equal", "not_equal", "greater", "greater_equal", "less", "less_equal"}


class Ranges:
    """Answers for one module."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._known: dict[ast.AST | Def, Range] = {}

    def of(self, node: ast.AST) -> Range:
        known = self._known.get(node)
        if known is None:
            self._known[node] = TOP  # what depends on itself is not known
            known = self._known[node] = self._of(node)
        return known

    def _of(self, node: ast.AST) -> Range:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, (bool, int, float)):
                value = float32(float(node.value))
                return Range(value, value)
            return TOP
        if isinstance(node, ast.UnaryOp):
            inner = self.of(node.operand)
            if isinstance(node.op, ast.USub):
                return Range(-inner.high, -inner.low, inner.guarded)
            return inner if isinstance(node.op, ast.UAdd) else UNIT
        if isinstance(node, ast.BinOp):
            return self._operation(node.op, node.left, node.right)
        if isinstance(node, ast.Compare):
            return UNIT
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        if isinstance(node, ast.IfExp):
            return union([self.of(node.body), self.of(node.orelse)])
        if isinstance(node, (ast.Tuple, ast.List)):
            return union([self.of(item) for item in node.elts])
        if isinstance(node, (ast.NamedExpr, ast.Starred)):
            return self.of(node.value)
        return self._call(node) if isinstance(node, ast.Call) else TOP

    # -------------------------------------------------------------- names

    def _name(self, node: ast.Name) -> Range:
        definitions = self.module.definitions(node)
        found = union([self.definition(d) for d in definitions]) if definitions else TOP
        given = all(d.kind in ("parameter", "import") for d in definitions)
        return _GUARD if given and found.unknown and not found.source and _SMALL_NAME.search(node.id) else found

    def definition(self, definition: Def) -> Range:
        known = self._known.get(definition)
        if known is None:
            self._known[definition] = TOP
            known = self._known[definition] = self._definition(definition)
        return known

    def _definition(self, definition: Def) -> Range:
        value = definition.value
        if definition.kind == "parameter":
            return self._parameter(definition)
        if definition.kind == "augment" and isinstance(definition.node, ast.AugAssign) and value is not None:
            before = union([self.definition(d) for d in definition.previous])
            return combine(definition.node.op, before, self.of(value))
        if definition.kind not in ("assign", "with", "loop") or value is None:
            return TOP
        for index in definition.path:
            if not isinstance(value, (ast.Tuple, ast.List)) or index >= len(value.elts):
                break
            value = value.elts[index]
        else:
            return self.of(value)
        if isinstance(value, (ast.Tuple, ast.List)) or definition.kind != "assign":
            return TOP
        if isinstance(value, ast.Call) and len(definition.path) == 1 and self.module.training.is_forward(value):
            layers = self.module.layers.outputs(value.func, index=definition.path[0])
            if layers:
                return union([self.activation(layer) for layer in layers])
        # Of a function that returns several values, the one in question.
        parts = [part for part in self.module.flow.unpacked(value, definition.path) if isinstance(part, ast.expr)]
        return union([self.of(part) for part in parts]) if parts else TOP

    def _parameter(self, definition: Def) -> Range:
        training, objects = self.module.training, self.module.objects
        function = definition.scope.node
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return TOP
        if function in training.losses and training.prediction_parameter(function) is definition:
            activations = [self.activation(layer) for layer in self.module.layers.of_prediction(function)]
            found = union(activations) if activations else TOP
            # Of several outputs, one that is positive by its activation may be the one in question.
            return found._replace(source=found.source or "prediction", guarded=any(a.guarded for a in activations))
        arguments = objects.arguments_of(definition)
        if not arguments:
            return TOP
        found = union([self.of(a) for a in arguments])
        # A default says little about what others pass, unless it is an epsilon.
        return TOP if not objects.call_sites.get(function) and not 0 < found.low <= 1e-2 else found

    def activation(self, layer: ast.Call) -> Range:
        return _ACTIVATIONS.get(self.module.layers.activation(layer), TOP)

    def _attribute(self, node: ast.Attribute) -> Range:
        name = self.module.name(node)
        if name in ("np.pi", "math.pi", "np.e", "math.e"):
            value = math.pi if name.endswith("pi") else math.e
            return Range(value, value)
        if node.attr in ("T", "real", "values"):
            return self.of(node.value)
        found = [self.of(value) for value, path in self.module.objects.attribute_values(node) if not path]
        result = union(found) if found else TOP
        return _GUARD if result.unknown and not result.source and _SMALL_NAME.search(node.attr) else result

    def _subscript(self, node: ast.Subscript) -> Range:
        whole = self.of(node.value)
        index = node.slice
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        # `probs[0, action]` is what was chosen, and what was chosen was possible. The label need not be.
        picked = any(not isinstance(part, (ast.Slice, ast.Constant, ast.UnaryOp)) for part in parts)
        picked = picked and not any(isinstance(part, ast.Name) and _LABEL.match(part.id) for part in parts)
        return whole._replace(source="picked") if picked and whole.source in ("softmax", "sigmoid") else whole

    # -------------------------------------------------------------- arithmetic

    def _operation(self, op: ast.operator, left: ast.expr, right: ast.expr) -> Range:
        if isinstance(op, ast.Mult) and ast.dump(left) == ast.dump(right):
            return NOT_NEGATIVE
        if isinstance(op, ast.Sub) and self._is_maximum_of(right, left):
            return Range(-INF, 0.0)
        return combine(op, self.of(left), self.of(right))

    def _is_maximum_of(self, node: ast.expr, value: ast.expr) -> bool:
        """Is `node` the largest element of `value` (also through a name)?"""
        for origin in [node, *(self.module.objects.origins(node, 4) if isinstance(node, ast.Name) else [])]:
            if isinstance(origin, ast.Call):
                operation = self.module.op(origin) or self.module.numpy_op(origin)
                if operation == "stop_gradient" and origin.args:
                    return self._is_maximum_of(origin.args[0], value)
                if operation in ("reduce_max", "max", "amax") and origin.args:
                    return ast.dump(origin.args[0]) == ast.dump(value)
        return False

    # -------------------------------------------------------------- calls

    def _call(self, node: ast.Call) -> Range:
        module = self.module
        operation = module.op(node) or module.numpy_op(node) or self._other_name(node)
        if operation is not None:
            operation = operation.rpartition(".")[2]
            found = self._of_operation(operation, node)
            if found is not None:
                return found
        callees = module.objects.callees(node)
        if callees:
            values = [self.of(value) for callee in callees for value in module.objects.returns.get(callee, [])]
            return union(values) if values else TOP
        if module.training.is_forward(node):
            layers = module.layers.outputs(node.func) or module.layers.of_value(node)
            return union([self.activation(layer) for layer in layers]) if layers else TOP
        if isinstance(node.func, ast.Attribute) and node.func.attr in SAME | _SUMS and module.call_name(node) is None:
            return sum_of(self.of(node.func.value)) if node.func.attr in _SUMS else self.of(node.func.value)
        return TOP

    def _other_name(self, node: ast.Call) -> str | None:
        name = self.module.call_name(node) or ""
        builtin = "." not in name and name in ("abs", "max", "min", "sum", "float", "len")
        return (
            name
            if builtin
            or name.startswith(("math.", "tf.image.", "scipy.special.", "keras.config.", "tf.experimental.numpy."))
            else None
        )

    def _of_operation(self, operation: str, node: ast.Call) -> Range | None:
        first = node.args[0] if node.args else (node.keywords[0].value if node.keywords else None)
        if first is None or isinstance(first, ast.Starred):
            return _FIXED.get(operation)
        if operation in ("clip_by_value", "clip"):
            return self._clip(node, first)
        second = (
            node.args[1]
            if len(node.args) > 1
            else next((k.value for k in node.keywords if k.arg in ("y", "x2", "b")), None)
        )
        if (
            operation in ("maximum", "minimum", "max", "min")
            and second is not None
            and operation[:3] in ("max", "min")
            and not _is_axis(node, operation)
        ):
            return bound(operation[:3], self.of(first), self.of(second))
        if (
            operation in ("add", "subtract", "multiply", "divide", "truediv", "div", "pow", "power", "mul")
            and second is not None
        ):
            op: ast.operator = {"a": ast.Add, "s": ast.Sub, "m": ast.Mult, "d": ast.Div, "t": ast.Div, "p": ast.Pow}[
                operation[0]
            ]()
            return self._operation(op, first, second)
        if operation in ("divide_no_nan", "multiply_no_nan"):
            return NOT_NEGATIVE if second is not None and self.of(first).low >= 0 and self.of(second).low >= 0 else TOP
        if operation == "where" and len(node.args) == 3:
            return self._where(node)
        if operation in ("exp", "expm1"):
            inner = self.of(first)
            shift = 1.0 if operation == "expm1" else 0.0
            return Range(float32(exp(inner.low)) - shift, float32(exp(inner.high)) - shift)
        if operation == "sqrt":
            inner = self.of(first)
            low = math.sqrt(inner.low) if inner.low > 0 else 0.0
            return Range(low, math.sqrt(inner.high) if 0 <= inner.high < INF else INF, inner.guarded)
        if operation in ("log", "log1p"):
            inner = self.of(first)
            shift = 1.0 if operation == "log1p" else 0.0
            low = math.log(inner.low + shift) if inner.low + shift > 0 else -INF
            return Range(low, math.log(inner.high + shift) if 0 < inner.high + shift < INF else INF)
        if operation in _SUMS:
            return sum_of(self.of(first))
        if operation in ("reduce_prod", "prod", "cumprod"):
            inner = self.of(first)
            return Range(0.0, 1.0 if inner.high <= 1 else INF) if inner.low >= 0 else TOP
        if operation in SAME:
            inner = self.of(first)
            picked = operation in (
                "gather",
                "gather_nd",
                "boolean_mask",
                "take",
                "take_along_axis",
            ) and inner.source in ("softmax", "sigmoid")
            return inner._replace(source="picked") if picked else inner
        if operation in ("stack", "concat", "concatenate") or operation in ("full", "fill"):
            return self.of(first) if operation[0] != "f" else (self.of(second) if second is not None else TOP)
        if operation in ("uniform", "random_uniform"):
            least, most = argument(node, 1, "minval"), argument(node, 2, "maxval")
            return Range(
                self.of(least).low if least is not None else 0.0, self.of(most).high if most is not None else 1.0
            )
        return _FIXED.get(operation)

    def _clip(self, node: ast.Call, first: ast.expr) -> Range:
        inner = self.of(first)
        low = next(
            (self.of(k.value) for k in node.keywords if k.arg in ("clip_value_min", "min_value", "x_min", "a_min")),
            None,
        )
        high = next(
            (self.of(k.value) for k in node.keywords if k.arg in ("clip_value_max", "max_value", "x_max", "a_max")),
            None,
        )
        low = low or (self.of(node.args[1]) if len(node.args) > 1 else TOP)
        high = high or (self.of(node.args[2]) if len(node.args) > 2 else TOP)
        guarded = inner.guarded or low.low == -INF or low.guarded
        return Range(max(inner.low, low.low), min(inner.high, high.high), guarded, inner.source)

    def _where(self, node: ast.Call) -> Range:
        taken, other = self.of(node.args[1]), self.of(node.args[2])
        # `where(x > 0, x, 1.0)` is the guard itself: the condition keeps out what the constant replaces.
        guard = any(
            harmless.positive and harmless.high < INF and not self._tests_another(node.args[0], value)
            for harmless, value in ((taken, node.args[2]), (other, node.args[1]))
        )
        joined = union([taken, other])
        return joined._replace(guarded=True) if guard else joined

    def _tests_another(self, condition: ast.expr, value: ast.expr) -> bool:
        """`equal(labels, 1)` does not keep what is wrong out of the predictions; of a mask nobody knows."""
        near = [condition, *self._made_of(condition)]
        tests = any(isinstance(n, ast.Compare) or self.module.op(n) in _TESTS for n in near)
        return tests and not self._named(condition) & self._named(value)

    def _named(self, node: ast.expr) -> set[Def]:
        """The names in an expression, and in what these were given."""
        parts = [n for one in (node, *self._made_of(node)) for n in ast.walk(one) if isinstance(n, ast.Name)]
        return {d for name in parts for d in self.module.definitions(name) if d.kind != "import"}

    def _made_of(self, node: ast.expr) -> list[ast.expr]:
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        return [d.value for name in names for d in self.module.definitions(name) if d.value is not None]


def _is_axis(call: ast.Call, operation: str) -> bool:
    """`K.max(x, 1)` reduces over an axis; `max(a, b)` of Python takes the larger."""
    return operation in ("max", "min") and isinstance(call.func, ast.Attribute)
