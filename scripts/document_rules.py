"""Writes docs/rules.md, the overview of all rules, and the rules' index, from the rules themselves.

`python scripts/document_rules.py` writes both; with `--check` the exit status is 1 where one is not current.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from tapefix.rules import all_rules
from tapefix.rules.base import Rule

PAGE = Path(__file__).parent.parent / "docs" / "rules.md"
INDEX = Path(__file__).parent.parent / "src" / "tapefix" / "rules" / "_index.py"
INDEX_HEAD = """\
\"\"\"What is to be known of each rule before it is loaded: its module, and the tokens without which it finds nothing.

Made by scripts/document_rules.py.
\"\"\"

from __future__ import annotations

# fmt: off
MODULES: dict[str, str] = {
"""
FAMILIES = {
    "1": "Tape",
    "2": "NumPy",
    "3": "Differentiable",
    "4": "Returns and the Keras API",
    "5": "Variables",
    "6": "Numeric",
    "9": "Measured",
}
HEAD = """\
# The rules

Made by `python scripts/document_rules.py` from the docstrings of the rules. `tapefix --explain CODE` shows one of them.

*safe* repairs compute what the author meant, *unsafe* ones change it on purpose, *advice* means that no edit is made.
"""


def page() -> str:
    """The text of the overview: a table, then each rule by family."""
    rules = all_rules()
    parts = [HEAD.strip(), "| Code | Name | | What it is about |\n|---|---|---|---|"]
    parts[-1] += "".join(
        f"\n| [{rule.code}](#{rule.code.lower()}-{rule.name}) | {rule.name} | {rule.safety} | {document(rule)[0]} |"
        for rule in rules
    )
    for digit, family in FAMILIES.items():
        parts.append(f"## {family}")
        for rule in rules:
            if rule.code[3] == digit:
                parts += [f"### {rule.code} {rule.name}", *sections(rule)]
    return "\n\n".join(parts) + "\n"


def document(rule: Rule) -> tuple[str, str]:
    """The first line of a rule's docstring, and the rest."""
    first, _, rest = inspect.cleandoc(rule.__doc__ or "").partition("\n")
    return first, rest.strip("\n")


def sections(rule: Rule) -> list[str]:
    """A rule's docstring as Markdown: section names in bold, their texts without the indent."""
    first, rest = document(rule)
    lines = []
    for line in rest.splitlines():
        is_name = line.endswith(":") and line and not line.startswith(" ")
        lines.append(f"**{line[:-1]}**\n" if is_name else line.removeprefix("    "))
    return [first, "\n".join(lines)]


def index() -> str:
    """The text of the index: two tables by code."""
    rules = all_rules()
    lines = [f'    "{rule.code}": "{type(rule).__module__.rpartition(".")[2]}",' for rule in rules]
    lines += ["}", "TOKENS: dict[str, tuple[str, ...]] = {"]
    tokens = [f'    "{rule.code}": {rule.tokens!r},' for rule in rules]
    lines += [line if len(line) <= 120 else f"{line}  # noqa: E501" for line in tokens]
    return INDEX_HEAD + "\n".join([*lines, "}"]) + "\n"


def main() -> int:
    made = {PAGE: page(), INDEX: index()}
    if sys.argv[1:] == ["--check"]:
        return int(any(not file.exists() or file.read_text(encoding="utf-8") != text for file, text in made.items()))
    for file, text in made.items():
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
