"""TPF111: a function that is differentiated hands out a tensor that was computed before."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.recording import Recording
from tapefix.analysis.scopes import Def, Function
from tapefix.analysis.tapes import GradientCall, argument
from tapefix.codemods.edits import Delete, Edit, Insert, Move, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.recording import Road


class ClosureOverTensor(Rule):
    """A function that a tape or an optimiser runs only hands out a tensor that is already computed.

    What it finds:
        `minimize(lambda: cost, [w])` and the like, where `cost` was computed from w once, outside the function.

    Why the gradient stops:
        The tape records what runs while the function is called. Reading a finished tensor is no computation, so
        nothing connects it with the variables.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable([1.0, 2.0])
        distance = w - 3.0
        cost = tf.reduce_sum(distance ** 2)


        def descend(loss, variables):
            with tf.GradientTape() as tape:
                value = loss()
            for v, g in zip(variables, tape.gradient(value, variables)):
                v.assign_sub(0.1 * g)


        descend(lambda: cost, [w])
        ```

    Fix safety:
        Safe: the same statements run each time the function is called.
    """

    code = "TPF111"
    name = "closure-over-tensor"
    safety = "safe"
    tokens = ("GradientTape", ".minimize(")

    def check(self, module: Module) -> Iterator[Finding]:
        done: set[ast.AST] = set()
        for gradient in module.tapes.gradients:
            if gradient.tape is None:
                continue
            roads = [r for r in module.recordings[gradient][1] if r.marks == {"out"} and not r.opaque]
            if roads:
                run = Recording(module, gradient, gradient.tape.block).run
                home = module.function(gradient.tape.block)
                yield from self._closures(module, [f for f in run if f is not home], roads, done)
        for call in module.calls:
            # `minimize` of an optimiser, not the function of that name in SciPy or TensorFlow Probability.
            if (
                not (isinstance(call.func, ast.Attribute) and call.func.attr == "minimize")
                or module.call_name(call) is not None
            ):
                continue
            loss, variables = argument(call, 0, "loss"), argument(call, 1, "var_list")
            for function in module.objects.origins(loss) if loss is not None and variables is not None else ():
                if isinstance(function, (ast.FunctionDef, ast.Lambda)):
                    for returned in module.objects.returns.get(function, []):
                        assert variables is not None
                        recording = Recording(module, GradientCall(call, None, returned, variables), function)
                        roads = [r for r in recording.roads() if r.marks == {"out"} and not r.opaque]
                        if roads:
                            yield from self._closures(module, [*recording.run], roads, done)

    def _closures(
        self, module: Module, functions: list[Function], roads: list[Road], done: set[ast.AST]
    ) -> Iterator[Finding]:
        outside = {d for road in roads for d in road.outside}
        for function in functions:
            reads = [
                n
                for n in ast.walk(function)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and outside & set(module.definitions(n))
            ]
            if not reads or function in done:
                continue
            done.add(function)
            first = reads[0]
            edits = self._edits(module, function, reads, outside)
            units = ", ".join(f"`{u}`" for u in dict.fromkeys(r.unit.text for r in roads))
            yield self.finding(
                module,
                first,
                f"`{first.id}` is computed once, outside the function that is differentiated, so nothing connects it "
                f"with {units}.",
                label="a finished tensor",
                notes=[(module.definitions(first)[0].node, "computed here, before the tape records")],
                candidates=[Candidate("compute it in the function", edits)] if edits is not None else [],
                advice="" if edits is not None else "Compute it inside the function.",
            )

    def _edits(
        self, module: Module, function: Function, reads: list[ast.Name], outside: set[Def]
    ) -> tuple[Edit, ...] | None:
        scope = module.definitions(reads[0])[0].scope
        if any(d.scope is not scope or d.kind not in ("assign", "augment", "mutate") for d in outside):
            return None
        needed = set(outside)
        for definition in outside:
            needed.update(p for p in definition.previous if p.kind == "assign")
        statements = sorted({module.statement(d.node) for d in needed}, key=lambda s: s.lineno)
        if any(not isinstance(s, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr)) for s in statements):
            return None
        bodies = {id(module.block(s)) for s in statements}
        if len(bodies) != 1 or any("\n" in module.source(s) and s.col_offset for s in statements):
            return None
        made = {d for s in statements for n in ast.walk(s) for d in module.reaching.bindings.get(n, ())}
        elsewhere = [
            u
            for d in made
            for u in d.uses
            if not any(module.inside(u, s) for s in statements) and not module.inside(u, function)
        ]
        if isinstance(function, ast.Lambda):
            return self._as_function(module, function, reads, statements, bool(elsewhere))
        if isinstance(function, ast.AsyncFunctionDef):
            return None
        if not elsewhere and function.lineno > statements[-1].lineno:
            first = function.body[0]
            docstring = (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            )
            if docstring and len(function.body) > 1:
                return (Move(tuple(module.span(s) for s in statements), module.span(function.body[1]), "before"),)
            return (
                None if docstring else (Move(tuple(module.span(s) for s in statements), module.span(first), "before"),)
            )
        return (Insert(module.span(function), "first", "\n".join(module.source(s) for s in statements)),)

    @staticmethod
    def _as_function(
        module: Module, function: ast.Lambda, reads: list[ast.Name], statements: list[ast.stmt], shared: bool
    ) -> tuple[Edit, ...] | None:
        """The statements become a function, and the lambda that function."""
        name = reads[0].id
        if any(n.id != name for n in reads):
            return None
        last = statements[-1]
        lines = [module.source(s) for s in statements[:-1]]
        if (
            isinstance(last, ast.Assign)
            and len(last.targets) == 1
            and isinstance(last.targets[0], ast.Name)
            and last.targets[0].id == name
        ):
            value = module.source(last.value)
            lines.append(f"return ({value})" if "\n" in value else f"return {value}")
        else:
            lines += [module.source(last), f"return {name}"]
        made = name
        if shared:
            made = f"compute_{name}"
            if any(n.id == made for n in module.all(ast.Name)):  # type: ignore[attr-defined]
                return None
        body = "\n".join(f"    {line}" for text in lines for line in text.split("\n"))
        text = f"\n\ndef {made}():\n{body}\n" if last.col_offset == 0 else f"def {made}():\n{body}\n"
        edits: list[Edit] = []
        if shared:
            edits.append(Insert(module.span(last), "after", text))
        else:
            edits += [Delete(module.span(s)) for s in statements[:-1]]
            edits.append(ReplaceStatement(module.span(last), text))
        if isinstance(function.body, ast.Name):
            edits.append(ReplaceExpression(module.span(function), made))
        else:
            edits += [ReplaceExpression(module.span(n), f"{made}()") for n in reads]
        return tuple(edits)
