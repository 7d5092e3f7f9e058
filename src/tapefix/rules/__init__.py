"""The rules, one file each. They are discovered: a new file is a new rule."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from tapefix.rules.base import Rule


@cache
def all_rules() -> tuple[Rule, ...]:
    """One instance of every rule, by code."""
    found: list[Rule] = []
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.stem.startswith("_") or file.stem == "base":
            continue
        module = import_module(f"{__name__}.{file.stem}")
        found += [
            thing()
            for thing in vars(module).values()
            if isinstance(thing, type)
            and issubclass(thing, Rule)
            and thing.__module__ == module.__name__
            and "code" in vars(thing)
        ]
    return tuple(sorted(found, key=lambda rule: rule.code))
