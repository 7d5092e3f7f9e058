"""A prediction or loss that is computed by the caller, and comes into the function of the tape as a parameter.

The repair passes what it is computed from, and computes it under the tape.
"""

from __future__ import annotations

import ast
import textwrap
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Delete, Edit, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate
from tapefix.rules._elsewhere import start_of
from tapefix.rules._text import assigned, rewritten

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.scopes import Def
    from tapefix.analysis.tapes import Tape

_KEPT_KINDS = ("model", "layer", "variable", "optimizer", "loss", "metric", "module")


def of_parameters(module: Module, tape: Tape, outside: list[Def]) -> Candidate | None:
    """The candidate for a function that is called from one place only; None where it does not fit."""
    home = module.function(tape.block)
    if not isinstance(home, ast.FunctionDef):
        return None
    site = _only_site(module, home)
    if site is None or any(isinstance(a, ast.Starred) for a in site.args) or any(k.arg is None for k in site.keywords):
        return None
    return _Passing(module, tape, home, site, outside).candidate()


def _only_site(module: Module, home: ast.FunctionDef) -> ast.Call | None:
    """The one call of the function, where its name is used for nothing else."""
    sites = module.objects.call_sites.get(home, [])
    if len(sites) != 1 or home.args.vararg or home.args.kwarg or home.args.kwonlyargs or home.args.posonlyargs:
        return None
    for node in module.all(ast.Name, ast.Attribute):
        spelled = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
        if spelled == home.name and node is not sites[0].func and isinstance(node.ctx, ast.Load):  # type: ignore[attr-defined]
            return None
    return sites[0]


