"""Reading and writing: what is not repaired stays byte for byte as it was."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import BROKEN, HEALTHY, Ran, swap_result

from tapefix.outcome import FileResult

Run = Callable[..., Ran]


def write(run: Run, data: bytes) -> bytes:
    path = Path("train.py")
    path.write_bytes(data)
    ran = run("--write", "--no-verify", "train.py")
    assert (ran.status, ran.err) == (0, "")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        pytest.param(BROKEN, "utf-8", id="plain"),
        pytest.param(BROKEN.replace("\n", "\r\n"), "utf-8", id="CRLF"),
        pytest.param(BROKEN, "utf-8-sig", id="BOM"),
        pytest.param(BROKEN.replace("\n", "\r\n"), "utf-8-sig", id="BOM and CRLF"),
        pytest.param("# -*- coding: latin-1 -*-\n# é à la carte\n" + BROKEN, "latin-1", id="latin-1"),
        pytest.param("#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n# “é”\n" + BROKEN, "cp1252", id="cp1252"),
        pytest.param("# 日本語 \N{PILE OF POO}\n" + BROKEN, "utf-8", id="UTF-8"),
        pytest.param(BROKEN.rstrip("\n"), "utf-8", id="no newline at the end"),
        pytest.param("\f\n# a form feed and \x85 \u2028 in a comment\n" + BROKEN, "utf-8", id="odd line ends"),
        pytest.param("x = 1\r\ny = 2\n" + BROKEN, "utf-8", id="mixed line ends"),
    ],
)
def test_encodings_and_line_ends(run: Run, text: str, encoding: str) -> None:
    repaired = swap_result("", text).repaired
    assert repaired != text
    assert write(run, text.encode(encoding)) == repaired.encode(encoding)
    # A second run changes nothing.
    assert write(run, repaired.encode(encoding)) == repaired.encode(encoding)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"import tensorflow\nx = '\0'\n", "train.py:2: holds NUL bytes"),
        (BROKEN.encode("utf-16"), "train.py:1: holds NUL bytes"),
        (b"import tensorflow\nx = '\xe9'\n", "train.py:2: is not utf-8 text"),
        (b"# coding: nonsense\nimport tensorflow\n", "train.py:1: cannot be decoded (unknown encoding"),
        (b"# coding: hex\nimport tensorflow\n", "train.py:1: cannot be decoded"),
        (b"import tensorflow\nx = (\n", "train.py:2:5: cannot parse: '(' was never closed"),
        (b"import os\ndef f(:\n", "train.py:2:7: cannot parse: invalid syntax"),
        (b"import tensorflow\nif x:\npass\n", "train.py:3:1: cannot parse: expected an indented block"),
        (b"import os\nx = " + b"-" * 100_000 + b"1\n", "train.py: cannot parse: it is nested too deeply"),
    ],
)
@pytest.mark.parametrize("option", ["--write", "--diff", "--exit-zero"])
def test_what_is_not_python_is_left_and_the_rest_is_done(run: Run, data: bytes, message: str, option: str) -> None:
    Path("train.py").write_bytes(data)
    Path("other.py").write_text(BROKEN)
    ran = run(option, "--no-verify", "train.py", "other.py")
    assert ran.status == 2
    assert ran.err.startswith(message)
    assert ran.err.count("\n") == 1
    assert Path("train.py").read_bytes() == data
    assert "other.py" in ran.out
    assert Path("other.py").read_text() == (HEALTHY if option == "--write" else BROKEN)


def test_a_repair_that_the_encoding_cannot_express(run: Run, canned: Callable[..., object]) -> None:
    canned(lambda path, text: FileResult(path, text, text + "# \u2192\n"))
    data = b"# coding: latin-1\nimport tensorflow\n"
    Path("train.py").write_bytes(data)
    ran = run("--write", "train.py")
    assert (ran.status, Path("train.py").read_bytes()) == (2, data)
    assert "which iso-8859-1 cannot express" in ran.err


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600])
def test_the_mode_is_kept(run: Run, mode: int) -> None:
    path = Path("train.py")
    path.write_text(BROKEN)
    path.chmod(mode)
    assert run("--write", "--no-verify", "train.py").status == 0
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(Path().iterdir()) == [path]


def test_a_link_stays_a_link(run: Run) -> None:
    Path("folder").mkdir()
    Path("folder/real.py").write_text(BROKEN)
    Path("train.py").symlink_to("folder/real.py")
    assert run("--write", "--no-verify", "train.py").status == 0
    assert Path("train.py").is_symlink()
    assert Path("folder/real.py").read_text() == HEALTHY
    assert list(Path("folder").iterdir()) == [Path("folder/real.py")]


def test_a_read_only_file_is_left(run: Run) -> None:
    path = Path("train.py")
    path.write_text(BROKEN)
    path.chmod(0o444)
    ran = run("--write", "--no-verify", "train.py")
    assert (ran.status, path.read_text()) == (2, BROKEN)
    assert ran.err == "train.py: is read-only, so it was not repaired; make it writable: chmod u+w train.py\n"
    assert "Repaired" not in ran.out


def test_a_read_only_folder_loses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # These tests may run as root, for whom no folder is read-only.
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    Path("train.py").write_text(BROKEN)
    ran = run("--write", "--no-verify", "train.py")
    assert (ran.status, Path("train.py").read_text()) == (2, BROKEN)
    assert ran.err == "train.py: cannot be written: permission denied; it is as it was\n"


def test_a_full_disk_loses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = Path("train.py")
    path.write_text(BROKEN)
    ran = run("--write", "--no-verify", "train.py")
    assert (ran.status, path.read_text()) == (2, BROKEN)
    assert "no space left on device" in ran.err
    assert list(Path().iterdir()) == [path]


def test_a_file_that_changed_meanwhile_is_left(run: Run, canned: Callable[..., object]) -> None:
    def result(path: str, text: str) -> FileResult:
        Path(path).write_text(text + "# typed meanwhile\n")
        return swap_result(path, text)

    canned(result)
    Path("train.py").write_text(BROKEN)
    ran = run("--write", "--no-verify", "train.py")
    assert (ran.status, Path("train.py").read_text()) == (2, BROKEN + "# typed meanwhile\n")
    assert "was changed while tapefix worked on it" in ran.err


def test_what_is_no_file(run: Run) -> None:
    os.mkfifo("pipe.py")
    Path("notebook.ipynb").write_text("{}")
    Path("loop.py").symlink_to("loop.py")
    ran = run("missing.py", "pipe.py", "notebook.ipynb", "loop.py")
    assert ran.status == 2
    assert ran.out == ""
    missing, pipe, notebook, loop = sorted(ran.err.splitlines(), key=lambda line: "mpnl".index(line[0]))
    assert missing == "missing.py: no such file or folder; check the path"
    assert pipe.startswith("pipe.py: is not a regular file")
    assert "jupyter nbconvert --to script notebook.ipynb" in notebook
    assert loop.startswith("loop.py: cannot be read: too many levels of symbolic links")


def test_folders(run: Run) -> None:
    looked_at = ["a.py", "package/b.py", "package/inner/c.py", "z.py"]
    skipped = [
        ".hidden/x.py", "__pycache__/x.py", "node_modules/x.py", "build/x.py", "dist/x.py", "venv/x.py",
        "my_environment/lib/x.py", "notes.txt", "train.pyc", "plain/x.txt",
    ]  # fmt: skip
    for name in looked_at + skipped:
        path = Path("src", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(BROKEN)
    Path("src/my_environment/pyvenv.cfg").touch()
    Path("src/no_tensorflow.py").write_text("def f(:\n")
    Path("src/again").symlink_to(".")
    ran = run("--output-format", "concise", "src", "src/z.py")
    assert [line.split(":")[0] for line in ran.out.splitlines()] == [f"src/{name}" for name in looked_at]
    assert ran.status == 1


def test_a_folder_without_tensorflow(run: Run) -> None:
    Path("src").mkdir()
    Path("src/x.py").write_text("print(1)\n")
    ran = run("src")
    assert (ran.status, ran.out, ran.err) == (0, "No TensorFlow code found.\n", "")


def test_a_name_that_is_not_utf8(run: Run) -> None:
    name = os.fsdecode(b"tr\xe9in.py")
    Path(name).write_text(BROKEN)
    ran = run("--write", "--no-verify", name)
    assert (ran.status, Path(name).read_text()) == (0, HEALTHY)
    assert "Repaired tr?in.py" in ran.out
