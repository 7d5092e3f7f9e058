"""Notebooks: each cell has its own diagnostics and edits, and the other cells as context."""

from __future__ import annotations

from typing import Any

import pytest

from tapefix.lsp.snapshot import Document, Snapshot
from tapefix.text.notebook import join

from .conftest import CONNECT
from .editor import Editor
from .test_actions import UNPROVED
from .texts import BROKEN

NOTEBOOK = "file:///project/train.ipynb"
IMPORTS, MODEL = BROKEN.split("x, y")[0].split("\n\n")
FORWARD = "x, y = tf.ones([4, 2]), tf.ones([4, 1])\nout = model(x)"
STEP = "with tf.GradientTape() as tape:" + BROKEN.split("with tf.GradientTape() as tape:")[1]


def cell(number: int, notebook: str = NOTEBOOK) -> str:
    return f"{notebook.replace('file://', 'vscode-notebook-cell:')}#W{number}"


def open_notebook(editor: Editor, *cells: str, uri: str = NOTEBOOK) -> None:
    """Open a notebook whose cells have these texts."""
    uris = [cell(number, uri) for number in range(len(cells))]
    for one, text in zip(uris, cells, strict=True):
        editor.texts[one], editor.versions[one] = text, 0
    editor.notebook_cells += uris
    editor.notify(
        "notebookDocument/didOpen",
        {
            "notebookDocument": {
                "uri": uri,
                "notebookType": "jupyter-notebook",
                "version": 0,
                "cells": [{"kind": 2, "document": one} for one in uris],
            },
            "cellTextDocuments": [
                {"uri": one, "languageId": "python", "version": 0, "text": editor.texts[one]} for one in uris
            ],
        },
    )


def change_notebook(editor: Editor, cells: dict[str, Any]) -> None:
    editor.notify(
        "notebookDocument/didChange",
        {"notebookDocument": {"uri": NOTEBOOK, "version": 1}, "change": {"cells": cells}},
    )


def found(editor: Editor, number: int, notebook: str = NOTEBOOK) -> list[tuple[str, int]]:
    uri = cell(number, notebook)
    editor.wait(lambda: uri in editor.diagnostics)
    return [(one["code"], one["range"]["start"]["line"]) for one in editor.diagnostics[uri]["diagnostics"]]


def test_a_cell_is_seen_with_the_cells_before_it(editor: Editor) -> None:
    open_notebook(editor, "%pip install x\n" + IMPORTS, "", MODEL, "%%bash\nls $HOME | (", FORWARD, STEP)
    assert found(editor, 4) == [("TPF101", 1)]
    assert [found(editor, number) for number in (0, 1, 2, 3, 5)] == [[], [], [], [], []]
    (notes,) = [one["relatedInformation"] for one in editor.diagnostics[cell(4)]["diagnostics"]]
    assert notes[0]["location"]["uri"] == cell(5)
    assert [note["location"]["range"]["start"]["line"] for note in notes] == [0, 2]


def test_a_repair_edits_the_cells_that_it_concerns(editor: Editor) -> None:
    open_notebook(editor, IMPORTS, MODEL, FORWARD + "\n", STEP)
    found(editor, 2)
    where = {"start": {"line": 1, "character": 0}, "end": {"line": 1, "character": 3}}
    (action,) = [one for one in editor.actions(cell(2), where) if one["title"] == UNPROVED]
    editor.run(action)
    assert editor.texts[cell(2)] == FORWARD.split("\n")[0] + "\n"
    assert editor.texts[cell(3)] == STEP.replace("tape:\n", "tape:\n    out = model(x)\n", 1)
    editor.wait(lambda: not editor.diagnostics[cell(2)]["diagnostics"])


@pytest.mark.parametrize(
    ("repaired", "edits"),
    [
        ("a = 1\nb = 2\nc = 3\n", [(1, 0, "\nc = 3")]),
        ("a = 1\nimport x\nb = 2\n", [(1, 0, "import x\n")]),
        ("a = 11\nb = 22\n", [(0, 0, "1"), (1, 0, "2")]),
        ("a = 11\nnew\nb = 22\n", None),
        ("a = 11\nnew\nb = 2\n", [(0, 0, "1\nnew")]),
    ],
)
def test_edits_where_cells_meet(repaired: str, edits: list[tuple[int, int, str]] | None) -> None:
    cells = [Document(cell(0), 0, "a = 1"), Document(cell(1), 0, "b = 2")]
    snapshot = Snapshot.of_notebook(NOTEBOOK, "train.ipynb", cells, "utf-16")
    found = snapshot.edits(repaired)
    if edits is None:
        assert found is None
    else:
        assert found is not None
        assert [(cells.index(one.document), one.edit.range.start.line, one.edit.new_text) for one in found] == edits


