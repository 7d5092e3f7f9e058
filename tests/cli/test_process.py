"""What needs a real process: pipes, signals, the terminal and its encoding, and what is imported."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import BROKEN, HEALTHY

TAPEFIX = [sys.executable, "-m", "tapefix"]
# A repairer that takes a while, and says whether it was closed.
SLOW = """
import sys, time
import tapefix.repair
from tapefix.__main__ import main
from tapefix.outcome import FileResult

class Slow:
    def __init__(self, options, progress):
        self.progress = progress
    def __enter__(self):
        return self
    def __exit__(self, *_):
        open("closed", "w").close()
    def file(self, path, source, verify):
        self.progress("running the original")
        open("running", "w").close()
        time.sleep(float(sys.argv[1]))
        return FileResult(path, source.text, source.text)

tapefix.repair.Repairer = Slow
sys.exit(main(["--write", "train.py"]))
"""


def test_the_reader_goes_away() -> None:
    Path("train.py").write_text(BROKEN)
    for arguments in (["train.py"], ["--diff", "--no-verify", "train.py"], ["--list-rules"], ["--help"]):
        read, write = os.pipe()
        os.close(read)
        ran = subprocess.run([*TAPEFIX, *arguments], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write)
        assert ran.stderr == ""


def test_an_interrupt_closes_the_repairer() -> None:
    Path("train.py").write_text(BROKEN)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "60"],
        stderr=subprocess.PIPE,
        text=True,
        # What is started in the background of a shell script would ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 20
    while not Path("running").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "tapefix: interrupted\n")
    assert Path("closed").exists()
    assert Path("train.py").read_text() == BROKEN


def test_progress_is_shown_on_a_terminal_and_taken_away() -> None:
    Path("train.py").write_text(HEALTHY)
    ours, theirs = pty.openpty()
    ran = subprocess.run(
        [sys.executable, "-c", SLOW, "0"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
        check=False,
    )
    shown = os.read(ours, 10_000) if select.select([ours], [], [], 1)[0] else b""
    os.close(ours)
    os.close(theirs)
    assert ran.stdout == b"No problems found in 1 file.\n"
    assert shown == b"\r\x1b[2Krunning the original\r\x1b[2K"


def test_an_output_that_is_ascii() -> None:
    text = BROKEN.replace("zip(", "zip( # é 日本\n")
    Path("mün.py").write_text(text, encoding="utf-8")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    arguments = ["--diff", "--no-verify", "mün.py", "fehlt_ü.py"]
    ran = subprocess.run([*TAPEFIX, *arguments], capture_output=True, env=environment, check=False)
    assert ran.returncode == 2
    assert b"# ? ??" in ran.stdout
    assert b"m?n.py" in ran.stdout
    assert ran.stderr == b"fehlt_?.py: no such file or folder; check the path\n"


def test_what_a_check_imports() -> None:
    """A file with nothing to find needs none of the slow packages."""
    Path("train.py").write_text(HEALTHY)
    code = (
        "import sys; from tapefix.__main__ import main; main(['train.py']); "
        "print({'typer', 'rich', 'libcst', 'tensorflow', 'numpy', 'json', 'difflib', 'tempfile'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "No problems found in 1 file.\nset()\n"
