"""How a value hangs on the source of a gradient: by reference, computed while the tape records, or computed outside.

A value that is taken out of TensorFlow while the tape records (`.numpy()`, `model.predict(x)`) hangs on by a `cut`.

A walk backwards from the target, which knows through which call it entered a helper function.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from tapefix.analysis.flow import NO_VALUE_ATTRIBUTES, NO_VALUE_CALLS, VALUE_ARGUMENTS
from tapefix.analysis.scopes import Def, Function
from tapefix.analysis.sources import HOLDERS, Unit
from tapefix.analysis.tapes import argument
from tapefix.analysis.training import LOSS_NAME, PREDICTS, SCALES, VARIABLE_LISTS
from tapefix.analysis.unit_use import UnitUse, unpacked

if TYPE_CHECKING:
    from tapefix.analysis.recording import Recording

Marks = frozenset[str]
_NONE: Marks = frozenset()
# Methods and functions whose result the author has taken out of the gradient, or that carries none.
_DETACHING = {"numpy", "item", "tolist", "apply_gradients", "get_weights", *PREDICTS}
_GRADIENTS = {"gradient", "jacobian", "batch_jacobian"}
_DETACHING_CALLS = {"float", "int", "bool", "str", "keras.backend.eval", "keras.backend.get_value"}
# Operations that pick a target among what a network says.
CHOICES = {"reduce_max", "max", "maximum", "argmax", "one_hot", "stop_gradient"}
# What keeps weights small: a part of the loss that says nothing about how the rest hangs on the model.
DECAY = re.compile(r"decay|regulari[sz]", re.IGNORECASE)
# Methods of a Keras model that work on what they are given, not on its weights.
_LOSS_METHODS = {"compute_loss", "compiled_loss", "compute_metrics", "update_metrics"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Frame:
    """A helper function that the walk is in, and the call through which it came."""

    __slots__ = ("call", "function", "outer", "recorded")

    def __init__(self, function: Function, call: ast.Call, outer: Frame | None, recorded: bool) -> None:
        self.function = function
        self.call = call
        self.outer = outer
        self.recorded = recorded


class Walk:
    """The walk for one unit."""

    def __init__(self, recording: Recording, unit: Unit) -> None:
        self.recording = recording
        self.module = recording.module
        self.objects = recording.objects
        self.unit = unit
        self.use = UnitUse(self.module, unit)
        self.opaque = False
        self.outside: dict[Def, None] = {}
        self.writes: dict[ast.expr, None] = {}
        self.cuts: dict[ast.Call, None] = {}
        self._known: dict[tuple[int, int], Marks] = {}
        self._depth = 0

    def marks(self) -> Marks:
        """How the target hangs on the unit."""
        return self.value(self.recording.gradient.target, None)

    def recorded(self, node: ast.AST, frame: Frame | None) -> bool:
        if frame is not None:
            for function in (node, *self.module.ancestors(node)):
                if function is frame.function:
                    return frame.recorded
        block = self.recording.block
        for above in self.module.ancestors(node):
            if above is block:
                return not any(self.module.inside(node, item) for item in getattr(block, "items", ()))
            if above in self.recording.run:
                return True
        return self.recording.extended and self._between(node)

    def _between(self, node: ast.AST) -> bool:
        """Does `node` run between the end of the block and the gradient call?"""
        if self.module.function(node) is not self.recording.home:
            return False
        end = self.recording.block.end_lineno or 0
        call = self.recording.gradient.call
        return end < node.lineno and (node.lineno, node.col_offset) <= (call.end_lineno, call.end_col_offset)  # type: ignore[attr-defined]

    # -------------------------------------------------------------- values

    def value(self, node: ast.expr, frame: Frame | None) -> Marks:
        key = (id(node), id(frame))
        known = self._known.get(key)
        if known is None:
            if self._depth > 150:
                self.opaque = True
                return _NONE
            self._known[key] = _NONE
            self._depth += 1
            known = self._known[key] = self._value(node, frame)
            self._depth -= 1
        return known

    def _value(self, node: ast.expr, frame: Frame | None) -> Marks:
        if node in self.unit.origins or self.use.is_unit(node):
            return frozenset({"ref"})
        if isinstance(node, ast.Name):
            return _join(self.definition(d, frame) for d in self.module.definitions(node))
        if isinstance(node, ast.Call):
            return self._call(node, frame)
        if isinstance(node, ast.Attribute):
            return self._attribute(node, frame)
        if isinstance(node, (ast.BinOp, ast.UnaryOp)):
            marks = _join(self.value(c, frame) for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr))
            return marks if self._is_list_sum(node) else self._operation(node, marks, frame)
        if isinstance(node, ast.Subscript):
            return self._subscript(node, frame)
        if isinstance(node, ast.IfExp):
            return self.value(node.body, frame) | self.value(node.orelse, frame)
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            return self.value(node.elt, frame)
        if isinstance(node, ast.DictComp):
            return self.value(node.value, frame)
        if isinstance(node, ast.Dict):
            return _join(self.value(v, frame) for v in node.values)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set, ast.Starred, ast.NamedExpr, ast.Await, ast.BoolOp)):
            return _join(self.value(c, frame) for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr))
        return _NONE

    def _operation(self, node: ast.AST, marks: Marks, frame: Frame | None) -> Marks:
        """What becomes of the marks of the operands when an operation runs at `node`."""
        if not marks:
            return marks
        if not self.recorded(node, frame):
            return frozenset("cut" if mark == "cut" else "out" for mark in marks)
        return frozenset("in" if mark == "ref" else mark for mark in marks)

    def _attribute(self, node: ast.Attribute, frame: Frame | None) -> Marks:
        if node.attr in NO_VALUE_ATTRIBUTES:
            return _NONE
        writes = self.objects.attribute_values(node)
        if not writes:
            return self.value(node.value, frame)
        marks = _NONE
        for value, path in writes:
            found = _join(self.value(part, None) for part in unpacked(self.module, value, path))
            if "out" in found:
                self.writes[value] = None
            marks |= found
        return marks

    def _subscript(self, node: ast.Subscript, frame: Frame | None) -> Marks:
        marks = self.value(node.value, frame)
        if (
            "ref" in marks
            and self.module.kinds.of(node.value) == "variable"
            and isinstance(node.value, (ast.Name, ast.Attribute))
        ):
            return self._operation(node, marks, frame)
        if marks and self._cuts_tensor(node):
            return self._operation(node, marks, frame)
        return marks

    def _cuts_tensor(self, node: ast.Subscript) -> bool:
        """Does the index show that a tensor is cut, rather than something taken from a list?"""
        if isinstance(node.slice, ast.Tuple):
            return True
        origins = self.objects.origins(node.value)
        return bool(origins) and all((self.module.call_name(o) or "").startswith("tf.") for o in origins)

    def _is_list_sum(self, node: ast.AST) -> bool:
        """`a.trainable_variables + b.trainable_variables`, `[w] + [b]`."""
        return isinstance(node, ast.BinOp) and any(
            isinstance(side, (ast.List, ast.Tuple, ast.ListComp))
            or (isinstance(side, ast.Attribute) and side.attr in VARIABLE_LISTS)
            for side in (node.left, node.right)
        )

    # -------------------------------------------------------------- calls

    def _call(self, node: ast.Call, frame: Frame | None) -> Marks:
        name = self.module.call_name(node)
        func = node.func
        method = func.attr if isinstance(func, ast.Attribute) else None
        if name in NO_VALUE_CALLS or name in _DETACHING_CALLS or (name or "").startswith("np."):
            return _NONE
        if method in _GRADIENTS and isinstance(func, ast.Attribute):
            other = self.module.tapes.tape_of(func.value)
            if self.unit.model or other is None or not node.args:
                return _NONE
            return self._operation(node, self.value(node.args[0], frame), frame)  # a second derivative
        if method in _DETACHING and isinstance(func, ast.Attribute):
            return self._detached(node, func, frame)
        arguments = [*node.args, *[k.value for k in node.keywords]]
        if self.use.runs(func) or (
            isinstance(func, ast.Name)
            and self.unit.model
            and "ref" in self.value(func, frame)
            and not self.use.is_twin(func, self.objects.origins(func))
        ):
            return frozenset({"in" if self.recorded(node, frame) else "out"})
        if self.module.kinds.made(node) is not None:
            # A model, layer or variable made here: what it is made of is no computation of this step.
            return _join(self.value(a, frame) for a in arguments if not isinstance(a, ast.Call)) & {"ref"}
        operation = self.module.op(node)
        if operation in VALUE_ARGUMENTS and (operation != "where" or len(arguments) > 1):
            wanted = [argument(node, position, keyword) for position, keyword in VALUE_ARGUMENTS[operation]]
            arguments = [value for value in wanted if value is not None]
        callees = self.objects.callees(node)
        if callees:
            return self._helper(node, callees, frame)
        marks = _join(self.value(a, frame) for a in arguments)
        for passed in arguments:
            marks |= self._passed_function(passed, node, frame)
        if operation == "l2_loss" or DECAY.search(method or (name or "").rpartition(".")[2]):
            return self._operation(node, frozenset("decay" if mark == "ref" else mark for mark in marks), frame)
        if name is None and isinstance(func, ast.Attribute) and not self._is_loss(func, arguments, frame):
            marks |= self.value(func.value, frame)
        elif isinstance(func, ast.Call):
            marks |= self.value(func, frame)
        if name is None and not marks & {"in", "ref"} and self.use.is_opaque(func) and self.recorded(node, frame):
            self.opaque |= not any(self._is_prediction(a, frame) for a in arguments)
        if name in HOLDERS or (name is None and method in ("append", "values", "items", "keys", "get", "copy", "pop")):
            return marks
        if name is not None and name.startswith(("tf.", "keras.")):
            if name.rpartition(".")[2][:1].isupper():
                return marks  # an object that holds on to what it is given (a linear operator does)
            return self._operation(node, marks, frame)
        if name is None and self.module.kinds.of(func) in ("model", "layer", "loss"):
            return self._operation(node, marks, frame)
        if name is not None and not self.recorded(node, frame):
            return marks  # some other library: it may hold on to the variable (a distribution does)
        if name is None and "ref" in marks and not self.recorded(node, frame):
            return marks
        return self._operation(node, marks, frame)

    def _detached(self, node: ast.Call, func: ast.Attribute, frame: Frame | None) -> Marks:
        """`model.predict(x)` and `value.numpy()`: the marks that they cut off."""
        if func.attr in PREDICTS:
            callees = self.objects.callees(node)
            if callees:
                return self._helper(node, callees, frame)
            marks = _join(self.value(a, frame) for a in [*node.args[:1], *[k.value for k in node.keywords]])
            if self.use.runs(func.value):
                marks |= {"in" if self.recorded(node, frame) else "out"}
        elif func.attr == "numpy":
            marks = self._operation(node, self.value(func.value, frame), frame)
        else:
            return _NONE
        if "in" not in marks:
            return marks & {"cut"}
        self.cuts[node] = None
        return frozenset({"cut"})

    def _is_loss(self, func: ast.Attribute, arguments: list[ast.expr], frame: Frame | None) -> bool:
        """Is this a method of a model, or a loss that it keeps, that computes with what it is given only?"""
        if func.attr in _LOSS_METHODS or func.attr in SCALES:
            return True
        return LOSS_NAME.search(func.attr) is not None and any(self._is_prediction(a, frame) for a in arguments)

    def _helper(
        self, node: ast.Call, callees: tuple[Function, ...], frame: Frame | None, path: tuple[int, ...] = ()
    ) -> Marks:
        """A call of functions of this module, of whose result the part at `path` is taken."""
        recorded = self.recorded(node, frame)
        depth, above = 0, frame
        while above is not None:
            if above.function in callees:
                return _NONE
            depth, above = depth + 1, above.outer
        if depth > 6:
            self.opaque = True
            return _NONE
        marks = _NONE
        for callee in callees:
            inner = self._frame(callee, node, frame, recorded)
            for value in self.objects.returns.get(callee, []):
                marks |= _join(self.value(part, inner) for part in unpacked(self.module, value, path))
        if self.module.kinds.of(node.func) in ("model", "layer", "loss"):
            marks |= self._operation(node, _join(self.value(a, frame) for a in node.args), frame)
        return marks

    def _frame(self, function: Function, call: ast.Call, outer: Frame | None, recorded: bool) -> Frame:
        key = (id(function), id(call), id(outer))
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = Frame(function, call, outer, recorded)
        return frame

    @property
    def _frames(self) -> dict[tuple[int, int, int], Frame]:
        if not hasattr(self, "_made_frames"):
            self._made_frames: dict[tuple[int, int, int], Frame] = {}
        return self._made_frames

    def _passed_function(self, passed: ast.expr, node: ast.Call, frame: Frame | None) -> Marks:
        """A function handed over (`tf.map_fn(f, xs)`) runs where it is handed over, as far as anyone can tell."""
        if not isinstance(passed, (ast.Lambda, ast.Name)):
            return _NONE
        marks = _NONE
        for origin in self.objects.origins(passed, 4) if isinstance(passed, ast.Name) else [passed]:
            if isinstance(origin, FUNCTIONS):
                inner = self._frame(origin, node, frame, self.recorded(node, frame))
                marks |= _join(self.value(value, inner) for value in self.objects.returns.get(origin, []))
        name = self.module.call_name(node) or ""
        if "out" in marks and (not name.startswith(("tf.", "keras.")) or name == "tf.function"):
            return frozenset({"ref"})  # kept, to be run later
        return marks

    def _is_prediction(self, node: ast.expr, frame: Frame | None, depth: int = 4) -> bool:
        """Is this what the unit computes, as it is? Arithmetic with it may make a target, of Q-learning, say."""
        if not self.value(node, frame) or depth <= 0:
            return False
        if any(isinstance(n, ast.BinOp) or self.module.op(n) in CHOICES for n in ast.walk(node)):
            return False
        values = [
            d.value
            for n in ast.walk(node)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
            for d in self.module.definitions(n)
            if d.value is not None and self.value(d.value, frame)
        ]
        return all(self._is_prediction(v, frame, depth - 1) for v in values)

    # -------------------------------------------------------------- definitions

    def definition(self, definition: Def, frame: Frame | None) -> Marks:
        if definition in self.unit.definitions:
            return frozenset({"ref"})
        while frame is not None and not self._belongs(definition, frame):
            frame = frame.outer
        key = (id(definition), id(frame))
        known = self._known.get(key)
        if known is None:
            self._known[key] = _NONE
            known = self._known[key] = self._definition(definition, frame)
            made = definition.kind != "parameter" and frame is None
            if made and "out" in known and not self.recorded(definition.node, frame):
                self.outside[definition] = None
        return known

    @staticmethod
    def _belongs(definition: Def, frame: Frame) -> bool:
        scope = definition.scope
        while scope is not None and isinstance(scope.node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            scope = scope.parent  # type: ignore[assignment]
        return scope is not None and scope.node is frame.function

    def _definition(self, definition: Def, frame: Frame | None) -> Marks:
        if definition.kind == "parameter":
            if frame is not None:
                passed = self._passed(definition, frame)
                return _join(self.value(a, frame.outer) for a in passed)
            return _join(self.value(a, None) for a in self.objects.arguments_of(definition))
        marks = _join(self.definition(d, frame) for d in definition.previous)
        if definition.kind == "mutate":
            for vertex in self.module.flow.inputs(definition):
                if isinstance(vertex, ast.expr):
                    marks |= self.value(vertex, frame)
            return marks
        value = definition.value
        if (
            isinstance(value, ast.Call)
            and definition.path
            and definition.kind == "assign"
            and not self.use.runs(value.func)
        ):
            callees = self.objects.callees(value)
            if callees and self.module.call_name(value) is None:
                return marks | self._helper(value, callees, frame, definition.path)
        if value is not None:
            marks |= _join(self.value(v, frame) for v in unpacked(self.module, value, definition.path))
        if definition.kind == "augment" and not isinstance(definition.value, (ast.List, ast.Tuple, ast.ListComp)):
            return self._operation(definition.node, marks, frame)
        return marks

    def _passed(self, parameter: Def, frame: Frame) -> list[ast.expr]:
        """What the call of this frame passes for a parameter; everything, where a function was handed over."""
        names = [a.arg for a in self.objects.parameters(frame.function)]
        if frame.function not in self.objects.callees(frame.call):
            return [a for a in frame.call.args if not isinstance(a, ast.Lambda)]
        found = [k.value for k in frame.call.keywords if k.arg == parameter.name or k.arg is None]
        if parameter.name not in names:
            return [*found, *frame.call.args]
        position = names.index(parameter.name)
        if any(isinstance(a, ast.Starred) for a in frame.call.args[: position + 1]):
            return [*found, *frame.call.args]
        if position < len(frame.call.args):
            found.append(frame.call.args[position])
        return found


def _join(marks: object) -> Marks:
    found: Marks = _NONE
    for item in marks:  # type: ignore[attr-defined]
        found |= item
    return found
