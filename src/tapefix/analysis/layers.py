"""The last layers of a model: which constructor makes its outputs, and with which activation."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Function
from tapefix.analysis.tapes import argument

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Layers that hand on the values of their input as they are.
_THROUGH = {"Flatten", "Reshape", "Dropout", "Permute", "RepeatVector", "Concatenate", "Cropping2D", "ZeroPadding2D"}
_ACTIVATION_LAYERS = {
    "Softmax": "softmax",
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "PReLU": "leaky_relu",
}
_LINEAR_LAYERS = {
    "Dense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "EinsumDense",
    "SeparableConv1D", "SeparableConv2D", "DepthwiseConv2D", "LocallyConnected1D", "LocallyConnected2D",
}  # fmt: skip
_DEPTH = 6


class Layers:
    """Answers for one module."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.objects = module.objects

    def outputs(self, model: ast.AST, depth: int = _DEPTH, index: int | None = None) -> list[ast.Call]:
        """The constructor calls of the layers whose results `model` gives; [] where that is not known.

        `index` takes one of several outputs of a functional model.
        """
        found: list[ast.Call] = []
        for origin in self.objects.origins(model) if depth else []:
            if isinstance(origin, ast.Call):
                found += self._of_model(origin, depth, index)
        return found

    def _of_model(self, made: ast.Call, depth: int, index: int | None = None) -> list[ast.Call]:
        name = self.module.call_name(made) or ""
        kind = name.rpartition(".")[2]
        if name.startswith("keras.") and kind == "Sequential":
            last = self._last_added(made) or self._last_listed(made)
            return self._layer(last, depth - 1) if last is not None else []
        if name.startswith("keras.") and kind in ("Model", "Functional"):
            output = argument(made, 1, "outputs")
            if index is not None:
                several = isinstance(output, (ast.List, ast.Tuple)) and index < len(output.elts)
                output = output.elts[index] if several else None  # type: ignore[union-attr]
            return self.of_value(output, depth - 1) if output is not None else []
        owner = self.objects.instance_class(made)
        if owner is None:
            return []
        forward = self.module.classes.forward_method(owner)
        if forward is None:
            return []
        return [layer for value in self.objects.returns.get(forward, []) for layer in self.of_value(value, depth - 1)]

    def of_value(self, node: ast.expr, depth: int = _DEPTH) -> list[ast.Call]:
        """The layers whose results make up a value: `Dense(3)(h)`, `self.head(h)`, a concatenation of such."""
        if depth <= 0:
            return []
        if isinstance(node, (ast.Tuple, ast.List)):
            return [layer for item in node.elts for layer in self.of_value(item, depth - 1)]
        if isinstance(node, ast.Dict):
            return [layer for item in node.values for layer in self.of_value(item, depth - 1)]
        found: list[ast.Call] = []
        for origin in self.objects.origins(node):
            if not isinstance(origin, ast.Call):
                if isinstance(origin, (ast.Tuple, ast.List, ast.Dict)) and origin is not node:
                    found += self.of_value(origin, depth - 1)
                continue
            if self._constructor(origin) is not None or self.module.call_name(origin) is not None:
                continue
            for maker in self.objects.origins(origin.func):
                if not isinstance(maker, ast.Call):
                    continue
                kind = self._constructor(maker)
                if kind in _THROUGH:
                    found += [layer for a in origin.args for layer in self.of_value(a, depth - 1)]
                elif kind is not None:
                    found.append(maker)
                else:
                    found += self._of_model(maker, depth - 1)
        return list(dict.fromkeys(found))

    def _layer(self, node: ast.expr, depth: int) -> list[ast.Call]:
        """A member of a Sequential: a layer, or a model."""
        found: list[ast.Call] = []
        for origin in self.objects.origins(node):
            if isinstance(origin, ast.Call):
                found += [origin] if self._constructor(origin) is not None else self._of_model(origin, depth)
        return found

    def _constructor(self, call: ast.Call) -> str | None:
        """`Dense` of a call that makes one of Keras' layers."""
        name = self.module.call_name(call) or ""
        kind = name[len("keras.layers.") :] if name.startswith("keras.layers.") else ""
        return kind.rpartition(".")[2] if kind[:1].isupper() or ".layers." in name else None

    def _last_listed(self, sequential: ast.Call) -> ast.expr | None:
        layers = argument(sequential, 0, "layers")
        for origin in self.objects.origins(layers) if layers is not None else []:
            if (
                isinstance(origin, (ast.List, ast.Tuple))
                and origin.elts
                and not isinstance(origin.elts[-1], ast.Starred)
            ):
                for item in reversed(origin.elts):
                    if not (isinstance(item, ast.Call) and self._constructor(item) in _THROUGH):
                        return item
        return None

    def _last_added(self, sequential: ast.Call) -> ast.expr | None:
        """The argument of the last `model.add(...)` of this model."""
        last: ast.Call | None = None
        for call in self.module.calls:
            func = call.func
            if not (isinstance(func, ast.Attribute) and func.attr == "add" and len(call.args) == 1):
                continue
            if not isinstance(func.value, (ast.Name, ast.Attribute)) or sequential not in self.objects.origins(
                func.value, 4
            ):
                continue
            added = call.args[0]
            if isinstance(added, ast.Call) and self._constructor(added) in _THROUGH:
                continue
            if last is None or call.lineno >= last.lineno:
                last = call
        return last.args[0] if last is not None else None

    def activation(self, layer: ast.Call) -> str:
        """The activation of a layer by its constructor call: `linear`, `softmax`, ...; empty where it is not known."""
        kind = self._constructor(layer)
        if kind is None:
            return ""
        if kind in _ACTIVATION_LAYERS:
            return _ACTIVATION_LAYERS[kind]
        if kind not in _LINEAR_LAYERS and kind != "Activation":
            return ""
        node = self.activation_argument(layer)
        if node is None:
            return "linear" if kind in _LINEAR_LAYERS and not any(k.arg is None for k in layer.keywords) else ""
        if isinstance(node, ast.Constant):
            return "linear" if node.value is None else str(node.value)
        name = self.module.name(node) or self.module.call_name(node) or ""
        return name.rpartition(".")[2].lower()

    def activation_argument(self, layer: ast.Call) -> ast.expr | None:
        kind = self._constructor(layer)
        if kind in ("Dense", "Activation"):
            return argument(layer, 1 if kind == "Dense" else 0, "activation")
        return next((k.value for k in layer.keywords if k.arg == "activation"), None)

    def of_prediction(self, loss: Function) -> list[ast.Call]:
        """The last layers of the models that are compiled with a loss function."""
        found: list[ast.Call] = []
        for call in self.module.calls:
            if not (isinstance(call.func, ast.Attribute) and call.func.attr == "compile"):
                continue
            node = argument(call, 1, "loss")
            if node is not None and loss in self.module.training.loss_functions(node):
                found += self.outputs(call.func.value)
        return found
