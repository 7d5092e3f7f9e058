"""A suspicion counts where a run has measured something broken, and is not reported without one."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Ran

from tapefix.analysis.module import Module
from tapefix.rules import all_rules
from tapefix.rules.base import check_all

Run = Callable[..., Ran]

FIXTURES = Path(__file__).parent.parent / "fixtures"
SUSPICIOUS = [
    file
    for file in sorted(FIXTURES.glob("*/*.py"))
    if file.read_text().startswith("# tapefix-test: ") and not file.name.endswith(".fixed.py")
]


def suspected_only(text: str) -> bool:
    found = list(check_all(all_rules(), Module(text, ast.parse(text))))
    return bool(found) and not any(finding.certain for finding in found)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--diff", "--no-verify"),
        ("--diff", "--no-verify", "--unsafe-fixes"),
        ("--write", "--no-verify", "--unsafe-fixes"),
    ],
    ids=" ".join,
)
def test_suspicions_are_not_reported_without_a_run(run: Run, arguments: tuple[str, ...]) -> None:
    texts = [file.read_text() for file in SUSPICIOUS]
    chosen = [text for text in texts if suspected_only(text)]
    assert len(chosen) > 10
    for number, text in enumerate(chosen):
        Path(f"{number}.py").write_text(text)
    ran = run(*arguments, "--output-format", "json", ".")
    assert ran.status == 0
    assert [file for file in ran.json()["files"] if file["findings"] or file["diff"]] == []
    assert [Path(f"{number}.py").read_text() for number in range(len(chosen))] == chosen