def test_cells_come_go_and_move(editor: Editor) -> None:
    open_notebook(editor, IMPORTS, MODEL, FORWARD, STEP)
    assert found(editor, 2) == [("TPF101", 1)]
    # The cell with the tape goes, and another comes.
    change_notebook(
        editor,
        {
            "structure": {
                "array": {"start": 3, "deleteCount": 1, "cells": []},
                "didClose": [{"uri": cell(3)}],
            }
        },
    )
    editor.wait(lambda: not editor.diagnostics[cell(2)]["diagnostics"])
    new = {"uri": cell(9), "languageId": "python", "version": 0, "text": STEP}
    change_notebook(
        editor,
        {
            "structure": {
                "array": {"start": 3, "deleteCount": 0, "cells": [{"kind": 2, "document": cell(9)}]},
                "didOpen": [new],
            }
        },
    )
    editor.wait(lambda: editor.diagnostics[cell(2)]["diagnostics"])
    # A change of the text, in the words of VS Code: a range.
    place = {"line": 1, "character": 0}
    change = {"range": {"start": place, "end": place}, "text": "# typed\n"}
    document = {"uri": cell(2), "version": 1}
    change_notebook(editor, {"textContent": [{"document": document, "changes": [change]}]})
    editor.wait(lambda: editor.diagnostics[cell(2)].get("version") == 1)
    assert found(editor, 2) == [("TPF101", 2)]
    editor.notify(
        "notebookDocument/didClose",
        {"notebookDocument": {"uri": NOTEBOOK}, "cellTextDocuments": [{"uri": cell(2)}]},
    )
    editor.wait(lambda: not editor.diagnostics[cell(2)]["diagnostics"])


def test_the_order_of_the_cells_counts(editor: Editor) -> None:
    """A cell that moves is closed and opened by no editor: only its place in the list is another."""
    open_notebook(editor, "%matplotlib inline\n!pip install x\n" + IMPORTS, MODEL, FORWARD, "", STEP)
    assert found(editor, 2) == [("TPF101", 1)]

    def order(*numbers: int) -> None:
        cells = [{"kind": 2, "document": cell(number)} for number in numbers]
        change_notebook(editor, {"structure": {"array": {"start": 2, "deleteCount": 3, "cells": cells}}})

    # The tape's cell above: what comes after it cannot be what its loss is computed from.
    order(4, 3, 2)
    editor.wait(lambda: not editor.diagnostics[cell(2)]["diagnostics"])
    order(3, 2, 4)
    editor.wait(lambda: editor.diagnostics[cell(2)]["diagnostics"])
    assert found(editor, 2) == [("TPF101", 1)]


def test_two_notebooks_know_nothing_of_each_other(editor: Editor) -> None:
    other = "file:///project/other.ipynb"
    open_notebook(editor, IMPORTS, MODEL, FORWARD, STEP)
    open_notebook(editor, IMPORTS, MODEL, FORWARD, uri=other)
    assert [found(editor, number) for number in range(4)] == [[], [], [("TPF101", 1)], []]
    assert [found(editor, number, other) for number in range(3)] == [[], [], []]
    where = {"start": {"line": 1, "character": 0}, "end": {"line": 1, "character": 3}}
    assert editor.actions(cell(2, other), where) == []
    (action,) = [one for one in editor.actions(cell(2), where) if one["title"] == UNPROVED]
    editor.run(action)
    editor.wait(lambda: not editor.diagnostics[cell(2)]["diagnostics"])
    assert editor.texts[cell(2, other)] == FORWARD


def test_only_python_cells_count(editor: Editor) -> None:
    editor.notify(
        "notebookDocument/didOpen",
        {
            "notebookDocument": {
                "uri": NOTEBOOK,
                "notebookType": "jupyter-notebook",
                "version": 0,
                "cells": [{"kind": 1, "document": cell(0)}, {"kind": 2, "document": cell(1)}],
            },
            "cellTextDocuments": [
                {"uri": cell(0), "languageId": "markdown", "version": 0, "text": "# no (code"},
                {"uri": cell(1), "languageId": "python", "version": 0, "text": BROKEN},
            ],
        },
    )
    assert found(editor, 1) == [("TPF101", 5)]
    assert cell(0) not in editor.diagnostics


@pytest.mark.parametrize(
    ("typed", "python"),
    [
        ("x = 1", "x = 1\n"),
        ("", "\n"),
        ("%matplotlib inline\nx = 1\n", "0#atplotlib inline\nx = 1\n"),
        ("if x:\n    !ls -la\r\ny = 2", "if x:\n    0#s -la\r\ny = 2\n"),
        ("files = !ls\nfiles", "files = 0#s\nfiles\n"),
        ("tf.floor?", "0#.floor?\n"),
        ("y = (x\n     % 2)\n", "y = (x\n     % 2)\n"),
        ("%%time\nx = 1\n", "0#time\nx = 1\n"),
        ("%%html\n<a>\n\n", "#%html\n#a>\n\n"),
        ("def f(:\n    pass\n", "#ef f(:\n#   pass\n"),
    ],
)
def test_cells_as_python(typed: str, python: str) -> None:
    joined = join(["a = 1", typed, "b = 2"])
    assert joined.text == f"a = 1\n{python}b = 2\n"
    assert len(joined.starts) == 3
    assert joined.text.split("\n")[joined.starts[2]] == "b = 2"


def test_a_masked_line_is_never_edited(connect: CONNECT) -> None:
    editor = connect(options={"ignore": ["TPF001"]})
    step = STEP.replace("    loss", "    %time print(1)\n    loss")
    open_notebook(editor, IMPORTS, MODEL, FORWARD, step)
    found(editor, 2)
    where = {"start": {"line": 1, "character": 0}, "end": {"line": 1, "character": 3}}
    (action,) = [one for one in editor.actions(cell(2), where) if one["title"] == UNPROVED]
    editor.run(action)
    assert editor.texts[cell(3)] == step.replace("tape:\n", "tape:\n    out = model(x)\n", 1)
