"""Exercises functions and classes that no script calls, on made-up inputs, with the recorder watching.

Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import time
import zlib
from collections.abc import Callable
from typing import Any

from .channel import Channel
from .families import Family, families, refined
from .inputs import Made, Maker
from .places import Place, Places
from .recorder import Recorder

# How long one function may take, and how many kinds of inputs are tried on it, until one gives healthy gradients.
MOST_SECONDS = 15.0
MOST_TRIES = 80
# That many different inputs on which gradients are broken agree that it is not for the inputs.
MOST_BROKEN = 4
# Methods that say how an object is made or called: it is called.
_PLAIN = ("", "call", "__call__", "__init__", "build", "get_config", "compute_output_shape")
EDGES = " at the edges"
_STEPS = ("train_step", "test_step", "compute_loss", "compile", "fit")


class NotExercised(Exception):
    """What was called gives nothing to measure."""


class Exercises:
    """The targets of one run, one after the other."""

    def __init__(self, request: dict[str, Any], channel: Channel, places: Places, recorder: Recorder) -> None:
        import numpy
        import tensorflow as tf

        self._tf, self._np = tf, numpy
        self._targets: list[dict[str, Any]] = request["exercise"]
        self._steps: int = max(1, request["steps"])
        self._seed: int = request["seed"]
        self._channel, self._places, self._recorder = channel, places, recorder
        self._attempts = 0

    def go(self) -> None:
        """Exercise all targets. Those whose inputs are known come first, so that names come out as before."""
        self._recorder.endless = True
        for target in sorted(self._targets, key=lambda one: one["choice"] is None):
            self._target(target)

    def _target(self, target: dict[str, Any]) -> None:
        namespace = self._places.namespace
        failure = "it is not there once the module has run"
        started = time.monotonic()
        for name in (target["name"], *target["callers"]):
            thing = namespace.get(name)
            if not callable(thing):
                continue
            if time.monotonic() - started > MOST_SECONDS:
                break
            done = self._thing({**target, "method": target["method"] if name == target["name"] else ""}, name, thing)
            if not done["failure"]:
                self._channel.send("exercised", done)
                return
            failure = done["failure"] if name == target["name"] else failure
        line = target["line"]
        told = {"target": target["label"], "inputs": "", "state": "failed", "failure": failure, "line": line}
        self._channel.send("exercised", {**told, "choice": None, "first": False, "attempt": 0})

    def _thing(self, target: dict[str, Any], name: str, thing: Any) -> dict[str, Any]:
        """The first inputs on which the gradients are healthy, else the first on which the code runs at all."""
        started = time.monotonic()
        choice = target["choice"]
        tried: set[Family] = set()
        queue = [_family(choice["family"])] if choice else families(*self._looks(target, thing))
        best: dict[str, Any] | None = None
        failure, broken = "", 0
        while queue and broken < MOST_BROKEN and len(tried) < MOST_TRIES and time.monotonic() - started < MOST_SECONDS:
            family = queue.pop(0)
            if family in tried:
                continue
            tried.add(family)
            attempt = _Attempt(self, target, name, family, choice)
            self._attempts += 1
            self._channel.send("attempt", self._attempts)
            self._recorder.restart()
            error = attempt.go(thing)
            events = self._recorder.kept()
            state = _state([e for e in events if not e["function"].endswith(EDGES)])
            if error is not None and state == "failed":
                failure = failure or error
                queue[:0] = refined(error, family)
                continue
            if best is None or state == "ok":
                best = {
                    "inputs": attempt.say,
                    "state": _state(events),
                    "choice": attempt.choice,
                    "first": len(tried) == 1,
                    "attempt": self._attempts,
                }
            if state == "ok":
                break
            broken += 1
        if best is None:
            return {"failure": failure or "no time was left"}
        best["first"] = best["first"] and name == target["name"]
        return {"target": target["label"], "line": target["line"], "failure": "", **best}

    def _looks(self, target: dict[str, Any], thing: Any) -> tuple[str, list[str], bool]:
        """The words of a thing, its parameters' names, and whether it is a loss."""
        named: list[str] = []
        with contextlib.suppress(Exception):
            named = list(inspect.signature(thing).parameters)
        layer = inspect.isclass(thing) and issubclass(thing, self._tf.keras.layers.Layer)
        return _source(thing), named, bool(target["loss"]) and not layer

    def measure(self, tape: Any, loss: Any, sources: list[Any]) -> None:
        """Ask for gradients, which the recorder measures, and take a small step with them."""
        tf = self._tf
        for source, gradient in zip(sources, tape.gradient(loss, sources)):  # noqa: B905  (3.9)
            if gradient is None:
                continue
            step = tf.convert_to_tensor(gradient)
            largest = tf.reduce_max(tf.abs(step))
            if bool(tf.math.is_finite(largest)):
                # No value moves far: that a step too long diverges would be no fault of the code.
                source.assign_sub(tf.cast(0.001 * step / tf.maximum(largest, 1), source.dtype))


