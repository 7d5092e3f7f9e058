"""The comment that keeps tapefix silent about one line."""

from __future__ import annotations

import io
import re
import tokenize

from tapefix.text.source import split_lines

_OWN = re.compile(r"(#\s*tapefix:\s*ignore\s*\[[^\]]*?)(\s*,?\s*\])")


def ignoring(text: str, line: int, code: str) -> str:
    """The text with `# tapefix: ignore[code]` for a line (from 1), joined to a comment of the kind that is there."""
    lines = split_lines(text)
    number = _end(text, line) - 1
    code_line = lines[number].rstrip("\r\n")
    end = lines[number][len(code_line) :]
    joined, count = _OWN.subn(rf"\g<1>, {code}\g<2>", code_line, count=1)
    lines[number] = (joined if count else f"{code_line.rstrip()}  # tapefix: ignore[{code}]") + end
    return "".join(lines)


def _end(text: str, line: int) -> int:
    """The line at whose end a comment covers `line`: itself, or the last of its statement where it cannot have one."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline=None).readline):
            first = token.start[0]
            if token.type == tokenize.NEWLINE and first >= line:
                return first
            if token.type in (tokenize.COMMENT, tokenize.NL) and first == line:
                return line
    except (tokenize.TokenError, SyntaxError):
        pass
    return line
