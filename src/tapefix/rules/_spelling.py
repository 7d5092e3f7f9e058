"""How a repair writes an operation: in the dialect (tf, K, ops) and with the aliases of the code around it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.codemods.edits import AddImport, Edit

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Operations by their TensorFlow name: how keras.backend and keras.ops call them, None where they have none.
_BACKEND: dict[str, str | None] = {
    "clip_by_value": "clip", "maximum": "maximum", "minimum": "minimum", "math.log": "log", "sqrt": "sqrt",
    "exp": "exp", "reduce_sum": "sum", "reduce_mean": "mean", "square": "square", "math.softplus": "softplus",
    "nn.softplus": "softplus", "sigmoid": "sigmoid", "nn.softmax": "softmax", "stop_gradient": "stop_gradient",
    "tanh": "tanh", "round": "round", "abs": "abs", "where": "switch", "sign": "sign",
}  # fmt: skip
_OPS: dict[str, str | None] = {
    **_BACKEND, "where": "where", "nn.log_softmax": "log_softmax", "math.log_sigmoid": "log_sigmoid",
    "reduce_logsumexp": "logsumexp", "math.expm1": "expm1", "math.log1p": "log1p",
    "math.divide_no_nan": "divide_no_nan", "floor": "floor", "math.ceil": "ceil",
    "nn.sigmoid_cross_entropy_with_logits": None, "one_hot": "one_hot", "cast": "cast", "ones_like": "ones_like",
    "zeros_like": "zeros_like", "argmax": "argmax", "range": "arange", "shape": "shape", "tensordot": "tensordot",
}  # fmt: skip


class Spelling:
    """Writes operations as the code at one call does. `imports` are the edits that the file then needs."""

    def __init__(self, module: Module, like: ast.AST | None = None) -> None:
        self.module = module
        name = (module.call_name(like) if like is not None else None) or ""
        self.prefix = ""
        self.table: dict[str, str | None] = {}
        if (
            name.startswith(("keras.backend.", "keras.ops."))
            and isinstance(like, ast.Call)
            and isinstance(like.func, ast.Attribute)
        ):
            # `K` of `K.log`, as it is written there.
            self.prefix = module.source(like.func.value)
            self.table = _BACKEND if name.startswith("keras.backend.") else _OPS
        # `tfm` of `tfm.log`, in a file that imports tensorflow.math by a name of its own.
        self.math = ""
        if name.startswith("tf.math.") and isinstance(like, ast.Call) and isinstance(like.func, ast.Attribute):
            self.math = module.source(like.func.value)
        self.backend = name.startswith("keras.backend.") and bool(self.prefix)
        self.imports: list[Edit] = []

    def op(self, name: str) -> str:
        """How to write `tf.<name>` here."""
        own = self.table.get(name)
        if own is not None and (name != "where" or self.table is not _BACKEND):
            return f"{self.prefix}.{own}"
        if self.math and name.startswith("math."):
            return f"{self.math}.{name[5:]}"
        spelled = self.module.spell(f"tf.{name}")
        if spelled is None and "." not in name:
            # A file that knows `tensorflow.math` only has most operations there.
            spelled = self.module.spell(f"tf.math.{name}") if name in _IN_MATH else None
        if spelled is None:
            spelled = self.module.spell(f"tf.compat.v1.{name}")
        if spelled is None:
            edit = AddImport("import tensorflow as tf")
            if edit not in self.imports:
                self.imports.append(edit)
            spelled = f"tf.{name}"
        return spelled

    @property
    def epsilon(self) -> str:
        return f"{self.prefix}.epsilon()" if self.backend else "1e-7"

    def clip(self, inner: str, low: str, high: str) -> str:
        return f"{self.op('clip_by_value')}({inner}, {low}, {high})"

    def at_least(self, inner: str, low: str) -> str:
        return f"{self.op('maximum')}({inner}, {low})"


_IN_MATH = {
    "sqrt", "exp", "maximum", "minimum", "reduce_sum", "reduce_mean", "reduce_logsumexp", "square", "sigmoid", "tanh",
    "round", "floor", "abs", "sign", "argmax",
}  # fmt: skip
