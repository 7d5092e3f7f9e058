"""Which findings a comment covers, and which comments cover nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tapefix.findings import Span
from tapefix.text.suppress import Suppressions, unused_findings


def covered(text: str, code: str = "TPF101") -> list[int]:
    """The lines on which a finding would be suppressed."""
    text = dedent(text)
    count = text.count("\n") + 1
    return [line for line in range(1, count) if Suppressions(text).covers(code, Span(line, 0, line, 1))]


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa",
        "# NOQA",
        "#noqa:TPF101",
        "# noqa: TPF101",
        "# noqa: tpf101",
        "# noqa: E501, TPF101",
        "# noqa: E501 TPF101 because",
        "# noqa: TPF1",
        "# type: ignore  # noqa: TPF101",
        "# tapefix: ignore",
        "# tapefix: ignore[TPF101]",
        "# tapefix: ignore[TPF202, TPF101] for now",
    ],
)
def test_at_the_end_of_a_line(comment: str) -> None:
    assert covered(f"a = 1\nb = 2  {comment}\nc = 3\n") == [2]


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: TPF202",
        "# noqa: E501",
        "# tapefix: ignore[TPF202]",
        "# noqable",
        "# tapefix: ignored",
        "# see noqa: TPF101",
        "'# noqa: TPF101'",
    ],
)
def test_not_suppressed(comment: str) -> None:
    assert covered(f"a = 1\nb = 2;  {comment}\nc = 3\n") == []


def test_at_the_end_of_a_statement_of_several_lines() -> None:
    text = """\
        loss = f(  # noqa: TPF202
            a,
            b,
        )  # noqa: TPF101
        c = 3
        """
    assert covered(text) == [1, 2, 3, 4]
    assert covered(text, "TPF202") == [1]


def test_alone_above_a_statement() -> None:
    text = """\
        a = 1
        # tapefix: ignore[TPF101]
        # for a reason
        @decorated
        def f():
            x = 1

            return x
        b = 2
        """
    assert covered(text) == [4, 5, 6, 7, 8]
    text = """\
        with tape:
            # noqa: TPF101
            loss = g(
                x
            )
            other = 1
        """
    assert covered(text) == [3, 4, 5]


def test_alone_where_no_statement_follows() -> None:
    assert covered("x = f(\n    # tapefix: ignore\n    a,\n    b,\n)\n") == [3]
    assert covered("x = 1\n# tapefix: ignore\n") == [3][:0]


def test_a_bare_noqa_alone_covers_nothing() -> None:
    assert covered("# noqa\nx = 1\n") == []


def test_whole_file() -> None:
    assert covered("a = 1\n# tapefix: ignore-file\nb = 2\n") == [1, 2, 3]


def test_line_ends_and_text_that_does_not_tokenize() -> None:
    assert covered("a = 1\r\nb = 2  # noqa: TPF101\r\nc = 3\r\n") == [2]
    assert Suppressions("x = (  # noqa\n'''").covers("TPF101", Span(9, 0, 9, 1)) is False


def unused(text: str, *found: tuple[str, int]) -> list[tuple[int, str]]:
    suppressions = Suppressions(text)
    for code, line in found:
        suppressions.covers(code, Span(line, 0, line, 1))
    return [(item.line, ",".join(sorted(item.codes))) for item in suppressions.unused()]


def test_unused() -> None:
    assert unused("a  # noqa: TPF101,TPF202,E501\n", ("TPF101", 1)) == [(1, "TPF202")]
    assert unused("a  # noqa: TPF101\n", ("TPF101", 1)) == []
    assert unused("a  # noqa: TPF101\n", ("TPF101", 2)) == [(1, "TPF101")]
    assert unused("a  # noqa\nb  # noqa: E501\n") == []
    assert unused("a  # tapefix: ignore\n") == [(1, "")]
    assert unused("a  # tapefix: ignore\n", ("TPF305", 1)) == []
    assert unused("# tapefix: ignore-file\n") == []
    # Both comments say the same; neither is unused.
    assert unused("# tapefix: ignore\na  # noqa: TPF101\n", ("TPF101", 2)) == []


def test_unused_findings() -> None:
    suppressions = Suppressions("a = 1  # noqa: TPF101\nb = 2  # tapefix: ignore\n")
    first, second = unused_findings(suppressions)
    assert (first.code, first.name, first.span) == ("TPF001", "unused-suppression", Span(1, 7, 1, 21))
    assert first.message == "`# noqa: TPF101` suppresses nothing: TPF101 is not found here."
    assert second.message == "`# tapefix: ignore` suppresses nothing: nothing is found here."
    assert not first.candidates
    assert unused_findings(suppressions, {"TPF001", "TPF202"}) == []
    assert unused_findings(suppressions, {"TPF101"}) == []
    assert len(unused_findings(suppressions, {"TPF001", "TPF101"})) == 1


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        ([], True),
        (["--select", "TPF0,TPF101"], True),
        (["--select", "TPF101"], False),
        (["--ignore", "TPF001"], False),
        (["--ignore", "TPF101"], False),
    ],
)
def test_an_unused_suppression_is_reported(run: Callable[..., Any], options: list[str], reported: bool) -> None:
    Path("a.py").write_text("import tensorflow as tf\n\nx = tf.ones(3)  # noqa: TPF101\n")
    ran = run("--output-format", "concise", *options, "a.py")
    assert ("TPF001" in ran.out) == reported
    assert ran.status == int(reported)
