"""TPF501: a constant, an array or a plain tensor where a trainable parameter is meant."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import GradientCall
from tapefix.codemods.edits import Edit, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules._containers import filled_with
from tapefix.rules._declared_weight import candidate, declared_weights
from tapefix.rules._tensors import listed_sources
from tapefix.rules._weights import add_weight, as_variable, imports_for, is_filled, is_random
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_CONSTANTS = (
    "tf.constant",
    "tf.convert_to_tensor",
    "tf.zeros",
    "tf.ones",
    "tf.fill",
    "np.array",
    "np.zeros",
    "np.ones",
    "np.asarray",
)
# Names that say "weight", and names of things that are random and fixed on purpose.
_WEIGHT = re.compile(
    r"^_*(w|b|weights?|kernels?|bias(es)?|theta|params?|embeddings?|centers|prototypes)?(_?\d+|_\w+)?$", re.IGNORECASE
)
_FIXED = re.compile(
    r"fourier|noise|fixed|random|proj|hash|mask|seed|eps|frozen|buffer|state|memory|anchor|basis|rff|freq|code_?book|cache"
    r"|input|data|sample|latent|dummy|test|target|class_w|sample_w",
    re.IGNORECASE,
)


class ConstantParameter(Rule):
    """A parameter that is to be trained is a constant or a plain tensor.

    What it finds:
        A tf.constant, an array or a random tensor that is a source of a gradient and is then updated; and a random
        tensor that a layer makes as its weight.

    Why the gradient stops:
        A tape watches variables, not tensors: the gradient of a constant is None. A tensor on a layer is in no list of
        weights, so no optimiser ever changes it.

    Example:
        ```python
        import tensorflow as tf

        w = tf.constant(1.0)
        optimizer = tf.keras.optimizers.SGD(0.1)
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.square(w * 2.0 - 3.0)
            gradient = tape.gradient(loss, w)
            optimizer.apply_gradients([(gradient, w)])
        ```

    Fix safety:
        Safe where it is updated, or is a layer's random weight: it was meant to be trained. Unsafe where only a comment
        says that a constant of the loss is to be trained: the repair trains what was not trained before.
    """

    code = "TPF501"
    name = "constant-parameter"
    safety = "safe"
    tokens = (".gradient(", "def call", "Module")

    def check(self, module: Module) -> Iterator[Finding]:
        seen: set[ast.AST] = set()
        for gradient in module.tapes.gradients:
            for item in listed_sources(module, gradient):
                yield from self._of_source(module, gradient, item, seen)
            yield from self._of_container(module, gradient, seen)
        for node in module.all(ast.Assign):
            assert isinstance(node, ast.Assign)
            target = node.targets[0]
            if len(node.targets) == 1 and isinstance(target, ast.Attribute) and node.value not in seen:
                yield from self._of_layer(module, node, target)
        for node, gradients in declared_weights(module) if "#" in module.text and module.tapes.gradients else ():
            found = candidate(module, node, gradients)
            name = module.source(node.targets[0])
            yield self.finding(
                module,
                node,
                f"The comment says that {name} is to be trained, but it is a constant, made anew on each call.",
                label="a constant",
                candidates=[found] if found is not None else (),
                silent=True,
                advice=""
                if found is not None
                else f"Make {name} a tf.Variable once, outside the function, and add it to the list that is trained.",
            )

    # -------------------------------------------------------------- sources of a gradient

    def _of_source(
        self, module: Module, gradient: GradientCall, item: ast.expr, seen: set[ast.AST]
    ) -> Iterator[Finding]:
        if not isinstance(item, (ast.Name, ast.Attribute)):
            return
        # A helper that is called several times gets one and the same thing several times.
        made = list(dict.fromkeys(o for o in self._made(module, item) if isinstance(o, ast.expr)))
        first = [o for o in made if self._is_constant(module, o)]
        if len(first) != 1 or first[0] in seen:
            return
        updates = [s for s in self._updates(module, item) if s is not None]
        applied = self._is_applied(module, gradient, item)
        if not updates and not applied:
            return
        # A watched tensor has a gradient, but no optimiser can change it.
        if self._is_watched(module, gradient, item) and not applied:
            return
        seen.add(first[0])
        name = module.source(item)
        edits: list[Edit] = list(as_variable(module, first[0]))
        for statement in updates:
            edits += self._in_place(module, statement)
        yield self.finding(
            module,
            first[0],
            f"{name} is to be trained, but it is a constant: no tape watches it, so its gradient is None.",
            label="not a variable",
            candidates=[Candidate(f"make {name} a tf.Variable", tuple(edits), trains_more=True)],
            notes=[(item, "its gradient is asked for here")],
        )

    def _of_container(self, module: Module, gradient: GradientCall, seen: set[ast.AST]) -> Iterator[Finding]:
        """A list or dict that is filled with plain tensors, and that an optimiser gets."""
        sources = gradient.sources
        if isinstance(sources, (ast.List, ast.Tuple)) or self._is_watched(module, gradient, sources):
            return
        plain = [v for v in filled_with(module, sources) if self._is_constant(module, v) and v not in seen]
        if not plain or not self._is_applied(module, gradient, sources):
            return
        seen.update(plain)
        edits: list[Edit] = []
        for value in plain:
            edits += [edit for edit in as_variable(module, value) if edit not in edits]
        yield self.finding(
            module,
            plain[0],
            "The parameters are plain tensors: no tape watches them, so their gradients are None, and no optimiser can "
            "change them.",
            label="not a variable",
            candidates=[Candidate("make the parameters variables", tuple(edits), trains_more=True)],
            notes=[(sources, "their gradients are asked for here")],
        )

    def _made(self, module: Module, item: ast.expr) -> list[ast.AST]:
        """What is assigned to a source: the values as written, not what they are made of."""
        if isinstance(item, ast.Name):
            return [
                d.value for d in module.definitions(item) if d.kind == "assign" and not d.path and d.value is not None
            ] or module.objects.origins(item)
        assert isinstance(item, ast.Attribute)
        return [value for value, path in module.objects.attribute_values(item) if not path]

    def _is_constant(self, module: Module, node: ast.expr) -> bool:
        name = module.call_name(node)
        number = node.operand if isinstance(node, ast.UnaryOp) else node
        if isinstance(number, ast.Constant) and type(number.value) in (int, float):
            return True
        return name in _CONSTANTS or (is_random(module, node) and name != "tf.Variable")

    def _is_watched(self, module: Module, gradient: GradientCall, item: ast.expr) -> bool:
        wanted = ast.unparse(item)
        watches = gradient.tape.watches if gradient.tape is not None else []
        return any(wanted in ast.unparse(a) for watch in watches for a in watch.args) or any(
            ast.unparse(a) == ast.unparse(gradient.sources) for watch in watches for a in watch.args
        )

    def _updates(self, module: Module, item: ast.expr) -> list[ast.stmt]:
        """`w = w - rate * g`, `w -= rate * g` and `w.assign_sub(...)`, wherever the same thing is meant."""
        found: list[ast.stmt] = []
        for node in module.all(ast.Assign, ast.AugAssign):
            assert isinstance(node, (ast.Assign, ast.AugAssign))
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, type(item)) and self._same(module, target, item) and _step(node) is not None:
                found.append(node)
        for call in module.calls:
            if (
                isinstance(call.func, ast.Attribute)
                and call.func.attr in ("assign_sub", "assign_add", "assign")
                and self._same(module, call.func.value, item)
            ):
                found.append(module.statement(call))
        return found

    def _same(self, module: Module, one: ast.AST, two: ast.expr) -> bool:
        if isinstance(one, ast.Name) and isinstance(two, ast.Name):
            return one.id == two.id and bool(set(module.scope(one).lookup(one.id)) & set(module.definitions(two)))
        if isinstance(one, ast.Attribute) and isinstance(two, ast.Attribute):
            if one.attr != two.attr:
                return False
            return (
                ast.unparse(one) == ast.unparse(two)
                or module.classes.is_self(one.value)
                or module.classes.is_self(two.value)
            )
        return False

    def _is_applied(self, module: Module, gradient: GradientCall, item: ast.expr) -> bool:
        """Does an optimiser get it: in `apply_gradients(zip(grads, [w]))` or `[(g, w)]`?"""
        wanted = {ast.unparse(item), ast.unparse(gradient.sources)}
        for call in module.calls:
            func = call.func
            if isinstance(func, ast.Attribute) and (
                func.attr == "apply_gradients" or (func.attr == "apply" and module.kinds.of(func.value) == "optimizer")
            ):
                inside = [
                    n for a in call.args for n in ast.walk(a) if isinstance(n, (ast.Name, ast.Attribute, ast.List))
                ]
                if any(ast.unparse(n) in wanted for n in inside):
                    return True
            # for p, g in zip(params, grads): p.assign_sub(rate * g)
            if (
                module.call_name(call) == "zip"
                and isinstance(module.parent(call), ast.For)
                and module.function(call) is module.function(gradient.call)
                and any(ast.unparse(a) in wanted for a in call.args)
            ):
                return True
        return False

    def _in_place(self, module: Module, statement: ast.stmt) -> list[Edit]:
        step = _step(statement)
        if step is None:
            return []
        target, amount, method = step
        span = module.span(statement)
        return [ReplaceStatement(span, f"{module.source(target)}.{method}($amount)", {"amount": module.span(amount)})]

    # -------------------------------------------------------------- weights of a layer

    def _of_layer(self, module: Module, node: ast.Assign, target: ast.Attribute) -> Iterator[Finding]:
        random = is_random(module, node.value)
        if (not random and not is_filled(module, node.value)) or module.call_name(node.value) == "tf.Variable":
            return
        if not module.classes.is_self(target.value):
            return
        owner, function = module.class_of(node), module.function(node)
        if owner is None or not isinstance(function, ast.FunctionDef) or function.name not in ("__init__", "build"):
            return
        kind = module.classes.kind(owner)
        if kind not in ("layer", "model", "module") or _FIXED.search(target.attr) or _FIXED.search(owner.name):
            return
        if len(module.classes.attribute_writes.get((owner, target.attr), ())) != 1 or not self._is_used_as_weight(
            module, owner, target.attr
        ):
            return
        if not random and not self._has_random_sibling(module, owner, target, node):
            return
        certain = bool(_WEIGHT.match(target.attr))
        edits: tuple[Edit, ...]
        if kind == "module":
            edits, title = as_variable(module, node.value), "make it a tf.Variable"
        else:
            text = add_weight(module, module.source(target.value), node.value, target.attr)
            edits, title = (
                (ReplaceExpression(module.span(node.value), text), *imports_for(module, text)),
                "make it a weight of the layer",
            )
        yield self.finding(
            module,
            node,
            f"{module.source(target)} is a plain tensor: it is not among the trainable weights of "
            f"{owner.name} and never changes.",
            label="not a weight",
            candidates=[Candidate(title, edits, keeps_value=False, trains_more=True)],
            certain=certain,
            silent=True,
        )

    def _has_random_sibling(self, module: Module, owner: ast.ClassDef, target: ast.Attribute, node: ast.Assign) -> bool:
        """A bias of zeros is a weight where the class has a random tensor, or a weight, as its kernel."""
        if not _WEIGHT.match(target.attr):
            return False
        for (holder, name), writes in module.classes.attribute_writes.items():
            if holder is owner and name != target.attr and not _FIXED.search(name):
                for value, _ in writes:
                    is_weight = (
                        isinstance(value, ast.Call)
                        and isinstance(value.func, ast.Attribute)
                        and value.func.attr == "add_weight"
                    )
                    if is_weight or is_random(module, value):
                        return True
        return False

    def _is_used_as_weight(self, module: Module, owner: ast.ClassDef, name: str) -> bool:
        """Is it multiplied with, or added to, something in the forward pass, and nothing else done with it?"""
        method = module.classes.forward_method(owner)
        if method is None:
            return False
        used = False
        for node in module.all(ast.Attribute):
            assert isinstance(node, ast.Attribute)
            if node.attr != name or module.class_of(node) is not owner or not isinstance(node.ctx, ast.Load):
                continue
            parent = module.parent(node)
            if isinstance(parent, ast.BinOp) or (
                isinstance(parent, ast.Call) and module.op(parent) in _WEIGHTED and node in parent.args
            ):
                above = module.parent(parent)
                if isinstance(above, ast.Call) and module.op(above) in ("sin", "cos", "sign"):
                    return False
                used = used or module.inside(node, method)
            elif not (isinstance(parent, ast.Attribute) and parent.attr in ("shape", "dtype")):
                return False
        return used


_WEIGHTED = {
    "matmul",
    "tensordot",
    "einsum",
    "add",
    "multiply",
    "bias_add",
    "conv2d",
    "conv1d",
    "dot",
    "embedding_lookup",
    "gather",
    "matvec",
    "linear",
}


def _step(node: ast.AST) -> tuple[ast.expr, ast.expr, str] | None:
    """`w = w - value` and `w -= value`: target, value and the method of a variable that does the same."""
    methods: dict[type[ast.AST], str] = {ast.Sub: "assign_sub", ast.Add: "assign_add"}
    if isinstance(node, ast.AugAssign) and type(node.op) in methods:
        return node.target, node.value, methods[type(node.op)]
    if (
        isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and isinstance(node.value, ast.BinOp)
        and type(node.value.op) in methods
        and ast.unparse(node.value.left) == ast.unparse(node.targets[0])
    ):
        return node.targets[0], node.value.right, methods[type(node.value.op)]
    return None
