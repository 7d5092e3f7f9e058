"""What the rules of the numpy family share: the detours of one function as one finding, with all their edits."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.exports import Exit
from tapefix.codemods.edits import AddImport, Edit, Insert
from tapefix.findings import Candidate, Finding
from tapefix.rules._after import followers
from tapefix.rules._detour_edits import blocked, edits_for
from tapefix.rules._text import listing
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.detours import Detour
    from tapefix.analysis.module import Module

_TAPE = "the tape sees a constant"


class DetourRule(Rule):
    """Base of the rules that bring values back to TensorFlow."""

    exits: Exit
    title: str
    changes_value = False

    def check(self, module: Module) -> Iterator[Finding]:
        groups = _groups(module)
        chief = next(iter(groups), None)
        for key, detours in groups.items():
            if key[1] == self.exits:
                yield self._group(module, detours, with_followers=key == chief, hopeless=_hopeless(module, groups, key))

    def _group(self, module: Module, detours: list[Detour], *, with_followers: bool, hopeless: str) -> Finding:
        first = detours[0]
        edits: list[Edit] = []
        for detour in detours:
            edits += edits_for(module, detour) or []
        if with_followers:
            edits += followers(module, certain=first.certain)
        edits.sort(key=_inner_first)
        if any("tf." in getattr(e, "template", "") for e in edits) and module.needs_tf_import:
            edits.append(AddImport("import tensorflow as tf"))
        candidates = (
            []
            if hopeless or not edits
            else [Candidate(self.title, tuple(edits), keeps_value=None if self._keeps_value(edits) else False)]
        )
        return self.finding(
            module,
            first.node,
            self.message(module, detours),
            label=_label(first),
            candidates=candidates,
            notes=[
                (d.node, _label(d)) for d in detours[1:] if module.span(d.node).line != module.span(first.node).line
            ],
            certain=first.certain,
            silent=all(d.silent for d in detours),
            advice=hopeless,
        )

    def _keeps_value(self, edits: list[Edit]) -> bool:
        """A model computes something else in training mode (dropout, batch normalisation)."""
        return not self.changes_value and not any("training=True" in getattr(e, "template", "") for e in edits)

    def message(self, module: Module, detours: list[Detour]) -> str:
        names = _names(module, detours)
        verb = "takes" if len(names) == 1 else "take"
        starved = _starved(detours)
        return f"{listing(names)} {verb} the value out of TensorFlow, so {_TAPE} and no gradient reaches {starved}."


def _starved(detours: list[Detour]) -> str:
    if any(d.part == "all" for d in detours):
        return "what the loss is computed from"
    if any(d.part == "term" for d in detours):
        return "the variables through this term of the loss"
    return "the variables behind it"


def _inner_first(edit: Edit) -> tuple[int, int]:
    """Names for parts of an expression are made from the inside to the outside."""
    if not isinstance(edit, Insert) or "value" not in edit.parts:
        return (0, 0)
    span = edit.parts["value"]
    return (span.end_line - span.line, span.end_column - span.column)


_LABELS: dict[Exit, str] = {
    "operation": "computed by NumPy",
    "export": "leaves TensorFlow here",
    "predict": "returns an array",
    "random": "drawn by NumPy",
    "wrapper": "runs outside TensorFlow",
    "constant": "made into a constant",
}


def _label(detour: Detour) -> str:
    return _LABELS[detour.kind]


def _names(module: Module, detours: list[Detour]) -> list[str]:
    found = []
    for detour in detours:
        if isinstance(detour.node, ast.Call):
            func = detour.node.func
            named = isinstance(func, ast.Attribute) and module.name(func) is None
            found.append(f".{func.attr}()" if named else ast.unparse(func))  # type: ignore[attr-defined]
        else:
            found.append("storing into an array")
    return list(dict.fromkeys(found))


def _groups(module: Module) -> dict[tuple[ast.AST | None, Exit, bool], list[Detour]]:
    """The detours by function, kind and certainty, in the order of the file, the certain ones first."""
    found: dict[tuple[ast.AST | None, Exit, bool], list[Detour]] = {}
    order = sorted(module.detours.found.values(), key=lambda d: (not d.certain, d.node.lineno, d.node.col_offset))
    for detour in order:
        found.setdefault((module.function(detour.node), detour.kind, detour.certain), []).append(detour)
    return found


_STORED = "A tensor takes no stores: build the value with tf.where, tf.stack or tf.tensor_scatter_nd_update."


def _hopeless(
    module: Module,
    groups: dict[tuple[ast.AST | None, Exit, bool], list[Detour]],
    key: tuple[ast.AST | None, Exit, bool],
) -> str:
    """Advice where one of the detours of the same function has no TensorFlow form: the others would repair nothing."""
    tensors = module.detours.tensors if key[2] else module.detours.tensors | module.detours.perhaps
    if blocked(module, key[0], tensors):
        return _STORED
    for (function, _, certain), detours in groups.items():
        if function is key[0] and certain == key[2]:
            for detour in detours:
                if edits_for(module, detour) is None:
                    name = _names(module, [detour])[0]
                    return (
                        f"{name} has no direct counterpart in TensorFlow: write this step with TensorFlow's functions."
                    )
    return ""
