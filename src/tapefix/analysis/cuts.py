"""Cuts: the operations that no gradient passes, and what they do to the losses behind them.

A value is `alive` where a gradient reaches something trainable from it, and dead where it is computed from trainable
values but only through rounding, comparisons, argmax, integers or choices. A dead value that weighs or masks an alive
one does no harm; a loss that is dead, or a dead term of a sum, does not train.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def
from tapefix.analysis.tapes import argument

if TYPE_CHECKING:
    from tapefix.analysis.flow import Vertex
    from tapefix.analysis.module import Module

_KINDS = {
    "round": "rounding", "floor": "rounding", "ceil": "rounding", "rint": "rounding", "trunc": "rounding",
    "fix": "rounding", "around": "rounding", "floordiv": "rounding", "floor_divide": "rounding", "argmax": "argmax",
    "argmin": "argmax", "sign": "sign", "greater": "comparison", "greater_equal": "comparison", "less": "comparison",
    "less_equal": "comparison", "equal": "comparison", "not_equal": "comparison", "logical_and": "logic",
    "logical_or": "logic", "logical_not": "logic", "confusion_matrix": "counting", "count_nonzero": "counting",
    "bincount": "counting", "nonzero": "counting", "in_top_k": "counting", "argsort": "counting",
    "unique": "counting", "searchsorted": "counting",
}  # fmt: skip
# Operations with an argument that only chooses: position and keyword.
_CHOICES = {
    "one_hot": (0, "indices"), "gather": (1, "indices"), "gather_nd": (1, "indices"), "boolean_mask": (1, "mask"),
    "where": (0, "condition"), "switch": (0, "condition"), "embedding_lookup": (1, "ids"),
    "confusion_matrix": (0, "labels"), "scatter_nd": (0, "indices"), "sequence_mask": (0, "lengths"),
}  # fmt: skip
_LINEAR_CALLS = {
    "reduce_mean", "reduce_sum", "mean", "sum", "add", "subtract", "add_n", "squeeze", "reshape", "cast", "identity",
    "convert_to_tensor", "stack", "concat", "multiply", "divide", "expand_dims",
}  # fmt: skip


class Cuts:
    """Answers for one module."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.flow = module.flow

    def kind(self, node: Vertex) -> str | None:
        """How a node cuts: rounding, comparison, argmax, sign, integer, logic, counting; None where it does not."""
        if isinstance(node, ast.Compare):
            plain = all(isinstance(op, (ast.Gt, ast.GtE, ast.Lt, ast.LtE, ast.Eq, ast.NotEq)) for op in node.ops)
            return "comparison" if plain else None
        if isinstance(node, ast.BinOp):
            return "rounding" if isinstance(node.op, ast.FloorDiv) else None
        if not isinstance(node, ast.Call):
            return None
        operation = self.module.op(node) or self.module.numpy_op(node)
        if operation is None:
            name = self.module.call_name(node)
            if name in ("round", "math.floor", "math.ceil"):
                return "rounding"
            if (
                isinstance(node.func, ast.Attribute)
                and node.func.attr == "astype"
                and node.args
                and is_integer_type(node.args[0])
            ):
                return "integer"
            return None
        if operation == "cast":
            dtype = argument(node, 1, "dtype")
            if dtype is None:
                return None
            # `tf.cast(prediction, labels.dtype)`: what that is, only a run tells.
            as_another = isinstance(dtype, ast.Attribute) and dtype.attr == "dtype" and node.lineno in self._stops
            return "integer" if as_another or is_integer_type(dtype) else None
        return _KINDS.get(operation)

    @cached_property
    def _stops(self) -> set[int]:
        """The lines on which a run met an operation without a gradient."""
        measured = self.module.measured
        return {place.line for place in measured.breaks if place.kind == "op"} if measured is not None else set()

    # -------------------------------------------------------------- the graph with choices

    def inputs(self, vertex: Vertex) -> tuple[Vertex, ...]:
        """What a value depends on, choices included."""
        return (*self.flow.inputs(vertex), *self._choices(vertex))

    def _choices(self, vertex: Vertex) -> list[Vertex]:
        if isinstance(vertex, ast.Subscript):
            index = vertex.slice
            return [index] if not isinstance(index, (ast.Slice, ast.Constant, ast.Tuple)) else []
        if isinstance(vertex, ast.Call):
            place = _CHOICES.get(self.module.op(vertex) or self.module.numpy_op(vertex) or "")
            chosen = argument(vertex, *place) if place is not None else None
            return [chosen] if chosen is not None else []
        return []

    @cached_property
    def _choice_outputs(self) -> dict[Vertex, list[Vertex]]:
        found: dict[Vertex, list[Vertex]] = {}
        for node in [*self.module.calls, *self.module.all(ast.Subscript)]:
            for chosen in self._choices(node):
                found.setdefault(chosen, []).append(node)
        return found

    def uses(self, vertex: Vertex) -> list[Vertex]:
        return [*self.flow.uses(vertex), *self._choice_outputs.get(vertex, ())]

    def _forward(self, starts: Iterable[Vertex], through_cuts: bool) -> set[Vertex]:
        seen: set[Vertex] = set()
        queue = list(starts)
        while queue:
            vertex = queue.pop()
            if vertex in seen or (not through_cuts and self.kind(vertex) is not None):
                continue
            seen.add(vertex)
            queue.extend(self.uses(vertex) if through_cuts else self.flow.uses(vertex))
        return seen

    def backward(self, starts: Iterable[Vertex]) -> set[Vertex]:
        seen: set[Vertex] = set()
        queue = list(starts)
        while queue:
            vertex = queue.pop()
            if vertex not in seen:
                seen.add(vertex)
                queue.extend(self.inputs(vertex))
        return seen

    @cached_property
    def _starts(self) -> list[Vertex]:
        training = self.module.training
        named = [training.named_prediction(function) for function in self.module.objects.functions]
        return [*training.parameters, *[d for d in named if d is not None]]

    @cached_property
    def dependent(self) -> set[Vertex]:
        """All that is computed from something trainable, by whatever operation."""
        return self._forward(self._starts, True)

    @cached_property
    def alive(self) -> set[Vertex]:
        """All from which a gradient reaches something trainable."""
        return self._forward(self._starts, False)

    # -------------------------------------------------------------- losses and their terms

    @cached_property
    def _targets(self) -> tuple[set[Vertex], set[Vertex]]:
        """Losses (tape targets and what loss functions return), and other results that a loss may come from.

        The others are the outputs of layers, and what functions return that are losses by their names only: some of
        them (a Hamming loss) are metrics.
        """
        training, returns = self.module.training, self.module.objects.returns
        others: set[Vertex] = {value for f in training.forward_methods for value in returns.get(f, [])}
        losses: set[Vertex] = set()
        for target in training.targets:
            if target not in others:
                # Of several losses in a list, each is asked by itself.
                losses.update(target.elts if isinstance(target, (ast.List, ast.Tuple)) else [target])
        for function in self.module.objects.functions:
            if training.named_prediction(function) is not None:
                others.update(value for value in returns.get(function, []) if value not in losses)
        return losses, others

    @cached_property
    def dead_losses(self) -> set[Vertex]:
        """Losses that depend on something trainable, but through cuts only."""
        return {t for t in self._targets[0] if t in self.dependent and t not in self.alive}

    @cached_property
    def behind_losses(self) -> set[Vertex]:
        """All that some loss or layer output depends on."""
        losses, outputs = self._targets
        return self.backward([*losses, *outputs])

    def blamed(self) -> dict[ast.expr, str]:
        """The cutting operations between alive values and losses, and what each does.

        `loss`: all of a loss is cut off; `term`: a term of a sum; `layer`: the output of a layer, or of what may be
        a loss; `weight`: a weight of a layer, though the layer's input lives; `maybe`: something else, often a mask
        or a factor, which is right.
        """
        found: dict[ast.expr, str] = {}
        behind_dead = self.backward(self.dead_losses)
        outputs = self._targets[1]
        for node in self.module.nodes:
            if not isinstance(node, ast.expr) or self.kind(node) is None or node not in self.behind_losses:
                continue
            if not any(v in self.alive for v in self.inputs(node)):
                continue
            after = self._dead_after(node)
            if node in behind_dead and after & self.dead_losses:
                found[node] = "loss"
            elif after & outputs:
                found[node] = "layer"
            elif any(self._is_term(vertex) for vertex in after):
                found[node] = "term"
            elif node in self._starving:
                found[node] = "weight"
            else:
                found[node] = "maybe"
        return found

    @cached_property
    def _starving(self) -> set[Vertex]:
        """The cuts that alone stand between a weight of a layer and the layer's output."""
        found: set[Vertex] = set()
        for weight in self.module.training.parameters:
            if not isinstance(weight, ast.Call) or not self._is_weight(weight):
                continue
            living = self._forward([weight], False)
            if living & (self._targets[0] | self._targets[1]) or any(map(self._is_assigned, living)):
                continue
            found |= {v for value in living for v in self.flow.uses(value) if self.kind(v) is not None}
        return found

    def _is_weight(self, call: ast.Call) -> bool:
        """`add_weight`, or a variable that starts from random numbers: no counter, and no switch."""
        if getattr(call.func, "attr", "") == "add_weight":
            return True
        value = argument(call, 0, "initial_value")
        names = [self.module.call_name(n) or "" for n in ast.walk(value)] if value is not None else []
        return any("random" in name or ".initializers." in name for name in names)

    def _is_assigned(self, vertex: Vertex) -> bool:
        """`self.count.assign_add(1)`: what is updated by hand is no weight that trains."""
        parent = None if isinstance(vertex, Def) else self.module.parent(vertex)
        return isinstance(parent, ast.Attribute) and parent.attr.startswith(("assign", "scatter_"))

    def _dead_after(self, node: ast.expr) -> set[Vertex]:
        """The dead values that are computed from a cut one."""
        seen: set[Vertex] = set()
        queue: list[Vertex] = [node]
        while queue:
            vertex = queue.pop()
            if vertex in seen or vertex in self.alive:
                continue
            seen.add(vertex)
            queue.extend(self.uses(vertex))
        return seen

    def _is_term(self, vertex: Vertex) -> bool:
        """Is a dead value added to an alive one, with nothing but sums and constant factors from there to the loss?"""
        joined = [
            v
            for v in self.flow.uses(vertex)
            if v in self.alive and isinstance(v, ast.BinOp) and isinstance(v.op, (ast.Add, ast.Sub))
        ]
        return any(self._is_linear_to_loss(v) for v in joined)

    def _is_linear_to_loss(self, start: Vertex) -> bool:
        losses = self._targets[0]
        seen: set[Vertex] = set()
        queue = [start]
        while queue:
            vertex = queue.pop()
            if vertex in seen:
                continue
            seen.add(vertex)
            if vertex in losses:
                return True
            queue += [v for v in self.flow.uses(vertex) if self._is_linear(v, vertex)]
        return False

    def _is_linear(self, vertex: Vertex, taken: Vertex) -> bool:
        if isinstance(vertex, (Def, ast.Name, ast.Subscript, ast.List, ast.Tuple, ast.UnaryOp, ast.Attribute)):
            return True
        if isinstance(vertex, ast.BinOp):
            if isinstance(vertex.op, (ast.Add, ast.Sub)):
                return True
            other = vertex.right if vertex.left is taken else vertex.left
            return isinstance(vertex.op, (ast.Mult, ast.Div)) and other not in self.dependent
        if isinstance(vertex, ast.Call):
            operation = self.module.op(vertex)
            return operation in _LINEAR_CALLS or (operation is None and bool(self.module.objects.callees(vertex)))
        return False


def is_integer_type(node: ast.expr) -> bool:
    """`tf.int32`, `np.int64`, `"int32"`, `int`."""
    name = (
        node.attr
        if isinstance(node, ast.Attribute)
        else node.id
        if isinstance(node, ast.Name)
        else getattr(node, "value", None)
    )
    return isinstance(name, str) and (name.startswith(("int", "uint")) or name == "bool")
