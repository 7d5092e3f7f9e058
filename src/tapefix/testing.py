"""For people's own tests: assert that a gradient reaches every variable.

from tapefix.testing import assert_gradients_flow

def test_loss_trains_the_model():
    assert_gradients_flow(lambda: my_loss(y, model(x)), model)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapefix.proof.run import Gradient, Run, Source

_WORDS = {"none": "None", "nan": "NaN", "inf": "infinite", "zero": "zero"}


def assert_gradients_flow(
    loss: Callable[[], Any], variables: Any = None, *, compiled: bool = False, allow_zero: bool = False
) -> None:
    """Raise AssertionError, with the table of gradients, where a variable gets no healthy gradient.

    `loss` takes no arguments and returns the loss; the whole forward pass belongs into it. `variables` is a model, a
    layer or a module, whose trainable variables are meant once the loss was computed, or a list of variables and
    tensors; without it all variables that the loss uses. A gradient is healthy where it is finite and not exactly zero.
    With `allow_zero` a variable may get a zero, so long as not all do: a ReLU may be dead, a last layer start at zero.
    With `compiled` the loss is computed in a `tf.function`, as `fit` does it.
    """
    import tensorflow as tf

    # A stack without this function is what a failing test is to show.
    __tracebackhide__ = True
    with_respect_to: list[Any] = []
    unlisted: list[Any] = []

    def compute() -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            if isinstance(variables, (list, tuple)):
                tape.watch([one for one in variables if tf.is_tensor(one) and not hasattr(one, "assign")])
            value = loss()
        with_respect_to[:] = _listed(variables, tape)
        listed = {id(getattr(one, "_value", one)) for one in with_respect_to}
        unlisted[:] = [one for one in tape.watched_variables() if id(one) not in listed]
        if not tf.is_tensor(value):
            return value, [None] * len(with_respect_to)
        return value, tape.gradient(value, with_respect_to)

    value, gradients = (tf.function(compute) if compiled else compute)()
    run = _run(value, with_respect_to, gradients)
    problem = _no_loss(tf, value) or _unhealthy(run.gradients[0], allow_zero)
    if problem:
        raise AssertionError(_message(problem, run, unlisted))


def _listed(variables: Any, tape: Any) -> list[Any]:
    if variables is None:
        return list(tape.watched_variables())
    return list(getattr(variables, "trainable_variables", variables))


def _no_loss(tf: Any, value: Any) -> str:
    """What is wrong with the loss as such, empty for nothing."""
    if value is None:
        return "the loss is None: does the function return it?"
    if tf.is_tensor(value):
        return ""
    return f"the loss is no tensor but a {type(value).__module__}.{type(value).__name__}".replace("builtins.", "")


def _unhealthy(computation: Gradient, allow_zero: bool) -> str:
    """What is wrong with the gradients, empty for nothing."""
    if not computation.sources:
        return "there is no variable to train"
    bad = [source for source in computation.sources if source.state != "ok"]
    if allow_zero and len(bad) < len(computation.sources):
        bad = [source for source in bad if source.state != "zero"]
    if bad:
        more = f", and {len(bad) - 1} more are broken" if len(bad) > 1 else ""
        return f"the gradient of {bad[0].name} is {_WORDS[bad[0].state]}{more}"
    if computation.target is not None and not math.isfinite(computation.target):
        return f"the loss is {computation.target}"
    return ""


def _run(value: Any, sources: list[Any], gradients: list[Any]) -> Run:
    from tapefix.proof.run import Gradient, Run

    names: dict[str, int] = {}
    measured = tuple(_source(one, gradient, names) for one, gradient in zip(sources, gradients, strict=True))
    computation = Gradient(0, "", 1, "tape", _mean(value), "tensor", measured)
    return Run("finished", 0.0, 0, gradients=(computation,))


def _source(source: Any, gradient: Any, names: dict[str, int]) -> Source:
    from tapefix.proof.run import Source

    name = getattr(source, "path", None) or _plain_name(source)
    names[name] = count = names.get(name, 0) + 1
    state, size = _measure(gradient)
    shape = tuple(source.shape) if hasattr(source, "shape") else ()
    return Source(name if count == 1 else f"{name}#{count}", shape, "tf", state, size)


def _plain_name(source: Any) -> str:
    try:
        return str(source.name).rsplit(":", 1)[0]
    except AttributeError:  # an eager tensor
        return "tensor"


def _measure(gradient: Any) -> tuple[str, float | None]:
    import numpy as np

    if gradient is None:
        return "none", None
    values = np.asarray(getattr(gradient, "values", gradient))
    size = float(np.abs(values).max()) if values.size else 0.0
    if math.isfinite(size):
        return ("ok" if size else "zero"), size
    return ("nan" if math.isnan(size) else "inf"), size


def _mean(value: Any) -> float | None:
    import numpy as np

    try:
        return float(np.mean(value))
    except (TypeError, ValueError):
        return None


def _message(problem: str, run: Run, unlisted: list[Any]) -> str:
    from tapefix.proof.table import rows
    from tapefix.report.table import gradient_table
    from tapefix.report.terminal import Terminal

    lines = [problem, *gradient_table("", rows([run], ()), Terminal(sys.stdout, 100, False, False))]
    if unlisted:
        names = ", ".join(dict.fromkeys(getattr(one, "path", None) or _plain_name(one) for one in unlisted))
        lines.append(f"  used by the loss, but not among the variables: {names}")
    return "\n".join(line.rstrip() for line in lines)
