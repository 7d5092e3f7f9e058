"""Finds the places in the script where the chain from variables to loss is cut, by watching every op.

Only in runs that ask for a diagnosis: it makes each op slower, and it runs tf.functions eagerly, so that forward and
backward pass can be watched as they happen. Whether code is healthy is for runs without it to say.
Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import sys
from collections import deque
from typing import Any, NamedTuple

from .channel import Channel
from .places import Places
from .recorder import Recorder
from .variables import Variables

MOST_BREAKS = 200
# Registered gradient functions that return None or zeros, as measured; ops without one need no table.
CUTTING = {"Floor", "Ceil", "Round", "Rint", "FloorDiv", "Sign"}
# No value passes through these, so that they have no gradient is no news.
SHAPES = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "BroadcastGradientArgs", "IsFinite", "Assert"}
COMPARISONS = {"Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual", "LogicalAnd", "LogicalNot"}
STABLE_FORMS = ("/ops/nn_impl.py", "/ops/clip_ops.py", "/src/losses/", "/src/layers/", "/backend/tensorflow/nn.py")
# How variables are read: no work yet.
READS = {"ReadVariableOp", "Identity", "Cast"}
MOST_OUTSIDE = 200_000
# What operators call when an array stands on their left.
REFLECTED = {
    "add": "__radd__",
    "subtract": "__rsub__",
    "multiply": "__rmul__",
    "divide": "__rtruediv__",
    "true_divide": "__rtruediv__",
    "floor_divide": "__rfloordiv__",
    "remainder": "__rmod__",
    "power": "__rpow__",
    "matmul": "__rmatmul__",
    "less": "__gt__",
    "less_equal": "__ge__",
    "greater": "__lt__",
    "greater_equal": "__le__",
    "equal": "__eq__",
    "not_equal": "__ne__",
}


class Forward(NamedTuple):
    """An op that a tape has seen. `followed` says of each input whether the tape follows it."""

    kind: str
    line: int
    inputs: list[int]
    outputs: list[int]
    followed: list[bool]


class Breaks:
    """Patches the ways out of TensorFlow, and follows each op."""

    def __init__(self, channel: Channel, places: Places, variables: Variables, recorder: Recorder) -> None:
        self._channel = channel
        self._places = places
        self._variables = variables
        self._recorder = recorder
        self._told = False
        self._seen: set[tuple[int, str, str]] = set()
        # Values made from variables while no tape recorded, by tensor number: the first ops that made them, by the
        # lines of the calls that led there.
        self._outside: dict[int, dict[tuple[int, ...], str]] = {}
        # The ops that a tape has seen, the latest last, and those of them that made NaN or Inf of finite numbers.
        self._forward: deque[Forward] = deque(maxlen=20000)
        self._overflows: deque[Forward] = deque(maxlen=20)

    def install(self) -> None:
        """Put the patches in place."""
        import numpy
        import tensorflow as tf
        from tensorflow.python import pywrap_tfe
        from tensorflow.python.eager import backprop
        from tensorflow.python.framework import op_callbacks, ops

        self._np, self._tfe, self._registry = numpy, pywrap_tfe, ops.gradient_registry
        self._asarray, self._eager_class = numpy.asarray, ops.EagerTensor
        self._connected = pywrap_tfe.TFE_Py_TapeSetShouldRecordBackprop
        self._run_eagerly(tf)
        self._patch_exports(ops._EagerTensorBase if hasattr(ops, "_EagerTensorBase") else ops.EagerTensor)
        self._patch_backward(backprop)
        self._see_all_reads(pywrap_tfe)
        op_callbacks.add_op_callback(self._op)

    def _run_eagerly(self, tf: Any) -> None:
        from tensorflow.python.data.ops import structured_function
        from tensorflow.python.eager.polymorphic_function import polymorphic_function

        function = polymorphic_function.Function
        call = function.__call__

        @functools.wraps(call)
        def called(self_: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._told and tf.config.functions_run_eagerly():
                self._told = True
                self._channel.send("eager", True)
            return call(self_, *args, **kwargs)

        function.__call__ = called
        tf.config.run_functions_eagerly(True)
        wrapper = structured_function.StructuredFunctionWrapper
        original = wrapper.__init__

        @functools.wraps(original)
        def traced(self_: Any, *args: Any, **kwargs: Any) -> None:
            tf.config.run_functions_eagerly(False)  # tf.data builds graphs always
            try:
                original(self_, *args, **kwargs)
            finally:
                tf.config.run_functions_eagerly(True)

        wrapper.__init__ = traced

    def _report(self, line: int, kind: str, what: str, calls: tuple[int, ...] = ()) -> None:
        key = (line, kind, "" if kind == "outside" else what)
        if line and key not in self._seen and len(self._seen) < MOST_BREAKS:
            self._seen.add(key)
            self._channel.send("break", {"line": line, "kind": kind, "what": what, "calls": calls})

    # ------------------------------------------------------------ exports

    def _export(self, values: Any, what: str) -> None:
        """Report where one of `values` is a tensor that a tape follows."""
        if self._recorder.measuring:
            return
        tensors = [value for value in values if isinstance(value, self._eager_class)]
        if tensors and self._connected(tensors):
            self._report(self._places.here().line, "export", what)

    def _patch_exports(self, tensor_class: Any) -> None:
        for name, what in {
            "numpy": ".numpy()",
            "__array__": "np.asarray",
            "__float__": "float",
            "__int__": "int",
        }.items():
            self._patch_method(tensor_class, name, what)
        # NumPy reads tensors through the buffer protocol, which no patch sees; but it asks for these first.
        tensor_class.__array_ufunc__ = self._ufunc_hook()
        tensor_class.__array_function__ = self._function_hook()
        for name in ("array", "asarray", "asanyarray", "ascontiguousarray", "asfarray"):
            if name in vars(self._np):
                self._patch_maker(name)

    def _patch_method(self, owner: Any, name: str, what: str) -> None:
        original = getattr(owner, name, None)
        if original is None:
            return

        @functools.wraps(original)
        def export(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            self._export([tensor], what)
            return original(tensor, *args, **kwargs)

        setattr(owner, name, export)

    def _patch_maker(self, name: str) -> None:
        original = getattr(self._np, name)

        @functools.wraps(original)
        def make(*args: Any, **kwargs: Any) -> Any:
            if args:
                self._export(_leaves(args[0]), f"np.{name}")
            return original(*args, **kwargs)

        setattr(self._np, name, make)

    def _ufunc_hook(self) -> Any:
        def __array_ufunc__(tensor: Any, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
            reflected = REFLECTED.get(ufunc.__name__)
            if reflected and len(inputs) == 2 and not kwargs and _is_operator(sys._getframe(1)):
                # `array * tensor`: without this hook NumPy would leave it to the tensor.
                return getattr(inputs[1], reflected)(inputs[0])
            self._export(inputs, f"np.{ufunc.__name__}")
            return getattr(ufunc, method)(*(self._plain(one) for one in inputs), **kwargs)

        return __array_ufunc__

    def _function_hook(self) -> Any:
        def __array_function__(tensor: Any, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
            module = function.__module__.replace("numpy", "np", 1)
            self._export(_leaves([args, list(kwargs.values())]), f"{module}.{function.__name__}")
            return function(*self._plain(args), **self._plain(kwargs))

        return __array_function__

    def _plain(self, value: Any) -> Any:
        if isinstance(value, self._eager_class):
            return self._asarray(value._numpy())
        if type(value) in (list, tuple):
            return type(value)(self._plain(one) for one in value)
        if type(value) is dict:
            return {key: self._plain(one) for key, one in value.items()}
        return value

    # ------------------------------------------------------------ ops

    def _see_all_reads(self, tfe: Any) -> None:
        """Ops read variables in C++, unseen; declining the fast path makes them do it in Python."""
        from tensorflow.python.eager import core

        def decline(*_: Any) -> Any:
            raise core._FallbackException()

        tfe.TFE_Py_FastPathExecute = decline

    def _op(self, kind: Any, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None) -> None:
        if graph is not None or self._recorder.measuring:
            return
        with contextlib.suppress(Exception):  # a diagnosis must not change how the run goes
            self._follow(kind.decode() if isinstance(kind, bytes) else kind, inputs, outputs)

    def _follow(self, kind: str, inputs: Any, outputs: Any) -> None:
        eager = [one for one in inputs if isinstance(one, self._eager_class)]
        if self._tfe.TFE_Py_TapeSetIsEmpty():
            self._without_tape(kind, eager, outputs)
            return
        followed = [self._connected([one]) for one in eager]
        for one, known in zip(eager, followed):  # noqa: B905  (3.9)
            if not known:
                for (*calls, line), what in self._outside.get(one._id, {}).items():
                    if what not in READS:
                        self._report(line, "outside", what, tuple(calls))
        if not any(followed):
            return
        line = self._places.here().line
        past = Forward(kind, line, [one._id for one in eager], [one._id for one in outputs], followed)
        self._forward.append(past)
        if kind not in SHAPES and self._cuts(kind, eager, outputs):
            self._report(line, "op", kind)
        if kind not in READS and not self._finite(outputs) and self._finite(eager):
            self._overflows.append(past)

    def _cuts(self, kind: str, inputs: list[Any], outputs: Any) -> bool:
        if kind in CUTTING:
            return True
        if kind.startswith("Assign") or "Resource" in kind or not outputs:  # an update, not a step of the chain
            return False
        if kind in COMPARISONS and self._in_library():
            return False
        if not any(one.dtype.is_floating or one.dtype.is_complex for one in outputs):
            return not any(one.dtype.name == "resource" for one in inputs)
        try:
            return bool(self._registry.lookup(kind) is None)
        except LookupError:
            return not kind.startswith("__")  # functions have their gradients elsewhere

    def _in_library(self) -> bool:
        """Whether a loss or layer of the library compares: to choose between stable forms, not to cut a chain."""
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename != self._places.script:
            if any(part in frame.f_code.co_filename for part in STABLE_FORMS):
                return True
            frame = frame.f_back
        return False

    def _without_tape(self, kind: str, inputs: list[Any], outputs: Any) -> None:
        lines: dict[tuple[int, ...], str] = {}
        reads = False
        for one in inputs:
            lines.update(self._outside.get(one._id, {}))
            reads = reads or one._id in self._variables.handles
        if not (reads or lines) or kind == "StopGradient" or len(self._outside) > MOST_OUTSIDE:
            return
        place = self._places.stack()
        # Reading alone is no work that a tape has missed; the op that uses what was read is.
        if place and (lines.get(place) is None or lines[place] in READS) and len(lines) < 8:
            lines = {**lines, place: kind}
        for one in outputs:
            if one.dtype.is_floating or one.dtype.is_complex:
                self._outside[one._id] = lines

    # ------------------------------------------------------------ the backward pass

    def _patch_backward(self, backprop: Any) -> None:
        original = backprop._gradient_function

        def backward(kind: Any, attrs: Any, count: Any, inputs: Any, outputs: Any, gradients: Any, *rest: Any) -> Any:
            result = original(kind, attrs, count, inputs, outputs, gradients, *rest)
            with contextlib.suppress(Exception):
                if self._finite(gradients) and not self._finite(result):
                    self._bad(kind.decode() if isinstance(kind, bytes) else kind, inputs, outputs, result)
            return result

        self._tfe.TFE_Py_RegisterGradientFunction(backward)

    def _bad(self, kind: str, inputs: Any, outputs: Any, result: Any) -> None:
        """An op made of finite gradients some that are not. Find its line by the tensors that it had."""
        given = [one for one in [*(inputs or ()), *(outputs or ())] if isinstance(one, self._eager_class)]
        numbers = {one._id for one in given}
        for past in reversed(self._forward):
            if past.kind != kind or not numbers.intersection(past.inputs + past.outputs):
                continue
            results = result if isinstance(result, (list, tuple)) else [result]
            followed = [one for one, known in zip(results, past.followed) if known]  # noqa: B905
            if self._finite(followed):
                return  # only what nobody asks for is bad, such as the gradient of a label
            if self._finite(inputs or ()):
                self._report(past.line, "bad", kind)
            else:  # it got bad values: the op that made them is the cause
                for origin in self._overflows:
                    self._report(origin.line, "bad", origin.kind)
            return

    def _finite(self, values: Any) -> bool:
        for value in values if isinstance(values, (list, tuple)) else [values]:
            tensor: Any = getattr(value, "values", value)
            measurable = isinstance(tensor, self._eager_class) and tensor.dtype.is_floating
            if measurable and not self._np.isfinite(tensor._numpy()).all():
                return False
        return True


def _leaves(value: Any) -> list[Any]:
    """What nested lists, tuples hold."""
    if isinstance(value, (list, tuple)):
        return [leaf for one in value[:100] for leaf in _leaves(one)]
    return [value]


def _is_operator(frame: Any) -> bool:
    """Whether the frame is at an operator such as `*` rather than at a call."""
    name: str = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return name.startswith(("BINARY", "INPLACE", "COMPARE"))
