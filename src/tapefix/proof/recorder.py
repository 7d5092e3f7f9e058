"""Records every gradient that a script computes, eagerly, in tf.functions and in fit.

Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

from .channel import Channel
from .graphs import Graphs
from .places import Place, Places
from .variables import Variables, shape_of

# The first computations of each site are sent in full, later ones only where a state changes.
FULL_STEPS = 20
MOST_PER_SITE = 200


class Site:
    """One place in the script that asks for gradients."""

    def __init__(self) -> None:
        self.count = 0
        self.sent = 0
        self.last = 0.0
        self.states: tuple[Any, ...] = ()
        self.tensor_names: dict[int, str] = {}


class Shape:
    """What is known of one computation before its values are: where, and with respect to which sources."""

    def __init__(self, place: Place, via: str, target_kind: str, sources: list[dict[str, Any]]) -> None:
        self.place = place
        self.via = via
        self.target_kind = target_kind
        self.sources = sources
        self.unlisted: list[str] = []


class Recorder:
    """Patches TensorFlow and Keras so that each gradient is measured and sent."""

    def __init__(self, channel: Channel, places: Places, variables: Variables, steps: int) -> None:
        self._channel = channel
        self._places = places
        self._variables = variables
        self._steps = steps
        self._sites: dict[Place, Site] = {}
        self.graphs = Graphs()
        self.measuring = False  # while values are read here, which is no doing of the script
        self.quiet = False  # inside TensorFlow's own use of what is patched here
        self.fitting = ""  # fit or train_on_batch, while one is under way
        self._kept: dict[str, list[dict[str, Any]]] = {}  # what was sent since the restart, by kind
        self.endless = False  # what is to be run is not over when its first gradients are known
        self.first: float | None = None
        self.on_gradient: Callable[[], None] = lambda: None

    # ------------------------------------------------------------ patches

    def install(self) -> None:
        """Put the patches in place."""
        import numpy
        import tensorflow as tf
        from tensorflow.python.autograph.core import config
        from tensorflow.python.eager import backprop, context, record
        from tensorflow.python.eager.polymorphic_function import polymorphic_function
        from tensorflow.python.framework import func_graph, ops
        from tensorflow.python.ops import gradients_util
        from tensorflow.python.util import nest

        self._np, self._tf = numpy, tf
        # Bound here, as a script may put something else in their place.
        self._asarray, self._abs = numpy.asarray, numpy.abs
        self._flatten, self._map_structure = nest.flatten, nest.map_structure
        self._eager = context.executing_eagerly
        self._no_tape, self._ops = record.stop_recording, ops
        self._func_graph = func_graph.FuncGraph
        # AutoGraph must not rewrite what is put between TensorFlow and the script.
        config.CONVERSION_RULES = (config.DoNotConvert(__name__.split(".")[0]), *config.CONVERSION_RULES)
        self._patch_tape(backprop.GradientTape)
        self._patch_gradients(gradients_util)
        self._patch_function(polymorphic_function.Function)
        self.graphs.install(self.collect)

    def _patch_tape(self, tape_class: Any) -> None:
        self._wrap(tape_class, "gradient", "tape")
        self._wrap(tape_class, "jacobian", "jacobian")
        self._wrap(tape_class, "batch_jacobian", "jacobian")

    def _wrap(self, owner: Any, name: str, via: str) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def asked(tape: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
            if self.quiet or not (args or "sources" in kwargs or "source" in kwargs):
                return original(tape, target, *args, **kwargs)
            caller = sys._getframe(1).f_code.co_filename.replace("\\", "/")
            if caller.endswith("tensorflow/python/ops/custom_gradient.py"):  # recompute_grad's own inner tape
                return original(tape, target, *args, **kwargs)
            sources = args[0] if args else kwargs.get("sources", kwargs.get("source"))
            how = self.fitting if self.fitting and via == "tape" and "/keras/" in caller else via
            return self._measure(
                lambda: original(tape, target, *args, **kwargs), target, sources, how, tape, inner=via == "jacobian"
            )

        setattr(owner, name, asked)

    def _patch_gradients(self, gradients_util: Any) -> None:
        original = gradients_util._GradientsHelper

        @functools.wraps(original)
        def helper(ys: Any, xs: Any, *args: Any, **kwargs: Any) -> Any:
            # Functions and loops build their own backward pass with it; only tf.gradients is the user's.
            caller = sys._getframe(1).f_code.co_filename.replace("\\", "/")
            if self.quiet or not caller.endswith("/gradients_impl.py"):
                return original(ys, xs, *args, **kwargs)
            return self._measure(lambda: original(ys, xs, *args, **kwargs), ys, xs, "tf.gradients", None)

        gradients_util._GradientsHelper = helper

    def _patch_function(self, function_class: Any) -> None:
        original = function_class.__init__

        @functools.wraps(original)
        def __init__(function: Any, *args: Any, **kwargs: Any) -> None:
            original(function, *args, **kwargs)
            function._jit_compile = None  # XLA cannot run the op that records

        function_class.__init__ = __init__
        initialise = function_class._initialize_uninitialized_variables

        @functools.wraps(initialise)
        def _initialize_uninitialized_variables(function: Any, initializers: Any) -> None:
            initialise(function, initializers)
            if initializers:
                self._variables.initialised()

        function_class._initialize_uninitialized_variables = _initialize_uninitialized_variables

    # ------------------------------------------------------------ one computation

    def _measure(
        self, compute: Callable[[], Any], target: Any, sources: Any, via: str, tape: Any, inner: bool = False
    ) -> Any:
        eager = self._eager()
        if eager:
            self.collect()  # what functions have measured before
        if self.first is None:
            self.first = time.monotonic()
            self._variables.start()
        place = self._places.here() if eager else self._places.traced()
        site = self._sites.setdefault(place, Site())
        flat = self._flatten(sources)
        shape = Shape(place, via, self._kind(target), [self._describe(s, n, site) for n, s in enumerate(flat)])
        _make_unique(shape.sources)
        try:
            self.quiet = inner
            result = compute()
        except BaseException:
            self.quiet = False
            # No gradient came out. What the target was is the cause as often as not.
            self._record(shape, self._value(target) if eager else None, [None] * len(flat))
            raise
        finally:
            self.quiet = False
        gradients = [_dense(g) for g in self._flatten(result)] if flat else []
        if site.count < self._steps or not eager:
            shape.unlisted = self._unlisted(tape, flat)
        if eager:
            self.measuring = True
            try:
                value, sizes = self._value(target), [self._size(g) for g in gradients]
            finally:
                self.measuring = False
            self._record(shape, value, sizes)
            return result
        return self._record_in_graph(shape, target, gradients, result)

    def _record_in_graph(self, shape: Shape, target: Any, gradients: list[Any], result: Any) -> Any:
        """Add one op to the graph that measures at each run of it."""
        # Should the function fail before it ever runs, this is all that is known: which gradients are None.
        missing = [s for s, g in zip(shape.sources, gradients) if g is None]  # noqa: B905  (3.9)
        self._send("traced", shape, 1, None, [{**s, "state": "none", "size": None} for s in missing])
        targets = [t for t in map(_dense, self._flatten(target)) if self._tf.is_tensor(t)]
        measurable = [g is not None and self.graphs.measures(g) for g in gradients]
        present = [g for g, found in zip(gradients, measurable) if found]  # noqa: B905

        def take(value: float | None, sizes: list[float]) -> None:
            rest = iter(sizes)
            self._record(shape, value, [next(rest) if found else None for found in measurable])

        with self._no_tape():
            recorded = self.graphs.add(targets, present, take)
        if isinstance(self._ops.get_default_graph(), self._func_graph):
            return result
        # In a graph of the first version nothing runs that no result depends on.
        with self._ops.control_dependencies([recorded]):
            return self._map_structure(lambda g: self._tf.identity(g) if self._tf.is_tensor(g) else g, result)

    def _record(self, shape: Shape, value: float | None, sizes: list[float | None]) -> None:
        site = self._sites.setdefault(shape.place, Site())
        site.count += 1
        site.last = time.monotonic()
        measured = [_state(size) for size in sizes]
        # Not a number is not equal to itself, and that it became one is news; so are other sources at the same place.
        names = [source["name"] for source in shape.sources]
        states = (value is None or value - value == 0, *names, *[state for state, _ in measured])
        if site.count <= FULL_STEPS or (states != site.states and site.sent < MOST_PER_SITE):
            site.sent += 1
            site.states = states
            self._send(
                "gradient",
                shape,
                site.count,
                value,
                [
                    {**source, "state": state, "size": size}
                    for source, (state, size) in zip(shape.sources, measured)  # noqa: B905
                ],
            )
        self.on_gradient()

    def collect(self) -> None:
        """Record what functions have measured until now."""
        before, self.measuring = self.measuring, True
        try:
            self.graphs.collect()
        finally:
            self.measuring = before

    def _send(self, kind: str, shape: Shape, step: int, value: float | None, sources: list[dict[str, Any]]) -> None:
        event = {
            "line": shape.place.line,
            "function": shape.place.function,
            "step": step,
            "via": shape.via,
            "target": value,
            "target_kind": shape.target_kind,
            "sources": sources,
            "unlisted": shape.unlisted,
        }
        if kind in self._kept:
            self._kept[kind].append(event)
        self._channel.send(kind, event)

    # ------------------------------------------------------------ values

    def _size(self, gradient: Any) -> float | None:
        """The largest absolute value; not a number where one of them is none, None where it has no size."""
        if gradient is None:
            return None
        try:
            values = self._asarray(gradient)
            if not values.size:
                return 0.0
            if values.dtype.kind == "f":
                return max(float(values.max()), -float(values.min()))  # makes no copy, as `abs` would
            return float(self._abs(values).max())
        except (TypeError, ValueError):
            return None

    def _value(self, target: Any) -> float | None:
        """The value of the target: its mean, summed over its parts, as the tape sums them."""
        total, found = 0.0, False
        for part in self._flatten(target):
            try:
                values = self._asarray(_dense(self._tensor_of(part)))
                if values.dtype.kind not in "fiub" and values.dtype.name != "bfloat16":
                    continue
                total, found = total + float(values if values.ndim == 0 else values.mean()), True
            except Exception:  # symbolic, None, or nothing that NumPy knows
                continue
        return total if found else None

    def _tensor_of(self, value: Any) -> Any:
        if hasattr(value, "handle") or hasattr(value, "_value"):
            return value.numpy()
        return value

    def _kind(self, target: Any) -> str:
        parts = self._flatten(target)
        if target is None or not parts:
            return "none"
        first = parts[0]
        if self._variables.of(first) is not None or isinstance(first, self._tf.Variable):
            return "variable"
        if self._tf.is_tensor(first):
            return "tensor"
        if isinstance(first, (self._np.ndarray, self._np.generic)):
            return "numpy"
        return "number" if isinstance(first, (int, float)) else "none" if first is None else "other"

    def _describe(self, source: Any, number: int, site: Site) -> dict[str, Any]:
        known = self._variables.of(source)
        if known is not None:
            known.asked = True
            return {"name": self._variables.name(known, source), "shape": known.shape, "kind": known.kind}
        if hasattr(source, "handle") or hasattr(source, "_value"):  # a variable that does not train
            name = getattr(source, "path", None) or str(source.name).rsplit(":", 1)[0]
            kind = "keras" if hasattr(source, "path") else "tf"
            kind = kind if getattr(source, "trainable", True) else "fixed"
            return {"name": name, "shape": shape_of(source), "kind": kind}
        kind = "tensor" if self._tf.is_tensor(source) else "other"
        if number not in site.tensor_names:
            site.tensor_names[number] = self._places.name_of(source) or (
                "tensor" if kind == "tensor" else type(source).__name__
            )
        return {"name": site.tensor_names[number], "shape": shape_of(source) if kind == "tensor" else [], "kind": kind}

    def _unlisted(self, tape: Any, sources: list[Any]) -> list[str]:
        if tape is None:
            return []
        listed = {id(getattr(s, "_value", s)) for s in sources}
        names = []
        for variable in tape.watched_variables():
            known = self._variables.of(variable)
            if known is not None and id(variable) not in listed:
                names.append(self._variables.name(known, variable))
        return names

    def restart(self) -> None:
        """Count computations from the first again, and keep from now on what is sent."""
        self._sites.clear()
        self._kept = {"gradient": [], "traced": []}

    def kept(self) -> list[dict[str, Any]]:
        """What was measured since the restart; of a graph that never ran, which gradients are None."""
        self.collect()
        ran = {(event["line"], event["function"]) for event in self._kept["gradient"]}
        built = [e for e in self._kept["traced"] if e["sources"] and (e["line"], e["function"]) not in ran]
        return self._kept["gradient"] + built

    def settled(self, patience: float) -> bool:
        """Whether enough was seen: each site often enough, or left behind while another one goes on."""
        now = time.monotonic()
        if self.endless or self.first is None or now - self.first < patience:
            return False
        sites = list(self._sites.values())
        return any(s.count >= self._steps for s in sites) and all(
            s.count >= self._steps or now - s.last > patience for s in sites
        )


def _state(size: float | None) -> tuple[str, float | None]:
    if size is None:
        return "none", None
    if size - size != 0:
        return ("inf" if size == size else "nan"), size
    return ("ok" if size else "zero"), size


def _dense(gradient: Any) -> Any:
    """The values of a gradient: of IndexedSlices, sparse and ragged tensors the stored ones."""
    if hasattr(gradient, "flat_values"):
        return gradient.flat_values
    if hasattr(gradient, "values") and (hasattr(gradient, "indices") or hasattr(gradient, "dense_shape")):
        return gradient.values
    return gradient


def _make_unique(sources: list[dict[str, Any]]) -> None:
    """Two tensors of one name in one list become `x` and `x#2`."""
    seen: dict[str, int] = {}
    for source in sources:
        name = source["name"]
        seen[name] = count = seen.get(name, 0) + 1
        if count > 1 and source["kind"] not in ("tf", "keras"):
            source["name"] = f"{name}#{count}"
