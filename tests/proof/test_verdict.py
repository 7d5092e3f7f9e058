"""The verdict on runs that are written down here: each comes out in both ways."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tapefix.outcome import Verdict
from tapefix.proof.run import Failure, Gradient, Run, Source, Variable
from tapefix.proof.verdict import Promise, judge, problems, unmeasurable


def source(name: str, state: str = "ok", size: float | None = 1.0) -> Source:
    return Source(name, (2, 1), "keras", state, size if state == "ok" else None)


def run(*steps: list[Source], loss: float | None = 1.0, end: str = "finished", **more: object) -> Run:
    gradients = tuple(
        Gradient(10, "", number, "tape", loss, "tensor", tuple(sources)) for number, sources in enumerate(steps, 1)
    )
    return Run(end, 0.1, 0, gradients=gradients, **more)  # type: ignore[arg-type]


HEALTHY = run([source("kernel"), source("bias")])
NONE = run([source("kernel", "none"), source("bias")])
NAN = run([source("kernel", "nan"), source("bias")])
ZERO = run([source("kernel", "zero"), source("bias", "zero")])
FAILED = Run("exception", 0.1, 0, failure=Failure("ValueError", "No gradients provided", 12))


def verdict(before: Run, after: Run, **promise: bool) -> Verdict:
    return judge([before], [after], Promise(**promise))[0]


@pytest.mark.parametrize("before", [NONE, NAN, ZERO, FAILED])
def test_broken_before_and_healthy_after_is_verified(before: Run) -> None:
    assert verdict(before, HEALTHY) is Verdict.VERIFIED


@pytest.mark.parametrize("after", [NONE, NAN, ZERO, FAILED])
def test_broken_after_is_refuted(after: Run) -> None:
    assert verdict(NONE, after) is Verdict.REFUTED


def test_zero_in_place_of_none_is_refuted() -> None:
    """What unconnected_gradients=ZERO gives: nothing is None any more, and nothing flows."""
    assert verdict(NONE, run([source("kernel", "zero"), source("bias")])) is Verdict.REFUTED


def test_a_variable_left_out_is_refuted() -> None:
    """What filtering the None pairs gives: all that is asked for is healthy, and the kernel does not train."""
    assert verdict(NONE, run([source("bias")])) is Verdict.REFUTED


def test_a_moving_average_may_be_left_out() -> None:
    """`trainable_variables` in place of `variables`: nobody can train the rest."""
    average = Source("moving_mean", (4,), "fixed", "none", None)
    assert verdict(run([source("kernel"), average]), run([source("kernel")])) is Verdict.VERIFIED
    kept = Source("moving_mean", (4,), "tf", "none", None)
    assert verdict(run([source("kernel"), kept]), run([source("kernel")])) is Verdict.REFUTED


def test_another_loss_is_refuted_where_the_value_was_promised() -> None:
    """What a dropped loss term gives."""
    other = run([source("kernel"), source("bias")], loss=0.7)
    assert verdict(NONE, other, keeps_value=True) is Verdict.REFUTED
    assert verdict(NONE, other, keeps_value=False) is Verdict.VERIFIED


def test_a_healthy_gradient_that_is_lost_is_refuted() -> None:
    before = run([source("kernel"), source("bias", "none")])
    assert verdict(before, run([source("kernel", "zero"), source("bias")])) is Verdict.REFUTED


def test_a_variable_nobody_trains_is_refuted() -> None:
    assert verdict(HEALTHY, HEALTHY, trains_more=True) is Verdict.REFUTED


def test_a_variable_that_is_trained_is_verified() -> None:
    weight = Variable("weight", (), "tf", 3, True, True, True)
    after = replace(run([source("kernel"), source("bias"), source("weight")]), variables=(weight,))
    assert verdict(HEALTHY, after, trains_more=True) is Verdict.VERIFIED
    idle = replace(after, variables=(replace(weight, changed=False),))
    assert verdict(HEALTHY, idle, trains_more=True) is Verdict.REFUTED


def test_a_starved_term_is_verified_only_if_the_gradients_change() -> None:
    assert verdict(HEALTHY, HEALTHY, silent=True) is Verdict.REFUTED
    assert verdict(HEALTHY, run([source("kernel", size=2.0), source("bias")]), silent=True) is Verdict.VERIFIED


def test_nothing_broken_is_not_verified() -> None:
    assert verdict(HEALTHY, HEALTHY) is Verdict.UNVERIFIED


def test_a_nan_loss_with_finite_gradients_is_refuted() -> None:
    assert verdict(NONE, run([source("kernel"), source("bias")], loss=float("nan"))) is Verdict.REFUTED
    in_fit = replace(HEALTHY, losses=(1.0, float("nan")))
    assert verdict(NONE, in_fit) is Verdict.REFUTED


def test_broken_on_one_seed_only_is_refuted() -> None:
    assert judge([NAN, NAN], [HEALTHY, NAN], Promise())[0] is Verdict.REFUTED
    assert judge([NAN, NAN], [HEALTHY, HEALTHY], Promise())[0] is Verdict.VERIFIED


def test_a_run_that_gets_less_far_is_refuted() -> None:
    before = run([source("kernel", "none")], [source("kernel", "none")], [source("kernel", "none")])
    assert verdict(before, run([source("kernel")])) is Verdict.REFUTED
    crash = replace(run([source("kernel")]), end="exception", failure=Failure("TypeError", "bad", 3))
    assert verdict(before, crash) is Verdict.REFUTED


def test_what_is_missing_around_the_script_is_unverified() -> None:
    absent = Run("exception", 0.1, 0, failure=Failure("FileNotFoundError", "data/train.csv", 4))
    assert unmeasurable(absent) == "it stops at line 4 with FileNotFoundError: data/train.csv"
    assert verdict(absent, absent) is Verdict.UNVERIFIED
    assert verdict(HEALTHY, absent) is Verdict.REFUTED
    assert unmeasurable(HEALTHY) is None


def test_none_in_some_steps_only_is_no_problem() -> None:
    alternating = run([source("left"), source("right", "none")], [source("left", "none"), source("right")])
    assert problems(alternating) == ()
    assert [p.subject for p in problems(NONE)] == ["kernel"]


def numbered(name: str, width: int, state: str = "ok") -> Source:
    return Source(name, (width, 1), "keras", state, 1.0 if state == "ok" else None)


def test_a_variable_that_has_another_number_is_the_same() -> None:
    """Layers that are made elsewhere shift the numbers in Keras' names."""
    before = run([numbered("net/dense/kernel", 8), numbered("net/dense_1/kernel", 3, "none")])
    after = run([numbered("net/dense_4/kernel", 8), numbered("net/dense_2/kernel", 3)])
    assert verdict(before, after) is Verdict.VERIFIED


def test_a_variable_of_another_shape_or_layer_is_another() -> None:
    before = run([numbered("net/dense/kernel", 8), numbered("net/dense_1/kernel", 3, "none")])
    for other in (numbered("net/dense_4/kernel", 5), numbered("net/conv_4/kernel", 8)):
        assert verdict(before, run([other, numbered("net/dense_1/kernel", 3)])) is Verdict.REFUTED


def test_a_new_number_alone_is_no_variable_that_is_trained_now() -> None:
    old = [Variable("net/dense/kernel", (8, 1), "keras", 3, True, True, True)]
    new = [Variable("net/dense_4/kernel", (8, 1), "keras", 3, True, True, True)]
    before = run([numbered("net/dense/kernel", 8)], variables=tuple(old))
    after = run([numbered("net/dense_4/kernel", 8)], variables=tuple(new))
    assert verdict(before, after, trains_more=True) is Verdict.REFUTED
