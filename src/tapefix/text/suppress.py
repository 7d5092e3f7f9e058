"""Comments that keep tapefix silent: `# noqa: TPF101`, `# tapefix: ignore[TPF101]`, `# tapefix: ignore-file`."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterator
from typing import NamedTuple

from tapefix.findings import Finding, Span

_CODE = r"[A-Za-z]+[0-9]+"
_CODES = rf"{_CODE}(?:[\s,]+{_CODE})*"
# Not compiled here: most files have no such comment, and compiling costs more than the rest of this module.
_NOQA = rf"(?i:#\s*noqa\b(?:\s*:\s*(?P<codes>{_CODES}))?)"
_IGNORE = rf"#\s*tapefix:\s*ignore\b(?!-)(?:\s*\[\s*(?P<codes>{_CODES})\s*,?\s*\])?"
_IGNORE_FILE = r"#\s*tapefix:\s*ignore-file\b"


class UnusedSuppression:
    """A comment suppresses a finding that is not there.

    What it finds:
        A `# tapefix: ignore` comment, or a `# noqa` comment with a TPF code, where tapefix finds nothing that it
        could suppress.

    Why the gradient stops:
        It does not. The comment outlived the problem, or its code is mistyped, and the next problem on that line
        would go unseen.

    Example:
        ```python
        loss = tf.reduce_mean(error)  # noqa: TPF201
        ```

    Fix safety:
        There is no edit. Take the comment, or the code in it, out by hand.
    """

    code = "TPF001"
    name = "unused-suppression"
    safety = "advice"


class Unused(NamedTuple):
    """A comment that suppressed nothing, or the codes in it that did not."""

    line: int
    text: str
    span: Span
    codes: frozenset[str]


class _Comment:
    """One suppression: the lines it covers, the codes it names (none: all), and those that it did suppress."""

    def __init__(self, span: Span, text: str, first: int, last: int, codes: frozenset[str], own: bool) -> None:
        self.span = span
        self.text = text
        self.first = first
        self.last = last
        self.codes = codes
        self.own = own
        self.used: set[str] = set()

    def covers(self, code: str, line: int) -> bool:
        if not self.first <= line <= self.last:
            return False
        if not self.codes:
            self.used.add(code)
            return True
        # As in flake8, `TPF1` stands for every code that begins with it.
        matching = {named for named in self.codes if code.startswith(named)}
        self.used |= matching
        return bool(matching)


class Suppressions:
    """The suppressions of one file.

    A comment at the end of a line covers that line, or the whole logical line that it ends. A comment alone on
    its line covers the statement below it, with decorators and body.
    """

    def __init__(self, text: str) -> None:
        self._comments: list[_Comment] = []
        self._whole_file = False
        if "noqa" in text or "NOQA" in text or "tapefix:" in text:
            self._read(text)

    def covers(self, code: str, span: Span) -> bool:
        """Whether a finding with this code, at this place, is suppressed. Remembers the comment as used."""
        # No short cut with `any`: every comment that suppresses a finding counts as used.
        return self._whole_file or True in [comment.covers(code, span.line) for comment in self._comments]

    def unused(self) -> list[Unused]:
        """What suppressed nothing so far, of tapefix's own comments and the TPF codes of `# noqa`.

        `# tapefix: ignore-file` is never among them: what it covers is not looked at.
        """
        found = []
        for comment in self._comments:
            idle = comment.codes - comment.used
            if not comment.own:
                idle = frozenset(code for code in idle if code.startswith("TPF"))
            if idle or (comment.own and not comment.codes and not comment.used):
                found.append(Unused(comment.span.line, comment.text, comment.span, idle))
        return found

    def _read(self, text: str) -> None:
        statements: list[tuple[int, int]] | None = None
        for token, first, ends_line in _comments(text):
            if re.search(_IGNORE_FILE, token.string):
                self._whole_file = True
            match = re.search(_IGNORE, token.string)
            own = match is not None
            match = match or re.search(_NOQA, token.string)
            if match is None:
                continue
            codes = frozenset(re.findall(_CODE, (match["codes"] or "").upper()))
            line, column = token.start
            last = line
            if not token.line[:column].strip():
                # A bare noqa comment above a statement means nothing to other linters, so it means nothing here.
                if not own and not codes:
                    continue
                statements = _statements(text) if statements is None else statements
                first, last = _below(line, statements, text)
            elif not ends_line:
                first = line
            start = column + match.start()
            span = Span(line, start, line, column + match.end())
            self._comments.append(_Comment(span, match[0], first, last, codes, own))


def unused_findings(suppressions: Suppressions, looked_for: Collection[str] | None = None) -> list[Finding]:
    """A finding TPF001 for each comment that suppressed nothing.

    Call it after `covers` was asked about every finding, suspicions included. `looked_for` holds the codes that
    were looked for when --select or --ignore left some out: a comment for another code may well be needed.
    """
    rule = UnusedSuppression
    if looked_for is not None and rule.code not in looked_for:
        return []
    findings = []
    for unused in suppressions.unused():
        codes = sorted(unused.codes)
        if looked_for is not None:
            # A comment without codes says nothing about which rules it is there for.
            codes = [code for code in codes if any(known.startswith(code) for known in looked_for)]
            if not codes:
                continue
        what = f"{', '.join(codes)} is not found here" if codes else "nothing is found here"
        findings.append(
            Finding(
                code=rule.code,
                name=rule.name,
                span=unused.span,
                label="suppresses nothing",
                message=f"`{unused.text}` suppresses nothing: {what}.",
                advice="Take it out, so that the next problem on this line is seen.",
            )
        )
    return findings


def _comments(text: str) -> Iterator[tuple[tokenize.TokenInfo, int, bool]]:
    """Every comment with the first line of its logical line, and whether it stands at the end of that line."""
    first: int | None = None
    pending: tokenize.TokenInfo | None = None
    layout = {tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline=None).readline):
            if pending is not None:
                yield pending, first or pending.start[0], token.type == tokenize.NEWLINE
                pending = None
            if token.type == tokenize.COMMENT:
                pending = token
            elif token.type == tokenize.NEWLINE:
                first = None
            elif first is None and token.type not in layout:
                first = token.start[0]
    except (tokenize.TokenError, SyntaxError):
        # Text that does not tokenize does not parse either, and that is reported elsewhere.
        return


def _statements(text: str) -> list[tuple[int, int]]:
    """First and last line of every statement, its decorators included, outer statements first."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, RecursionError, MemoryError):
        return []
    extents = []
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            decorators: list[ast.expr] = getattr(node, "decorator_list", [])
            extents.append((min([node.lineno, *(item.lineno for item in decorators)]), node.end_lineno or node.lineno))
    return extents


def _below(line: int, statements: list[tuple[int, int]], text: str) -> tuple[int, int]:
    """The lines of the statement under a comment that stands alone; other comments may stand between."""
    lines = text.split("\n")
    line += 1
    while line <= len(lines) and lines[line - 1].lstrip().startswith("#"):
        line += 1
    for first, last in statements:
        if first == line:
            return first, last
    return line, line
