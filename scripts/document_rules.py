"""Writes docs/rules.md, the overview of all rules, from the rules themselves.

`python scripts/document_rules.py` writes it; with `--check` the exit status is 1 where it is not current.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from tapefix.rules import all_rules
from tapefix.rules.base import Rule

PAGE = Path(__file__).parent.parent / "docs" / "rules.md"
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


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page() else 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
