"""TPF505: a value computed from weights in `build` or `__init__` and used in the forward pass."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.findings import Candidate, Finding
from tapefix.rules._derived import attribute_name, into_method, uses_of
from tapefix.rules._text import listing
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_MAKERS = ("__init__", "build")


class DerivedInBuild(Rule):
    """Weights are combined where they are made, so the forward pass uses a constant.

    What it finds:
        `self.kernel = self.mu + self.sigma * noise` in `build` or `__init__`, where `mu` and `sigma` are weights and
        the forward pass uses `self.kernel`.

    Why the gradient stops:
        The tape records the forward pass. What was computed before it is a constant there: the weights behind it get
        the gradient None, or, in Keras 3, a tensor of a graph that no longer exists.

    Example:
        ```python
        import tensorflow as tf


        class Positive(tf.keras.layers.Layer):
            def build(self, input_shape):
                self.raw = self.add_weight(name="raw", shape=(input_shape[-1], 2), initializer="zeros")
                self.kernel = tf.exp(self.raw)

            def call(self, inputs):
                return tf.matmul(inputs, self.kernel)


        layer = Positive()
        layer.build((None, 3))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(layer(tf.ones([4, 3])))
        gradients = tape.gradient(loss, layer.trainable_variables)
        ```

    Fix safety:
        Safe: the same value, computed from the weights at each call.
    """

    code = "TPF505"
    name = "derived-in-build"
    safety = "safe"
    tokens = ("add_weight", "Variable(")

    def check(self, module: Module) -> Iterator[Finding]:
        for owner in module.classes.by_name.values():
            forward = module.classes.forward_method(owner)
            if forward is None or forward not in owner.body:
                continue
            derived: list[ast.Assign] = []
            for maker in owner.body:
                if isinstance(maker, ast.FunctionDef) and maker.name in _MAKERS:
                    derived += self._derived(module, owner, maker, {attribute_name(d) for d in derived})
            reader = self._reader(module, owner, forward, derived)
            if reader is None:
                continue
            used = [
                d for d in derived if self._reads(module, owner, reader, attribute_name(d)) or self._feeds(derived, d)
            ]
            edits = into_method(module, owner, reader, used)
            names = listing([f"self.{attribute_name(d)}" for d in used])
            yield self.finding(
                module,
                used[0],
                f"{names} {'is' if len(used) == 1 else 'are'} computed from weights before the "
                "forward pass, where no tape records it: "
                "in the forward pass this is a constant.",
                label="computed once",
                candidates=[Candidate(f"compute it in {reader.name}", edits, trains_more=True, keeps_value=False)]
                if edits is not None
                else (),
                notes=[(reader, "used here")],
                silent=True,
                advice="" if edits is not None else f"Compute it in {reader.name} from the weights.",
            )

    def _reader(
        self, module: Module, owner: ast.ClassDef, forward: ast.FunctionDef, derived: list[ast.Assign]
    ) -> ast.FunctionDef | None:
        """The forward pass, if it reads a derived value, or else the one method that does and that it calls."""
        methods = [forward]
        for call in module.calls:
            if (
                module.inside(call, forward)
                and isinstance(call.func, ast.Attribute)
                and module.classes.is_self(call.func.value)
            ):
                called = module.classes.method(owner, call.func.attr)
                if called is not None and called in owner.body and called not in methods:
                    methods.append(called)
        reading = [m for m in methods if any(self._reads(module, owner, m, attribute_name(d)) for d in derived)]
        return reading[0] if len(reading) == 1 or forward in reading else None

    # -------------------------------------------------------------- what is derived

    def _derived(
        self, module: Module, owner: ast.ClassDef, maker: ast.FunctionDef, known: set[str]
    ) -> list[ast.Assign]:
        """The statements of `maker` that compute an attribute from weights of the class."""
        found: list[ast.Assign] = []
        names = set(known)
        for statement in maker.body:
            if not (
                isinstance(statement, ast.Assign)
                and len(statement.targets) == 1
                and isinstance(statement.targets[0], ast.Attribute)
            ):
                continue
            target = statement.targets[0]
            if (
                not module.classes.is_self(target.value)
                or len(module.classes.attribute_writes.get((owner, target.attr), ())) != 1
            ):
                continue
            if self._computes(module, owner, statement.value, names):
                found.append(statement)
                names.add(target.attr)
        return found

    def _computes(self, module: Module, owner: ast.ClassDef, value: ast.expr, derived: set[str]) -> bool:
        """Is `value` arithmetic or an operation on a weight, or on what was derived from one?"""
        if not isinstance(value, (ast.BinOp, ast.UnaryOp, ast.Call)) or module.kinds.made(value) is not None:
            return False
        if isinstance(value, ast.Call) and module.op(value) is None:
            return False
        if isinstance(value, ast.Call) and module.op(value) in (
            "stop_gradient",
            "zeros_like",
            "ones_like",
            "shape",
            "constant",
        ):
            return False
        for node in _operands(module, value):
            if isinstance(node, ast.Attribute) and module.classes.is_self(node.value):
                if node.attr in derived or self._is_weight(module, owner, node.attr):
                    return True
            elif isinstance(node, ast.Name):
                for definition in module.definitions(node):
                    if (
                        definition.value is not None
                        and not definition.path
                        and self._computes(module, owner, definition.value, derived)
                    ):
                        return True
                    if definition.value is not None and module.kinds.made(definition.value) == "variable":
                        return True
        return False

    def _is_weight(self, module: Module, owner: ast.ClassDef, name: str) -> bool:
        writes = module.classes.attribute_writes.get((owner, name), [])
        if len(writes) != 1:
            return False
        call = writes[0][0]
        if not isinstance(call, ast.Call) or module.kinds.made(call) != "variable":
            return False
        return not any(
            k.arg == "trainable" and isinstance(k.value, ast.Constant) and not k.value.value for k in call.keywords
        )

    def _reads(self, module: Module, owner: ast.ClassDef, function: ast.FunctionDef, name: str) -> bool:
        return any(module.inside(n, function) for n in uses_of(module, owner, name))

    def _feeds(self, derived: list[ast.Assign], one: ast.Assign) -> bool:
        """Is it used by another derived value?"""
        return any(
            isinstance(n, ast.Attribute) and n.attr == attribute_name(one)
            for other in derived
            if other is not one
            for n in ast.walk(other.value)
        )


def _operands(module: Module, node: ast.expr) -> list[ast.expr]:
    """The names and attributes whose values enter an expression (not those whose shape is read only)."""
    if isinstance(node, (ast.Name, ast.Attribute)):
        return [node] if not (isinstance(node, ast.Attribute) and node.attr in ("shape", "dtype", "name")) else []
    if isinstance(node, ast.Call):
        if module.op(node) in ("shape", "size", "rank", "zeros_like", "ones_like"):
            return []
        method = [node.func.value] if isinstance(node.func, ast.Attribute) and module.name(node.func) is None else []
        arguments = [*node.args, *[k.value for k in node.keywords if k.arg not in ("shape", "axis", "dtype")]]
        return [n for a in [*method, *arguments] for n in _operands(module, a)]
    if isinstance(node, ast.Subscript):
        return _operands(module, node.value)
    return [n for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr) for n in _operands(module, child)]
