"""The server in this process, talked to through pipes by an editor of the tests."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tapefix.lsp.prover import Prover
from tapefix.lsp.server import TapefixServer, make_server

from .editor import Editor
from .profiles import VSCODE

CONNECT = Callable[..., Editor]


@pytest.fixture(scope="module")
def prover() -> Iterator[Prover]:
    """One for all servers of a module: TensorFlow is imported once, where it is needed."""
    shared = Prover()
    yield shared
    shared.close()


@pytest.fixture
def connect(prover: Prover) -> Iterator[CONNECT]:
    """`connect(VSCODE, options={...})`: an editor with a server of its own, initialized."""
    with ExitStack() as stack:

        def new(profile: dict[str, Any] = VSCODE, **start: Any) -> Editor:
            to_server, from_server = os.pipe(), os.pipe()
            server = make_server()
            thread = threading.Thread(target=_serve, args=(server, prover, to_server[0], from_server[1]))
            thread.start()
            editor = Editor(os.fdopen(from_server[0], "rb"), os.fdopen(to_server[1], "wb"), profile)
            stack.callback(thread.join, 20)
            stack.callback(editor.stop)
            editor.start(**start)
            return editor

        yield new


def _serve(server: TapefixServer, prover: Prover, reader: int, writer: int) -> None:
    own, server.prover = server.prover, prover
    try:
        with os.fdopen(reader, "rb") as stdin, os.fdopen(writer, "wb") as stdout:
            server.start_io(stdin, stdout)
    finally:
        server.prover = own
        server.close()


@pytest.fixture
def editor(connect: CONNECT) -> Editor:
    """VS Code with a trusted workspace."""
    return connect()
