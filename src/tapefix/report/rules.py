"""The texts about rules, from the rules themselves: `--list-rules` and `--explain`."""

from __future__ import annotations

import difflib
import inspect
import sys
from typing import Any

from tapefix.text.suppress import UnusedSuppression


def show_list() -> int:
    """Print one line per rule."""
    rules = _rules()
    width = max(len(rule.name) for rule in rules)
    for rule in rules:
        print(f"{rule.code}  {rule.name:<{width}}  {rule.safety:<6}  {_doc(rule).splitlines()[0]}")
    return 0


def explain(code: str) -> int:
    """Print what a rule says of itself."""
    for rule in _rules():
        if rule.code == code.strip().upper():
            print(f"{rule.code} {rule.name} ({rule.safety})\n\n{_doc(rule)}")
            return 0
    print(f"there is no rule {code!r}{nearest(code)}", file=sys.stderr)
    return 2


def all_codes() -> list[str]:
    """The codes of all rules, in order."""
    return [rule.code for rule in _rules()]


def nearest(code: str) -> str:
    """A hint at the codes that look like `code`, or at the list of all."""
    wanted = code.strip().upper()
    similar = difflib.get_close_matches(wanted, all_codes(), n=len(all_codes()), cutoff=0.6)
    # Codes of the same family (`TPF1`) first: its digit is the first to be typed, and seldom the wrong one.
    close = sorted(similar, key=lambda known: known[:4] != wanted[:4])[:3]
    return f"; did you mean {' or '.join(close)}?" if close else "; tapefix --list-rules shows them all"


def _rules() -> list[Any]:
    from tapefix.rules import all_rules

    return sorted([UnusedSuppression, *all_rules()], key=lambda rule: str(rule.code))


def _doc(rule: Any) -> str:
    return inspect.cleandoc(rule.__doc__ or rule.name)
