"""Code actions without a run: truthful titles, the smallest edits, and nothing that a setting or trust forbids."""

from __future__ import annotations

import time

import pytest

from .conftest import CONNECT
from .editor import Editor
from .profiles import EMACS, NEOVIM, PLAIN, VSCODE, in_each_editor
from .texts import BROKEN, HEALTHY, HERE, REPAIRED, URI

PROVE = "tapefix TPF101: move it into the tape's block (prove, then apply: runs your code)"
UNPROVED = "tapefix TPF101: move it into the tape's block (apply unproved)"
IGNORE = "Ignore TPF101 on this line"


def titles(editor: Editor, only: list[str] | None = None) -> list[str]:
    return [action["title"] for action in editor.actions(URI, HERE, only)]


def take(editor: Editor, title: str, only: list[str] | None = None) -> None:
    (action,) = [action for action in editor.actions(URI, HERE, only) if action["title"] == title]
    editor.run(action)


def test_what_is_offered_for_a_finding(editor: Editor) -> None:
    editor.open(URI, BROKEN)
    assert titles(editor, ["quickfix"]) == [PROVE, UNPROVED, IGNORE]
    assert titles(editor, ["source"]) == titles(editor, ["source.tapefix"])
    assert len(titles(editor, ["source"])) == 2
    assert titles(editor, ["refactor"]) == []
    assert editor.actions(URI, {"start": {"line": 1, "character": 0}, "end": {"line": 1, "character": 0}}) == []


@pytest.mark.parametrize("profile", [VSCODE, NEOVIM, EMACS, PLAIN], ids=["vscode", "neovim", "emacs", "plain"])
@pytest.mark.parametrize("version", [0, 7])
def test_an_unproved_repair(connect: CONNECT, profile: dict[str, object], version: int) -> None:
    editor = connect(profile)
    smile = 'name = "😀"; '
    editor.open(URI, BROKEN.replace("with tf.Gr", smile + "\nwith tf.Gr"), version)
    take(editor, UNPROVED)
    assert editor.texts[URI] == REPAIRED.replace("with tf.Gr", smile + "\nwith tf.Gr")
    assert editor.diagnosed(URI) == []


def test_the_edit_is_small_of_one_version_and_to_be_confirmed(editor: Editor) -> None:
    editor.open(URI, BROKEN, version=0)
    (action,) = [action for action in editor.actions(URI, HERE) if action["title"] == UNPROVED]
    (change,) = action["edit"]["documentChanges"]
    assert change["textDocument"] == {"uri": URI, "version": 0}
    assert sum(len(edit["newText"]) for edit in change["edits"]) < 40
    (annotation,) = action["edit"]["changeAnnotations"].values()
    assert annotation["needsConfirmation"]
    assert all(edit["annotationId"] in action["edit"]["changeAnnotations"] for edit in change["edits"])
    assert not action.get("isPreferred")


def test_a_stale_edit_is_refused_by_the_editor(editor: Editor) -> None:
    editor.open(URI, BROKEN)
    (action,) = [action for action in editor.actions(URI, HERE) if action["title"] == UNPROVED]
    start = {"line": 0, "character": 0}
    editor.type(URI, {"start": start, "end": start}, "# typed\n")
    assert not editor.apply(action["edit"])
    assert editor.texts[URI] == "# typed\n" + BROKEN


@in_each_editor
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_marks_stay(connect: CONNECT, profile: dict[str, object], end: str, mark: str) -> None:
    editor = connect(profile)
    page = HEALTHY.split("x, y")[0]
    text = mark + BROKEN.replace(page, page + "\f# a page\u2028\n").replace("\n", end)
    editor.open(URI, text)
    where = {"start": {"line": 6, "character": 0}, "end": {"line": 6, "character": 0}}
    (action,) = [action for action in editor.actions(URI, where) if action["title"] == UNPROVED]
    editor.run(action)
    assert editor.texts[URI] == mark + REPAIRED.replace(page, page + "\f# a page\u2028\n").replace("\n", end)


