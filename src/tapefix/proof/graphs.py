"""Measures gradients inside graphs: a few ops beside them, and a queue that the numbers come out through.

To call Python from the graph at each step would cost far more: the graph's threads wait for the interpreter, and spin.
Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

# What so many calls of functions have measured is collected after each of them, so that a crash loses nothing; later
# calls have it collected together, as far as they are no further apart.
PROMPT_CALLS = 50
COLLECTED_TOGETHER = 0.05
DEVICE = "/device:CPU:0"

# What takes the numbers of one computation: the target's value, None where it has none, and the size of each gradient.
Taker = Callable[["float | None", "list[float]"], None]


class Graphs:
    """The way out of all graphs of one run."""

    def __init__(self) -> None:
        self._name = f"tapefix-{os.urandom(16).hex()}"  # not for the script to know
        self._takers: list[tuple[bool, int, Taker]] = []
        self._queued = False
        self._calls = 0
        self._last = 0.0
        self._lock = threading.Lock()

    def install(self, collect: Callable[[], None]) -> None:
        """Patch the call of functions: afterwards `collect` is called."""
        import tensorflow as tf
        from tensorflow.python.eager import context
        from tensorflow.python.eager.polymorphic_function import concrete_function
        from tensorflow.python.framework import constant_op, ops
        from tensorflow.python.ops import (
            array_ops,
            gen_array_ops,
            gen_data_flow_ops,
            gen_math_ops,
            math_ops,
            script_ops,
        )

        self._tf, self._ops, self._queues = tf, ops, gen_data_flow_ops
        # Bound here, as a script may put something else in their place.
        self._max, self._abs, self._average = gen_math_ops._max, gen_math_ops._abs, math_ops.reduce_mean
        self._sum, self._cast, self._range = math_ops.add_n, math_ops.cast, math_ops.range
        self._pack, self._rank, self._constant = gen_array_ops.pack, array_ops.rank, constant_op.constant
        self._magnitude, self._call = math_ops.abs, script_ops.numpy_function
        self._eager = context.executing_eagerly
        function_class = concrete_function.ConcreteFunction
        original = function_class._call_flat

        @functools.wraps(original)
        def _call_flat(function: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(function, *args, **kwargs)
            finally:
                if self._queued and self._eager() and self._is_due():
                    collect()

        function_class._call_flat = _call_flat

    # ------------------------------------------------------------ into the graph

    def add(self, targets: list[Any], gradients: list[Any], take: Taker) -> Any:
        """Measure in the graph that is being built; `take` gets the numbers. The op that something must depend on."""
        values = [number for number in map(self._mean, targets) if number is not None]
        total = [self._sum([self._double(value) for value in values])] if len(values) > 1 else values
        ranks = {gradient.shape.rank for gradient in gradients} - {None}
        axes = {rank: self._constant([*range(rank)], self._tf.int32) for rank in ranks}
        numbers = [*total, *(self._size(gradient, axes) for gradient in gradients)]
        kind = self._tf.float32 if {number.dtype for number in numbers} <= {self._tf.float32} else self._tf.float64
        mark = self._constant(len(self._takers), kind)
        self._takers.append((bool(values), len(gradients), take))
        packed = self._double(self._pack([mark, *(self._cast(number, kind) for number in numbers)]))
        if not self._ops.executing_eagerly_outside_functions():  # in a session of the first version
            return self._call(lambda array: self._take(array.tolist()), [packed], [])
        self._queued = True
        with self._ops.device(DEVICE):
            return self._queues.queue_enqueue_many_v2(self._queue(), [packed], timeout_ms=-1)

    def measures(self, gradient: Any) -> bool:
        """Whether it has a size."""
        kind = gradient.dtype
        return bool(kind.is_floating or kind.is_complex or kind.is_integer or kind.is_bool)

    def _size(self, gradient: Any, axes: dict[int, Any]) -> Any:
        """The largest absolute value; not a number where one of them is none."""
        if gradient.dtype.is_complex:
            gradient = self._magnitude(gradient)
        elif not gradient.dtype.is_floating:
            gradient = self._double(gradient)
        known = axes.get(gradient.shape.rank)
        return self._max(self._abs(gradient), self._range(self._rank(gradient)) if known is None else known)

    def _mean(self, target: Any) -> Any:
        """The mean of a part of the target; None where it is not a number."""
        if target.dtype not in (self._tf.float32, self._tf.float64):
            if target.dtype.is_complex or not self.measures(target):
                return None
            target = self._double(target)
        return target if target.shape.rank == 0 else self._average(target)

    def _double(self, tensor: Any) -> Any:
        return self._cast(tensor, self._tf.float64)

    def _queue(self) -> Any:
        """By name, as a queue that a function has captured would not let it be saved."""
        return self._queues.fifo_queue_v2([self._tf.float64], shapes=[[]], capacity=-1, shared_name=self._name)

    # ------------------------------------------------------------ out of it

    def _is_due(self) -> bool:
        self._calls += 1
        return self._calls <= PROMPT_CALLS or time.monotonic() - self._last > COLLECTED_TOGETHER

    def collect(self) -> None:
        """Hand out all that was measured until now."""
        if not self._queued:
            return
        with self._lock:
            with self._ops.init_scope(), self._ops.device(DEVICE):
                queue = self._queue()
                count = self._queues.queue_size_v2(queue)
                numbers: list[float] = []
                if int(count) > 0:
                    (array,) = self._queues.queue_dequeue_many_v2(queue, count, [self._tf.float64])
                    numbers = array.numpy().tolist()
            self._last = time.monotonic()
            self._take(numbers)

    def _take(self, numbers: list[float]) -> None:
        """Hand out the computations, one after the other."""
        start = 0
        while start < len(numbers):
            valued, count, take = self._takers[int(numbers[start])]
            first = start + 1 + valued
            value = numbers[start + 1] if valued else None
            start = first + count
            take(value, [0.0 if size < 0 else size for size in numbers[first:start]])  # the largest of nothing is -inf
