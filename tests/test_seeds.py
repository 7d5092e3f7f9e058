"""The six examples of the two articles that the project began with, repaired and proved."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tapefix.outcome import FileResult, Verdict

SEEDS = Path(__file__).parent.parent.parent / "shared" / "seeds"

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not SEEDS.is_dir(), reason="the articles are not beside this checkout"),
]

Prove = Callable[..., FileResult]


def example(article: str, number: int) -> str:
    text = next(SEEDS.glob(f"{article}_*.txt")).read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)[number - 1]


def table(result: FileResult) -> dict[str, tuple[str, str]]:
    assert result.proof is not None
    return {row.name: (row.before, row.after) for row in result.proof.rows}


def test_constant_weight_needs_unsafe_fixes(prove: Prove) -> None:
    text = example("000", 1)
    result = prove(text)
    assert result.repaired == text
    assert [o.finding.code for o in result.outcomes] == ["TPF501"]
    assert "--unsafe-fixes" in result.outcomes[0].reason


def test_constant_weight_is_trained(prove: Prove) -> None:
    result = prove(example("000", 1), unsafe_fixes=True)
    assert [o.verdict for o in result.outcomes] == [Verdict.VERIFIED]
    gradients = {name: cells for name, cells in table(result).items() if "loss" not in name}
    assert len(gradients) == 3
    assert all(re.match(r"\d\.\de[+-]\d\d", after) for _, after in gradients.values())
    assert result.repaired.index("weight = tf.Variable(0.5)") < result.repaired.index("def incorrect_loss")
    assert prove(result.repaired).repaired == result.repaired


def test_floor_climbs_the_ladder(prove: Prove) -> None:
    result = prove(example("000", 2))
    (outcome,) = result.outcomes
    assert [(a.verdict, "tf.floor" in a.candidate.title) for a in outcome.attempts][:1] == [(Verdict.REFUTED, True)]
    assert "None" in outcome.attempts[0].reason
    assert outcome.verdict is Verdict.VERIFIED
    before, after = table(result)["loss at the first step"]
    assert before == after and float(after).is_integer()
    assert "np.floor(" not in result.repaired


def test_model_call_moves_into_the_tape(prove: Prove) -> None:
    result = prove(example("000", 3))
    assert [o.finding.code for o in result.outcomes] == ["TPF101"]
    assert result.proof is not None and result.proof.verdict is Verdict.VERIFIED
    assert (
        "with tf.GradientTape() as tape:\n"
        "  predictions = model(x) # Operation outside the tape\n"
        "  loss = outside_tape_loss(y, predictions)" in result.repaired
    )


def test_healthy_code_is_left(prove: Prove) -> None:
    text = example("002", 1)
    result = prove(text)
    assert result.repaired == text and not result.outcomes


def test_variables_read_before_the_model_is_built(prove: Prove) -> None:
    result = prove(example("002", 2))
    (outcome,) = result.outcomes
    assert outcome.finding.code == "TPF103"
    assert "inside the tape" not in outcome.finding.message
    assert "ValueError" in outcome.finding.message
    assert outcome.verdict is Verdict.VERIFIED
    assert "None" not in {after for _, after in table(result).values()}


def test_log_of_a_negative_value(prove: Prove) -> None:
    result = prove(example("002", 3))
    assert result.proof is not None and result.proof.seeds == 3
    (outcome,) = result.outcomes
    assert any("away from 0" in attempt.candidate.title for attempt in outcome.attempts)
    assert outcome.verdict is Verdict.VERIFIED
    assert any("NaN" in before for before, _ in table(result).values())
