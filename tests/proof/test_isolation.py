"""What holds where the machine lacks some of the walls, and what `--isolation` makes of it."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tapefix.outcome import Verdict
from tapefix.proof.client import ForkServer, RunRequest
from tapefix.proof.run import Run
from tapefix.proof.verdict import Promise, judge, unmeasurable

from .helpers import HEADER, Runner

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64", reason="takes system calls away by their number"
    ),
]

# Starts Python without some of the kernel's calls, as on a machine that does not offer them.
WITHOUT = """\
#!{python}
import ctypes, os, struct, sys
calls = {calls}
program = [(0x20, 0, 0, 0), *((0x15, len(calls) - n, 0, call) for n, call in enumerate(calls)),
           (0x06, 0, 0, 0x7fff0000), (0x06, 0, 0, 0x00050001)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
libc = ctypes.CDLL(None)
user, group = os.getuid(), os.getgid()
if {ordinary} and user == 0 and libc.unshare(0x10000000) == 0:
    open("/proc/self/setgroups", "w").write("deny")
    open("/proc/self/uid_map", "w").write("1000 0 1")
    open("/proc/self/gid_map", "w").write("1000 0 1")
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)), 0, 0) == 0
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""
UNSHARE, LANDLOCK = 272, 444
TRAINS = """
import os
w = tf.Variable(1.0, name="w")
with tf.GradientTape() as tape:
    loss = w * w
tape.gradient(loss, w)
open("new", "w").write("ours")
assert open("new").read() == "ours"
try:
    open({elsewhere!r}, "w").write("ours")
    print("written")
except OSError as error:
    print("refused")
print(os.getpid() < 20)
"""


def interpreter(folder: Path, calls: tuple[int, ...]) -> Path:
    """A Python that lacks some calls; where it lacks none, it is that of an ordinary user, whoever runs the tests."""
    python = folder / "python"
    python.write_text(WITHOUT.format(python=sys.executable, calls=calls, ordinary=not calls))
    python.chmod(0o755)
    return python


@pytest.mark.parametrize(
    ("calls", "missing", "said"),
    [
        ((), (), ["refused", "True"]),
        ((UNSHARE,), ("processes",), ["refused", "False"]),
        ((LANDLOCK,), (), ["refused", "True"]),
        ((UNSHARE, LANDLOCK), ("network", "files", "processes"), ["written", "False"]),
    ],
)
def test_machine_without(tmp_path: Path, calls: tuple[int, ...], missing: tuple[str, ...], said: list[str]) -> None:
    python = interpreter(tmp_path, calls)
    project = tmp_path / "project"
    project.mkdir()
    text = (HEADER + TRAINS.format(elsewhere=str(tmp_path / "elsewhere"))).encode()
    with ForkServer(str(python)) as server:
        run = server.run(RunRequest(project / "train.py", text, cwd=project))
        if "namespaces" in missing_here(run, missing):
            pytest.skip("this machine lacks more")
        assert run.missing_protection == missing
        assert (run.end, run.output.split()) == ("finished", said), run
        assert list(project.iterdir()) == []
        assert len(run.notices) == bool(missing)
        required = server.run(RunRequest(project / "train.py", text, cwd=project, isolation="require"))
    if missing:
        reason = f"{missing[-1]} cannot be protected here, and --isolation is require"
        assert (unmeasurable(required) or "").endswith(reason)
        assert not required.gradients
        assert judge([required], [required], Promise()) == (Verdict.UNVERIFIED, unmeasurable(required))
    else:
        assert required.end == "finished"


def test_command_line_names_what_is_missing_once(tmp_path: Path) -> None:
    python = interpreter(tmp_path, (UNSHARE, LANDLOCK))
    project = tmp_path / "project"
    project.mkdir()
    for name in ("one.py", "two.py"):
        (project / name).write_text(HEADER + TRAINS.format(elsewhere=str(tmp_path / "elsewhere")))

    def tapefix(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tapefix", "--probe", "--python", str(python), *arguments]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    done = tapefix("one.py", "two.py")
    assert done.returncode == 0, done
    assert " ".join(done.stdout.split()).count("it can write files wherever you can") == 1, done
    refused = tapefix("--isolation", "require", "one.py")
    assert refused.returncode == 2
    assert "network, files and processes cannot be protected here, and --isolation is require" in " ".join(
        refused.stdout.split()
    )
    assert "Traceback" not in refused.stdout + refused.stderr


def missing_here(run: Run, expected: tuple[str, ...]) -> list[str]:
    return ["namespaces"] if set(run.missing_protection) - set(expected) else []


def test_off_has_no_walls_and_says_nothing(run: Runner, tmp_path: Path) -> None:
    elsewhere = tmp_path.with_name("elsewhere")
    result = run(TRAINS.format(elsewhere=str(elsewhere)), isolation="off")
    assert result.output.split() == ["written", "False"]
    assert (result.missing_protection, result.notices) == ((), ())
    assert elsewhere.read_text() == "ours"


def test_home_below_which_the_run_keeps_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TMPDIR may lie in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    project = tmp_path / "project"
    project.mkdir()
    text = (HEADER + TRAINS.format(elsewhere=str(tmp_path / "elsewhere"))).encode()
    with ForkServer(sys.executable, temp=tmp_path) as server:
        run = server.run(RunRequest(project / "train.py", text, cwd=project))
    assert run.end == "finished", run
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    assert list(project.iterdir()) == []


def test_project_with_a_strange_name(run: Runner, tmp_path: Path) -> None:
    folder = tmp_path / 'a,b:c\\d "e" ünï'
    folder.mkdir()
    result = run(TRAINS.format(elsewhere="/nowhere/new"), cwd=folder)
    assert result.output.split()[0] == "refused", result
    assert list(folder.iterdir()) == []
