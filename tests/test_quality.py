"""The style and the types of tapefix itself, so that one command runs every check there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


# The examples are broken on purpose, and in the style of those who read them.
CHECKED = "src tests benchmarks scripts"


@pytest.mark.parametrize("command", [f"ruff check {CHECKED}", f"ruff format --check {CHECKED}", "mypy"])
def test_no_complaint(command: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_overview_of_the_rules_is_current() -> None:
    ran = subprocess.run([sys.executable, "scripts/document_rules.py", "--check"], cwd=ROOT, check=False)
    assert ran.returncode == 0, "run: python scripts/document_rules.py"