class _Attempt:
    """One thing with one family of inputs."""

    def __init__(
        self, all_: Exercises, target: dict[str, Any], name: str, family: Family, choice: dict[str, Any] | None
    ) -> None:
        self._all, self._target, self._name, self._family = all_, target, name, family
        self._tf, self._np = all_._tf, all_._np
        self.say = ""
        self.choice: dict[str, Any] = choice or {"family": list(family), "sources": None}
        self._edges = False
        self._source = ""

    def go(self, thing: Any) -> str | None:
        """Exercise the thing; what went wrong, if anything."""
        try:
            self._source = _source(thing)
            self._maker = self._new_maker()
            self._exercise(thing)
            if self._target["edges"]:
                self._edges = True
                self._maker = self._new_maker()
                with contextlib.suppress(NotExercised):
                    self._exercise(thing)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = " ".join(re.sub(r"\x1b\[[0-9;]*m|\{\{.*?\}\}", "", str(error)).split())
            text = re.sub(r"^Exception encountered when calling [\w.]+\(\)\. ?|Arguments received by .*", "", text)
            return f"{type(error).__name__}: {text[:300]}" if not isinstance(error, NotExercised) else text
        return None

    def _new_maker(self) -> Maker:
        seed = [self._all._seed, zlib.crc32(self._name.encode()), int(self._edges)]
        prefix = f"{self._name} (edges)" if self._edges else self._name
        return Maker(self._tf, self._np, self._family, seed, prefix.replace(" ", "_"), self._source, self._edges)

    # ------------------------------------------------------------ what kind of thing it is

    def _exercise(self, thing: Any, depth: int = 0) -> None:
        keras = self._tf.keras
        if depth > 3:
            raise NotExercised("it makes functions that make functions")
        method = self._target["method"] if depth < 2 else ""
        if inspect.isclass(thing):
            made = self._maker.arguments(thing.__init__, builds=True, skip=1)
            return self._exercise(thing(*made.positional, **made.named), depth + 1)
        if hasattr(thing, "state_size") and isinstance(thing, keras.layers.Layer) and not hasattr(thing, "cell"):
            return self._layer(keras.layers.RNN(thing))
        if isinstance(thing, keras.losses.Loss):
            return self._function(thing.call, thing, depth, loss=True)
        if isinstance(thing, keras.Model) and method in _STEPS:
            return self._fit(thing)
        if isinstance(thing, keras.layers.Layer) or hasattr(thing, "trainable_variables"):
            if method in _PLAIN:
                return self._layer(thing)
            return self._function(getattr(thing, method), getattr(thing, method), depth, owner=thing)
        if inspect.isroutine(thing) or isinstance(thing, functools.partial) or hasattr(thing, "python_function"):
            if depth == 0 and self._target["factory"]:
                made = self._maker.arguments(thing, builds=True)
                return self._exercise(self._worth(thing(*made.positional, **made.named)), depth + 1)
            return self._function(thing, thing, depth)
        if method not in _PLAIN:
            return self._function(getattr(thing, method), getattr(thing, method), depth, owner=thing)
        if callable(thing):
            return self._function(type(thing).__call__.__get__(thing), thing, depth, owner=thing)
        raise NotExercised(f"it makes a {type(thing).__name__}, which cannot be called")

    def _worth(self, result: Any) -> Any:
        """What of the result of a factory is worth calling."""
        parts = list(result.values()) if isinstance(result, dict) else result
        for part in parts if isinstance(parts, (list, tuple)) else [result]:
            if callable(part):
                return part
        raise NotExercised(f"it returns a {type(result).__name__}, nothing that could be called")

    # ------------------------------------------------------------ ways to call it

    def _function(
        self, described: Callable[..., Any], call: Callable[..., Any], depth: int, owner: Any = None, loss: bool = False
    ) -> None:
        if self._target["tape"]:
            return self._step(described, call)
        for _ in range(self._all._steps):
            with self._tf.GradientTape(persistent=True) as tape:
                made = self._maker.arguments(described)
                self._label(made.say)
                result = call(*made.positional, **made.named)
                again = self._made_of(made, result)
                if again is None:
                    value = self._reduced(result, loss or self._target["loss"])
            if again is not None:
                return self._exercise(again, depth + 1)
            self._all.measure(tape, value, self._sources(tape, value, owner))
        return None

    def _made_of(self, made: Any, result: Any) -> Any:
        """A model or function that a call has made, None where it gave a value."""
        nest = self._tf.nest
        if self._family.symbolic:
            inputs = [one for one in nest.flatten([made.positional, made.named]) if hasattr(one, "_keras_history")]
            models = [one for one in nest.flatten(result) if isinstance(one, self._tf.keras.Model)]
            return models[0] if models else self._tf.keras.Model(inputs, result)
        first = result[0] if isinstance(result, (list, tuple)) and result else result
        if callable(first) and not self._tf.is_tensor(first):
            return first
        return None

    def _step(self, described: Callable[..., Any], call: Callable[..., Any]) -> None:
        """It has a tape of its own."""
        made = self._maker.arguments(described)
        self._label(made.say)
        for _ in range(self._all._steps):
            call(*made.positional, **made.named)

    def _layer(self, layer: Any) -> None:
        shapes = _input_shapes(layer)
        for _ in range(self._all._steps):
            with self._tf.GradientTape(persistent=True) as tape:
                if shapes:
                    tensors = [self._fed(number, shape) for number, shape in enumerate(shapes)]
                    self._label(", ".join(f"inputs {shape}" for shape in shapes))
                    result = layer(tensors if len(tensors) > 1 else tensors[0])
                else:
                    made = self._by_name(layer, self._maker.arguments(_described(layer)))
                    self._label(made.say)
                    result = layer(*made.positional, **made.named)
                value = self._reduced(result, loss=False)
            self._all.measure(tape, value, self._sources(tape, value, layer))

    def _by_name(self, layer: Any, made: Made) -> Made:
        """Keras takes tensors only by position."""
        names = list(inspect.signature(_described(layer)).parameters)
        split = next((n for n, one in enumerate(made.positional) if isinstance(one, (bool, str, float))), None)
        if split is None:
            return made
        named = dict(zip(names[split:], made.positional[split:]))  # noqa: B905
        return Made(made.positional[:split], {**named, **made.named}, made.say)

    def _fed(self, number: int, shape: tuple[int, ...]) -> Any:
        """An input of a model that says what it wants: positive small values suit images, vectors and token numbers."""
        return self._tf.constant(self._maker.values("unit", shape))

    def _fit(self, model: Any) -> None:
        tf, family, maker = self._tf, self._family, self._maker
        words = inspect.getsource(type(model).train_step) if hasattr(type(model).train_step, "__code__") else ""
        inputs, targets = maker.values(family.form, family.shape), maker.targets(family)
        with contextlib.suppress(Exception):
            shape = tuple(model(inputs).shape)
            if shape != family.target and family.truth != "classes":
                targets = maker.values("unit", shape)
        own = {}
        for name in inspect.signature(model.compile).parameters if type(model).compile is not _compile(tf) else ():
            what = "optimizer" if re.search(r"opt", name) else "loss" if "loss" in name else ""
            if what:
                own[name] = maker._other(name, what)
        model.compile(**(own or {"optimizer": maker._other("optimizer", "optimizer"), "loss": maker._loss("loss")}))
        pairs = re.search(r"\w+, ?\w+\)? ?= ?data|unpack_x_y|data\[1\]", words) is not None or not words
        self._label(f"x {family.shape}" + (f", y {tuple(targets.shape)}" if pairs else ""))
        arguments = (inputs, targets) if pairs else (inputs,)
        model.fit(*arguments, batch_size=maker.batch, epochs=self._all._steps, verbose=0)

    # ------------------------------------------------------------ what is measured

    def _label(self, said: str) -> None:
        self.say = f"{self._name} on {said or 'no input'}" + (", at the edges too" if self._edges else "")
        function = f"{self._name}{EDGES}" if self._edges else self._name
        self._all._places.outer = Place(self._target["line"], function)

    def _reduced(self, result: Any, loss: bool) -> Any:
        """One number: the mean of a loss, else the distance from random targets; as it is where there is no tensor."""
        tf = self._tf
        leaves = tf.nest.flatten(result)
        floats = [one for one in leaves if tf.is_tensor(one) and one.dtype.is_floating]
        if not floats:
            if result is None and not (self._target["loss"] or self._target["method"] in ("call", "__call__")):
                raise NotExercised("it returns nothing")
            return result
        if loss:
            return tf.add_n([tf.reduce_mean(tf.cast(one, tf.float32)) for one in floats])
        total = tf.constant(0.0)
        for one in floats:
            wanted = tf.random.stateless_normal(tf.shape(one), [1, 2])
            total += tf.reduce_mean(tf.square(tf.cast(one, tf.float32) - wanted))
        return total

    def _sources(self, tape: Any, value: Any, owner: Any) -> list[Any]:
        """What to differentiate with respect to: a layer's variables, else the inputs that a gradient can reach."""
        own = _trainable(owner)
        made = self._maker.variables
        others = [v for v in tape.watched_variables() if not any(v is one for one in made.values())]
        if own and (owner is None or not self._maker.predicted):
            return own
        names = self.choice["sources"]
        if names is None:
            names = [name for name in made if name in self._maker.predicted]
            if not names:
                self._all._recorder.quiet = True
                with contextlib.suppress(Exception):
                    asked = tape.gradient(value, list(made.values()))
                    names = [name for name, one in zip(made, asked) if one is not None]  # noqa: B905
                self._all._recorder.quiet = False
            self.choice["sources"] = names = names or ([] if others else list(made))
        return [made[name] for name in names if name in made] + others