class _Passing:
    """One function with a tape, and its call."""

    def __init__(self, module: Module, tape: Tape, home: ast.FunctionDef, site: ast.Call, outside: list[Def]) -> None:
        self.module = module
        self.tape = tape
        self.home = home
        self.site = site
        self.outside = set(outside)
        self.arguments = self._arguments()
        self.taken = set(module.reaching.scope_of[home].defs)
        # The parameters that are given a finished value, in their order.
        self.carried = [name for name, value in self.arguments.items() if self._carries(name, value)]
        self.leaves: list[str] = []

    def candidate(self) -> Candidate | None:
        if not self.carried or any(self._read_too_early(name) for name in self.carried):
            return None
        moving = self._moving()
        if moving is None:
            return None
        lines = []
        for statement in moving:
            text = self._text(statement)
            if text is None:
                return None
            lines.append(text)
        for name in self.carried:
            value = self.arguments[name]
            if not isinstance(value, ast.Name):
                text = self._text(value)
                if text is None:
                    return None
                lines.append(assigned(name, text))
        if self.taken & set(self.leaves):
            return None
        function = self._function(lines)
        edits: list[Edit] = [ReplaceStatement(self.module.span(self.home), function)]
        edits.append(ReplaceExpression(self.module.span(self.site), self._call()))
        stay = [s for s in moving if self._needed(s, moving)]
        edits += [Delete(self.module.span(s)) for s in moving if s not in stay]
        return Candidate(
            "compute it inside the tape's block, from what the caller passes", tuple(edits), needs_proof=bool(stay)
        )

    # -------------------------------------------------------------- what is passed

    def _arguments(self) -> dict[str, ast.expr]:
        names = [a.arg for a in self.module.objects.parameters(self.home)]
        found = dict(zip(names, self.site.args, strict=False))
        found.update({k.arg: k.value for k in self.site.keywords if k.arg in names})
        return found

    def _carries(self, name: str, value: ast.expr) -> bool:
        asked = {n.id for g in self.tape.gradients for n in ast.walk(g.sources) if isinstance(n, ast.Name)}
        if name in asked or self.module.kinds.of(value) in _KEPT_KINDS:
            return False
        if isinstance(value, ast.Name):
            return any(d in self.outside for d in self.module.definitions(value))
        computed = any(isinstance(n, (ast.Call, ast.BinOp)) for n in ast.walk(value))
        return computed and value in self.module.flow.learned

    def _read_too_early(self, name: str) -> bool:
        """Is the parameter read before the block, or changed?"""
        definitions = self.module.reaching.scope_of[self.home].defs.get(name, [])
        return len(definitions) != 1 or any(
            u.lineno <= self.tape.block.lineno or self.module.function(u) is not self.home for u in definitions[0].uses
        )

    def _moving(self) -> list[ast.stmt] | None:
        """The caller's statements that compute the values, which stand before the call in its own block."""
        statement = self.module.statement(self.site)
        body = self.module.block(statement)
        before = body[: body.index(statement)] if statement in body else []
        moving: list[ast.stmt] = []
        queue: list[ast.AST] = [v for n, v in self.arguments.items() if n in self.carried]
        while queue:
            for node in ast.walk(queue.pop()):
                if not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)):
                    continue
                for definition in self.module.definitions(node):
                    if definition not in self.outside:
                        continue
                    made = self.module.statement(definition.node)
                    if made not in before or not isinstance(made, ast.Assign) or len(made.targets) != 1:
                        return None
                    if len(self.module.definitions(node)) != 1:
                        return None
                    if made not in moving:
                        moving.append(made)
                        queue.append(made)
        return [s for s in before if s in moving]

    def _needed(self, statement: ast.stmt, moving: list[ast.stmt]) -> bool:
        """Does the caller read the value for something else, too?"""
        made = [d for n in ast.walk(statement) for d in self.module.reaching.bindings.get(n, ())]
        return any(
            not self.module.inside(u, self.site) and not any(self.module.inside(u, s) for s in moving)
            for d in made
            for u in d.uses
        )

    # -------------------------------------------------------------- the new texts

    def _text(self, node: ast.AST) -> str | None:
        """The text of a statement or expression of the caller, in the names of the function."""
        changes: dict[ast.AST, str] = {}
        renamed = {v.id: n for n, v in self.arguments.items() if n in self.carried and isinstance(v, ast.Name)}
        for part in ast.walk(node):
            if isinstance(part, (ast.Lambda, ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp, ast.NamedExpr)):
                return None
            if not isinstance(part, ast.Name):
                continue
            definitions = self.module.definitions(part)
            if isinstance(part.ctx, ast.Store) or any(d in self.outside for d in definitions):
                new = renamed.get(part.id, part.id)
                if new == part.id and part.id in self.taken and part.id not in self.carried:
                    return None
                changes[part] = new
            elif self.module.classes.is_self(part):
                if self.module.class_of(part) is not self.module.method_class(self.home):
                    return None
                changes[part] = self.home.args.args[0].arg
            elif definitions and not self._known(part, definitions):
                name = self._leaf(part, definitions)
                if name is None:
                    return None
                changes[part] = name
            elif part.id in self.taken:
                return None
        return rewritten(self.module, node, changes)

    def _known(self, name: ast.Name, definitions: tuple[Def, ...]) -> bool:
        """Does the function see the same thing under this name: a function, an import, the model of the module?"""
        if any(d.scope is not self.module.reaching.module for d in definitions):
            return False
        fixed = all(d.kind in ("import", "function", "class") for d in definitions)
        made = self.module.kinds.of(name) in _KEPT_KINDS and len(definitions) == 1
        return fixed or made or (name.id.isupper() and len(definitions) == 1)

    def _leaf(self, name: ast.Name, definitions: tuple[Def, ...]) -> str | None:
        """The parameter that has, or gets, this value of the caller."""
        for parameter, value in self.arguments.items():
            if isinstance(value, ast.Name) and value.id == name.id and parameter not in self.carried:
                return parameter if self.module.definitions(value) == definitions else None
        scope = definitions[0].scope
        if any(
            name.lineno <= d.node.lineno <= self.site.lineno and d not in definitions  # type: ignore[attr-defined]
            for d in scope.defs.get(name.id, ())
        ):
            return None  # it has another value by the time of the call
        if name.id not in self.leaves:
            self.leaves.append(name.id)
        return name.id

    def _call(self) -> str:
        """The call with what the value is computed from in place of the value."""
        parts: list[str] = []
        new = list(self.leaves)
        by_value = {id(v): n for n, v in self.arguments.items()}
        for value in self.site.args:
            if by_value.get(id(value)) in self.carried:
                parts += new
                new = []
            else:
                parts.append(self.module.source(value))
        for keyword in self.site.keywords:
            if keyword.arg in self.carried:
                parts += [f"{leaf}={leaf}" for leaf in new]
                new = []
            else:
                parts.append(self.module.source(keyword))
        return f"{self.module.source(self.site.func)}({', '.join(parts)})"

    def _function(self, lines: list[str]) -> str:
        """The whole function: other parameters, and the new statements at the start of the block."""
        arguments = self.home.args
        plain = len(arguments.args) - len(arguments.defaults)
        parts: list[str] = []
        new = list(self.leaves)
        for i, parameter in enumerate(arguments.args):
            if parameter.arg in self.carried:
                parts += new
                new = []
                continue
            text = self.module.source(parameter)
            if i >= plain:
                equals = " = " if parameter.annotation is not None else "="
                text += equals + self.module.source(arguments.defaults[i - plain])
            parts.append(text)
        first = self.home.decorator_list[0].lineno if self.home.decorator_list else self.home.lineno
        source = [self.module.line_text(n) for n in range(first, (self.home.end_lineno or first) + 1)]
        anchor, where = start_of(self.module, self.tape, self._made_here())
        place = (anchor.lineno if where == "before" else (anchor.end_lineno or anchor.lineno) + 1) - first
        indent = self.module.indent_of(anchor.lineno)
        inserted = [indent + line for text in lines for line in text.split("\n")]
        span, last = self.module.span(arguments.args[0]), arguments.defaults or arguments.args
        end = self.module.span(last[-1])
        head = source[span.line - first][: span.column] + ", ".join(parts)
        tail = source[end.end_line - first][end.end_column :]
        made = [*source[: span.line - first], head + tail, *source[end.end_line - first + 1 : place]]
        return textwrap.dedent("\n".join([*made, *inserted, *source[place:]]))

    def _made_here(self) -> set[Def]:
        defs = self.module.reaching.scope_of[self.home].defs
        return {d for name in self.carried for d in defs.get(name, [])}
