"""The command itself: what it says of itself, and what the command line keeps clear of."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tapefix import __version__
from tapefix.lsp.__main__ import main


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


def test_the_command_line_imports_nothing_of_it() -> None:
    ran = python(
        "import sys, tapefix.__main__, tapefix.cli, tapefix.ladder\n"
        "print([name for name in sys.modules if name.startswith(('tapefix.lsp', 'pygls', 'lsprotocol'))])"
    )
    assert ran.stdout == "[]\n", ran.stderr
