"""TPF103: the list of variables is read before the model has any, or before a layer is set trainable."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.moves import Moves, added_layers, is_built
from tapefix.codemods.edits import Delete, Edit, Move, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import Tape

_LISTS = ("trainable_variables", "trainable_weights")
_BUILDERS = {
    "build",
    "fit",
    "predict",
    "call",
    "evaluate",
    "load_weights",
    "set_weights",
    "summary",
    "train_on_batch",
    "compute_output_shape",
}


class _Capture(NamedTuple):
    """`target = model.trainable_variables`."""

    statement: ast.Assign
    target: ast.Name | ast.Attribute
    value: ast.Attribute
    reads: list[ast.expr]


class VariablesBeforeBuild(Rule):
    """The list of trainable variables is read too early.

    What it finds:
        `variables = model.trainable_variables` right after the model was made, before it is built or called; and a
        list that is kept while a part of the model is frozen, and used after that part was set trainable.

    Why the gradient stops:
        A model that has not seen an input shape has no variables yet, so the list is empty and stays so:
        `apply_gradients` raises "not enough values to unpack (expected 2, got 0)". A list read while a part is frozen
        does not hold the variables of that part. Wrong is the moment at which the list is read.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
        variables = model.trainable_variables
        optimizer = tf.keras.optimizers.SGD(0.1)
        x, y = tf.ones([4, 2]), tf.ones([4, 1])
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y))
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables))
        ```

    Fix safety:
        Safe: the list is read when the variables exist.
    """

    code = "TPF103"
    name = "variables-captured-early"
    safety = "safe"
    tokens = _LISTS

    def check(self, module: Module) -> Iterator[Finding]:
        captures = [c for c in self._captures(module) if c.reads and self._trains(module, c)]
        for capture in captures:
            if self._unbuilt(module, capture):
                message = (
                    f"`{module.source(capture.target)}` is read before the model is built, so the list is empty and "
                    "stays so: apply_gradients raises `ValueError: not enough values to unpack (expected 2, got 0)`. "
                    "Wrong is only the moment at which it is read."
                )
                yield self._finding(module, capture, message, "empty at this moment", silent=False)
            elif self._thawed(module, capture):
                message = (
                    f"`{module.source(capture.target)}` is read while a part of the model is frozen, so the variables "
                    "of that part are never trained, even after it is set trainable."
                )
                yield self._finding(module, capture, message, "without the frozen part", silent=True)

    def _finding(self, module: Module, capture: _Capture, message: str, label: str, silent: bool) -> Finding:
        edits = None if silent else self._moved(module, capture)
        title = "read the list after the forward pass"
        if edits is None:
            edits = self._replaced(module, capture)
            title = "read the list where it is used"
        return self.finding(
            module,
            capture.value,
            message,
            label=label,
            candidates=[Candidate(title, edits, trains_more=True)] if edits is not None else [],
            silent=silent,
            advice="" if edits is not None else "Read the list after the first call of the model.",
        )

    @staticmethod
    def _captures(module: Module) -> Iterator[_Capture]:
        for node in module.all(ast.Assign):
            assert isinstance(node, ast.Assign)
            if len(node.targets) != 1 or not (isinstance(node.value, ast.Attribute) and node.value.attr in _LISTS):
                continue
            target = node.targets[0]
            if isinstance(target, ast.Name):
                made = module.reaching.bindings.get(target, [])
                if len(made) == 1 and len(made[0].scope.defs.get(target.id, [])) == 1:
                    yield _Capture(node, target, node.value, list(made[0].uses))
            elif (
                isinstance(target, ast.Attribute)
                and module.classes.is_self(target.value)
                and not module.classes.is_self(node.value.value)
            ):
                owner = module.class_of(node)
                writes = module.classes.attribute_writes.get((owner, target.attr), []) if owner is not None else []
                if len(writes) == 1:
                    reads: list[ast.expr] = [
                        n
                        for n in module.all(ast.Attribute)
                        if isinstance(n, ast.Attribute)
                        and n.attr == target.attr
                        and isinstance(n.ctx, ast.Load)
                        and module.classes.is_self(n.value)
                        and module.class_of(n) is owner
                    ]
                    yield _Capture(node, target, node.value, reads)

    @staticmethod
    def _trains(module: Module, capture: _Capture) -> bool:
        """Are gradients asked for this list?"""
        sources = [g.sources for g in module.tapes.gradients]
        return any(module.inside(read, s) for read in capture.reads for s in sources)

    # -------------------------------------------------------------- when the list is read

    @staticmethod
    def _unbuilt(module: Module, capture: _Capture) -> bool:
        model = capture.value.value
        origins = module.objects.origins(model)
        if (
            module.keras < 3
            or not origins
            or not all(isinstance(o, ast.Call) for o in origins)
            or is_built(module, model)
        ):
            return False
        for origin in origins:
            assert isinstance(origin, ast.Call)
            made = module.objects.instance_class(origin)
            if made is not None:
                if module.classes.kind(made) != "model" or _builds_itself(module, made):
                    return False
            elif module.call_name(origin) not in ("keras.Sequential", "keras.models.Sequential") or not _plain_layers(
                module, origin
            ):
                return False
        # Anything that may have built the model before: a call of it, or a function that was given it.
        scope = module.function(capture.statement)
        for call in module.calls:
            if (call.lineno, call.col_offset) >= (capture.statement.lineno, 0):
                continue
            if module.function(call) is not scope and not _may_run_before(module, call, capture):
                continue
            if any(o in origins for o in module.objects.origins(call.func)):
                return False
            if (
                isinstance(call.func, ast.Attribute)
                and call.func.attr in _BUILDERS
                and any(o in origins for o in module.objects.origins(call.func.value))
            ):
                return False
            if call not in origins and any(
                o in origins for a in [*call.args, *[k.value for k in call.keywords]] for o in module.objects.origins(a)
            ):
                return False
        return True

    @staticmethod
    def _thawed(module: Module, capture: _Capture) -> bool:
        """Was a part of the model frozen before, and is it set trainable in other code that runs later?"""
        model = module.objects.origins(capture.value.value)
        parts = {
            o
            for origin in model
            if isinstance(origin, ast.Call)
            for n in ast.walk(origin)
            for o in module.objects.origins(n)
            if isinstance(n, (ast.Name, ast.Attribute))
        }
        parts |= set(model)
        frozen: list[ast.Assign] = []
        thawed: list[ast.Assign] = []
        for node in module.all(ast.Assign):
            assert isinstance(node, ast.Assign)
            target = node.targets[0]
            if not (
                isinstance(target, ast.Attribute)
                and target.attr == "trainable"
                and isinstance(node.value, ast.Constant)
            ):
                continue
            if not any(o in parts for o in module.objects.origins(target.value) if isinstance(o, ast.Call)):
                continue
            (thawed if node.value.value is True else frozen).append(node)
        home = module.function(capture.statement)
        before = [n for n in frozen if module.function(n) is home and n.lineno < capture.statement.lineno]
        after = [n for n in thawed if module.function(n) is not home or n.lineno > capture.statement.lineno]
        if not before or not after:
            return False
        if home is None or isinstance(capture.target, ast.Attribute):
            return isinstance(capture.target, ast.Attribute) or any(
                r.lineno > n.lineno for r in capture.reads for n in after
            )
        return any(module.function(n) is home and r.lineno > n.lineno for r in capture.reads for n in after)

    # -------------------------------------------------------------- repairs

    @staticmethod
    def _moved(module: Module, capture: _Capture) -> tuple[Edit, ...] | None:
        """The statement goes behind the block in which the model is called, where all that read it come later."""
        if not isinstance(capture.target, ast.Name):
            return None
        tapes: list[Tape] = [
            t
            for g in module.tapes.gradients
            if (t := g.tape) is not None and any(module.inside(r, g.sources) for r in capture.reads)
        ]
        if len({t.block for t in tapes}) != 1:
            return None
        block = tapes[0].block
        moves = Moves(module, block)
        if moves.lift(capture.statement) is not capture.statement:
            return None
        body = module.block(block)
        later = body[body.index(block) + 1 :]
        if not all(any(module.inside(r, s) for s in later) for r in capture.reads):
            return None
        return (Move((module.span(capture.statement),), module.span(block), "after"),)

    @staticmethod
    def _replaced(module: Module, capture: _Capture) -> tuple[Edit, ...] | None:
        """Each use reads the list anew."""
        model = capture.value.value
        root = model
        while isinstance(root, ast.Attribute):
            root = root.value
        if not isinstance(root, ast.Name):
            return None
        wanted = set(module.definitions(root))
        for read in capture.reads:
            if module.classes.is_self(root):
                continue
            scope = module.scope(read)
            if set(scope.lookup(root.id)) - wanted:
                return None
        text = module.source(capture.value)
        return (
            *(ReplaceExpression(module.span(r), text) for r in capture.reads),
            Delete(module.span(capture.statement)),
        )


def _builds_itself(module: Module, made: ast.ClassDef) -> bool:
    """Does the class make variables in its __init__: own weights, build(), layers that are called or built?"""
    for current in module.classes.bases(made):
        start = next((s for s in current.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"), None)
        for node in ast.walk(start) if start is not None else ():
            if not isinstance(node, ast.Call):
                continue
            if module.kinds.made(node) == "variable" or module.objects.callees(node):
                return True
            if isinstance(node.func, ast.Attribute) and node.func.attr in _BUILDERS:
                return True
            kind = module.kinds.made(node)
            if (
                kind == "model"
                or (kind == "layer" and module.objects.instance_class(node) is not None)
                or module.training.is_forward(node)
            ):
                return True
    return not any(
        isinstance(s, ast.FunctionDef) and s.name == "__init__"
        for current in module.classes.bases(made)
        for s in current.body
    )


def _plain_layers(module: Module, call: ast.Call) -> bool:
    """Only layers made on the spot: a model or a shared layer in the list may already be built."""
    layers = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "layers"), None)
    if layers is None:
        added = added_layers(module, call)
    elif isinstance(layers, (ast.List, ast.Tuple)):
        added = list(layers.elts)
    else:
        return False
    return bool(added) and all(
        isinstance(item, ast.Call)
        and (module.call_name(item) or "").startswith("keras.layers.")
        and not any(k.arg in ("input_shape", "input_dim", "batch_input_shape", "weights") for k in item.keywords)
        for item in added
    )


def _may_run_before(module: Module, call: ast.Call, capture: _Capture) -> bool:
    """A call in another function counts where that function is called before, as a constructor always is."""
    function, home = module.function(call), module.function(capture.statement)
    owner = module.class_of(capture.statement)
    is_constructor = isinstance(function, ast.FunctionDef) and function.name == "__init__"
    if is_constructor and function is not None and module.method_class(function) is owner is not None:
        return True
    sites = module.objects.call_sites.get(function, []) if function is not None else [call]
    reached = module.objects.call_sites.get(home, []) if home is not None else []
    last = max((site.lineno for site in reached), default=capture.statement.lineno)
    return any(site.lineno < max(last, capture.statement.lineno) for site in sites)
