"""Edits carried out on text: what changes, and that everything else stays."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from tapefix.analysis.module import Module
from tapefix.codemods.apply import EditConflict, apply
from tapefix.codemods.edits import AddImport, Delete, Edit, Insert, Move, ReplaceExpression, ReplaceStatement
from tapefix.findings import Span

Find = Callable[[str], Span]


def edit(text: str, *makers: Callable[[Find], Edit]) -> str:
    """Applies edits; `find` gives the span of the node whose source is the given text."""
    module = Module(text)

    def find(source: str) -> Span:
        for node in module.nodes:
            if isinstance(node, (ast.expr, ast.stmt)) and module.source(node).splitlines()[0] == source.splitlines()[0]:
                return module.span(node)
        raise AssertionError(source)

    return apply(text, [make(find) for make in makers])


def swap(old: str, new: str, **parts: str) -> Callable[[Find], Edit]:
    return lambda find: ReplaceExpression(find(old), new, {name: find(part) for name, part in parts.items()})


def test_nested_calls_are_both_replaced() -> None:
    text = "y = f(f(x))\n"
    assert edit(text, swap("f(f(x))", "g($a)", a="f(x)"), swap("f(x)", "h($a)", a="x")) == "y = g(h(x))\n"


@pytest.mark.parametrize(
    ("text", "old", "new", "part", "expected"),
    [
        ("y = 2 * f(a)\n", "f(a)", "$p + 1", "a", "y = 2 * (a + 1)\n"),
        ("y = 2 - f(a)\n", "f(a)", "$p - 1", "a", "y = 2 - (a - 1)\n"),
        ("y = f(a) - 2\n", "f(a)", "$p - 1", "a", "y = a - 1 - 2\n"),
        ("y = -f(a)\n", "f(a)", "$p - 1", "a", "y = -(a - 1)\n"),
        ("y = f(a) ** 2\n", "f(a)", "-$p", "a", "y = (-a) ** 2\n"),
        ("y = f(a).T\n", "f(a)", "$p + 1", "a", "y = (a + 1).T\n"),
        ("y = g(f(a))\n", "f(a)", "$p + 1", "a", "y = g(a + 1)\n"),
        ("y = f(a + b)\n", "f(a + b)", "$p * 2", "a + b", "y = (a + b) * 2\n"),
        ("y = f(a if c else b)\n", "f(a if c else b)", "$p + 2", "a if c else b", "y = (a if c else b) + 2\n"),
        ("y = (f(a))\n", "f(a)", "$p + 2", "a", "y = (a + 2)\n"),
        ("y = x[f(a)]\n", "f(a)", "$p + 2", "a", "y = x[a + 2]\n"),
    ],
)
def test_parentheses_are_added_where_they_are_needed(text: str, old: str, new: str, part: str, expected: str) -> None:
    assert edit(text, swap(old, new, p=part)) == expected


def test_two_arguments_change_places() -> None:
    text = "z = zip(v, g(1))\n"
    assert edit(text, swap("v", "$o", o="g(1)"), swap("g(1)", "$o", o="v")) == "z = zip(g(1), v)\n"


def test_a_renamed_call_keeps_its_layout() -> None:
    text = "y = np.sum(\n    a,  # first\n    axis=-1,\n)\n"
    assert edit(text, swap("np.sum", "tf.reduce_sum")) == text.replace("np.sum", "tf.reduce_sum")


def test_characters_outside_ascii_before_the_edit() -> None:
    text = "naïve, 🚀ß = 'é🚀', f(x)\n".replace("🚀ß", "ß")
    assert edit(text, swap("f(x)", "g($a)", a="x")) == text.replace("f(x)", "g(x)")


def test_a_statement_moves_with_its_comments() -> None:
    text = "a = 1\n\n# the forward pass\np = model(x)  # here\nwith tape:\n  # the loss\n  loss = p\n"
    moved = edit(text, lambda find: Move((find("p = model(x)"),), find("with tape:"), "first"))
    assert moved == "a = 1\n\nwith tape:\n  # the forward pass\n  p = model(x)  # here\n  # the loss\n  loss = p\n"


def test_a_statement_moves_into_a_block_above_it() -> None:
    text = "with tape:\n    p = f(x)\nloss = p * 2\ngo()\n"
    moved = edit(text, lambda find: Move((find("loss = p * 2"),), find("with tape:"), "last"))
    assert moved == "with tape:\n    p = f(x)\n    loss = p * 2\ngo()\n"


def test_a_moved_statement_keeps_what_other_edits_made_of_it() -> None:
    text = "p = f(x)\nwith tape:\n    loss = p\n"
    moved = edit(
        text, swap("f(x)", "g($a)", a="x"), lambda find: Move((find("p = f(x)"),), find("with tape:"), "first")
    )
    assert moved == "with tape:\n    p = g(x)\n    loss = p\n"


def test_one_of_several_statements_on_a_line_moves() -> None:
    text = "a = 1; p = f(a); b = 2  # end\nwith tape:\n    loss = p\n"
    moved = edit(text, lambda find: Move((find("p = f(a)"),), find("with tape:"), "first"))
    assert moved == "a = 1\nb = 2  # end\nwith tape:\n    p = f(a)\n    loss = p\n"


def test_a_body_on_the_line_of_its_header() -> None:
    text = "with tape: loss = p\n"
    assert edit(text, lambda find: Insert(find("with tape: loss = p"), "first", "tape.watch(x)")) == (
        "with tape:\n    tape.watch(x)\n    loss = p\n"
    )


def test_line_ends_and_indents_of_the_file_are_used() -> None:
    text = "def f(a):\r\n\tb = a\r\n"
    made = edit(text, lambda find: Insert(find("b = a"), "after", "if b:\n    return b"))
    assert made == "def f(a):\r\n\tb = a\r\n\tif b:\r\n\t\treturn b\r\n"


def test_a_first_statement_comes_after_the_docstring() -> None:
    text = 'def f():\n    """Doc."""\n    g()\n'
    made = edit(text, lambda find: Insert(find("def f():"), "first", "h()"))
    assert made == 'def f():\n    """Doc."""\n    h()\n    g()\n'


def test_a_block_that_loses_its_only_statement_stays_a_block() -> None:
    assert edit("if a:\n    b = 1\n", lambda find: Delete(find("b = 1"))) == "if a:\n    pass\n"


def test_a_replaced_statement_keeps_its_comments() -> None:
    text = "# why\nf(x)  # how\n"
    made = edit(text, lambda find: ReplaceStatement(find("f(x)"), "return $v", {"v": find("f(x)")}))
    assert made == "# why\nreturn f(x)  # how\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import numpy as np\nx = 1\n", "import numpy as np\nimport tensorflow as tf\nx = 1\n"),
        ('"""Doc."""\nx = 1\n', '"""Doc."""\nimport tensorflow as tf\nx = 1\n'),
        ("import tensorflow as tf\nx = 1\n", "import tensorflow as tf\nx = 1\n"),
        (
            "import b\ntry:\n    import a\nexcept ImportError:\n    a = 1\n",
            "import b\nimport tensorflow as tf\ntry:\n    import a\nexcept ImportError:\n    a = 1\n",
        ),
    ],
)
def test_an_import_is_added_once_at_the_top(text: str, expected: str) -> None:
    assert apply(text, [AddImport("import tensorflow as tf"), AddImport("import tensorflow as tf")]) == expected


def test_edits_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(EditConflict):
        edit("y = f(g(x))\n", swap("f(g(x))", "h()"), swap("y = f(g(x))", "z"))
