"""Makes up the arguments of calls that no script makes.

Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from .families import Family
from .guesses import role


class Made(NamedTuple):
    """Arguments of one call. `say` describes the tensors among them."""

    positional: list[Any]
    named: dict[str, Any]
    say: str


class Maker:
    """Makes the arguments of calls for one family. Variables live as long as the maker; their values are new each time.

    `edges`: with values at the ends of their range.
    """

    def __init__(
        self, tf: Any, numpy: Any, family: Family, seed: list[int], prefix: str, source: str, edges: bool = False
    ) -> None:
        self._tf, self._np = tf, numpy
        self._source = source
        self.family = family
        self.random = numpy.random.default_rng(seed)
        self._prefix = prefix
        self._edges = edges
        self.variables: dict[str, Any] = {}
        self.predicted: set[str] = set()  # names of those variables that stand for predictions
        self._others: dict[str, Any] = {}

    # ------------------------------------------------------------ arguments

    def arguments(self, callable_: Callable[..., Any], *, builds: bool = False, skip: int = 0) -> Made:
        """Arguments for `callable_`, from its signature."""
        parameters = list(inspect.signature(callable_).parameters.values())[skip:]
        positional, named, said = [], {}, []
        optional = [p for p in parameters if p.default is not p.empty]
        tensors = [p.name for p in parameters if role(p, builds, self._source) in ("target", "prediction", "tensor")]
        if not builds and not tensors:
            # A function whose every argument has a default takes its tensors there.
            tensors = [p.name for p in optional[:2] if p.default is None]
        for parameter in parameters:
            what = role(parameter, builds, self._source)
            if parameter.name in tensors:
                what = what if what != "skip" else "tensor"
                value, text = self.tensor(parameter.name, what)
                said.append(text)
            elif what == "skip":
                continue
            else:
                value = self._other(parameter.name, what)
            if parameter.kind is parameter.KEYWORD_ONLY or (optional and parameter in optional):
                named[parameter.name] = value
            else:
                positional.append(value)
        return Made(positional, named, ", ".join(said))

    def tensor(self, name: str, what: str) -> tuple[Any, str]:
        """A tensor for a parameter, and how to speak of it: `y_pred (8, 1)`."""
        if what == "target":
            value = self._tf.constant(self.values(self.family.truth, self.family.target))
            return value, f"{name} {self.family.target}"
        if self.family.symbolic:
            return self._tf.keras.Input(self.family.shape[1:]), f"{name} {self.family.shape}"
        if self.family.parts:
            values = [self._prediction(f"{name}_{number}", what) for number in range(self.family.parts)]
            return values, f"{name} {self.family.parts} x {self.family.shape}"
        return self._prediction(name, what), f"{name} {self.family.shape}"

    def _prediction(self, name: str, what: str) -> Any:
        """A tensor that depends on a variable, so that a gradient can be asked for."""
        family, tf = self.family, self._tf
        if family.form == "ids":
            return tf.constant(self.values("classes", family.shape))
        form = "normal" if "logit" in name and family.form != "boxes" else family.form
        start = self.values(form, family.shape)
        if name not in self.variables:
            self.variables[name] = tf.Variable(start, trainable=True, name=f"{self._prefix}/{name}")
        else:
            self.variables[name].assign(start)
        if what == "prediction":
            self.predicted.add(name)
        variable = self.variables[name]
        return {"sigmoid": tf.sigmoid, "softmax": tf.nn.softmax}.get("" if self._edges else form, tf.identity)(variable)

    def values(self, kind: str, shape: tuple[int, ...]) -> Any:
        """An array of this kind. For sigmoid and softmax it is what goes into these."""
        random, numpy = self.random, self._np
        if kind == "bits":
            return random.integers(0, 2, shape).astype("float32")
        if kind == "one-hot":
            return numpy.eye(shape[-1], dtype="float32")[random.integers(0, shape[-1], shape[:-1])]
        if kind == "classes":
            return random.integers(0, 4, shape).astype("int32")
        if kind == "unit":
            return random.uniform(0.05, 0.95, shape).astype("float32")
        if kind == "boxes":
            low, size = random.uniform(0.1, 0.5, (2, *shape[:-1], shape[-1] // 2))
            return numpy.concatenate([low, low + size * 0.8 + 0.02], -1).astype("float32")
        values = random.normal(size=shape).astype("float32")
        return self._at_the_edges(kind, values) if self._edges else values

    def _at_the_edges(self, kind: str, values: Any) -> Any:
        """Half of the values where a saturated layer has them: exactly 0 and 1, or far out and exactly 0."""
        numpy = self._np
        usual = {"sigmoid": 1 / (1 + numpy.exp(-values))}.get(kind, values)
        if kind == "softmax":
            usual = numpy.exp(values) / numpy.exp(values).sum(-1, keepdims=True)
            usual[::2] = numpy.eye(values.shape[-1])[self.random.integers(0, values.shape[-1], values.shape[:-1])][::2]
            return usual.astype("float32")
        flat = usual.reshape(-1).copy()
        low, high = (0.0, 1.0) if kind == "sigmoid" else (0.0, 60.0)
        flat[0::4], flat[1::4] = low, high
        return flat.reshape(values.shape).astype("float32")

    # ------------------------------------------------------------ what is no tensor

    def _other(self, name: str, what: str) -> Any:
        if what in ("model", "optimizer", "loss", "metric"):
            if name not in self._others:
                self._others[name] = getattr(self, f"_{what}")(name)
            return self._others[name]
        if what.startswith("="):
            return what[1:]
        if self.family.listed and what in ("width", "two", "three", "one", "shape"):
            return [self._number(what)] * 2 if what != "shape" else list(self._number(what))
        if what.endswith("s") and what[:-1] in ("width", "two", "three", "one"):
            return [self._number(what[:-1])] * 2
        if what == "dataset":
            data = (self.values(self.family.form, self.family.shape), self.targets(self.family))
            return self._tf.data.Dataset.from_tensor_slices(data).batch(self.batch)
        return self._number(what)

    @property
    def batch(self) -> int:
        return self.family.shape[0] if self.family.shape else 1

    def targets(self, family: Family) -> Any:
        return self.values(family.truth, family.target)

    def _number(self, what: str) -> Any:
        shape = self.family.shape
        classes = 4 if self.family.truth in ("classes", "one-hot") or not shape else shape[-1]
        last = shape[-1] if len(shape) > 1 and shape[-1] > 3 and len(shape) > 1 else 8
        length = shape[1] if len(shape) > 1 else 8
        return {
            "true": True, "false": False, "activation": "relu", "padding": "same", "name": "made_up",
            "normalization": "batch", "data_format": "channels_last", "dtype": "float32", "epsilon": 1e-6,
            "reduction": "sum_over_batch_size", "initializer": "glorot_uniform", "shape": tuple(shape[1:]) or (4,),
            "vocabulary": 16, "classes": classes, "batch": self.batch, "length": length, "two": 2, "three": 3, "one": 1,
            "kernel_shape": (3, 3, last if shape[-1:] != (3,) else 3, last if shape[-1:] != (3,) else 3),
            "four": 4, "tenth": 0.1, "unit": 1.0, "half": 0.5, "weights": [1.0] * classes,
            "width": last,
        }[what]  # fmt: skip

    def _model(self, name: str) -> Any:
        """A small network from the family's shape to the target's, that takes whatever it is given."""
        keras, family = self._tf.keras, self.family
        critic = re.search(r"disc|critic|value", name, re.IGNORECASE) is not None
        width = family.shape[-1] if family.shape else 1
        out = (1,) if critic else (width,) if family.truth == "classes" else family.target[1:] or (1,)
        size = 1
        for length in out:
            size *= length
        form = {"bits": "sigmoid", "one-hot": "softmax", "unit": "sigmoid"}.get("" if critic else family.truth)
        layers = [keras.layers.Flatten(), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(size)]
        layers += [keras.layers.Reshape(out), keras.layers.Activation(form or "linear")]
        model = keras.Sequential(layers, name=name)
        if not re.search(r"decod|gen|head", name, re.IGNORECASE):
            # Built, so that its variables can be listed; others are fed with what an encoder or noise makes of it.
            model(self._np.zeros(family.shape or (1, 1), "float32"))
        return model

    def _optimizer(self, name: str) -> Any:
        return self._tf.keras.optimizers.SGD(0.01)

    def _loss(self, name: str) -> Any:
        losses = self._tf.keras.losses
        if self.family.truth == "classes":
            return losses.SparseCategoricalCrossentropy(from_logits=True)
        return losses.MeanSquaredError()

    def _metric(self, name: str) -> Any:
        return self._tf.keras.metrics.Mean()
