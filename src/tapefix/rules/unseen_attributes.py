"""TPF516: layers that are put into an object past `__setattr__`, where Keras does not see them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceStatement
from tapefix.findings import Candidate, Finding, Span
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Names for an attribute and its value: the first two that the method does not use itself.
_PAIRS = (("name", "part"), ("attribute", "value"), ("attribute_", "value_"))


class UnseenAttributes(Rule):
    """Layers are put into an object past `__setattr__`, where Keras does not see them.

    What it finds:
        `self.__dict__.update(parts)`, `vars(self)["dense"] = Dense(4)` and `object.__setattr__(self, "dense", ...)` in
        a Keras layer or model, with layers or variables.

    Why the gradient stops:
        Keras lists what is assigned to attributes, as it is assigned. What goes into the dictionary of the object
        itself is not listed: its weights are in no list that fit or a tape gets.

    Example:
        ```python
        import tensorflow as tf


        class Net(tf.keras.Model):
            def __init__(self):
                super().__init__()
                self.__dict__["hidden"] = tf.keras.layers.Dense(4, activation="relu")
                self.head = tf.keras.layers.Dense(1)

            def call(self, inputs):
                return self.head(self.hidden(inputs))


        net = Net()
        net.compile("sgd", "mse")
        net.fit(tf.ones([4, 3]), tf.ones([4, 1]), verbose=0)
        ```

    Fix safety:
        Safe: the same attributes, assigned as attributes.
    """

    code = "TPF516"
    name = "unseen-attributes"
    safety = "safe"
    tokens = ("__dict__", "vars(", "object.__setattr__")

    def check(self, module: Module) -> Iterator[Finding]:
        statements: list[ast.Expr | ast.Assign] = [*module.each(ast.Expr), *module.each(ast.Assign)]
        for statement in statements:
            owner = module.class_of(statement)
            if owner is None or module.classes.kind(owner) not in ("layer", "model"):
                continue
            made = _rewritten(module, statement)
            if made is None:
                continue
            template, parts = made
            yield self.finding(
                module,
                statement,
                f"Keras does not see what is put into the dictionary of an object: the weights are not among those of "
                f"{owner.name}.",
                label="past Keras",
                candidates=[
                    Candidate(
                        "set the attributes",
                        (ReplaceStatement(module.span(statement), template, parts),),
                        trains_more=True,
                    )
                ],
                silent=True,
            )


def _rewritten(module: Module, statement: ast.Expr | ast.Assign) -> tuple[str, dict[str, Span]] | None:
    """The statement that sets attributes instead, as a template and its parts."""
    if isinstance(statement, ast.Assign):
        target = statement.targets[0]
        if not (isinstance(target, ast.Subscript) and _is_dictionary(module, target.value)):
            return None
        return _one(module, _held(target.value), target.slice, statement.value) if len(statement.targets) == 1 else None
    call = statement.value
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
        return None
    if ast.unparse(call.func) == "object.__setattr__" and len(call.args) == 3 and module.classes.is_self(call.args[0]):
        return _one(module, call.args[0], call.args[1], call.args[2])
    if call.func.attr != "update" or not _is_dictionary(module, call.func.value):
        return None
    if len(call.args) != 1 or call.keywords or not _holds_layers(module, call.args[0]):
        return None
    own = module.source(_held(call.func.value))
    known = module.scope(call).defs
    name, part = next(pair for pair in _PAIRS if not known.keys() & set(pair))
    template = f"for {name}, {part} in $parts.items():\n    setattr({own}, {name}, {part})"
    return template, {"parts": module.span(call.args[0])}


def _one(module: Module, held: ast.expr, name: ast.expr, value: ast.expr) -> tuple[str, dict[str, Span]] | None:
    if not (isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value.isidentifier()):
        return None
    if not _is_layer(module, value):
        return None
    return f"{module.source(held)}.{name.value} = $value", {"value": module.span(value)}


def _is_dictionary(module: Module, node: ast.expr) -> bool:
    """`self.__dict__` or `vars(self)`."""
    if isinstance(node, ast.Attribute) and node.attr == "__dict__":
        return module.classes.is_self(node.value)
    return module.call_name(node) == "vars" and len(node.args) == 1 and module.classes.is_self(node.args[0])  # type: ignore[attr-defined]


def _held(node: ast.expr) -> ast.expr:
    """The object whose dictionary this is."""
    return node.value if isinstance(node, ast.Attribute) else node.args[0]  # type: ignore[attr-defined]


def _is_layer(module: Module, node: ast.expr) -> bool:
    origins = module.objects.origins(node)
    return any(module.kinds.made(o) in ("layer", "model", "variable") for o in [node, *origins])


def _holds_layers(module: Module, node: ast.expr) -> bool:
    """Is it a dictionary with a layer in it, also one that a function of the module returns?"""
    found: list[ast.AST] = [node, *module.objects.origins(node)]
    for call in [n for n in found if isinstance(n, ast.Call)]:
        found += [r for f in module.objects.callees(call) for r in module.objects.returns.get(f, ())]
    return any(_is_layer(module, value) for d in found if isinstance(d, ast.Dict) for value in d.values)
