"""The values that gradients are taken of, wherever a module takes them: by a tape, in fit, in a layer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from tapefix.analysis.asked import Asked
from tapefix.analysis.flow import Vertex
from tapefix.analysis.scopes import Function
from tapefix.analysis.tapes import GradientCall, argument

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Target:
    """A value that a gradient is taken of, and what of."""

    __slots__ = ("asked", "gradient", "kind", "parameters", "root", "values")

    def __init__(
        self,
        values: list[Vertex],
        asked: Asked,
        kind: Literal["tape", "fit", "class", "layer", "named"],
        root: Function | None = None,
        parameters: set[Vertex] | None = None,
        gradient: GradientCall | None = None,
    ) -> None:
        self.values = values
        self.asked = asked
        self.kind = kind
        self.root = root
        self.parameters = parameters if parameters is not None else set()
        self.gradient = gradient

    def enters(self, vertex: Vertex) -> bool:
        return vertex in self.parameters or self.asked(vertex)


def targets(module: Module) -> Iterator[Target]:
    """Every target of the module: of tapes, losses, regularizers, layers and what is named like a loss."""
    objects, training = module.objects, module.training
    for gradient in module.tapes.gradients:
        yield Target([gradient.target], Asked(module, gradient.sources), "tape", gradient=gradient)
    nothing = Asked(module, ast.Tuple([], ast.Load()))
    for function, known in training.losses.items():
        prediction = training.prediction_parameter(function)
        if prediction is not None:
            values: list[Vertex] = list(objects.returns.get(function, []))
            yield Target(values, nothing, "fit" if known == "compile" else "class", function, {prediction})
    for function in training.regularizers:
        weights: set[Vertex] = {
            d for p in objects.parameters(function)[:1] for d in module.reaching.bindings.get(p, [])
        }
        yield Target(list(objects.returns.get(function, [])), nothing, "class", function, weights)
    for function, seeds in module.named_losses.functions.items():
        yield Target(list(objects.returns.get(function, [])), Asked(module, None), "named", function, seeds)
    for function, known in training.forward_methods.items():
        values = list(objects.returns.get(function, []))
        inputs = objects.parameters(function)[:1] if known in ("layer", "lambda") else []
        seeds = {d for p in inputs for d in module.reaching.bindings.get(p, [])}
        owner = module.method_class(function)
        asked = Asked(module, None) if owner is not None else nothing
        yield Target(values, asked, "layer", function, seeds)
    for call in module.calls:
        if not isinstance(call.func, ast.Attribute) or module.call_name(call) is not None:
            continue  # scipy.optimize.minimize takes no gradients from TensorFlow
        if call.func.attr in ("minimize", "add_loss") and call.args:
            variables = argument(call, 1, "var_list")
            functions = [o for o in objects.origins(call.args[0]) if isinstance(o, _FUNCTIONS)]
            for function in functions:
                yield Target(list(objects.returns.get(function, [])), Asked(module, variables), "tape", function)
            if not functions and call.func.attr == "add_loss":
                yield Target([call.args[0]], Asked(module, None), "tape", module.function(call))
