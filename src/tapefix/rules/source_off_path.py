"""TPF112: the source of a gradient is a piece or a copy of the tensor that the target is computed from."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.scopes import Def
from tapefix.codemods.edits import Edit, Insert, Move, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._tensors import SourceKinds, definitions_of, is_watched
from tapefix.rules._text import rewritten
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import GradientCall, Tape

_COPIES = {"convert_to_tensor", "identity", "constant", "cast"}


class Derived(NamedTuple):
    """A source that nothing is computed from, and the tensor (`origin`) that it is a slice or a copy of."""

    name: ast.Name
    definition: Def
    value: ast.Subscript | ast.Call
    origin: ast.Name


class SourceOffPath(Rule):
    """The source of a gradient is a piece or a copy of the tensor that the target is computed from.

    What it finds:
        `u = net(points)` and then `tape.gradient(u, x)` with `x = points[:, 0:1]`; or `inputs =
        tf.convert_to_tensor(images)` as the source, while the model was given `images`.

    Why the gradient stops:
        The slice or the copy is a new tensor. The target is computed from the other one, so nothing leads from the
        target back to this one.

    Example:
        ```python
        import tensorflow as tf

        points = tf.random.normal([8, 2])
        net = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1, activation="tanh")])
        with tf.GradientTape() as tape:
            tape.watch(points)
            u = net(points)
        x = points[:, 0:1]
        print(tape.gradient(u, x))
        ```

    Fix safety:
        Safe: the gradient of the whole, of which the slice is taken, is the gradient with respect to the slice; and a
        copy has the same value as what it is a copy of.
    """

    code = "TPF112"
    name = "source-off-path"
    safety = "safe"
    tokens = (".gradient(",)

    def check(self, module: Module) -> Iterator[Finding]:
        for gradient in module.tapes.gradients:
            tape = gradient.tape
            if tape is None or tape.name is None:
                continue
            items = [self._derived(module, gradient, item) for item in gradient.source_items()]
            found = [item for item in items if item is not None]
            if not found or len(found) < len(items):
                continue
            edits = self._edits(module, tape, gradient, found)
            first = found[0]
            kind = "slice" if isinstance(first.value, ast.Subscript) else "copy"
            yield self.finding(
                module,
                first.name,
                f"`{first.name.id}` is a {kind} of `{first.origin.id}`, and the target is computed from "
                f"`{first.origin.id}` itself: nothing leads back to the {kind}, so the gradient is None.",
                label="nothing is computed from this",
                notes=[(first.value, f"a {kind}, made here")],
                candidates=[edits] if edits is not None else (),
                advice="" if edits is not None else "Compute the target from what the gradient is asked for.",
            )

    def _derived(self, module: Module, gradient: GradientCall, item: ast.expr) -> Derived | None:
        definitions = definitions_of(module, item)
        if not isinstance(item, ast.Name) or len(definitions) != 1 or definitions[0].kind != "assign":
            return None
        definition, value = definitions[0], definitions[0].value
        if len(definition.path) == 1 and isinstance(value, ast.Tuple):
            value = value.elts[definition.path[0]]
        if not isinstance(value, ast.Subscript) and (definition.path or not isinstance(value, ast.Call)):
            return None
        if isinstance(value, ast.Call):
            name = module.call_name(value)
            is_copy = name == "tf.Variable" or ((name or "").startswith("tf.") and module.op(value) in _COPIES)
            origin = value.args[0] if is_copy and value.args else None
        else:
            origin = value.value
        if not isinstance(origin, ast.Name) or not all(self._only_asked_for(module, use) for use in definition.uses):
            return None
        behind = module.flow.backward([gradient.target])
        whole = set(module.definitions(origin))
        if definition in behind or not whole & behind:
            return None
        read = [use for d in whole for use in d.uses if use is not origin and use in behind]
        if read and all(isinstance(module.parent(use), ast.Subscript) for use in read):
            return None  # another part of it: it may be a list of outputs
        return Derived(item, definition, value, origin)

    def _only_asked_for(self, module: Module, use: ast.AST) -> bool:
        """Is it a source or watched here, or read after the gradients, but in no computation under a tape?"""
        parent = module.parent(use)
        if isinstance(parent, (ast.List, ast.Tuple)):
            parent = module.parent(parent)
        if any(parent is g.call for g in module.tapes.gradients):
            return True
        if any(parent in tape.watches for tape in module.tapes.tapes):
            return True
        return not module.tapes.around(use)

    def _edits(self, module: Module, tape: Tape, gradient: GradientCall, found: list[Derived]) -> Candidate | None:
        origins = {f.origin.id for f in found}
        if len(origins) != 1:
            return None
        if all(isinstance(f.value, ast.Subscript) for f in found):
            edits = self._of_slices(module, tape, gradient, found)
            title = f"differentiate by {found[0].origin.id}, and take the slice of that"
        elif len(found) == 1:
            edits = self._of_copy(module, tape, found[0])
            title = f"compute the target from {found[0].name.id}"
        else:
            return None
        return Candidate(title, edits) if edits is not None else None

    # -------------------------------------------------------------- slices

    def _of_slices(
        self, module: Module, tape: Tape, gradient: GradientCall, found: list[Derived]
    ) -> tuple[Edit, ...] | None:
        origin = found[0].origin
        if SourceKinds(module).of(origin) == {"array"}:
            return None
        edits: list[Edit] = []
        indices = [module.source(f.value)[len(module.source(f.value.value)) :] for f in found]  # type: ignore[union-attr]
        if isinstance(gradient.sources, ast.Name):
            text = rewritten(module, gradient.call, {gradient.sources: origin.id})
            edits.append(ReplaceExpression(module.span(gradient.call), f"{text}{indices[0]}"))
        else:
            name = f"by_{origin.id}"
            if module.scope(gradient.call).lookup(name):
                return None
            text = f"{module.source(gradient.call.func)}({module.source(gradient.target)}, {origin.id})"
            edits.append(Insert(module.span(module.statement(gradient.call)), "before", f"{name} = {text}"))
            listed = ", ".join(f"{name}{index}" for index in indices)
            edits.append(ReplaceExpression(module.span(gradient.call), f"[{listed}]"))
        return (*edits, *self._watch(module, tape, origin))

    @staticmethod
    def _watch(module: Module, tape: Tape, tensor: ast.Name) -> list[Edit]:
        """The tape watches the tensor from the start, if it does not yet and the tensor is older than the block."""
        inside = any(module.inside(d.node, tape.block) for d in module.definitions(tensor))
        if inside or is_watched(module, tape, tensor) or module.kinds.of(tensor) == "variable":
            return []
        return [Insert(module.span(tape.block), "first", f"{tape.name}.watch({tensor.id})")]

    # -------------------------------------------------------------- copies

    def _of_copy(self, module: Module, tape: Tape, copy: Derived) -> tuple[Edit, ...] | None:
        """What the block computes from the original, it computes from the copy, which is made before."""
        original = set(module.definitions(copy.origin))
        reads = [
            node
            for node in ast.walk(tape.block)
            if isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Load)
            and node is not copy.origin
            and set(module.definitions(node)) & original
        ]
        if not reads or any(set(module.definitions(read)) - original for read in reads):
            return None
        edits: list[Edit] = [ReplaceExpression(module.span(read), copy.name.id) for read in reads]
        made = module.statement(copy.value)
        first = min((module.statement(read) for read in reads), key=lambda s: s.lineno)
        watches = [module.statement(w) for w in tape.watches if _reads(w, copy.name.id)]
        if made.lineno > first.lineno:
            late = [made, *[w for w in watches if w.lineno > first.lineno]]
            if any(module.block(s) is not module.block(first) for s in late):
                return None
            edits.append(Move(tuple(module.span(s) for s in late), module.span(first), "before"))
        if not watches and module.kinds.made(copy.value) != "variable":
            if module.inside(made, tape.block):
                return None
            edits.append(Insert(module.span(tape.block), "first", f"{tape.name}.watch({copy.name.id})"))
        return tuple(edits)


def _reads(node: ast.AST, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node))
