"""The rules, one file each: a new file is a new rule, once scripts/document_rules.py has put it into the index."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from tapefix.rules._index import MODULES, TOKENS
from tapefix.rules.base import Rule, occur


def all_codes() -> tuple[str, ...]:
    """The codes of all rules, in order; no rule is loaded for it."""
    return tuple(MODULES)


def rules_for(text: str, codes: Iterable[str]) -> list[Rule]:
    """One instance of each rule with one of the codes that can find anything in the text. The others are not loaded."""
    return [_rule(code) for code in codes if occur(TOKENS[code], text)]


@cache
def all_rules() -> tuple[Rule, ...]:
    """One instance of every rule, by code, as the files are."""
    names = sorted(file.stem for file in Path(__file__).parent.glob("*.py"))
    modules = [import_module(f"{__name__}.{name}") for name in names if not name.startswith("_") and name != "base"]
    return tuple(sorted((rule for module in modules for rule in _rules_of(module)), key=lambda rule: rule.code))


@cache
def _rule(code: str) -> Rule:
    return next(rule for rule in _rules_of(import_module(f"{__name__}.{MODULES[code]}")) if rule.code == code)


def _rules_of(module: ModuleType) -> list[Rule]:
    return [
        thing()
        for thing in vars(module).values()
        if isinstance(thing, type)
        and issubclass(thing, Rule)
        and thing.__module__ == module.__name__
        and "code" in vars(thing)
    ]
