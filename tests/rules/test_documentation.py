"""The documentation of each rule: its sections, and that its example really is found and repaired."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

import pytest

from tapefix.analysis.module import Module
from tapefix.codemods.compose import compose
from tapefix.outcome import FileResult
from tapefix.rules import all_rules
from tapefix.rules.base import Rule, check_all

SECTIONS = ("What it finds:", "Why the gradient stops:", "Example:", "Fix safety:")
RULES = all_rules()
# Nothing in the text shows these: they report what a run has measured.
MEASURED = {"TPF118", "TPF416", "TPF508", "TPF514", "TPF901"}


def code(rule: Rule) -> str:
    return rule.code


def example(rule: Rule) -> str:
    found = re.search(r"```python\n(.*?)```", rule.__doc__ or "", re.DOTALL)
    assert found is not None
    return textwrap.dedent(found.group(1))


def test_codes_and_names_are_unique() -> None:
    assert len({rule.code for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=code)
def test_sections(rule: Rule) -> None:
    text = rule.__doc__ or ""
    places = [text.find(f"    {section}\n") for section in SECTIONS]
    assert -1 not in places and places == sorted(places)
    assert re.fullmatch(r"TPF\d{3}", rule.code) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name)


@pytest.mark.parametrize("rule", [r for r in RULES if r.code not in MEASURED], ids=code)
def test_example_is_found_and_repaired(rule: Rule) -> None:
    text = example(rule)
    findings = [f for f in check_all(RULES, Module(text)) if f.code == rule.code]
    assert findings
    choices = [(f, f.candidates[0]) for f in findings if f.candidates]
    assert bool(choices) == (rule.safety != "advice")
    if choices:
        repaired = compose(text, choices).text
        assert not [f for f in check_all(RULES, Module(repaired)) if f.code == rule.code and f.candidates]


@pytest.mark.tensorflow
@pytest.mark.parametrize("rule", [r for r in RULES if r.code in MEASURED], ids=code)
def test_example_is_measured_and_reported(rule: Rule, prove: Callable[..., FileResult]) -> None:
    result = prove(example(rule))
    assert [o.finding.code for o in result.outcomes] == [rule.code]
    assert result.changed == (rule.safety != "advice")
