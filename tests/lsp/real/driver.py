"""Real editors that do what a user does, without a screen.

What is done is a list of steps, the same for every editor:

    ["open", PATH]          open a file and wait for the first diagnostics
    ["show", PATH]          go back to a file
    ["take", LINE, TITLE]   take the code action of a line (from 1) whose title contains TITLE
    ["type", TEXT]          insert a first line
    ["await", TEXT]         wait until the text in the editor contains TEXT
    ["clean"]               wait until there are no diagnostics any more
    ["pause", SECONDS]      do nothing
    ["save"]                save the file
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent


class RealEditor(NamedTuple):
    """An editor of this machine, set up as docs/editors.md says."""

    command: list[str]
    setup: str
    suffix: str

    def start(self, steps: list[list[Any]], folder: Path, **environment: str) -> subprocess.Popen[str]:
        """Start to do the steps, with a `tapefix-lsp` of this checkout on the PATH and a home without settings."""
        home = folder / "home"
        home.mkdir()
        server = home / "tapefix-lsp"
        server.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tapefix.lsp "$@"\n')
        server.chmod(0o755)
        setup = home / f"setup{self.suffix}"
        setup.write_text(self.setup)
        variables = {
            **os.environ,
            "HOME": str(home),
            **{f"XDG_{kind}_HOME": str(home) for kind in ("CONFIG", "CACHE", "DATA", "STATE")},
            "PATH": f"{home}{os.pathsep}{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "TAPEFIX_SETUP": str(setup),
            "TAPEFIX_STEPS": json.dumps(steps),
            **environment,
        }
        return subprocess.Popen(
            self.command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def do(self, steps: list[list[Any]], folder: Path) -> None:
        """Do the steps to the end."""
        process = self.start(steps, folder)
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output


def neovim() -> RealEditor:
    """Neovim, with the set-up for its version."""
    program = installed("nvim", ["neovim"])
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    number = tuple(map(int, re.findall(r"\d+", version)[:2]))
    heading = "Neovim 0.11" if number >= (0, 11) else "Neovim 0.8" if number >= (0, 8) else "Neovim 0.7"
    command = [program, "--headless", "-u", "NONE", "-i", "NONE", "-S", str(HERE / "neovim.lua")]
    return RealEditor(command, documented(heading), ".lua")


def emacs() -> RealEditor:
    """Emacs with Eglot, which Emacs 28 has in a package of its own."""
    program = installed("emacs", ["emacs-nox", "elpa-eglot"])
    return RealEditor([program, "--batch", "-Q", "-l", str(HERE / "emacs.el")], documented("Emacs"), ".el")


def documented(heading: str) -> str:
    """The first block of code below a heading of docs/editors.md: what is documented is what is tried."""
    text = (ROOT / "docs" / "editors.md").read_text()
    section = re.split(rf"^#+ {re.escape(heading)}.*$", text, maxsplit=1, flags=re.MULTILINE)[1]
    return section.split("```")[1].partition("\n")[2]


class Missing(Exception):
    """An editor cannot be had on this machine."""


def installed(program: str, packages: list[str]) -> str:
    """The path of a program. Debian's is installed where that is allowed: tests are run as root in containers."""
    found = shutil.which(program)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
        for command in (["apt-get", "update"], install):
            subprocess.run(
                command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, check=False
            )
        found = shutil.which(program)
    if found is None:
        raise Missing(f"{program} is not installed, and apt-get does not get it here")
    return found
