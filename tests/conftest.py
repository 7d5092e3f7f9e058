"""Fixtures that all tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tapefix.proof.client import ForkServer


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """One fork server for all tests: TensorFlow is imported once."""
    with ForkServer(sys.executable) as server:
        server.wait_ready()
        yield server
