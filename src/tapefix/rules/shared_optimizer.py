"""TPF412: one Keras 3 optimiser for the variables of several networks, one after the other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.moves import is_built
from tapefix.analysis.tapes import argument
from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.codemods.edits import Insert, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class SharedOptimizer(Rule):
    """One optimiser is given the variables of several networks, one after the other.

    What it finds:
        Several `apply_gradients` calls of one optimiser with the variables of different models, and one optimiser
        object in the `compile` of several models, where Keras 3 is installed.

    Why the gradient stops:
        A Keras optimiser is built for the variables of its first call. It refuses those of the second network with
        `Unknown variable`, so only the first network trains.

    Example:
        ```python
        import tensorflow as tf

        first = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(2)])
        second = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
        optimizer = tf.keras.optimizers.Adam(0.01)
        for _ in range(3):
            with tf.GradientTape(persistent=True) as tape:
                loss = tf.reduce_mean(tf.square(second(first(tf.ones([4, 2])))))
            g1 = tape.gradient(loss, first.trainable_variables)
            g2 = tape.gradient(loss, second.trainable_variables)
            optimizer.apply_gradients(zip(g1, first.trainable_variables))
            optimizer.apply_gradients(zip(g2, second.trainable_variables))
        ```

    Fix safety:
        Safe: the optimiser is built for all variables before its first step; each keeps its own state.
    """

    code = "TPF412"
    name = "shared-optimizer"
    safety = "safe"
    tokens = ("apply_gradients", ".compile(")

    def check(self, module: Module) -> Iterator[Finding]:
        if module.keras < 3:
            return
        yield from self._applied(module)
        yield from self._compiled(module)

    # -------------------------------------------------------------- apply_gradients

    def _applied(self, module: Module) -> Iterator[Finding]:
        # One group: calls in one function of what was made at the same place.
        groups: dict[tuple[ast.AST, object], list[tuple[ast.Call, ast.expr]]] = {}
        for call in module.calls:
            if not (isinstance(call.func, ast.Attribute) and call.func.attr == "apply_gradients" and call.args):
                continue
            pairs = call.args[0]
            if not (isinstance(pairs, ast.Call) and module.call_name(pairs) == "zip" and len(pairs.args) == 2):
                continue
            home: ast.AST = module.function(call) or module.tree
            made = module.objects.made_at(call.func.value) or module.source(call.func.value)
            groups.setdefault((home, made), []).append((call, pairs.args[1]))
        for (scope, _), applied in groups.items():
            if len(applied) == 1 and isinstance(scope, ast.FunctionDef):
                yield from self._applied_to_parameter(module, scope, *applied[0])
            if len(applied) < 2:
                continue
            optimizer = module.source(applied[0][0].func.value)  # type: ignore[attr-defined]
            lists: dict[str, str] = {}
            for _, variables in applied:
                owner = self._owner(module, variables)
                if owner is None:
                    break
                lists.setdefault(
                    owner,
                    f"{owner}.{variables.attr}"
                    if isinstance(variables, ast.Attribute)
                    else f"{owner}.trainable_variables",
                )
            else:
                first = applied[0][0]
                if len(lists) < 2 or self._is_built(module, optimizer) or not self._is_keras(module, first.func.value):  # type: ignore[attr-defined]
                    continue
                place = self._place(module, [call for call, _ in applied], list(lists))
                if place is None:
                    continue
                text = f"{optimizer}.build({' + '.join(lists.values())})"
                if len(text) + module.span(place).column > 110:
                    inner = "\n    + ".join(lists.values())
                    text = f"{optimizer}.build(\n    {inner}\n)"
                yield self.finding(
                    module,
                    applied[1][0],
                    f"{optimizer} is built for the variables of its first call, and does not know "
                    "those of the other networks.",
                    label="other variables",
                    candidates=[
                        Candidate(
                            "build the optimizer for all variables first",
                            (Insert(module.span(place), "before", text),),
                            trains_more=True,
                        )
                    ],
                    notes=[(first, "the first call builds it")],
                )

    def _applied_to_parameter(
        self, module: Module, function: ast.FunctionDef, call: ast.Call, variables: ast.expr
    ) -> Iterator[Finding]:
        """A training step that takes the model as an argument, and is called with several, and one optimiser."""
        assert isinstance(call.func, ast.Attribute)
        owner, optimizer = self._owner(module, variables), call.func.value
        names = [p.arg for p in module.objects.parameters(function)]
        if (
            owner not in names
            or not self._is_keras(module, optimizer)
            or self._is_built(module, module.source(optimizer))
        ):
            return
        sites = module.results.calls_of(function)
        models: dict[str, ast.expr] = {}
        optimizers: set[str] = set()
        for site in sites:
            given = argument(site, names.index(owner), owner)
            own = module.source(optimizer)
            if own in names:
                passed = argument(site, names.index(own), own)
                own = module.source(passed) if passed is not None else ""
            optimizers.add(own)
            if not isinstance(given, (ast.Name, ast.Attribute)) or module.function(site) is not module.function(
                sites[0]
            ):
                return
            models[module.source(given)] = given
        if len(models) < 2 or len(optimizers) != 1 or not all(is_built(module, m) for m in models.values()):
            return
        place = self._place(module, sites, list(models))
        text = next(iter(optimizers))
        if place is None or not text or not module.scope(place).lookup(text.split(".")[0]):
            return
        build = f"{text}.build({' + '.join(f'{m}.trainable_variables' for m in models)})"
        yield self.finding(
            module,
            call,
            f"{module.source(optimizer)} is built for the variables of the first model, and does not know "
            "those of the others.",
            label="one optimizer for several models",
            candidates=[
                Candidate(
                    "build the optimizer for all variables first",
                    (Insert(module.span(place), "before", build),),
                    trains_more=True,
                )
            ],
            notes=[(sites[-1], "called with another model")],
        )

    def _owner(self, module: Module, variables: ast.expr) -> str | None:
        """The model whose variables these are, as written: `self.actor`."""
        if isinstance(variables, ast.Attribute) and variables.attr in VARIABLE_LISTS:
            return module.source(variables.value)
        if isinstance(variables, ast.Name):
            definitions = module.definitions(variables)
            values = [d.value for d in definitions]
            if (
                len(values) == 1
                and isinstance(values[0], ast.Attribute)
                and values[0].attr in VARIABLE_LISTS
                and not definitions[0].path
            ):
                return module.source(values[0].value)
        return None

    def _is_built(self, module: Module, optimizer: str) -> bool:
        if ".build(" not in module.text:
            return False
        return f"{optimizer}.build(" in module.text or any(
            isinstance(c.func, ast.Attribute)
            and c.func.attr == "build"
            and module.kinds.of(c.func.value) == "optimizer"
            for c in module.calls
        )

    def _is_keras(self, module: Module, optimizer: ast.expr) -> bool:
        names = [
            module.call_name(origin) or ""
            for origin in module.objects.origins(optimizer)
            if isinstance(origin, ast.Call)
        ]
        return bool(names) and all(name.startswith("keras.optimizers.") and ".legacy." not in name for name in names)

    def _place(self, module: Module, calls: list[ast.Call], models: list[str]) -> ast.stmt | None:
        """The statement before which the optimiser is built; None where no run makes all the calls (if and else).

        That is the loop around the calls where all models are known to have their variables there, else the first call.
        """
        place: ast.stmt | None = None
        statement: ast.AST | None = module.statement(calls[0])
        while isinstance(statement, ast.stmt) and not isinstance(
            statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        ):
            block = module.block(statement)
            if (place is None and all(any(module.inside(call, other) for other in block) for call in calls)) or (
                place is not None
                and isinstance(statement, (ast.For, ast.While))
                and self._ready(module, statement, models)
            ):
                place = statement
            elif (
                place is None
                and isinstance(statement, ast.If)
                and all(module.inside(call, statement) for call in calls)
            ):
                return None
            statement = module.parent(statement)
        return place

    def _ready(self, module: Module, loop: ast.For | ast.While, models: list[str]) -> bool:
        """Do the models have their variables before the loop starts?"""
        roots = {name.split(".")[0] for name in models}
        if any(isinstance(n, ast.Name) and n.id in roots and isinstance(n.ctx, ast.Store) for n in ast.walk(loop)):
            return False
        found = {
            module.source(n): n
            for n in ast.walk(loop)
            if isinstance(n, (ast.Name, ast.Attribute)) and module.source(n) in models
        }
        return len(found) == len(models) and all(is_built(module, n) for n in found.values())

    # -------------------------------------------------------------- compile

    def _compiled(self, module: Module) -> Iterator[Finding]:
        """`opt = Adam(); d.compile(optimizer=opt); gan.compile(optimizer=opt)`."""
        first_use: dict[ast.AST, tuple[ast.Call, ast.AST | None]] = {}
        for call in module.calls:
            if not (isinstance(call.func, ast.Attribute) and call.func.attr == "compile"):
                continue
            optimizer = argument(call, 0, "optimizer")
            if not isinstance(optimizer, (ast.Name, ast.Attribute)):
                continue
            made = [o for o in module.objects.origins(optimizer) if isinstance(o, ast.Call)]
            if (
                len(made) != 1
                or not (module.call_name(made[0]) or "").startswith("keras.optimizers.")
                or module.scope(made[0]) is not module.scope(call)
            ):
                continue
            model = module.objects.origins(call.func.value)
            before = first_use.setdefault(made[0], (call, model[0] if model else None))
            if before[0] is call or not model or before[1] is None or model[0] is before[1]:
                continue
            first = before[0]
            if (
                module.function(first) is not module.function(call)
                or not self._trains(module, first)
                or not self._trains(module, call)
            ):
                continue
            yield self.finding(
                module,
                optimizer,
                "One optimizer serves two models: it is built for the variables of the one that "
                "trains first, and does not know the other's.",
                label="shared",
                candidates=[
                    Candidate(
                        "give this model an optimizer of its own",
                        (ReplaceExpression(module.span(optimizer), module.source(made[0])),),
                        keeps_value=False,
                        trains_more=True,
                    )
                ],
                notes=[(first, "used here, too")],
            )

    def _trains(self, module: Module, call: ast.Call) -> bool:
        model = module.objects.origins(call.func.value)  # type: ignore[attr-defined]
        return any(
            isinstance(other.func, ast.Attribute)
            and other.func.attr in ("fit", "train_on_batch")
            and any(origin in model for origin in module.objects.origins(other.func.value))
            for other in module.calls
        )
