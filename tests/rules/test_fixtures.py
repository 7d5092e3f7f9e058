"""Every rule on its fixtures: what it repairs and how, and what it leaves alone.

`tests/fixtures/<rule>/<name>.py` becomes `<name>.fixed.py`; `<name>.healthy.py` gives no finding. The first line may
say

    # tapefix-test: broken       also the suspicions are repaired, as if a run had measured a broken gradient
    # tapefix-test: suspicious   suspicions may be raised (they count only where a run measures something broken)
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from tapefix.analysis.module import Module
from tapefix.codemods.compose import compose
from tapefix.findings import Finding
from tapefix.rules import all_rules
from tapefix.rules.base import Rule, check_all

FIXTURES = Path(__file__).parent.parent / "fixtures"
RULES = {rule.name: rule for rule in all_rules()}
BROKEN = sorted(f for f in FIXTURES.glob("*/*.py") if not f.name.endswith((".fixed.py", ".healthy.py")))
HEALTHY = sorted(FIXTURES.glob("*/*.healthy.py"))


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def findings(text: str, rules: Iterable[Rule] = RULES.values()) -> list[Finding]:
    everything = text.startswith("# tapefix-test: broken")
    return [f for f in check_all(rules, Module(text)) if f.certain or everything]


def repair(text: str) -> str:
    for _ in range(8):
        choices = [(f, f.candidates[0]) for f in findings(text) if f.candidates]
        if not choices:
            break
        text = compose(text, choices).text
    return text


@pytest.mark.parametrize("path", BROKEN, ids=name)
def test_repair(path: Path) -> None:
    text = path.read_bytes().decode()
    expected = path.with_suffix(".fixed.py").read_bytes().decode()
    assert RULES[path.parent.name].code in {f.code for f in findings(text)}
    repaired = repair(text)
    assert repaired == expected
    ast.parse(repaired)


@pytest.mark.parametrize("path", BROKEN, ids=name)
def test_second_run_changes_nothing(path: Path) -> None:
    text = path.with_suffix(".fixed.py").read_bytes().decode()
    assert not [f for f in findings(text, [RULES[path.parent.name]]) if f.candidates]


@pytest.mark.parametrize("path", HEALTHY, ids=name)
def test_healthy_code_is_left_alone(path: Path) -> None:
    text = path.read_bytes().decode()
    found = list(check_all(all_rules(), Module(text)))
    if text.startswith("# tapefix-test: suspicious"):
        found = [f for f in found if f.certain]
    assert found == []


def test_every_rule_has_a_fixture() -> None:
    with_fixtures = {path.parent.name for path in BROKEN}
    # What only a run shows has no static fixture: its documented example is run (test_documentation.py).
    with_fixtures |= {"outgrown-optimizer", "copied-line", "model-in-pipeline"}
    without = [r.name for r in all_rules() if r.safety != "advice" and r.name not in with_fixtures]
    assert without == []


def test_tokens_do_not_depend_on_how_a_package_is_called() -> None:
    packages = ("tf", "np", "keras", "K", "tfp")
    bound = {rule.code for rule in RULES.values() for token in rule.tokens if token.split(".")[0].strip() in packages}
    assert bound == set()
