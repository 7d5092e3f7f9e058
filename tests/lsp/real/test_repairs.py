"""What a user does in a real editor, set up as docs/editors.md says; the saved file is the judge."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ..editor import marked, settle
from ..texts import BROKEN, REPAIRED
from .driver import RealEditor

pytestmark = pytest.mark.editors
UNPROVED, PROVE = "(apply unproved)", "(prove, then apply: runs your code)"
MOVED = "tape:\n    out = model(x)\n"


def write(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


def slow(seconds: float) -> str:
    """The broken script, in which the forward pass is in line 8, and that takes its time when it runs."""
    return BROKEN.replace("import tensorflow as tf\n", f"import time\nimport tensorflow as tf\ntime.sleep({seconds})\n")


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_repair_is_applied_unproved(editor: RealEditor, tmp_path: Path, ends: str) -> None:
    """Where editors and servers count lines, characters and line ends in their own ways."""
    path = tmp_path / "train.py"
    text = BROKEN.replace("model =", "\f\nmodel =").replace("out = model(x)", 'name = "😀"; out = model(x)')
    opened = write(path, text.replace("\n", ends))
    editor.do([["open", opened], ["take", 7, UNPROVED], ["clean"], ["save"]], tmp_path)
    repaired = REPAIRED.replace("model =", "\f\nmodel =").replace("with", 'name = "😀"\nwith')
    assert path.read_bytes() == repaired.replace("\n", ends).encode()


@pytest.mark.tensorflow
def test_a_repair_is_proved_while_the_user_types(editor: RealEditor, tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    steps = [
        ["open", write(path, slow(1.5))],
        ["take", 8, PROVE],
        ["pause", 1],
        ["type", "# typed 😀"],
        ["await", MOVED],
    ]
    editor.do([*steps, ["save"]], tmp_path)
    text = path.read_text()
    assert text.startswith("# typed 😀\nimport time\n")
    assert text == "# typed 😀\n" + slow(1.5).replace("out = model(x)\n", "").replace("tape:\n", MOVED)


@pytest.mark.tensorflow
def test_a_proof_of_twelve_seconds_and_another_file_meanwhile(editor: RealEditor, tmp_path: Path) -> None:
    """Eglot gives requests up after ten."""
    path, other = tmp_path / "train.py", tmp_path / "other.py"
    first, second = write(path, slow(12)), write(other, BROKEN)
    steps = [["open", first], ["take", 8, PROVE], ["open", second], ["take", 6, UNPROVED], ["clean"], ["save"]]
    editor.do([*steps, ["show", first], ["await", MOVED], ["save"]], tmp_path)
    assert other.read_text() == REPAIRED
    assert path.read_text() == slow(12).replace("out = model(x)\n", "").replace("tape:\n", MOVED)


@pytest.mark.tensorflow
def test_an_editor_that_is_killed_during_a_proof_leaves_nothing(editor: RealEditor, tmp_path: Path) -> None:
    path, mark, temporary = tmp_path / "train.py", str(tmp_path / "mark"), tmp_path / "t"
    path.write_text(slow(600))
    temporary.mkdir()
    steps = [["open", str(path)], ["take", 8, PROVE], ["pause", 600]]
    process = editor.start(steps, tmp_path, TAPEFIX_TEST_MARK=mark, TMPDIR=str(temporary))
    # The editor, the server, the fork server, and the runs.
    assert settle(lambda: len(marked(mark)) > 3 and list(temporary.glob("tapefix*/run-*")), 60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert settle(lambda: not marked(mark), 40), marked(mark)
    assert not list(temporary.glob("tapefix*"))
    assert path.read_text() == slow(600)