@pytest.mark.parametrize(
    ("line", "ignored"),
    [
        ("out = model(x)", "out = model(x)  # tapefix: ignore[TPF101]"),
        ("out = model(x)  # why", "out = model(x)  # why  # tapefix: ignore[TPF101]"),
        ("out = model(x)  # tapefix: ignore[TPF202]", "out = model(x)  # tapefix: ignore[TPF202, TPF101]"),
        ("out = model(\n    x\n)", "out = model(  # tapefix: ignore[TPF101]\n    x\n)"),
        ("out = \\\n    model(x)", "out = \\\n    model(x)  # tapefix: ignore[TPF101]"),
        ('out = model(x); s = """\n"""', 'out = model(x); s = """\n"""  # tapefix: ignore[TPF101]'),
    ],
)
def test_ignoring_a_line(connect: CONNECT, line: str, ignored: str) -> None:
    editor = connect(options={"ignore": ["TPF001"]})
    editor.open(URI, BROKEN.replace("out = model(x)", line))
    take(editor, IGNORE)
    assert editor.texts[URI] == BROKEN.replace("out = model(x)", ignored)
    assert editor.diagnosed(URI) == []


LAST = """\
import numpy as np
import tensorflow as tf


class Error(tf.keras.losses.Loss):
    def call(self, y_true, y_pred):
        return np.mean(y_pred - y_true)"""


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Ignore TPF201 on this line", f"{LAST}  # tapefix: ignore[TPF201]"),
        ("tapefix TPF201: use TensorFlow's functions (apply unproved)", LAST.replace("np.mean(", "tf.reduce_mean(")),
    ],
)
def test_a_last_line_without_an_end(editor: Editor, title: str, text: str) -> None:
    """What is added to it stays in it, and nothing comes after it."""
    (found,) = editor.open(URI, LAST)
    (action,) = [one for one in editor.actions(URI, found["range"]) if one["title"] == title]
    editor.run(action)
    assert editor.texts[URI] == text
    assert editor.diagnosed(URI) == []


def test_fix_all_applies_safe_repairs_by_setting_only(connect: CONNECT) -> None:
    editor = connect()
    editor.open(URI, BROKEN)
    assert titles(editor, ["source.fixAll"]) == []
    editor = connect(options={"fixAll": "safe"})
    editor.open(URI, BROKEN)
    take(editor, "tapefix: apply all safe repairs", ["source.fixAll.tapefix"])
    assert editor.texts[URI] == REPAIRED


@pytest.mark.parametrize("options", [{"trusted": False}, {"verify": "never"}])
def test_no_code_is_run_where_that_is_not_allowed(connect: CONNECT, options: dict[str, object]) -> None:
    editor = connect(options=options)
    editor.open(URI, BROKEN)
    assert titles(editor) == [UNPROVED, IGNORE]
    assert titles(editor, ["source"]) == []
    for command in ("tapefix.proveAndApply", "tapefix.measureGradients"):
        editor.messages.clear()
        editor.ask("workspace/executeCommand", {"command": command, "arguments": [URI]})
        editor.wait(lambda: editor.messages)
        assert "not trusted" in editor.messages[0] or "tapefix.verify" in editor.messages[0]
    assert editor.texts[URI] == BROKEN


def test_an_interpreter_that_is_not_there_is_said(connect: CONNECT) -> None:
    editor = connect(options={"interpreter": "/nowhere/python"})
    editor.open(URI, BROKEN)
    take(editor, PROVE)
    (message,) = editor.wait(lambda: editor.messages)
    assert "/nowhere/python" in message
    assert "tapefix.interpreter" in message
    assert editor.texts[URI] == BROKEN


def test_hover_shows_nothing_that_was_not_measured(editor: Editor) -> None:
    editor.open(URI, BROKEN)
    assert editor.hover(URI, 5) is None


def test_actions_come_from_what_is_known(editor: Editor) -> None:
    editor.open(URI, BROKEN)
    editor.actions(URI, HERE)
    started = time.perf_counter()
    for _ in range(10):
        editor.actions(URI, HERE)
    # 20 ms is the aim (benchmarks/editor.py); a busy machine is no failure of this test.
    assert (time.perf_counter() - started) / 10 < 0.2
