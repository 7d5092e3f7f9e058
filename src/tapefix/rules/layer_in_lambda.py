"""TPF511: a Lambda layer calls a layer with weights, which it does not own."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._weights import makes_weighted_layer
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.scopes import Function


class _Use(NamedTuple):
    """A layer's call in the function of a Lambda layer: `call`, and the one place where the Lambda layer is called."""

    call: ast.Call
    function: Function
    site: ast.Call


class LayerInLambda(Rule):
    """A Lambda layer calls a layer with weights, which it does not own.

    What it finds:
        `Lambda(lambda pair: pair[0] + dense(pair[1]))([a, b])` in a functional model, where `dense` is used nowhere
        else.

    Why the gradient stops:
        A Lambda layer has no weights, and a model lists the weights of its layers. The weights of what the function
        calls are in no list that fit or a tape gets: they keep their first values.

    Example:
        ```python
        import tensorflow as tf

        layers = tf.keras.layers
        inputs = tf.keras.Input((3,))
        gate = layers.Dense(3, "sigmoid")
        gated = layers.Lambda(lambda x: x * gate(x))(inputs)
        model = tf.keras.Model(inputs, layers.Dense(1)(gated))
        model.compile("sgd", "mse")
        model.fit(tf.ones([4, 3]), tf.ones([4, 1]), verbose=0)
        ```

    Fix safety:
        Safe: the layer is called in the model, and the Lambda layer gets its output. The same is computed.
    """

    code = "TPF511"
    name = "layer-in-lambda"
    safety = "safe"
    tokens = ("Lambda(",)

    def check(self, module: Module) -> Iterator[Finding]:
        for function, known in module.training.forward_methods.items():
            if known != "lambda" or len(module.objects.parameters(function)) != 1:
                continue
            for call in module.calls:
                if module.inside(call, function) and self._is_hidden(module, call, function):
                    yield self._report(module, function, call)

    def _is_hidden(self, module: Module, call: ast.Call, function: Function) -> bool:
        """Is this a layer with weights that is made elsewhere, and called nowhere but here?"""
        made = [o for o in module.objects.origins(call.func) if isinstance(o, ast.Call)]
        if not made or not all(makes_weighted_layer(module, origin) for origin in made):
            return False
        if any(module.inside(origin, function) for origin in made):
            return False
        if any(k.arg == "trainable" for origin in made for k in origin.keywords):
            return False
        owner = module.class_of(function)
        if owner is not None and module.classes.kind(owner) in ("layer", "model") and _is_of_self(module, call.func):
            return False  # the object that holds the Lambda layer lists the other one, too
        return not any(
            other is not call and set(made) & set(module.objects.origins(other.func))
            for other in module.calls
            if not module.inside(other, function) and isinstance(other.func, type(call.func))
        )

    def _report(self, module: Module, function: Function, call: ast.Call) -> Finding:
        layer = module.source(call.func)
        site = self._site(module, function)
        edits = _moved(module, _Use(call, function, site)) if site is not None else None
        return self.finding(
            module,
            call,
            f"A Lambda layer does not own the layers that its function calls: no model lists the weights of {layer}.",
            label="weights that no model lists",
            candidates=[Candidate(f"call {layer} in the model", tuple(edits), trains_more=True)] if edits else (),
            silent=True,
            advice="" if edits else f"Call {layer} in the model and hand its output to the Lambda layer.",
        )

    def _site(self, module: Module, function: Function) -> ast.Call | None:
        """The one call of the one Lambda layer that runs this function."""
        layers = [
            call
            for call in module.calls
            if module.call_name(call) == "keras.layers.Lambda"
            and (given := argument(call, 0, "function")) is not None
            and function in module.objects.origins(given)
        ]
        sites = [c for c in module.calls if len(layers) == 1 and layers[0] in module.objects.origins(c.func)]
        return sites[0] if len(sites) == 1 and len(sites[0].args) == 1 and not sites[0].keywords else None


def _is_of_self(module: Module, node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and module.classes.is_self(node.value)


def _moved(module: Module, use: _Use) -> list[Edit] | None:
    """The edits that call the layer at the site, and hand its output to the function."""
    call, function, site = use
    if len(call.args) != 1 or call.keywords:
        return None
    parameter = module.objects.parameters(function)[0]
    reads = [u for d in module.reaching.bindings.get(parameter, ()) for u in d.uses]
    given, taken = site.args[0], call.args[0]
    layer = {"layer": module.span(call.func)}
    if any(isinstance(n, ast.Name) and not _is_known(module, n, site) for n in ast.walk(call.func)):
        return None
    if taken in reads:
        if isinstance(given, (ast.List, ast.Tuple)):
            return None
        whole = {**layer, "x": module.span(given)}
        if reads == [taken]:
            return [
                ReplaceExpression(module.span(given), "$layer($x)", whole),
                ReplaceExpression(module.span(call), parameter.arg),
            ]
        if not isinstance(given, (ast.Name, ast.Attribute)):
            return None
        others = [r for r in reads if r is not taken]
        return [
            ReplaceExpression(module.span(given), "[$x, $layer($x)]", whole),
            ReplaceExpression(module.span(call), f"{parameter.arg}[1]"),
            *[ReplaceExpression(module.span(r), f"{parameter.arg}[0]") for r in others],
        ]
    item = _item(module, taken, reads)
    if item is None or not isinstance(given, (ast.List, ast.Tuple)) or not 0 <= item < len(given.elts):
        return None
    places = [_item(module, module.parent(r), reads) for r in reads]
    element = given.elts[item]
    if None in places or (places.count(item) > 1 and not isinstance(element, (ast.Name, ast.Attribute))):
        return None
    output = {**layer, "x": module.span(element)}
    if places.count(item) == 1:
        return [
            ReplaceExpression(module.span(element), "$layer($x)", output),
            ReplaceExpression(module.span(call), "$x", {"x": module.span(taken)}),
        ]
    texts = [module.source(e) for e in given.elts]
    added = f"{module.source(call.func)}({texts[item]})"
    return [
        ReplaceExpression(module.span(given), f"[{', '.join([*texts, added])}]"),
        ReplaceExpression(module.span(call), f"{parameter.arg}[{len(texts)}]"),
    ]


def _item(module: Module, node: ast.AST | None, reads: Sequence[ast.AST]) -> int | None:
    """`i` of `pair[i]`, where `pair` is one of the names `reads`."""
    if not isinstance(node, ast.Subscript) or node.value not in reads:
        return None
    index = node.slice
    return index.value if isinstance(index, ast.Constant) and isinstance(index.value, int) else None


def _is_known(module: Module, name: ast.Name, site: ast.Call) -> bool:
    """Does the name mean the same at the place where the Lambda layer is called?"""
    return bool(module.scope(site).lookup(name.id))