def _described(layer: Any) -> Callable[..., Any]:
    """What tells a layer's parameters."""
    for name in ("call", "__call__"):
        method = getattr(layer, name, None)
        if method is not None and [n for n in inspect.signature(method).parameters if n not in ("args", "kwargs")]:
            return method  # type: ignore[no-any-return]
    return layer.call  # type: ignore[no-any-return]


def _source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return ""


def _trainable(owner: Any) -> list[Any]:
    try:
        return list(owner.trainable_variables)
    except (AttributeError, ValueError):
        return []


def _compile(tf: Any) -> Any:
    return tf.keras.Model.compile


def _family(values: list[Any]) -> Family:
    truth, target, form, shape, parts, symbolic, listed = values
    return Family(truth, tuple(target), form, tuple(shape), parts, symbolic, listed)


def _input_shapes(model: Any) -> list[tuple[int, ...]]:
    """The shapes that a model made of symbolic inputs wants; what is open becomes 2, or 32 for an image's sides."""
    try:
        inputs = model.inputs
    except AttributeError:
        return []
    shapes = []
    for one in inputs or []:
        open_size = 32 if len(one.shape) == 4 else 8
        shapes.append((2, *(int(size) if size else open_size for size in one.shape[1:])))
    return shapes


def _state(events: list[dict[str, Any]]) -> str:
    """What came of the gradients: failed (none was asked for), ok, or broken."""
    if not events:
        return "failed"
    missing: dict[tuple[str, str], set[str]] = {}
    for one in events:
        states = {source["state"] for source in one["sources"]}
        target = one["target"]
        if states & {"nan", "inf"} or not states - {"none", "zero"} or (target is not None and target - target != 0):
            return "broken"
        for source in one["sources"]:
            missing.setdefault((one["function"], source["name"]), set()).add(source["state"])
    return "broken" if any(states == {"none"} for states in missing.values()) else "ok"
