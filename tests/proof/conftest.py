"""Fixtures for runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tapefix.proof.client import ForkServer, RunRequest
from tapefix.proof.run import Run

from .helpers import Runner, source


@pytest.fixture
def run(fork_server: ForkServer, tmp_path: Path) -> Runner:
    """Run a piece of code as `train.py` in an empty folder."""

    def one(code: str, **options: Any) -> Run:
        path = tmp_path / "train.py"
        text = source(code)
        path.write_bytes(text)
        options.setdefault("cwd", tmp_path)
        return fork_server.run(RunRequest(path, text, **options))

    return one
