"""TPF109: the loss is collected in a tf.Variable inside the tape."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def
from tapefix.codemods.edits import Edit, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules._assigned import CHANGES, assigned
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class LossInVariable(Rule):
    """The loss is collected in a tf.Variable.

    What it finds:
        `loss = tf.Variable(0.0)` and `loss.assign_add(term)` while a tape records, where the gradient of `loss` is
        asked for. With a run that measures a broken gradient also variables on objects, such as the state of a
        simulation, that are assigned while a tape records.

    Why the gradient stops:
        Reading a variable gives its present value without the history of what was assigned to it, so nothing connects
        the loss with what its terms were computed from.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable([1.0, 2.0])
        with tf.GradientTape() as tape:
            loss = tf.Variable(0.0)
            for target in (0.5, 1.5):
                loss.assign_add(tf.reduce_sum(tf.square(w - target)))
        gradient = tape.gradient(loss, w)
        w.assign_sub(0.1 * gradient)
        ```

    Fix safety:
        Safe: a tensor holds the same sum.
    """

    code = "TPF109"
    name = "loss-in-variable"
    safety = "safe"
    tokens = (".assign",)

    def check(self, module: Module) -> Iterator[Finding]:
        changes: dict[Def, list[ast.Call]] = {}
        for call in module.calls:
            func = call.func
            if not (
                isinstance(func, ast.Attribute)
                and func.attr in CHANGES
                and isinstance(func.value, ast.Name)
                and call.args
            ):
                continue
            if isinstance(module.parent(call), ast.Expr) and (made := _made(module, func.value)) is not None:
                changes.setdefault(made, []).append(call)
        for definition, calls in changes.items():
            finding = self._finding(module, definition, calls)
            if finding is not None:
                yield finding
        for change in assigned(module) if module.measured is not None else ():
            yield self.finding(
                module,
                change.call,
                f"`{change.text}` is a tf.Variable: a tape does not follow what is assigned to it.",
                label="the history is lost here",
                candidates=[change.candidate],
                certain=False,
            )

    def _finding(self, module: Module, made: Def, calls: list[ast.Call]) -> Finding | None:
        recorded = [c for c in calls if module.training.is_recorded(c) and c.args[0] in module.flow.learned]
        if not recorded or not self._is_target(module, made):
            return None
        call = made.value
        assert isinstance(call, ast.Call)
        initial = (
            call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "initial_value"), None)
        )
        uses = [
            n
            for n in module.all(ast.Name)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and _made(module, n) is made
        ]
        home = module.function(made.node)
        local = initial is not None and all(module.function(u) is home for u in uses)
        candidates = []
        if local and initial is not None:
            candidates.append(
                Candidate("collect it in a tensor", tuple(self._edits(module, made, calls, uses, initial)))
            )
        return self.finding(
            module,
            recorded[0],
            f"`{made.name}` is a tf.Variable: reading it gives its value without the history of what was assigned, "
            "so the gradient of the loss is None.",
            label="the history is lost here",
            notes=[(made.node, "made a variable here")],
            candidates=candidates,
            advice="" if candidates else "Add the terms in a plain tensor: start with 0.0 inside the tape and use +=.",
        )

    @staticmethod
    def _is_target(module: Module, made: Def) -> bool:
        """Does some gradient's target read the variable, and is it not one that is trained?"""
        for gradient in module.tapes.gradients:
            sources = {n for n in ast.walk(gradient.sources) if isinstance(n, ast.Name)}
            if any(_made(module, n) is made for n in sources):
                return False
        return any(made in module.flow.backward([gradient.target]) for gradient in module.tapes.gradients)

    @staticmethod
    def _edits(
        module: Module, made: Def, calls: list[ast.Call], uses: list[ast.Name], initial: ast.expr
    ) -> Iterator[Edit]:
        assert isinstance(made.value, ast.Call)
        if isinstance(initial, ast.Constant) and isinstance(initial.value, (int, float)):
            number = module.source(initial)
            yield ReplaceExpression(
                module.span(made.value), number if "." in number or "e" in number else f"{number}.0"
            )
        else:
            yield ReplaceExpression(module.span(made.value), "$initial", {"initial": module.span(initial)})
        for call in calls:
            assert isinstance(call.func, ast.Attribute)
            sign = CHANGES[call.func.attr]
            yield ReplaceStatement(
                module.span(module.statement(call)), f"{made.name} {sign} $value", {"value": module.span(call.args[0])}
            )
        for use in uses:
            above = module.parent(use)
            if isinstance(above, ast.Attribute) and above.attr in ("value", "read_value"):
                outer = module.parent(above)
                if isinstance(outer, ast.Call) and outer.func is above:
                    yield ReplaceExpression(module.span(outer), made.name)


def _made(module: Module, name: ast.Name) -> Def | None:
    """The one definition `v = tf.Variable(...)` that a name stands for."""
    found: Def | None = None
    queue = list(module.definitions(name))
    seen: set[Def] = set()
    while queue:
        definition = queue.pop()
        if definition in seen:
            continue
        seen.add(definition)
        if definition.kind == "mutate":
            queue += definition.previous
        elif (
            definition.kind == "assign"
            and not definition.path
            and module.call_name(definition.value or definition.node) == "tf.Variable"
            and found in (None, definition)
        ):
            found = definition
        else:
            return None
    return found
