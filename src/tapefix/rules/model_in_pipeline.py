"""TPF118: a network that is to be trained runs in Dataset.map, where no tape records."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapefix.codemods.edits import Insert, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._elsewhere import start_of
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import Tape


class _Part(NamedTuple):
    """One part of what the mapped function returns: the call of a network on one of its parameters."""

    call: ast.Call
    position: int
    size: int


class ModelInPipeline(Rule):
    """A network that is to be trained runs in Dataset.map, where no tape records.

    What it finds:
        `dataset.map(lambda x, y: (encoder(x), y))`, where a run measures that the encoder gets no gradient.

    Why the gradient stops:
        The input pipeline runs in a graph of its own. For the tape its elements are constants.

    Example:
        ```python
        import tensorflow as tf

        encoder = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])
        head = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        data = tf.data.Dataset.from_tensor_slices((tf.ones([8, 3]), tf.ones([8, 1]))).batch(4)
        data = data.map(lambda x, y: (encoder(x), y))
        variables = encoder.trainable_variables + head.trainable_variables
        for x, y in data:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(head(x) - y))
            gradients = tape.gradient(loss, variables)
        ```

    Fix safety:
        Safe: the network runs on the same batch, inside the tape's block.
    """

    code = "TPF118"
    name = "model-in-pipeline"
    safety = "safe"
    tokens = (".map(",)

    def check(self, module: Module) -> Iterator[Finding]:
        if module.measured is None:
            return
        for call in module.calls:
            if not (isinstance(call.func, ast.Attribute) and call.func.attr == "map" and call.args):
                continue
            for part in _parts(module, call.args[0]):
                places = list(_places(module, part))
                if len(places) == 1:
                    yield self._finding(module, part, *places[0])

    def _finding(self, module: Module, part: _Part, tape: Tape, name: str) -> Finding:
        network = module.source(part.call.func)
        anchor, where = start_of(module, tape, set())
        given = {"x": module.span(part.call.args[0])}
        edits = (
            ReplaceExpression(module.span(part.call), "$x", given),
            Insert(module.span(anchor), where, f"{name} = {network}({name})"),
        )
        return self.finding(
            module,
            part.call,
            f"{network} runs in the input pipeline, where no tape records: its variables get no gradient.",
            label="runs in Dataset.map",
            notes=[(tape.call, "recording starts here")],
            candidates=[Candidate(f"run {network} inside the tape's block", edits, needs_proof=True)],
            certain=False,
        )


def _parts(module: Module, given: ast.expr) -> Iterator[_Part]:
    """The networks that a mapped function runs on its own parameters, for a part of what it returns."""
    for function in module.objects.origins(given):
        if not isinstance(function, (ast.FunctionDef, ast.Lambda)):
            continue
        parameters = [p.arg for p in module.objects.parameters(function)]
        for value in module.objects.returns.get(function, []):
            parts = value.elts if isinstance(value, ast.Tuple) else [value]
            for position, part in enumerate(parts):
                if not isinstance(part, ast.Call) or len(part.args) != 1 or not module.training.is_forward(part):
                    continue
                argument = part.args[0]
                if isinstance(argument, ast.Name) and argument.id in parameters:
                    yield _Part(part, position, len(parts))


def _places(module: Module, part: _Part) -> Iterator[tuple[Tape, str]]:
    """The tapes that a loop over such elements reaches, and the name that the part has in them."""
    targets = [loop.target for loop in module.each(ast.For)]
    targets += [loop.target for loop in module.each(ast.comprehension)]
    for target in targets:
        if isinstance(target, (ast.Tuple, ast.List)):
            item = target.elts[part.position] if len(target.elts) == part.size else None
        else:
            item = target if part.size == 1 else None
        if not isinstance(item, ast.Name):
            continue
        for use in (u for d in module.reaching.bindings.get(item, ()) for u in d.uses):
            yield from _reached(module, use, part)


def _reached(module: Module, use: ast.Name, part: _Part) -> Iterator[tuple[Tape, str]]:
    inside = [tape for tape in module.tapes.tapes if any(module.inside(use, s) for s in tape.block.body)]
    if inside:
        yield from [(inside[0], use.id)] if _means_the_same(module, inside[0], part) else []
        return
    call = module.parent(use)
    if not isinstance(call, ast.Call) or use not in call.args:
        return
    for callee in module.objects.callees(call):
        place = call.args.index(use)
        for parameter in module.objects.parameters(callee)[place : place + 1]:
            for tape in module.tapes.tapes:
                reads = [u for d in module.reaching.bindings.get(parameter, ()) for u in d.uses]
                recorded = [u for u in reads if any(module.inside(u, s) for s in tape.block.body)]
                if recorded and _means_the_same(module, tape, part):
                    yield tape, parameter.arg


def _means_the_same(module: Module, tape: Tape, part: _Part) -> bool:
    """Does the text of the network mean the same in the tape's block as in the pipeline?"""
    root: ast.expr = part.call.func
    while isinstance(root, ast.Attribute):
        root = root.value
    if module.classes.is_self(root):
        return module.class_of(tape.block) is module.class_of(part.call)
    return isinstance(root, ast.Name) and set(module.scope(tape.block).lookup(root.id)) == set(module.definitions(root))
