"""Records what is around the gradients: optimisers, fit, its losses, and warnings.

Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import functools
import logging
import time
import warnings
from typing import Any

from .channel import Channel
from .places import Place, Places
from .recorder import Recorder
from .variables import Variables

MOST_LOSSES = 500
TELLING = ("gradient", "trainable")
# How much of the time in which a run is watched one call of fit may take, so that what comes after it is seen, too.
FIT_SHARE = 0.4


class Fit:
    """One call of fit that is under way."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.batches = 0
        self.first: float | None = None
        self.left = False


class Training:
    """Patches optimisers and Keras models."""

    def __init__(
        self, channel: Channel, places: Places, variables: Variables, recorder: Recorder, steps: int, patience: float
    ) -> None:
        self._channel = channel
        self._places = places
        self._variables = variables
        self._recorder = recorder
        self._steps = steps
        self._fit_seconds = FIT_SHARE * patience
        self._fits: list[Fit] = []
        self.left_a_fit = False
        self._left: set[Place] = set()
        self._losses = 0
        self._warnings: set[str] = set()

    def install(self) -> None:
        """Put the patches in place."""
        import tensorflow as tf

        for optimizer in _optimizers(tf):
            for method in ("apply", "apply_gradients"):
                if method in optimizer.__dict__:
                    self._patch_apply(optimizer, method)
                    break
        model = tf.keras.Model
        for method in ("fit", "train_on_batch"):
            owner = next((c for c in model.__mro__ if method in c.__dict__), None)
            if owner is not None:
                self._patch_fit(owner, method)
        callbacks = getattr(tf.keras.callbacks, "CallbackList", None)
        if callbacks is not None:
            self._patch_epochs(callbacks)
        self._patch_warnings()

    def _patch_apply(self, optimizer: Any, method: str) -> None:
        original = getattr(optimizer, method)

        names: tuple[str, ...] = (
            ("grads_and_vars",) if method == "apply_gradients" else ("grads", "trainable_variables")
        )

        @functools.wraps(original)
        def apply(self_: Any, *args: Any, **kwargs: Any) -> Any:
            args = (*map(_reusable, args[: len(names)]), *args[len(names) :])
            kwargs = {name: _reusable(value) if name in names else value for name, value in kwargs.items()}
            given = {**dict(zip(names, args)), **kwargs}  # noqa: B905  (3.9)
            if method == "apply_gradients":
                pairs = given.get(names[0]) or ()
                self._mark(pair[1] for pair in pairs if isinstance(pair, (tuple, list)) and len(pair) == 2)
            else:
                variables = given.get(names[1])
                self._mark(getattr(self_, "_trainable_variables", ()) if variables is None else variables)
            return original(self_, *args, **kwargs)

        setattr(optimizer, method, apply)

    def _mark(self, variables: Any) -> None:
        try:
            for variable in variables:
                known = self._variables.of(variable)
                if known is not None:
                    known.applied = True
        except TypeError:  # not what an optimiser takes; it will say so itself
            pass

    def _patch_fit(self, owner: Any, method: str) -> None:
        original = getattr(owner, method)

        @functools.wraps(original)
        def fit(model: Any, *args: Any, **kwargs: Any) -> Any:
            before = self._places.outer, self._recorder.fitting
            self._places.outer, self._recorder.fitting = self._places.here(), method
            self._fits.append(Fit(model))
            try:
                result = original(model, *args, **kwargs)
            finally:
                self._places.outer, self._recorder.fitting = before
                self._fit_ended(self._fits.pop())
            if method == "train_on_batch":
                self._loss(result)
            return result

        setattr(owner, method, fit)

    def _patch_epochs(self, callbacks: Any) -> None:
        original = callbacks.on_epoch_end

        @functools.wraps(original)
        def on_epoch_end(self_: Any, epoch: Any, logs: Any = None) -> Any:
            self._loss(logs)
            return original(self_, epoch, logs)

        callbacks.on_epoch_end = on_epoch_end
        original_batch = callbacks.on_train_batch_end

        @functools.wraps(original_batch)
        def on_train_batch_end(self_: Any, batch: Any, logs: Any = None) -> Any:
            result = original_batch(self_, batch, logs)
            self._batch_ended()
            return result

        callbacks.on_train_batch_end = on_train_batch_end

    def _batch_ended(self) -> None:
        """Leave a fit that has shown enough, in the way that a callback of the user could."""
        if not self._fits:
            return
        fit, now = self._fits[-1], time.monotonic()
        fit.batches += 1
        fit.first = now if fit.first is None else fit.first
        if fit.batches >= self._steps and now - fit.first > self._fit_seconds:
            fit.model.stop_training = fit.left = self.left_a_fit = True

    def _fit_ended(self, fit: Fit) -> None:
        """After a fit that was left at its first call, the run is watched for as long again."""
        if fit.left and self._places.here() not in self._left:
            self._left.add(self._places.here())
            self._recorder.first = time.monotonic()

    def _loss(self, logs: Any) -> None:
        if isinstance(logs, dict):
            logs = logs.get("loss")
        elif isinstance(logs, (list, tuple)):
            logs = logs[0] if logs else None
        try:
            value = float(logs)
        except (TypeError, ValueError):
            return
        self._losses += 1
        if self._losses <= MOST_LOSSES:
            self._channel.send("loss", value)

    def _patch_warnings(self) -> None:
        original = warnings.warn

        @functools.wraps(original)
        def warn(message: Any, category: Any = None, stacklevel: int = 1, *args: Any, **kwargs: Any) -> None:
            self._warning(str(message))
            original(message, category, stacklevel + 1, *args, **kwargs)

        # Not showwarning: scripts that filter their warnings away would never get there.
        warnings.warn = warn
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self._warning(record.getMessage())  # type: ignore[method-assign]
        for name in ("tensorflow", "absl"):
            logging.getLogger(name).addHandler(handler)

    def _warning(self, text: str) -> None:
        line = text.strip().split("\n", 1)[0][:500]
        if line not in self._warnings and any(word in line.lower() for word in TELLING):
            self._warnings.add(line)
            self._channel.send("warning", line)


def _optimizers(tf: Any) -> list[Any]:
    """The classes in which optimisers of Keras 3, Keras 2 and TensorFlow 1 apply gradients."""
    found = [tf.compat.v1.train.Optimizer]
    pending = [tf.keras.optimizers.Optimizer, getattr(tf.keras.optimizers, "legacy", None)]
    for one in pending:
        one = getattr(one, "Optimizer", one)
        for owner in getattr(one, "__mro__", ()):
            if ("apply" in owner.__dict__ or "apply_gradients" in owner.__dict__) and owner not in found:
                found.append(owner)
    return found


def _reusable(values: Any) -> Any:
    """Iterators such as a zip can be walked once only."""
    return list(values) if hasattr(values, "__next__") else values
