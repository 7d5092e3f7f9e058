"""Diagnostics while typing: what they say, where they are, and that nothing is run for them."""

from __future__ import annotations

import pytest

from .conftest import CONNECT
from .editor import Editor
from .profiles import EMACS, NEOVIM, PLAIN, VSCODE, in_each_editor
from .texts import BROKEN, HEALTHY, URI


def test_a_finding_says_what_starves_and_where_the_tape_is(editor: Editor) -> None:
    (found,) = editor.open(URI, BROKEN)
    assert found["code"] == "TPF101"
    assert found["source"] == "tapefix"
    assert found["range"]["start"] == {"line": 5, "character": 0}
    assert found["range"]["end"] == {"line": 5, "character": 14}
    assert "`model`" in found["message"]
    related = found["relatedInformation"]
    assert [note["location"]["range"]["start"]["line"] for note in related] == [6, 8]
    assert [note["message"] for note in related] == ["recording starts here", "the gradients are asked for here"]
    assert found["codeDescription"]["href"].startswith("file:")


ERROR = """\
import numpy as np

def error(out):
    return tf.reduce_mean(np.square(out.numpy()))

for _ in range(2):
"""
STEP = """\
    with tf.GradientTape() as tape:
        loss = error(model(x))
    tape.gradient(loss, model.trainable_variables)
"""


@pytest.mark.parametrize(("steps", "related"), [(1, [11, 13]), (2, [])])
def test_a_loss_that_is_called_leads_to_its_tape_where_there_is_one_only(
    editor: Editor, steps: int, related: list[int]
) -> None:
    """A finding in a function is of the file's one tape; of several nobody can tell which."""
    found, *_ = editor.open(URI, HEALTHY.split("with")[0] + ERROR + STEP * steps)
    assert found["range"]["start"]["line"] == 8
    assert [note["location"]["range"]["start"]["line"] for note in found.get("relatedInformation") or []] == related


def test_healthy_code_and_other_languages_have_none(editor: Editor) -> None:
    assert editor.open(URI, HEALTHY) == []
    assert editor.open("file:///project/plain.py", "import os\n") == []


def test_they_follow_the_text(editor: Editor) -> None:
    editor.open(URI, HEALTHY)
    editor.rewrite(URI, BROKEN)
    assert [found["code"] for found in editor.diagnosed(URI)] == ["TPF101"]
    editor.rewrite(URI, HEALTHY)
    assert editor.diagnosed(URI) == []


def test_while_a_line_is_half_typed_the_last_ones_stay(editor: Editor) -> None:
    editor.open(URI, BROKEN)
    end = {"line": 10, "character": 0}
    editor.type(URI, {"start": end, "end": end}, "if (")
    assert editor.actions(URI, {"start": {"line": 5, "character": 6}, "end": {"line": 5, "character": 6}}) == []
    assert len(editor.diagnostics[URI]["diagnostics"]) == 1
    editor.type(URI, {"start": end, "end": {"line": 10, "character": 4}}, "")
    assert len(editor.diagnosed(URI)) == 1


def test_a_closed_file_has_none(editor: Editor) -> None:
    editor.open(URI, BROKEN)
    editor.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    editor.wait(lambda: not editor.diagnostics[URI]["diagnostics"])


@pytest.mark.parametrize(
    ("profile", "column"),
    [(VSCODE, 13), (NEOVIM, 15), (EMACS, 12), (PLAIN, 13)],
    ids=["vscode", "neovim", "emacs", "plain"],
)
def test_columns_are_counted_as_agreed(connect: CONNECT, profile: dict[str, object], column: int) -> None:
    editor = connect(profile)
    (found,) = editor.open(URI, BROKEN.replace("out = model(x)", 'name = "😀"; out = model(x)'), version=0)
    assert found["range"]["start"]["character"] == column


@in_each_editor
@pytest.mark.parametrize("mark", ["\f", "\x0b", "\x1c", "\u2028", "\x85"])
def test_only_line_ends_end_lines(connect: CONNECT, profile: dict[str, object], mark: str) -> None:
    editor = connect(profile)
    text = BROKEN.replace("x, y =", f"# one{mark}line\nx, y =")
    (found,) = editor.open(URI, text)
    assert found["range"]["start"]["line"] == 6
    start = {"line": 5, "character": 0}
    editor.type(URI, {"start": start, "end": start}, "# more\n")
    (found,) = editor.diagnosed(URI)
    assert found["range"]["start"]["line"] == 7
    # A change far to the right, in a line that is another and shorter one for who ends lines at these marks.
    (line,) = [number for number, one in enumerate(editor.texts[URI].split("\n")) if "loss =" in one]
    where = {"start": {"line": line, "character": 4}, "end": {"line": line, "character": 45}}
    editor.type(URI, where, "loss = tf.reduce_mean(out)")
    (found,) = editor.diagnosed(URI)
    assert found["range"]["start"]["line"] == 7


def test_crlf_and_a_byte_order_mark(editor: Editor) -> None:
    (found,) = editor.open(URI, "\ufeff" + BROKEN.replace("\n", "\r\n"))
    assert found["range"]["start"] == {"line": 5, "character": 0}


def test_rules_are_chosen_and_suppressed(connect: CONNECT) -> None:
    assert connect(options={"ignore": ["TPF1"]}).open(URI, BROKEN) == []
    assert connect(options={"settings": {"select": ["TPF2"]}}).open(URI, BROKEN) == []
    editor = connect()
    assert editor.open(URI, BROKEN.replace("out = model(x)", "out = model(x)  # noqa: TPF101")) == []
    (unused,) = editor.open("file:///project/other.py", HEALTHY.replace("x, y =", "# tapefix: ignore[TPF101]\nx, y ="))
    assert unused["code"] == "TPF001"
    assert unused["tags"] == [1]


def test_settings_that_change_count_at_once(connect: CONNECT) -> None:
    editor = connect()
    editor.open(URI, BROKEN)
    editor.settings = {"ignore": ["TPF101"]}
    editor.notify("workspace/didChangeConfiguration", {"settings": None})
    editor.wait(lambda: not editor.diagnostics[URI]["diagnostics"])
