"""TPF502: a layer or a variable that is made anew at each call."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Delete, Edit, Insert, Move, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._trained_lists import with_more
from tapefix.rules._weights import add_weight, imports_for, makes_weighted_layer
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class CreatedInCall(Rule):
    """A layer or a variable is made inside the forward pass or the loss, so it is a new one at each call.

    What it finds:
        A Keras layer with weights, or a tf.Variable, that `call` of a layer or model makes; a tf.Variable that a loss
        makes.

    Why the gradient stops:
        Each call starts from new random weights. What a step has learned is thrown away, and the new weights are in no
        list of variables.

    Example:
        ```python
        import tensorflow as tf


        class Head(tf.keras.Model):
            def __init__(self):
                super().__init__()
                self.hidden = tf.keras.layers.Dense(4)

            def call(self, inputs):
                return tf.keras.layers.Dense(1)(self.hidden(inputs))


        model = Head()
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(tf.ones([4, 3])))
        gradients = tape.gradient(loss, model.trainable_variables)
        ```

    Fix safety:
        Safe: it is made once, in `__init__` (or outside the loss), and joins what is trained.
    """

    code = "TPF502"
    name = "created-in-call"
    safety = "safe"
    tokens = ("def call", "Variable(", "def __call__")

    def check(self, module: Module) -> Iterator[Finding]:
        for owner in module.classes.by_name.values():
            if module.classes.kind(owner) not in ("layer", "model"):
                continue
            forward = next((s for s in owner.body if isinstance(s, ast.FunctionDef) and s.name == "call"), None)
            if forward is not None:
                yield from self._in_forward(module, owner, forward)
        yield from self._in_loss(module)

    # -------------------------------------------------------------- in call

    def _in_forward(self, module: Module, owner: ast.ClassDef, forward: ast.FunctionDef) -> Iterator[Finding]:
        taken = {name for (holder, name) in module.classes.attribute_writes if holder is owner}
        has_start = self._start(owner) is not None
        for call in module.calls_in.get(forward, []):
            name = module.call_name(call) or ""
            if makes_weighted_layer(module, call):
                yield self._layer(module, owner, forward, call, name.rpartition(".")[2], taken)
                if not has_start:
                    return  # the repair writes an __init__; the others follow in a next round
            elif name == "tf.Variable" and not _is_fixed(call):
                found = self._variable(module, owner, forward, call, taken)
                if found is not None:
                    yield found

    def _layer(
        self, module: Module, owner: ast.ClassDef, forward: ast.FunctionDef, call: ast.Call, kind: str, taken: set[str]
    ) -> Finding:
        assign = module.parent(call)
        local = None
        if isinstance(assign, ast.Assign) and len(assign.targets) == 1 and isinstance(assign.targets[0], ast.Name):
            local = assign.targets[0]
        name = _free(local.id if local is not None else _snake(kind), taken)
        taken.add(name)
        edits = None
        repeated = any(
            isinstance(above, (ast.For, ast.While, ast.ListComp))
            for above in module.ancestors(call)
            if module.inside(above, forward)
        )
        if self._is_independent(module, call, forward) and not repeated:
            edits = self._at_start(module, owner, forward, f"self.{name} = {module.source(call)}")
        if edits is not None:
            if local is not None:
                uses = [u for d in module.reaching.bindings.get(local, []) for u in d.uses]
                edits.append(Delete(module.span(module.statement(call))))
                edits += [ReplaceExpression(module.span(u), f"self.{name}") for u in uses]
            else:
                edits.append(ReplaceExpression(module.span(call), f"self.{name}"))
        return self.finding(
            module,
            call,
            f"This {kind} layer is made anew at each call of {owner.name}: its weights start at "
            "random every time and are never trained.",
            label="a new layer at each call",
            candidates=[Candidate("make it once, in __init__", tuple(edits), keeps_value=False, trains_more=True)]
            if edits is not None
            else (),
            silent=True,
            certain=edits is not None,
            advice="" if edits is not None else f"Make the layer once, in __init__ of {owner.name}.",
        )

    def _start(self, owner: ast.ClassDef) -> ast.FunctionDef | None:
        """The class' own __init__."""
        return next((s for s in owner.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"), None)

    def _at_start(self, module: Module, owner: ast.ClassDef, forward: ast.FunctionDef, made: str) -> list[Edit] | None:
        """The edits that run the statement `made` once, in __init__."""
        start = self._start(owner)
        if start is not None:
            return [Insert(module.span(start.body[-1]), "after", made)]
        if any(module.name(base) is None for base in owner.bases):
            return None  # a base class of this module may have one with arguments
        text = f"def __init__(self, **kwargs):\n    super().__init__(**kwargs)\n    {made}"
        return [Insert(module.span(forward), "before", text)]

    def _is_independent(self, module: Module, node: ast.AST, forward: ast.FunctionDef) -> bool:
        """Does nothing in the expression belong to this call of the forward pass?"""
        for inner in ast.walk(node):
            if not isinstance(inner, ast.Name) or module.classes.is_self(inner):
                continue
            if any(d.scope.node is forward for d in module.definitions(inner)):
                return False
        return True

    def _variable(
        self, module: Module, owner: ast.ClassDef, forward: ast.FunctionDef, call: ast.Call, taken: set[str]
    ) -> Finding | None:
        assign = module.parent(call)
        if not (
            isinstance(assign, ast.Assign) and len(assign.targets) == 1 and isinstance(assign.targets[0], ast.Name)
        ):
            return None
        local = assign.targets[0]
        start, value = self._start(owner), argument(call, 0, "initial_value")
        edits: list[Edit] | None = None
        name = _free(local.id, taken)
        if value is not None and start is not None and self._is_independent(module, call, forward):
            taken.add(name)
            text = add_weight(module, "self", call, name)
            added = Insert(module.span(start.body[-1]), "after", f"self.{name} = {text}")
            edits = [added, Delete(module.span(assign)), *imports_for(module, text)]
            uses = [u for d in module.reaching.bindings.get(local, []) for u in d.uses]
            edits += [ReplaceExpression(module.span(u), f"self.{name}") for u in uses]
        return self.finding(
            module,
            call,
            f"This variable is made anew at each call of {owner.name}: what a step has learned is "
            "thrown away, and no optimiser gets it.",
            label="a new variable at each call",
            candidates=[Candidate("make it once, as a weight", tuple(edits), keeps_value=False, trains_more=True)]
            if edits is not None
            else (),
            silent=True,
            certain=edits is not None,
            advice=""
            if edits is not None
            else f"Make it once with self.add_weight(...) in __init__ or build of {owner.name}.",
        )

    # -------------------------------------------------------------- in a loss

    def _in_loss(self, module: Module) -> Iterator[Finding]:
        """`alpha = tf.Variable(0.5)` inside a function whose result a gradient is taken of."""
        for call in module.calls:
            if module.call_name(call) != "tf.Variable" or _is_fixed(call):
                continue
            function, assign = module.function(call), module.parent(call)
            if not isinstance(function, ast.FunctionDef) or module.method_class(function) is not None:
                continue
            if not (
                isinstance(assign, ast.Assign) and len(assign.targets) == 1 and isinstance(assign.targets[0], ast.Name)
            ):
                continue
            if any(module.inside(g.call, function) for g in module.tapes.gradients) or not module.objects.returns.get(
                function
            ):
                continue
            target = assign.targets[0]
            if any(self._is_changed(module, u) for d in module.reaching.bindings.get(target, []) for u in d.uses):
                continue
            reached = [g for g in module.tapes.gradients if call in module.flow.backward([g.target])]
            reached = [g for g in reached if call not in module.flow.backward([g.sources])]
            runs = [c for c in module.results.calls_of(function) if module.tapes.around(c)]
            if not reached or not runs:
                continue
            edits = None
            plain = (
                function in module.tree.body
                and assign in function.body
                and not module.reaching.module.defs.get(target.id)
            )
            if len(reached) == 1 and plain and self._is_independent(module, call, function):
                listed = with_more(module, reached[0], variables=[target.id])
                if listed is not None:
                    edits = (Move((module.span(assign),), module.span(function), "before"), *listed)
            yield self.finding(
                module,
                call,
                f"{target.id} is a new variable at each call of {function.name}: no optimiser gets "
                "it, and what is learned would be thrown away.",
                label="a new variable at each call",
                candidates=[
                    Candidate(f"make {target.id} once, outside the function, and train it", edits, trains_more=True)
                ]
                if edits is not None
                else (),
                silent=True,
                certain=edits is not None,
                advice=""
                if edits is not None
                else f"Make {target.id} once, outside {function.name}, and add it to the list that is trained.",
            )

    def _is_changed(self, module: Module, use: ast.AST) -> bool:
        parent = module.parent(use)
        return isinstance(parent, ast.Attribute) and parent.attr.startswith("assign")


def _is_fixed(call: ast.Call) -> bool:
    trainable = argument(call, 1, "trainable")
    return isinstance(trainable, ast.Constant) and trainable.value is False


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name).lower()


def _free(name: str, taken: set[str]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found
