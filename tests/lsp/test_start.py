"""The command itself: what it says of itself, and what the command line keeps clear of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tapefix import __version__
from tapefix.lsp.__main__ import main

from .editor import marked, server_process
from .profiles import VSCODE
from .texts import BROKEN, HERE, URI


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tapefix-lsp {__version__}\n"
    assert main(["--help"]) == 0
    assert "usage: tapefix-lsp" in capsys.readouterr().out
    assert main(["train.py"]) == 2
    assert "usage: tapefix-lsp" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["pygls", "lsprotocol"])
def test_without_its_extra_it_says_how_to_get_it(package: str) -> None:
    ran = python(f"import sys; sys.modules[{package!r}] = None; import tapefix.lsp.__main__ as m; sys.exit(m.main([]))")
    assert ran.returncode == 2
    assert ran.stderr == f"tapefix-lsp needs {package}: python -m pip install 'tapefix[lsp]'\n"


def test_without_a_command_nothing_is_run(tmp_path: Path) -> None:
    """Opening, typing, hovering, asking for actions and saving start no process."""
    mark = str(tmp_path / "mark")
    process, editor = server_process(VSCODE, TAPEFIX_TEST_MARK=mark)
    editor.start()
    editor.open(URI, BROKEN)
    assert editor.actions(URI, HERE)
    assert editor.actions(URI, HERE, ["source"])
    editor.hover(URI, 5)
    editor.notify("textDocument/didSave", {"textDocument": {"uri": URI}})
    editor.rewrite(URI, BROKEN.replace("0.1", "0.2"))
    assert editor.diagnosed(URI)
    assert marked(mark) == [str(process.pid)]
    editor.stop()
    assert process.wait(20) == 0


def test_the_command_line_imports_nothing_of_it() -> None:
    ran = python(
        "import sys, tapefix.__main__, tapefix.cli, tapefix.ladder\n"
        "print([name for name in sys.modules if name.startswith(('tapefix.lsp', 'pygls', 'lsprotocol'))])"
    )
    assert ran.stdout == "[]\n", ran.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals are sent")
def test_a_server_that_is_ended_by_a_signal_leaves_nothing(tmp_path: Path) -> None:
    """One that is killed cannot clear up: the next one does it."""

    def run(end: Callable[[subprocess.Popen[bytes]], None]) -> tuple[set[Path], int]:
        """What is in the temporary folder while a server shows a page, and how the server ends."""
        process, editor = server_process(VSCODE, TMPDIR=str(tmp_path))
        with process:
            editor.start(options={"verify": "off"})
            editor.open((tmp_path / "train.py").as_uri(), BROKEN)
            shown = set(tmp_path.iterdir())
            end(process)
            return shown, process.wait(20)

    pages, status = run(lambda process: process.send_signal(signal.SIGTERM))
    assert (len(pages), status, list(tmp_path.iterdir())) == (1, 128 + signal.SIGTERM, [])
    killed, _ = run(lambda process: process.kill())
    assert killed == set(tmp_path.iterdir())
    after, _ = run(lambda process: process.send_signal(signal.SIGHUP))
    assert after.isdisjoint(killed)
    assert list(tmp_path.iterdir()) == []
