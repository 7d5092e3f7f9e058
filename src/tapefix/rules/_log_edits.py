"""What is collected while logs are taken inwards, and the edits that come of it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from tapefix.analysis.scopes import Def
from tapefix.codemods.edits import Delete, Edit, Insert, ReplaceExpression, ReplaceStatement
from tapefix.findings import Span
from tapefix.rules._log_helpers import Twin, is_only_called
from tapefix.rules._spelling import Spelling

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class Collected:
    """New texts for logs, names that were looked through, parts that got names of their own, and new helpers."""

    def __init__(self, module: Module, spelling: Spelling, *, in_helper: bool = False) -> None:
        self.module = module
        self.spelling = spelling
        self._in_helper = in_helper
        self.parts: dict[str, Span] = {}
        self._hoisted: dict[ast.AST, str] = {}
        self._hoists: dict[ast.stmt, tuple[ast.expr, str]] = {}
        self._twins: dict[Def, str] = {}
        self._twin_edits: dict[Def, tuple[ast.stmt, str]] = {}
        self._replaced: list[tuple[ast.expr, str]] = []
        self._looked_through: list[Def] = []
        self._kept: list[ast.expr] = []
        self._helpers: dict[ast.FunctionDef, Twin] = {}
        self._helped: list[ast.Call] = []

    def edits(self) -> tuple[Edit, ...]:
        edits: list[Edit] = [
            ReplaceExpression(self.module.span(node), text, self._used(text)) for node, text in self._replaced
        ]
        gone = self._unused()
        for definition, (statement, text) in self._twin_edits.items():
            span = self.module.span(statement)
            if definition in gone:
                edits.append(ReplaceStatement(span, text, self._used(text)))
            else:
                edits.append(Insert(span, "after", text, self._used(text)))
        for statement, (value, name) in self._hoists.items():
            span = self.module.span(statement)
            template = f"{name} = $value"
            if any(self.module.statement(d.node) is statement for d in gone):
                edits.append(ReplaceStatement(span, template, {"value": self.module.span(value)}))
            else:
                edits.append(Insert(span, "before", template, {"value": self.module.span(value)}))
                edits += self._call_with(value, name)
        for definition in gone:
            statement = self.module.statement(definition.node)
            if definition not in self._twin_edits and statement not in self._hoists:
                edits.append(Delete(self.module.span(statement)))
        for function, twin in self._helpers.items():
            span = self.module.span(function)
            if is_only_called(self.module, function, self._helped):
                edits.append(ReplaceStatement(span, twin.template, twin.parts))
            else:
                blank = "\n" * (1 if self.module.method_class(function) is not None else 2)
                edits.append(Insert(span, "after", blank + twin.template, twin.parts))
        return (*edits, *self.spelling.imports)

    def _call_with(self, value: ast.expr, name: str) -> list[Edit]:
        """The call of which `value` is the first argument, now with the name that was given to it."""
        call = self.module.parent(value)
        if not isinstance(call, ast.Call):
            return []
        others = [(f"a{i}", a, "") for i, a in enumerate(call.args[1:])]
        others += [(f"k{i}", k.value, f"{k.arg}=") for i, k in enumerate(call.keywords) if k.arg is not None]
        rest = "".join(f", {keyword}${hole}" for hole, _, keyword in others)
        parts = {hole: self.module.span(node) for hole, node, _ in others}
        return [ReplaceExpression(self.module.span(call), f"{self.module.source(call.func)}({name}{rest})", parts)]

    def _used(self, text: str) -> dict[str, Span]:
        return {name: span for name, span in self.parts.items() if f"${name}" in text}

    def _unused(self) -> list[Def]:
        """Definitions of looked-through names that nothing reads any more."""
        gone: list[Def] = []
        places: list[ast.AST] = [node for node, _ in self._replaced]
        for _ in range(len(self._looked_through)):
            statements = [self.module.statement(d.node) for d in gone]
            for definition in self._looked_through:
                if definition in gone:
                    continue
                if not any(self._is_read(use, [*places, *statements]) for use in definition.uses):
                    gone.append(definition)
        return gone

    def _is_read(self, use: ast.Name, replaced: list[ast.AST]) -> bool:
        """Does the new text still read a name at this place?"""
        if any(self.module.inside(use, kept) for kept in self._kept):
            return True
        return not any(self.module.inside(use, place) for place in replaced)

    def _state(self) -> tuple[Any, ...]:
        tables = (
            self.parts,
            self._hoisted,
            self._hoists,
            self._twins,
            self._twin_edits,
            self._looked_through,
            self._kept,
            self._helpers,
            self._helped,
        )
        return tuple(table.copy() for table in tables)

    def _restore(self, state: tuple[Any, ...]) -> None:
        (
            self.parts,
            self._hoisted,
            self._hoists,
            self._twins,
            self._twin_edits,
            self._looked_through,
            self._kept,
            self._helpers,
            self._helped,
        ) = state
