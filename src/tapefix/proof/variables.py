"""The trainable variables that the script makes: their names, where they were made and what became of them.

Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import functools
import weakref
import zlib
from typing import Any

from .places import Place, Places

# Variables are kept alive up to this many bytes, so that one that is local to a function still has a final value.
KEPT_BYTES = 512 << 20
MOST_VARIABLES = 5000


class Known:
    """One variable. `first` is a checksum of the value it had when the first gradient was asked for."""

    def __init__(self, variable: Any, place: Place) -> None:
        self.ref = weakref.ref(variable)
        self.raw_name = str(variable.name).rsplit(":", 1)[0]
        self.shape = shape_of(variable)
        self.kind = "tf"
        self.keras_name: str | None = None
        self.unique = ""
        self.line = place.line
        self.first: int | None = None
        self.asked = False
        self.applied = False


class Variables:
    """Watches variables come into being. Keeps those that carry the trainable flag."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._known: dict[int, Known] = {}
        self._order: list[Known] = []
        self._kept: list[Any] = []
        self._kept_bytes = 0
        self._names: dict[str, int] = {}
        self.handles: set[int] = set()  # the numbers of the handles of trainable variables

    def install(self) -> None:
        """Patch the creation of variables."""
        import tensorflow as tf
        from tensorflow.python.eager.polymorphic_function import polymorphic_function
        from tensorflow.python.ops import resource_variable_ops

        self._patch_init(resource_variable_ops.ResourceVariable, keep=True)
        # One made while a function is traced must be free to die: that it did is what TensorFlow tells the user.
        self._patch_init(polymorphic_function.UnliftedInitializerVariable, keep=False)
        keras_variable = getattr(tf.keras, "Variable", None)
        if keras_variable is not None and hasattr(keras_variable, "_initialize"):
            self._patch_keras(keras_variable)

    def _patch_init(self, variable_class: Any, keep: bool) -> None:
        original = variable_class.__init__

        @functools.wraps(original)
        def __init__(variable: Any, *args: Any, **kwargs: Any) -> None:
            original(variable, *args, **kwargs)
            self._add(variable, keep)

        variable_class.__init__ = __init__

    def _patch_keras(self, variable_class: Any) -> None:
        original = variable_class._initialize

        @functools.wraps(original)
        def _initialize(variable: Any, *args: Any, **kwargs: Any) -> None:
            original(variable, *args, **kwargs)
            known = self._known.get(id(getattr(variable, "_value", None)))
            if known is not None:
                known.kind = "keras"
                known.keras_name = str(getattr(variable, "path", None) or variable.name)

        variable_class._initialize = _initialize

    def _add(self, variable: Any, keep: bool) -> None:
        if not getattr(variable, "trainable", False) or len(self._order) >= MOST_VARIABLES:
            return
        try:
            known = Known(variable, self._places.here())
        except Exception:  # a kind of variable that has no name or shape is none that a user trains
            return
        known.first = checksum(variable)
        self.handles.add(getattr(variable.handle, "_id", 0))
        self._known[id(variable)] = known
        self._order.append(known)
        if keep and self._kept_bytes < KEPT_BYTES:
            self._kept.append(variable)
            self._kept_bytes += size_in_bytes(variable)

    def of(self, value: Any) -> Known | None:
        """What is known of a TensorFlow or Keras variable; None for anything else."""
        inner = getattr(value, "_value", None)  # a Keras variable holds a TensorFlow one
        for one in (value, inner):
            known = self._known.get(id(one))
            if known is not None and known.ref() is one:
                return known
        return None

    def start(self) -> None:
        """The first gradient is asked for: what happened to the values until now was no training."""
        for known in self._order:
            variable = known.ref()
            if variable is not None:
                known.first = checksum(variable)

    def initialised(self) -> None:
        """Variables that were made while a function was traced have their values now."""
        for known in self._order:
            variable = known.ref()
            if variable is not None and known.first is None:
                known.first = checksum(variable)

    def name(self, known: Known, value: Any) -> str:
        """The unique name of a variable; one that has no name of its own gets the one that the script binds it to."""
        if not known.unique:
            plain = known.keras_name or known.raw_name
            if plain.rsplit("/", 1)[-1] == "Variable":
                plain = self._places.name_of(value) or plain
            self._names[plain] = count = self._names.get(plain, 0) + 1
            known.unique = plain if count == 1 else f"{plain}#{count}"
        return known.unique

    def report(self) -> list[dict[str, Any]]:
        """All variables with what became of them."""
        table = []
        for known in self._order:
            variable = known.ref()
            last = checksum(variable) if variable is not None else None
            table.append(
                {
                    "name": self.name(known, variable),
                    "shape": known.shape,
                    "kind": known.kind,
                    "line": known.line,
                    "asked": known.asked,
                    "applied": known.applied,
                    # Without a first value, initialised within the graph, only an optimiser tells.
                    "changed": last is not None and (known.applied if known.first is None else last != known.first),
                }
            )
        return table


def shape_of(value: Any) -> list[int | None]:
    """The shape as far as it is known, [] where it is not."""
    shape = getattr(value, "shape", None)
    try:
        return [None if size is None else int(size) for size in shape]  # type: ignore[union-attr]
    except (TypeError, ValueError):
        return []


def size_in_bytes(variable: Any) -> int:
    """How much memory the value takes."""
    size = int(variable.dtype.size)
    for length in shape_of(variable):
        size *= length or 1
    return size


def checksum(variable: Any) -> int | None:
    """A checksum of the value, read so that no tape and no graph takes notice; None where it cannot be read."""
    from tensorflow.python.eager import context, record
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import gen_resource_variable_ops

    try:
        with ops.init_scope(), record.stop_recording():
            if not context.executing_eagerly():
                return None
            value = gen_resource_variable_ops.read_variable_op(variable.handle, variable.dtype)
            if value.shape != variable.shape:  # made in a function, and initialised when that is done with tracing
                return None
            return zlib.crc32(memoryview(value._numpy()).cast("B"))
    except Exception:  # not initialised yet, a string, a strange device
        return None
