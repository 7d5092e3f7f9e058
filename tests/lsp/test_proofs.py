"""Prove, then apply: what a run verifies is applied to the text that was run, and to no other."""

from __future__ import annotations

import time

import pytest

from .conftest import CONNECT
from .profiles import VSCODE
from .test_actions import PROVE, UNPROVED, take, titles
from .texts import BROKEN, HERE, REPAIRED, URI

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

    # The second proof finds TensorFlow imported.
    started = time.monotonic()
    editor.rewrite(URI, BROKEN.replace("SGD(0.1)", "SGD(0.2)"))
    editor.diagnosed(URI)
    take(editor, PROVE)
    editor.wait(lambda: len(editor.applied) == 2)
    print(f"second proof: {time.monotonic() - started:.2f} s")
