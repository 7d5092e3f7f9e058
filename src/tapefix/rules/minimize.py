"""TPF407: `optimizer.minimize`, which Keras 3 does not have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Edit, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class Minimize(Rule):
    """`optimizer.minimize` is called with Keras 3.

    What it finds:
        `optimizer.minimize(loss, variables)` on a Keras optimiser, where Keras 3 is installed.

    Why the gradient stops:
        Optimisers of Keras 3 have no `minimize`: the call fails with an AttributeError, and nothing is trained.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable(1.0)
        optimizer = tf.keras.optimizers.SGD(0.1)


        def loss():
            return tf.square(w - 3.0)


        for _ in range(3):
            optimizer.minimize(loss, [w])
        ```

    Fix safety:
        Safe: a tape and `apply_gradients` are what `minimize` did.
    """

    code = "TPF407"
    name = "minimize-in-keras-3"
    safety = "safe"
    tokens = (".minimize(",)

    def check(self, module: Module) -> Iterator[Finding]:
        if module.keras < 3:
            return
        for call in module.calls:
            if not (isinstance(call.func, ast.Attribute) and call.func.attr == "minimize"):
                continue
            loss, variables = argument(call, 0, "loss"), argument(call, 1, "var_list")
            if loss is None or not self._is_keras_optimizer(module, call.func.value):
                continue
            edits = self._edits(module, call, loss, variables) if variables is not None else None
            yield self.finding(
                module,
                call,
                "Optimisers of Keras 3 have no minimize: this fails with an AttributeError.",
                label="not in Keras 3",
                candidates=[Candidate("use a tape and apply_gradients", edits, keeps_value=False)]
                if edits is not None
                else (),
                advice=""
                if edits is not None
                else "Compute the loss under a tf.GradientTape and call apply_gradients.",
            )

    def _is_keras_optimizer(self, module: Module, node: ast.expr) -> bool:
        origins = module.objects.origins(node)
        names = [module.call_name(origin) or "" for origin in origins if isinstance(origin, ast.Call)]
        return (
            bool(names)
            and len(names) == len(origins)
            and all(n.startswith("keras.optimizers.") and ".legacy." not in n for n in names)
        )

    def _edits(self, module: Module, call: ast.Call, loss: ast.expr, variables: ast.expr) -> tuple[Edit, ...] | None:
        optimizer = module.source(call.func.value)  # type: ignore[attr-defined]
        listed = self._list(module, variables)
        tape = argument(call, 3, "tape")
        if tape is not None:
            gradients = f"{module.source(tape)}.gradient({module.source(loss)}, {listed})"
            return (ReplaceExpression(module.span(call), f"{optimizer}.apply_gradients(zip({gradients}, {listed}))"),)
        statement = module.statement(call)
        value = self._computed(module, loss)
        if (
            value is None
            or module.needs_tf_import
            or not isinstance(statement, (ast.Expr, ast.Assign))
            or statement.value is not call
        ):
            return None
        names = _free_names(module, call, ("tape", "loss_value" if self._taken(module, loss) else "loss", "gradients"))
        lines = [f"with {module.tf}.GradientTape() as {names[0]}:", f"    {names[1]} = {value}"]
        if any(isinstance(node, (ast.Call, ast.List)) for node in ast.walk(variables)) or listed != module.source(
            variables
        ):
            held = _free_names(module, call, ("variables",))[0]
            lines.append(f"{held} = {listed}")
            listed = held
        lines.append(f"{names[2]} = {names[0]}.gradient({names[1]}, {listed})")
        lines.append(f"{optimizer}.apply_gradients(zip({names[2]}, {listed}))")
        return (ReplaceStatement(module.span(statement), "\n".join(lines)),)

    def _taken(self, module: Module, loss: ast.expr) -> bool:
        return module.scope(loss).lookup("loss") != ()

    def _computed(self, module: Module, loss: ast.expr) -> str | None:
        """The expression that computes the loss anew; None where it is a value that was computed before."""
        if isinstance(loss, ast.Lambda):
            return None if isinstance(loss.body, ast.Name) else module.source(loss.body)
        origins = module.objects.origins(loss)
        if origins and all(isinstance(o, (ast.FunctionDef, ast.Lambda)) for o in origins):
            if any(isinstance(o, ast.Lambda) and isinstance(o.body, ast.Name) for o in origins):
                return None
            return f"{module.source(loss)}()"
        if isinstance(loss, ast.Attribute) and module.classes.is_self(loss.value):
            owner = module.class_of(loss)
            method = module.classes.method(owner, loss.attr) if owner is not None else None
            return f"{module.source(loss)}()" if method is not None else None
        return None

    def _list(self, module: Module, variables: ast.expr) -> str:
        """The list of variables; minimize also took one variable, or a function that gives the list."""
        text = module.source(variables)
        if isinstance(variables, ast.Lambda):
            return module.source(variables.body)
        origins = module.objects.origins(variables)
        if origins and all(isinstance(o, (ast.FunctionDef, ast.Lambda)) for o in origins):
            return f"{text}()"
        return (
            f"[{text}]"
            if module.kinds.of(variables) == "variable"
            and isinstance(variables, (ast.Name, ast.Attribute))
            and not self._holds_list(origins)
            else text
        )

    def _holds_list(self, origins: list[ast.AST]) -> bool:
        return any(isinstance(o, (ast.List, ast.Tuple, ast.ListComp, ast.BinOp)) for o in origins)


def _free_names(module: Module, node: ast.AST, wanted: tuple[str, ...]) -> list[str]:
    """These names, with an underscore where the module gives them another meaning."""
    scope = module.scope(node)
    return [f"{name}_" if scope.lookup(name) else name for name in wanted]
