"""TPF110: tf.gradients or K.gradients in eager code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.codemods.edits import Delete, Edit, Insert, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_NAMES = {"tf.gradients", "keras.backend.gradients", "tf.compat.v1.gradients"}
_GRAPH_CODE = (
    "disable_eager_execution",
    "disable_v2_behavior",
    "Session(",
    "as_default()",
    ".function(",
    "@function",
    "placeholder(",
)


class GradientsInEager(Rule):
    """`tf.gradients` or `K.gradients` is called in eager code.

    What it finds:
        `K.gradients(loss, x)` and `tf.gradients(loss, x)` in a file that neither builds graphs nor uses tf.function;
        with Keras 3 also `optimizer.get_gradients(loss, weights)`, which is no more.

    Why the gradient stops:
        These functions walk a graph. Eager code builds none and raises a RuntimeError: a GradientTape has to record
        the computation while it runs.

    Example:
        ```python
        import tensorflow as tf
        from tensorflow.keras import backend as K


        def slope(x):
            y = K.sum(x ** 2)
            return K.gradients(y, x)[0]


        print(slope(tf.constant([1.0, 2.0])))
        ```

    Fix safety:
        Safe: the same statements run, recorded by a tape.
    """

    code = "TPF110"
    name = "graph-gradients-in-eager-code"
    safety = "safe"
    tokens = ("gradients(",)

    def check(self, module: Module) -> Iterator[Finding]:
        found = [call for call in module.calls if module.call_name(call) in _NAMES or _asks_optimizer(module, call)]
        if not found or any(token in module.text for token in _GRAPH_CODE):
            return
        for call in found:
            target, sources = (
                argument(call, 0, "ys") or argument(call, 0, "loss"),
                argument(call, 1, "xs") or argument(call, 1, "variables") or argument(call, 1, "params"),
            )
            if target is None or sources is None or self._in_graph(module, call):
                continue
            edits = self._edits(module, call, target, sources)
            yield self.finding(
                module,
                call,
                "This function needs a graph, and eager code builds none: it raises a RuntimeError. "
                "A GradientTape records eager code.",
                label="works in graphs only",
                candidates=[Candidate("record with a GradientTape", edits)] if edits is not None else [],
                certain=edits is not None and self._runs_here(module, call),
                advice=""
                if edits is not None
                else "Compute the target inside a tf.GradientTape block and ask the tape.",
            )

    @staticmethod
    def _in_graph(module: Module, call: ast.Call) -> bool:
        """Inside a tf.function there is a graph."""
        return any(
            "function" in ast.unparse(decorator)
            for above in module.ancestors(call)
            if isinstance(above, ast.FunctionDef)
            for decorator in above.decorator_list
        )

    @staticmethod
    def _runs_here(module: Module, call: ast.Call) -> bool:
        """Does this file itself run the code? Somebody else's graph may run a library's function."""
        function = module.function(call)
        while function is not None:
            sites = module.objects.call_sites.get(function, [])
            if not sites or getattr(function, "decorator_list", None):
                return False
            function = next((module.function(s) for s in sites if module.function(s) is not function), None)
        return True

    def _edits(self, module: Module, call: ast.Call, target: ast.expr, sources: ast.expr) -> tuple[Edit, ...] | None:
        place = module.statement(call)
        body = module.block(place)
        items = list(sources.elts) if isinstance(sources, (ast.List, ast.Tuple)) else [sources]
        if not all(isinstance(i, (ast.Name, ast.Attribute)) for i in items):
            return None
        # The statements of this list that lead from the sources to the target.
        starts = {d for i in items for n in ast.walk(i) if isinstance(n, ast.Name) for d in module.definitions(n)}
        behind = module.flow.backward([target])
        listed = [list_ for item in items if (list_ := _variables(module, item)) is not None]
        networks = {module.source(list_.value) for list_ in listed}
        runs = [c for c in module.calls if module.source(c.func) in networks]
        ahead = module.flow.forward([*starts, *items, *runs])
        lead: list[ast.stmt] = []
        for statement in body[: body.index(place)]:
            made = [d for n in ast.walk(statement) for d in module.reaching.bindings.get(n, ())]
            if any(d in behind and d in ahead and d not in starts for d in made):
                lead.append(statement)
        direct = not isinstance(target, ast.Name)
        if not lead and not direct:
            return None
        if lead:
            first = body.index(lead[0])
            lead = body[first : body.index(place)]  # what stands between runs in the same order
        if any(
            isinstance(n, (ast.Return, ast.Break, ast.Continue, ast.FunctionDef)) for s in lead for n in ast.walk(s)
        ):
            return None
        used = {n.id for n in module.all(ast.Name)} | {a.arg for a in module.all(ast.arg)}  # type: ignore[attr-defined]
        tape = (
            next(n for n in ("tape", "gradient_tape", "tape_1") if n not in used)
            if len(used & {"tape", "gradient_tape", "tape_1"}) < 3
            else None
        )
        tf = module.spell("tf.GradientTape")
        if tape is None or tf is None:
            return None
        indent = "    "
        lines = [f"with {tf}() as {tape}:"]
        watched = [module.source(i) for i in items if not listed and module.kinds.of(i) != "variable"]
        lines += [f"{indent}{tape}.watch({text})" for text in watched]
        for statement in lead:
            text = module.source(statement).split("\n")
            column = module.span(statement).column
            lines += [
                indent + text[0],
                *(indent + (line[column:] if line[:column].isspace() else line) for line in text[1:]),
            ]
        asked = module.source(target)
        if direct:
            name = next(n for n in ("target", "objective", "asked") if n not in used)
            lines.append(f"{indent}{name} = {asked}" if "\n" not in asked else f"{indent}{name} = ({asked})")
            asked = name
        answer = f"{tape}.gradient({asked}, {module.source(sources)})"
        edits: list[Edit] = []
        above = module.parent(call)
        if (
            len(items) == 1
            and isinstance(above, ast.Subscript)
            and isinstance(above.slice, ast.Constant)
            and above.slice.value == 0
        ):
            single = items[0]
            edits.append(ReplaceExpression(module.span(above), f"{tape}.gradient({asked}, {module.source(single)})"))
        elif isinstance(sources, (ast.List, ast.Tuple)) or listed:
            edits.append(ReplaceExpression(module.span(call), answer))
        else:
            edits.append(ReplaceExpression(module.span(call), f"[{answer}]"))
        if lead:
            edits.insert(0, ReplaceStatement(module.span(lead[0]), "\n".join(lines)))
            edits += [Delete(module.span(s)) for s in lead[1:]]
        else:
            edits.insert(0, Insert(module.span(place), "before", "\n".join(lines)))
        return tuple(edits)


def _asks_optimizer(module: Module, call: ast.Call) -> bool:
    """`optimizer.get_gradients(loss, params)` of Keras before version 3."""
    func = call.func
    return (
        isinstance(func, ast.Attribute)
        and func.attr == "get_gradients"
        and module.kinds.of(func.value) == "optimizer"
        and module.keras >= 3
    )


def _variables(module: Module, node: ast.expr) -> ast.Attribute | None:
    """`model.trainable_weights`, also behind a name."""
    lists = [n for n in [node, *module.objects.origins(node)] if isinstance(n, ast.Attribute)]
    return next((n for n in lists if n.attr in VARIABLE_LISTS), None)
