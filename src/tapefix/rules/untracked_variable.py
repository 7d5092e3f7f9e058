"""TPF504: variables that Keras 3 or tf.Module does not see."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Edit, Insert, ReplaceExpression
from tapefix.findings import Candidate, Finding, Span
from tapefix.rules._weights import PLAIN_VARIABLES, add_weight, imports_for, initial_value
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_LISTS = ("trainable_variables", "variables", "trainable_weights", "weights")


class UntrackedVariable(Rule):
    """A variable is on an object that does not list it among its trainable variables.

    What it finds:
        With Keras 3, a plain tf.Variable on a Keras layer or model, and Keras layers on a tf.Module; with any Keras,
        layers in a plain Python object that a model holds.

    Why the gradient stops:
        Keras 3 tracks its own variables only, and a tf.Module those of TensorFlow only. `trainable_variables` leaves
        the others out, so no gradient is asked for them and they never change.

    Example:
        ```python
        import tensorflow as tf


        class Scale(tf.keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.factor = tf.Variable(1.0)
                self.dense = tf.keras.layers.Dense(1)

            def call(self, inputs):
                return self.factor * self.dense(inputs)


        layer = Scale()
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(layer(tf.ones([4, 3]))))
        gradients = tape.gradient(loss, layer.trainable_variables)
        ```

    Fix safety:
        Safe: a trainable variable in the forward pass was meant to be trained.
    """

    code = "TPF504"
    name = "untracked-variable"
    safety = "safe"
    tokens = ("ariable(", "Module)", "Model)", "Layer)")

    def check(self, module: Module) -> Iterator[Finding]:
        plain = [node for node in module.each(ast.Assign) if module.call_name(node.value) in PLAIN_VARIABLES]
        for owner in module.classes.by_name.values():
            kind = module.classes.kind(owner)
            if kind in ("layer", "model"):
                yield from self._of_keras(module, owner, plain)
            elif kind == "module":
                yield from self._of_module(module, owner)
            elif kind is None and (not owner.bases or ast.unparse(owner.bases[0]) == "object"):
                yield from self._of_plain(module, owner)

    # -------------------------------------------------------------- tf.Variable on a Keras object

    def _of_keras(self, module: Module, owner: ast.ClassDef, plain: list[ast.Assign]) -> Iterator[Finding]:
        """One finding for the variables that can be made weights where they stand, one for the others."""
        if any(module.classes.method(owner, name) is not None for name in _LISTS):
            return
        made: list[ast.Assign] = []
        elsewhere: list[ast.Assign] = []
        for node in plain:
            target, value = node.targets[0], node.value
            if (
                isinstance(value, ast.Call)
                and isinstance(target, ast.Attribute)
                and module.class_of(node) is owner
                and module.classes.is_self(target.value)
                and self._is_weight(module, owner, target.attr, value)
            ):
                function = module.function(node)
                ready = (
                    isinstance(function, ast.FunctionDef)
                    and function.name in ("__init__", "build")
                    and initial_value(value) is not None
                    and _is_ready(node, function)
                )
                (made if ready else elsewhere).append(node)
        if not (made or elsewhere) or module.keras < 3:
            return
        if made:
            edits: list[Edit] = []
            for node in made:
                target, value = node.targets[0], node.value
                assert isinstance(target, ast.Attribute) and isinstance(value, ast.Call)
                text = add_weight(module, module.source(target.value), value, _label(value) or target.attr)
                edits.append(ReplaceExpression(module.span(value), text))
                edits += [edit for edit in imports_for(module, text) if edit not in edits]
            what = module.source(made[0].targets[0]) if len(made) == 1 else "them"
            title = f"make {what} {'a weight' if len(made) == 1 else 'weights'} of {owner.name}"
            candidate = Candidate(title, tuple(edits), keeps_value=False, trains_more=True)
            yield self._untracked(module, owner, made, candidate)
        if elsewhere:
            yield self._untracked(module, owner, elsewhere, None)

    def _untracked(
        self, module: Module, owner: ast.ClassDef, nodes: list[ast.Assign], candidate: Candidate | None
    ) -> Finding:
        names = [module.source(node.targets[0]) for node in nodes]
        which = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        if len(names) > 4:
            which = f"{', '.join(names[:3])} and {len(names) - 3} others"
        verb = "is" if len(names) == 1 else "are"
        advice = f"Make {'it' if len(names) == 1 else 'them'} with self.add_weight(...) in __init__ or build of"
        return self.finding(
            module,
            nodes[0],
            f"Keras 3 does not track a plain tf.Variable: {which} {verb} not among the trainable variables of "
            f"{owner.name}.",
            label="not tracked",
            notes=[(node, "neither is this") for node in nodes[1:3]],
            candidates=[candidate] if candidate is not None else [],
            silent=True,
            certain=candidate is not None,
            advice="" if candidate is not None else f"{advice} {owner.name}.",
        )

    def _is_weight(self, module: Module, owner: ast.ClassDef, name: str, made: ast.Call) -> bool:
        """Trainable, of floats, read in the class, and neither assigned to nor put in a list by hand."""
        of_backend = module.call_name(made) == "keras.backend.variable"
        trainable = None if of_backend else argument(made, 1, "trainable")
        if trainable is not None and not (isinstance(trainable, ast.Constant) and trainable.value is True):
            return False
        start = initial_value(made)
        kind = argument(made, 1 if of_backend else 6, "dtype")
        if (isinstance(start, ast.Constant) and not isinstance(start.value, float)) or (
            kind is not None and "int" in module.source(kind)
        ):
            return False
        if any(k.arg in ("synchronization", "aggregation", "validate_shape", "shape") for k in made.keywords):
            return False
        forward = False
        for node in module.all(ast.Attribute):
            assert isinstance(node, ast.Attribute)
            if node.attr != name or not isinstance(node.ctx, ast.Load):
                continue
            parent = module.parent(node)
            if isinstance(parent, ast.Attribute) and parent.attr.startswith(("assign", "scatter")):
                return False
            if isinstance(parent, (ast.List, ast.Tuple, ast.Starred)):
                return False
            if module.class_of(node) is owner:
                forward = (
                    forward
                    or module.function(node) is None
                    or getattr(module.function(node), "name", "") not in ("__init__", "build")
                )
        return forward and len(module.classes.attribute_writes.get((owner, name), ())) == 1

    # -------------------------------------------------------------- Keras layers on a tf.Module

    def _of_module(self, module: Module, owner: ast.ClassDef) -> Iterator[Finding]:
        if any(module.classes.method(owner, name) is not None for name in _LISTS):
            return
        parts: list[str] = []
        first: ast.expr | None = None
        for (holder, name), writes in module.classes.attribute_writes.items():
            if holder is not owner:
                continue
            kinds = [self._holds_layers(module, value) for value, path in writes if not path]
            shape = next((k for k in kinds if k is not None), None)
            if shape is not None:
                parts.append(shape.format(f"self.{name}"))
                first = first or writes[0][0]
        method = module.classes.method(owner, "__init__")
        if first is None or method is None or method not in owner.body or not self._is_trained(module, owner):
            return
        if module.keras < 3:
            return
        listed = ", ".join(dict.fromkeys(parts))
        text = (
            "\n@property\ndef trainable_variables(self):\n"
            f"    from_layers = [v for layer in [{listed}] for v in layer.trainable_variables]\n"
            "    return [*from_layers, *super().trainable_variables]"
        )
        names = "the Keras layer" if len(parts) == 1 and not parts[0].startswith("*") else "the Keras layers"
        yield self.finding(
            module,
            module.statement(first) if module.parent(first) is not None else owner,
            "A tf.Module does not see the variables of Keras 3 layers: trainable_variables of "
            f"{owner.name} leaves out {names} on it.",
            label="not tracked",
            candidates=[
                Candidate(
                    "list the variables of the layers, too",
                    (Insert(module.span(method), "after", text),),
                    trains_more=True,
                )
            ],
            silent=True,
        )

    # -------------------------------------------------------------- layers in a plain object on a Keras object

    def _of_plain(self, module: Module, owner: ast.ClassDef) -> Iterator[Finding]:
        """A block of layers in a class of its own that is no layer, held by a model."""
        if owner.decorator_list or owner.keywords or len(owner.bases) > 1:
            return
        held = [n for (o, n), writes in module.classes.attribute_writes.items() if o is owner]
        layers = [
            n
            for n in held
            if any(self._holds_layers(module, v) for v, path in module.classes.attribute_writes[owner, n] if not path)
        ]
        start, forward = module.classes.method(owner, "__init__"), module.classes.method(owner, "__call__")
        if not layers or start is None or set(held) & _LAYER_NAMES:
            return
        holder = self._holder(module, owner)
        if holder is None or _listed_by_hand(module, owner, layers):
            return
        layer = module.spell("keras.layers.Layer") or "tf.keras.layers.Layer"
        edits: list[Edit] = [Insert(module.span(start), "first", "super().__init__()"), *imports_for(module, layer)]
        if owner.bases:
            edits.append(ReplaceExpression(module.span(owner.bases[0]), layer))
        else:
            edits.append(ReplaceExpression(_name_span(module, owner), f"{owner.name}({layer})"))
        if forward is not None:
            edits.append(ReplaceExpression(_name_span(module, forward), "call"))
        yield self.finding(
            module,
            owner,
            f"{owner.name} is a plain object, so {holder.name} does not see the layers in it: their variables are not "
            "among its trainable variables.",
            label="not tracked",
            candidates=[
                Candidate(f"make {owner.name} a Keras layer", tuple(edits), keeps_value=False, trains_more=True)
            ],
            silent=True,
        )

    def _holder(self, module: Module, owner: ast.ClassDef) -> ast.ClassDef | None:
        """The Keras class of this module that has an instance as an attribute, or in a list."""
        for (holder, _), writes in module.classes.attribute_writes.items():
            if module.classes.kind(holder) not in ("layer", "model"):
                continue
            for value, path in writes:
                made = [*module.objects.origins(value), *module.objects.members(value)]
                if not path and any(module.objects.instance_class(m) is owner for m in made):
                    return holder
        return None

    def _holds_layers(self, module: Module, value: ast.expr) -> str | None:
        """How to list the layers of an attribute: itself, the elements of a list, the values of a dict."""
        if self._is_layer(module, value):
            return "{}"
        if (
            isinstance(value, (ast.List, ast.Tuple))
            and value.elts
            and all(self._is_layer(module, e) for e in value.elts)
        ):
            return "*{}"
        if isinstance(value, ast.ListComp) and self._is_layer(module, value.elt):
            return "*{}"
        if isinstance(value, ast.Dict) and value.values and all(self._is_layer(module, v) for v in value.values):
            return "*{}.values()"
        if isinstance(value, ast.DictComp) and self._is_layer(module, value.value):
            return "*{}.values()"
        return None

    def _is_layer(self, module: Module, node: ast.expr) -> bool:
        origins = module.objects.origins(node)
        return bool(origins) and all(module.kinds.made(o) in ("layer", "model") for o in origins)

    def _is_trained(self, module: Module, owner: ast.ClassDef) -> bool:
        """Does the file read `trainable_variables` of an instance, or of self in the class?"""
        for node in module.all(ast.Attribute):
            assert isinstance(node, ast.Attribute)
            if node.attr != "trainable_variables":
                continue
            if module.classes.is_self(node.value) and module.class_of(node) is owner:
                return True
            if owner in [module.objects.instance_class(o) for o in module.objects.origins(node.value)]:
                return True
        return False


# What a Keras layer has by itself: an attribute of that name must stay as it is.
_LAYER_NAMES = {
    "name",
    "weights",
    "variables",
    "input",
    "output",
    "dtype",
    "losses",
    "metrics",
    "layers",
    "path",
    "built",
}


def _listed_by_hand(module: Module, owner: ast.ClassDef, layers: list[str]) -> bool:
    """Does the file read the variables of these layers itself?"""
    for node in module.each(ast.Attribute):
        if node.attr in _LISTS and isinstance(node.value, ast.Attribute) and node.value.attr in layers:
            return True
    return any(isinstance(s, ast.FunctionDef) and s.name in (*_LISTS, "parameters") for s in owner.body)


def _name_span(module: Module, node: ast.ClassDef | ast.FunctionDef) -> Span:
    """Where the name of a class or function stands in its definition."""
    line = module.line_text(node.lineno)
    column = line.index(node.name, module.span(node).column + len("def"))
    return Span(node.lineno, column, node.lineno, column + len(node.name))


def _label(made: ast.Call) -> str | None:
    name = next((k.value for k in made.keywords if k.arg == "name"), None)
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None


def _is_ready(node: ast.Assign, function: ast.FunctionDef) -> bool:
    """Has super().__init__() run before? Keras refuses weights on a layer that is not initialised."""
    if function.name != "__init__":
        return True
    for statement in function.body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "__init__":
            return statement.lineno < node.lineno
    return False
