"""Carries out edits with libcst in one pass, so that comments, blank lines, quotes and line ends stay as they are.

Expressions are rewritten on the way out of the tree, so edits nest. Statements are changed in the block that holds
them; one that moves leaves its new place marked by a placeholder, which a second pass fills.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from tapefix.codemods.edits import AddImport, Delete, Edit, Insert, Move, ReplaceExpression, ReplaceStatement
from tapefix.codemods.excerpt import excerpt, shifted, with_imports
from tapefix.codemods.templates import Templates, in_parentheses, needs_parentheses
from tapefix.findings import Span

Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement
_PLACEHOLDER = "__tapefix_moved_{}__"


class EditConflict(Exception):
    """The edits cannot be carried out together: one of them names a place that another has rewritten."""


def apply(text: str, edits: Sequence[Edit]) -> str:
    """The text with the edits carried out. Raises EditConflict where they do not fit together, or do not parse."""
    unique = list({repr(edit): edit for edit in edits}.values())
    imports = [edit.statement for edit in unique if isinstance(edit, AddImport)]
    rest = [edit for edit in unique if not isinstance(edit, AddImport)]
    code = _rewritten(text, rest) if rest else text
    try:
        return with_imports(code, imports) if imports else _parsed(code)
    except SyntaxError as error:
        raise EditConflict(f"the result does not parse: {error.msg}") from None


def _parsed(code: str) -> str:
    ast.parse(code)
    return code


def _rewritten(text: str, edits: Sequence[Edit]) -> str:
    part = excerpt(text, ast.parse(text), edits)
    config = cst.PartialParserConfig(default_indent=part.indent, default_newline=part.newline)
    module = cst.parse_module(part.text, config)
    rewriter = _Rewriter(module, _Places(module), [shifted(edit, part.start) for edit in edits])
    result = module.visit(rewriter)
    if rewriter.moved:
        result = result.visit(_Fill(rewriter.moved))
    if rewriter.undone:
        raise EditConflict(f"no place for {rewriter.undone[0]}")
    return part.put_back(result.code)


class _Places:
    """libcst nodes by the spans of the matching ast nodes."""

    def __init__(self, module: cst.Module) -> None:
        wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
        positions: Any = wrapper.resolve(PositionProvider)
        self.expressions: dict[Span, cst.CSTNode] = {}
        self.small: dict[tuple[int, int], cst.CSTNode] = {}
        self.compound: dict[tuple[int, int], cst.CSTNode] = {}
        for node, place in positions.items():
            start, end = place.start, place.end
            if isinstance(node, cst.BaseExpression):
                span = Span(start.line, start.column, end.line, end.column)
                self.expressions[span] = node
                if isinstance(node, (cst.Tuple, cst.GeneratorExp)) and node.lpar:
                    # ast counts the parentheses of a tuple, libcst does not.
                    first, last = len(node.lpar), len(node.rpar)
                    self.expressions[Span(start.line, start.column - first, end.line, end.column + last)] = node
            elif isinstance(node, cst.BaseSmallStatement):
                self.small[start.line, start.column] = node
            elif isinstance(node, cst.BaseCompoundStatement):
                self.compound[start.line, start.column] = node

    def expression(self, span: Span) -> cst.CSTNode | None:
        return self.expressions.get(span)

    def statement(self, span: Span) -> cst.CSTNode | None:
        place = (span.line, span.column)
        return self.compound.get(place) or self.small.get(place)


class _Rewriter(cst.CSTTransformer):
    def __init__(self, module: cst.Module, places: _Places, edits: Iterable[Edit]) -> None:
        super().__init__()
        self.templates = Templates(module)
        self.places = places
        self.undone: list[Edit] = []
        self.moved: dict[str, Statement] = {}
        self._expressions: dict[cst.CSTNode, ReplaceExpression] = {}
        self._statements: dict[cst.CSTNode, ReplaceStatement | Delete] = {}
        self._inserts: dict[cst.CSTNode, list[tuple[str, Insert | str]]] = {}
        self._leaving: dict[cst.CSTNode, str] = {}
        self._bare: set[cst.CSTNode] = set()
        self._wanted: dict[cst.CSTNode, cst.CSTNode] = {}
        self._replaced_parts: dict[cst.CSTNode, cst.CSTNode] = {}
        self._stack: list[cst.CSTNode] = []
        for edit in edits:
            self._prepare(edit)

    def _prepare(self, edit: Edit) -> None:
        if isinstance(edit, AddImport):
            return
        if not isinstance(edit, (Delete, Move)):
            for span in edit.parts.values():
                part = self.places.expression(span)
                if part is not None:
                    self._wanted[part] = part
        self.undone.append(edit)
        if isinstance(edit, ReplaceExpression):
            node = self.places.expression(edit.span)
            if node is not None and node not in self._expressions:
                self._expressions[node] = edit
        elif isinstance(edit, (ReplaceStatement, Delete)):
            node = self.places.statement(edit.span)
            if node is not None and node not in self._statements:
                self._statements[node] = edit
        elif isinstance(edit, Insert):
            node = self.places.statement(edit.anchor)
            if node is not None:
                self._inserts.setdefault(node, []).append((edit.where, edit))
        else:
            anchor = self.places.statement(edit.anchor)
            nodes = [self.places.statement(span) for span in edit.spans]
            if anchor is None or any(node is None or node in self._leaving for node in nodes):
                return
            for node in nodes:
                assert node is not None
                placeholder = _PLACEHOLDER.format(len(self._leaving))
                self._leaving[node] = placeholder
                if edit.bare:
                    self._bare.add(node)
                self._inserts.setdefault(anchor, []).append((edit.where, placeholder))
            self.undone.remove(edit)

    # -------------------------------------------------------------- walking

    def on_visit(self, node: cst.CSTNode) -> bool:
        self._stack.append(node)
        return True

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        self._stack.pop()
        result = updated_node
        edit = self._expressions.get(original_node)
        if edit is not None:
            result = self._replaced(edit, original_node, updated_node)
        if original_node in self._wanted:
            # A part inside the replaced expression is taken with all that other edits made of it; one that stands
            # elsewhere (two arguments that change places) as its own, without the edit that replaces it there.
            self._wanted[original_node] = updated_node
            self._replaced_parts[original_node] = result
        if isinstance(original_node, (cst.Module, cst.IndentedBlock)):
            result = self._body(original_node, result)
        elif isinstance(original_node, cst.SimpleStatementSuite) and any(self._touched(s) for s in original_node.body):
            block = cst.IndentedBlock(body=[cst.SimpleStatementLine(body=[s]) for s in result.body])
            lines = cst.IndentedBlock(body=[cst.SimpleStatementLine(body=[s]) for s in original_node.body])
            result = self._body(lines, block)
        return result

    def _replaced(self, edit: ReplaceExpression, original: cst.CSTNode, updated: Any) -> Any:
        new = self.templates.expression(edit.template, self._parts(edit.parts, original, updated))
        self.undone.remove(edit)
        if updated.lpar:
            return new if new.lpar else new.with_changes(lpar=updated.lpar, rpar=updated.rpar)
        parent = self._stack[-1] if self._stack else None
        return in_parentheses(new) if needs_parentheses(new, parent, original) else new

    def _parts(
        self, parts: Any, original: cst.CSTNode | None = None, updated: Any = None
    ) -> dict[str, cst.BaseExpression]:
        found = {}
        for name, span in parts.items():
            node = self.places.expression(span)
            if node is None:
                raise EditConflict(f"no expression at {span}")
            if node is original:
                found[name] = updated.with_changes(lpar=[], rpar=[]) if updated.lpar else updated
            else:
                inside = original is None or _contains(original, node)
                found[name] = self._replaced_parts.get(node, node) if inside else self._wanted[node]
        return found

    # -------------------------------------------------------------- statements

    def _touched(self, node: cst.CSTNode) -> bool:
        return node in self._statements or node in self._inserts or node in self._leaving

    def _body(self, original: Any, updated: Any) -> Any:
        """A block with its statements replaced, removed, added."""
        touched = [self._targets(statement) for statement in original.body]
        if not any(touched):
            return updated
        result: list[Statement] = []
        orphaned: list[cst.EmptyLine] = []
        for statement, new, targets in zip(original.body, updated.body, touched, strict=True):
            if not targets:
                made: list[Statement] = [new]
            elif isinstance(statement, cst.SimpleStatementLine) and len(statement.body) > 1:
                made = []
                for small, new_small in zip(statement.body, new.body, strict=True):
                    line = new.with_changes(body=[new_small.with_changes(semicolon=cst.MaybeSentinel.DEFAULT)])
                    if small is not statement.body[0]:
                        line = line.with_changes(leading_lines=[])
                    if small is not statement.body[-1]:
                        line = line.with_changes(trailing_whitespace=cst.TrailingWhitespace())
                    made += self._changed(small, line)
            else:
                made = self._changed(targets[0], new)
            if made and orphaned and not made[0].leading_lines:
                made[0] = made[0].with_changes(leading_lines=orphaned)
            if made:
                orphaned = []
            elif not orphaned:
                bare = targets[0] in self._bare
                orphaned = [line for line in new.leading_lines if bare or line.comment is None]
            result += made
        if not result:
            result = [cst.parse_statement("pass")]
        return updated.with_changes(body=result)

    def _targets(self, statement: Any) -> list[cst.CSTNode]:
        nodes = statement.body if isinstance(statement, cst.SimpleStatementLine) else [statement]
        return [node for node in nodes if self._touched(node)]

    def _changed(self, node: cst.CSTNode, new: Any) -> list[Statement]:
        edit = self._statements.get(node)
        middle: list[Statement] = [new]
        inserted = [(where, self._new_statements(item)) for where, item in self._inserts.get(node, [])]
        if isinstance(edit, Delete):
            self.undone.remove(edit)
            middle = []
        elif isinstance(edit, ReplaceStatement):
            self.undone.remove(edit)
            middle = self.templates.statements(edit.template, self._parts(edit.parts))
            if middle:
                middle[0] = middle[0].with_changes(leading_lines=[*new.leading_lines, *middle[0].leading_lines])
                last = middle[-1]
                if isinstance(new, cst.SimpleStatementLine) and isinstance(last, cst.SimpleStatementLine):
                    middle[-1] = last.with_changes(trailing_whitespace=new.trailing_whitespace)
        elif any(where in ("first", "last") for where, _ in inserted):
            middle = [self._inside(new, inserted)]
        if node in self._leaving:
            self.moved[self._leaving[node]] = (
                middle[0].with_changes(leading_lines=[]) if node in self._bare else middle[0]
            )
            middle = []
        before = [s for where, group in inserted if where == "before" for s in group]
        after = [s for where, group in inserted if where == "after" for s in group]
        if before and middle:
            # Blank lines stay above the new statements, comments with the statement that they speak of.
            lines = list(middle[0].leading_lines)
            blank = 0
            while blank < len(lines) and lines[blank].comment is None:
                blank += 1
            before[0] = before[0].with_changes(leading_lines=[*lines[:blank], *before[0].leading_lines])
            # A function or class keeps blank lines of its own, too.
            is_definition = isinstance(middle[0], (cst.FunctionDef, cst.ClassDef))
            middle[0] = middle[0].with_changes(leading_lines=lines if is_definition else lines[blank:])
        return [*before, *middle, *after]

    def _new_statements(self, item: Insert | str) -> list[Statement]:
        if isinstance(item, str):
            return [cst.parse_statement(item)]
        self.undone.remove(item)
        return self.templates.statements(item.template, self._parts(item.parts))

    def _inside(self, statement: Any, inserted: list[tuple[str, list[Statement]]]) -> Any:
        first = [s for where, group in inserted if where == "first" for s in group]
        last = [s for where, group in inserted if where == "last" for s in group]
        block = statement.body
        if isinstance(block, cst.SimpleStatementSuite):
            block = cst.IndentedBlock(body=[cst.SimpleStatementLine(body=[s]) for s in block.body])
        body = list(block.body)
        if first and body and _is_docstring(body[0]) and isinstance(statement, (cst.FunctionDef, cst.ClassDef)):
            body = [body[0], *first, *body[1:]]
        else:
            body = [*first, *body]
        return statement.with_changes(body=block.with_changes(body=[*body, *last]))


class _Fill(cst.CSTTransformer):
    """Puts the moved statements where their placeholders stand."""

    def __init__(self, moved: dict[str, Statement]) -> None:
        super().__init__()
        self.moved = moved

    def leave_SimpleStatementLine(self, original_node: cst.SimpleStatementLine, updated_node: Any) -> Any:
        body = original_node.body
        if len(body) == 1 and isinstance(body[0], cst.Expr) and isinstance(body[0].value, cst.Name):
            statement = self.moved.get(body[0].value.value)
            if statement is not None:
                lines = list(statement.leading_lines)
                while lines and lines[0].comment is None:
                    lines.pop(0)  # blank lines stay where the statement came from
                return statement.with_changes(leading_lines=[*original_node.leading_lines, *lines])
        return updated_node


def _contains(outer: cst.CSTNode, node: cst.CSTNode) -> bool:
    return outer is node or any(_contains(child, node) for child in outer.children)


def _is_docstring(statement: cst.CSTNode) -> bool:
    return (
        isinstance(statement, cst.SimpleStatementLine)
        and isinstance(statement.body[0], cst.Expr)
        and isinstance(statement.body[0].value, (cst.SimpleString, cst.ConcatenatedString))
    )
