"""Prove, then apply: what a run verifies is applied to the text that was run, and to no other."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from tapefix.lsp.prover import Prover

from .conftest import CONNECT
from .editor import Editor, marked, server_process, settle
from .profiles import EMACS, NEOVIM, PLAIN, VSCODE, in_each_editor
from .test_actions import PROVE, UNPROVED, take, titles
from .test_notebooks import FORWARD, IMPORTS, MODEL, NOTEBOOK, STEP, cell, open_notebook
from .texts import BROKEN, HEALTHY, HERE, REPAIRED, URI

pytestmark = pytest.mark.tensorflow


def test_prove_apply_hover_and_undo(connect: CONNECT) -> None:
    editor = connect(VSCODE)
    editor.open(URI, BROKEN, version=0)
    take(editor, PROVE)
    editor.wait(lambda: editor.applied)
    assert editor.texts[URI] == REPAIRED
    assert editor.versions[URI] == 1
    (message,) = editor.wait(lambda: editor.messages)
    assert "1 verified repair applied" in message
    assert "None -> " in message
    kinds = [step["value"]["kind"] for step in editor.progress]
    assert kinds[0] == "begin"
    assert kinds[-1] == "end"
    assert editor.diagnosed(URI) == []
    table = editor.hover(URI, 6)
    assert table is not None
    assert "verified" in table
    assert "kernel" in table
    assert editor.hover(URI, 5) == editor.hover(URI, 8) == table
    assert editor.hover(URI, 2) is None

    # Undone, the text is known: nothing needs to be run again.
    editor.rewrite(URI, BROKEN)
    assert [found["code"] for found in editor.diagnosed(URI)] == ["TPF101"]
    first = editor.actions(URI, HERE)[0]
    assert first["title"].startswith("tapefix TPF101: move it into the tape's block (verified: ")
    assert first["isPreferred"]
    assert not {PROVE, UNPROVED} & set(titles(editor))
    assert "None" in (editor.hover(URI, 5) or "")
    (fix_all,) = editor.actions(URI, HERE, ["source.fixAll"])
    editor.run(fix_all)
    assert editor.texts[URI] == REPAIRED


SLOW = BROKEN.replace("import tensorflow as tf\n", "import time\n\nimport tensorflow as tf\n\ntime.sleep(1.5)\n")


@pytest.mark.parametrize("profile", [NEOVIM, EMACS, PLAIN], ids=["neovim", "emacs", "plain"])
def test_other_editors(connect: CONNECT, profile: dict[str, Any]) -> None:
    editor = connect(profile)
    text = BROKEN.replace("out = model(x)", 'name = "😀"; out = model(x)').replace("\n", "\r\n")
    editor.open(URI, text, version=0)
    take(editor, next(title for title in titles(editor) if "prove, then apply" in title))
    editor.wait(lambda: editor.applied)
    assert editor.texts[URI] == REPAIRED.replace("with tf.Gr", 'name = "😀"\nwith tf.Gr').replace("\n", "\r\n")


@in_each_editor
def test_typing_during_a_proof_is_proved_again_and_applied_to_the_new_text(
    connect: CONNECT, profile: dict[str, Any]
) -> None:
    editor = connect(profile)
    editor.open(URI, SLOW)
    prove(editor)
    editor.wait(lambda: editor.progress)
    start = {"line": 0, "character": 0}
    editor.type(URI, {"start": start, "end": start}, "# typed 😀\n")
    editor.wait(lambda: editor.applied)
    editor.wait(lambda: editor.messages)
    assert editor.texts[URI].startswith("# typed 😀\nimport time\n")
    assert "tape:\n    out = model(x)\n" in editor.texts[URI]
    begun = [step["value"]["title"] for step in editor.progress if step["value"]["kind"] == "begin"]
    assert len(begun) == 2
    assert "2 of 3" in begun[1]


def test_an_edit_that_comes_too_late_is_not_applied(editor: Editor) -> None:
    """The user types between the server's check and the editor's, again and again."""
    editor.open(URI, BROKEN)
    typed = []

    def type_() -> None:
        typed.append("#\n")
        end = {"line": 0, "character": 0}
        editor.type(URI, {"start": end, "end": end}, "#\n")

    editor.before_apply = type_
    prove(editor)
    (message,) = editor.wait(lambda: editor.messages)
    assert "changed during 3 proofs" in message
    assert len(typed) == 3
    assert editor.texts[URI] == "".join(typed) + BROKEN


@in_each_editor
def test_cancel_ends_the_run_and_applies_nothing(connect: CONNECT, profile: dict[str, Any]) -> None:
    editor = connect(profile)
    editor.open(URI, SLOW.replace("sleep(1.5)", "sleep(30)"))
    prove(editor)
    editor.wait(lambda: any("running" in str(step["value"].get("message")) for step in editor.progress))
    editor.notify("window/workDoneProgress/cancel", {"token": editor.progress[0]["token"]})
    editor.wait(lambda: editor.progress[-1]["value"]["kind"] == "end")
    # The next proof need not wait for the run that was broken off.
    editor.rewrite(URI, BROKEN)
    started = time.monotonic()
    prove(editor)
    editor.wait(lambda: editor.applied)
    assert time.monotonic() - started < 25
    assert editor.texts[URI] == REPAIRED


@in_each_editor
def test_two_documents_at_once(connect: CONNECT, profile: dict[str, Any]) -> None:
    editor = connect(profile)
    other = "file:///project/other.py"
    editor.open(URI, SLOW)
    editor.open(other, BROKEN)
    prove(editor)
    prove(editor, other)
    prove(editor)  # asked for twice: proved once, and applied once
    editor.wait(lambda: len(editor.applied) >= 2 and editor.texts[other] == REPAIRED)
    assert "tape:\n    out = model(x)\n" in editor.texts[URI]


def test_what_cannot_be_run_is_said_and_may_be_applied_unproved(editor: Editor) -> None:
    text = BROKEN.replace("x, y =", 'open("data/train.csv")\nx, y =')
    editor.open(URI, text)
    prove(editor)
    (message,) = editor.wait(lambda: editor.messages)
    assert "data/train.csv" in message
    assert editor.texts[URI] == text
    where = {"start": {"line": 6, "character": 0}, "end": {"line": 6, "character": 0}}
    found = [action["title"] for action in editor.actions(URI, where)]
    assert any(title.startswith(f"{UNPROVED[:-1]}; ") and "train.csv" in title for title in found)
    assert PROVE in found


def test_where_tensorflow_is_missing_the_setting_is_named(connect: CONNECT, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    editor = connect(options={"interpreter": str(python)})
    editor.open(URI, BROKEN)
    prove(editor)
    (message,) = editor.wait(lambda: editor.messages)
    assert "TensorFlow is missing" in message
    for text in [message, *titles(editor)]:
        assert "--python" not in text
        assert "TensorFlow is missing" not in text or "tapefix.interpreter" in text


def test_what_is_refuted_is_never_offered(connect: CONNECT) -> None:
    text = HEALTHY.replace("tf.square(model(x) - y)", "0.0 * tf.round(model(x) - y)")
    where = {"start": {"line": 6, "character": 0}, "end": {"line": 6, "character": 0}}
    for profile in (VSCODE, EMACS):
        editor = connect(profile)
        editor.open(URI, text)
        prove(editor)
        (message,) = editor.wait(lambda editor=editor: editor.messages)
        assert "no repair was verified" in message
        assert editor.texts[URI] == text
        actions = editor.actions(URI, where, ["quickfix"])
        assert not any("edit" in one or "command" in one for one in actions if "Ignore" not in one["title"])
        refuted = [one["disabled"]["reason"] for one in actions if "refuted" in one["title"]]
        assert bool(refuted) == (profile is VSCODE)
        (found,) = editor.diagnostics[URI]["diagnostics"]
        assert "refuted, " in found["message"]


def test_measured_gradients_are_shown(connect: CONNECT) -> None:
    editor = connect(VSCODE)
    editor.open(URI, HEALTHY)
    editor.ask("workspace/executeCommand", {"command": "tapefix.measureGradients", "arguments": [URI]})
    (page,) = editor.wait(lambda: editor.shown)
    assert "kernel" in Path(url2pathname(urlparse(page).path)).read_text()
    assert "kernel" in (editor.hover(URI, 7) or "")
    editor = connect(PLAIN)
    editor.open(URI, HEALTHY)
    editor.ask("workspace/executeCommand", {"command": "tapefix.measureGradients", "arguments": [URI]})
    (message,) = editor.wait(lambda: editor.messages)
    assert "kernel" in message


def test_a_fork_server_ends_when_nobody_has_used_it_and_comes_back(
    connect: CONNECT, prover: Prover, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork_servers() -> list[str]:
        children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        commands = [Path(f"/proc/{pid}/cmdline") for one in children for pid in one.read_text().split()]
        return [one.parent.name for one in commands if b"proof/server.py" in one.read_bytes()]

    editor = connect()
    editor.open(URI, BROKEN)
    prove(editor)
    editor.wait(lambda: editor.applied)
    assert fork_servers()
    monkeypatch.setattr(prover, "idle", 0.5)
    editor.rewrite(URI, BROKEN.replace("0.1", "0.2"))
    prove(editor)
    editor.wait(lambda: len(editor.applied) == 2)
    assert settle(lambda: not fork_servers())
    monkeypatch.undo()
    editor.rewrite(URI, BROKEN.replace("0.1", "0.3"))
    prove(editor)
    editor.wait(lambda: len(editor.applied) == 3)
    assert editor.texts[URI] == REPAIRED.replace("0.1", "0.3")


@pytest.mark.parametrize("backend", ["tensorflow", "none"])
def test_what_a_script_sets_before_keras_is_set_where_it_is_proved(editor: Editor, backend: str) -> None:
    text = f'import os\n\nos.environ["KERAS_BACKEND"] = "{backend}"\n{BROKEN}'
    editor.open(URI, text)
    prove(editor)
    (message,) = editor.wait(lambda: editor.messages)
    assert ("1 verified repair applied" in message) == (backend == "tensorflow"), message


def test_code_is_run_on_save_only_where_the_setting_says_so(connect: CONNECT) -> None:
    editor = connect(options={"verify": "onSave"})
    editor.open(URI, BROKEN)
    editor.notify("textDocument/didSave", {"textDocument": {"uri": URI}})
    editor.wait(lambda: editor.progress and editor.progress[-1]["value"]["kind"] == "end")
    assert "(verified: " in titles(editor)[0]
    assert editor.texts[URI] == BROKEN

    editor = connect(options={"verify": "onSave", "trusted": False})
    editor.open(URI, BROKEN)
    editor.notify("textDocument/didSave", {"textDocument": {"uri": URI}})
    assert titles(editor)[0] == UNPROVED
    assert not editor.progress


def test_a_save_breaks_off_the_proof_of_the_save_before(connect: CONNECT) -> None:
    editor = connect(options={"verify": "onSave"})
    editor.open(URI, SLOW.replace("sleep(1.5)", "sleep(30)"))
    editor.notify("textDocument/didSave", {"textDocument": {"uri": URI}})
    editor.wait(lambda: any("running" in str(step["value"].get("message")) for step in editor.progress))
    editor.rewrite(URI, BROKEN)
    editor.notify("textDocument/didSave", {"textDocument": {"uri": URI}})
    started = time.monotonic()
    assert settle(lambda: "(verified: " in titles(editor)[0], 25), time.monotonic() - started
    assert sum(step["value"]["kind"] == "end" for step in editor.progress) == 2


def test_a_notebook_is_proved_as_a_whole(editor: Editor) -> None:
    open_notebook(editor, "%pip install x\n" + IMPORTS, MODEL, FORWARD, STEP)
    prove(editor, NOTEBOOK)
    editor.wait(lambda: editor.applied)
    assert editor.texts[cell(3)] == STEP.replace("tape:\n", "tape:\n    out = model(x)\n", 1)
    assert "kernel" in (editor.hover(cell(3), 1) or "")


def test_a_cell_that_a_repair_leaves_empty(editor: Editor) -> None:
    """It stays as a cell, so the text that comes back has a line more than the one that was proved."""
    data, forward = FORWARD.split("\n")
    open_notebook(editor, IMPORTS, MODEL, data, forward, STEP)
    prove(editor, NOTEBOOK)
    (message,) = editor.wait(lambda: editor.messages)
    assert "1 verified repair applied" in message
    assert editor.texts[cell(3)] == ""
    assert editor.texts[cell(4)] == STEP.replace("tape:\n", "tape:\n    out = model(x)\n", 1)
    assert "kernel" in (editor.hover(cell(4), 1) or "")


@pytest.mark.parametrize("moment", ["importing", "running"])
def test_a_killed_server_leaves_no_process(tmp_path: Path, moment: str) -> None:
    mark = str(tmp_path / "mark")
    process, editor = server_process(VSCODE, TAPEFIX_TEST_MARK=mark)
    editor.start()
    editor.open(URI, SLOW.replace("sleep(1.5)", "sleep(50)"))
    prove(editor)
    if moment == "running":
        editor.wait(lambda: any("running" in str(step["value"].get("message")) for step in editor.progress))
        time.sleep(1)
    else:
        assert settle(lambda: len(marked(mark)) > 1)
    process.kill()
    process.wait()
    assert settle(lambda: not marked(mark), 40), marked(mark)


def test_the_end_of_the_editor_is_the_end_of_the_server(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    process, editor = server_process(VSCODE, "--stdio", TAPEFIX_TEST_MARK=mark)
    editor.start()
    editor.open(URI, BROKEN)
    prove(editor)
    editor.wait(lambda: editor.applied)
    editor.stop()
    assert process.wait(20) == 0
    assert settle(lambda: not marked(mark))


def prove(editor: Editor, uri: str = URI) -> None:
    editor.ask("workspace/executeCommand", {"command": "tapefix.proveAndApply", "arguments": [uri]})
