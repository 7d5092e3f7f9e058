"""Records what is around the gradients: optimisers, fit, its losses, and warnings.

Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import functools
import logging
import warnings
from typing import Any

from .channel import Channel
from .places import Places
from .recorder import Recorder
from .variables import Variables

MOST_LOSSES = 500
TELLING = ("gradient", "trainable")


class Training:
    """Patches optimisers and Keras models."""

    def __init__(self, channel: Channel, places: Places, variables: Variables, recorder: Recorder) -> None:
        self._channel = channel
        self._places = places
        self._variables = variables
        self._recorder = recorder
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

        @functools.wraps(original)
        def apply(self_: Any, grads: Any, variables: Any = None, *args: Any, **kwargs: Any) -> Any:
            if method == "apply_gradients":
                grads = _reusable(grads)
                self._mark(pair[1] for pair in grads if isinstance(pair, (tuple, list)) and len(pair) == 2)
                given = () if variables is None else (variables,)
                return original(self_, grads, *given, *args, **kwargs)
            if variables is None:
                variables = kwargs.pop("trainable_variables", None)
            variables = _reusable(variables)
            self._mark(variables if variables is not None else getattr(self_, "_trainable_variables", ()))
            return original(self_, grads, variables, *args, **kwargs)

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
            try:
                result = original(model, *args, **kwargs)
            finally:
                self._places.outer, self._recorder.fitting = before
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
