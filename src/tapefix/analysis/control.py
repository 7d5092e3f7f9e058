"""Control flow inside one function: where it can fall off its end, what belongs to it and not to an inner function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class End(NamedTuple):
    """A block at whose end a function ends without a `return value`.

    `missing_branch` is the `if` without `else` (the last statement of the block) that is skipped there.
    """

    block: list[ast.stmt]
    missing_branch: ast.If | None = None


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below `node` that is not inside an inner function or class (these themselves are included)."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, INNER):
            yield from own_nodes(child)


def ends(block: list[ast.stmt]) -> list[End]:
    """The places where control runs off the end of a function's block, bare `return`s at an end included."""
    last = block[-1]
    if isinstance(last, ast.Return):
        return [End(block)] if last.value is None else []
    if isinstance(last, (ast.Raise, ast.Continue, ast.Break)):
        return []
    if isinstance(last, ast.If):
        return ends(last.body) + (ends(last.orelse) if last.orelse else [End(block, last)])
    if isinstance(last, (ast.With, ast.AsyncWith)):
        return ends(last.body)
    if isinstance(last, ast.Try):
        if last.finalbody and not ends(last.finalbody):
            return []
        found = ends(last.orelse) if last.orelse else ends(last.body)
        return found + [end for handler in last.handlers for end in ends(handler.body)]
    if isinstance(last, ast.Match):
        return [end for case in last.cases for end in ends(case.body)]
    if isinstance(last, ast.While) and isinstance(last.test, ast.Constant) and last.test.value:
        return [End(block)] if any(isinstance(node, ast.Break) for node in own_nodes(last)) else []
    return [End(block)]


def is_generator(function: ast.AST) -> bool:
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in own_nodes(function))
