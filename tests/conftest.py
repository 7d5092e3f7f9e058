"""Fixtures that all tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tapefix.outcome import FileResult
from tapefix.proof.client import ForkServer
from tapefix.repair import Inspector, Options
from tapefix.text.source import Source


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """One fork server for all tests: TensorFlow is imported once."""
    with ForkServer(sys.executable) as server:
        server.wait_ready()
        yield server


@pytest.fixture
def prove(fork_server: ForkServer, tmp_path: Path) -> Callable[..., FileResult]:
    """`prove(text, unsafe_fixes=True)`: the result of `tapefix --write`, with the shared fork server."""
    from tapefix.ladder import Ladder

    def call(text: str, **options: Any) -> FileResult:
        path = tmp_path / "script.py"
        path.write_text(text)
        chosen = Options(mode="write", verify=True, **options)
        source = Source.read(str(path))
        return Ladder(
            fork_server, str(path), source, Inspector(str(path), source.text, chosen), chosen, lambda _: None
        ).climb()

    return call
