"""TPF405: a loss factory passed instead of called, a loss called instead of passed, a loss class not made."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Function
from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class LossFactory(Rule):
    """The function that makes a loss is given where the loss is needed, or the other way round.

    What it finds:
        `compile(loss=make_loss)` where `make_loss` returns the loss function, `compile(loss=dice_loss())` where
        `dice_loss(y_true, y_pred)` is the loss itself, and `MeanSquaredError(y, prediction)` where the loss object
        was to be made first and then called.

    Why the gradient stops:
        Keras gets a function, or an object, where it needs a number: nothing depends on the prediction.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])


        def weighted_loss(weight=2.0):
            def loss(y_true, y_pred):
                return weight * tf.reduce_mean(tf.square(y_true - y_pred))

            return loss


        model.compile(optimizer="sgd", loss=weighted_loss)
        model.fit(tf.ones([4, 2]), tf.ones([4, 1]), verbose=0)
        ```

    Fix safety:
        Safe: the other form has no meaning.
    """

    code = "TPF405"
    name = "loss-factory"
    safety = "safe"
    tokens = ("compile(", "losses", "GradientTape")

    def check(self, module: Module) -> Iterator[Finding]:
        for call in module.calls:
            if isinstance(call.func, ast.Attribute) and call.func.attr == "compile":
                loss = argument(call, 1, "loss")
                for item in _items(loss) if loss is not None else ():
                    yield from self._passed(module, item)
            else:
                yield from self._class_called(module, call)
                yield from self._factory_called(module, call)

    # -------------------------------------------------------------- compile(loss=...)

    def _passed(self, module: Module, item: ast.expr) -> Iterator[Finding]:
        if isinstance(item, (ast.Name, ast.Attribute)):
            factory = self._function(module, item)
            if factory is not None and self._makes_function(module, factory):
                yield self._uncalled(module, item, factory)
            elif factory is None and module.keras < 3 and self._is_loss_class(module, item):
                edit = ReplaceExpression(module.span(item), f"{module.source(item)}()")
                yield self.finding(
                    module,
                    item,
                    f"{module.source(item)} is a class: compile needs an object of it.",
                    label="a class",
                    candidates=[Candidate(f"make an object: {module.source(item)}()", (edit,), keeps_value=False)],
                )
        elif isinstance(item, ast.Call) and not item.args and not item.keywords:
            function = self._function(module, item.func)
            if function is None or self._makes_function(module, function):
                return
            required = _required(module, function)
            if len(required) == 2 and module.objects.returns.get(function):
                name = module.source(item.func)
                edit = ReplaceExpression(module.span(item), "$name", {"name": module.span(item.func)})
                yield self.finding(
                    module,
                    item,
                    f"{name} is the loss itself, and Keras calls it with {required[0]} and "
                    f"{required[1]}: here it is called without them.",
                    label="called without arguments",
                    candidates=[Candidate(f"pass {name} without calling it", (edit,), keeps_value=False)],
                )

    def _uncalled(self, module: Module, item: ast.expr, factory: Function) -> Finding:
        name = module.source(item)
        required = _required(module, factory)
        # Arguments that have the very names of the factory's parameters are the ones that were meant.
        scope = module.scope(item)
        known = [p for p in required if scope.lookup(p)]
        candidates = []
        if len(known) == len(required):
            call = f"{name}({', '.join(required)})"
            candidates = [
                Candidate(f"call it: {call}", (ReplaceExpression(module.span(item), call),), keeps_value=False)
            ]
        return self.finding(
            module,
            item,
            f"{name} returns the loss function, it is not the loss itself: Keras calls it with y_true "
            "and y_pred and gets a function.",
            label="makes a loss, is none",
            candidates=candidates,
            notes=[(factory, "returns a function")] if not isinstance(factory, ast.Lambda) else (),
            advice="" if candidates else f"Call {name} with {', '.join(required)} and pass what it returns.",
        )

    def _function(self, module: Module, node: ast.expr) -> Function | None:
        """The one function of this module that a name or `self.name` stands for."""
        if isinstance(node, ast.Attribute) and module.classes.is_self(node.value):
            owner = module.class_of(node)
            return module.classes.method(owner, node.attr) if owner is not None else None
        if not isinstance(node, ast.Name):
            return None
        found = [d.node for d in module.definitions(node)]
        return found[0] if len(found) == 1 and isinstance(found[0], ast.FunctionDef) else None

    def _makes_function(self, module: Module, function: Function) -> bool:
        returned = module.objects.returns.get(function, [])
        return bool(returned) and all(self._is_inner(module, value, function) for value in returned)

    def _is_inner(self, module: Module, value: ast.expr, factory: Function) -> bool:
        if isinstance(value, ast.Lambda):
            return True
        if not isinstance(value, ast.Name):
            return False
        definitions = module.definitions(value)
        return bool(definitions) and all(
            d.kind == "function" and module.function(d.node) is factory for d in definitions
        )

    def _is_loss_class(self, module: Module, node: ast.expr) -> bool:
        name = module.name(node) or ""
        return name.startswith("keras.losses.") and _is_class(name)

    # -------------------------------------------------------------- in loops of one's own

    def _class_called(self, module: Module, call: ast.Call) -> Iterator[Finding]:
        """`MeanSquaredError(y, prediction)`."""
        name = module.call_name(call) or ""
        if not name.startswith("keras.losses.") or not _is_class(name) or name.endswith(".Loss"):
            return
        if len(call.args) != 2 or any(isinstance(a, (ast.Constant, ast.Starred)) for a in call.args) or call.keywords:
            return
        if not module.tapes.around(call) and not module.training.is_recorded(call):
            return
        made = module.source(call.func)
        named = self._named_class(module, call.func)
        title = f"make the object, then call it: {made}()(...)" if named is None else f"let {made} be an object"
        yield self.finding(
            module,
            call,
            f"This makes an object of {made} with the target and the prediction as its settings: no loss is computed.",
            label="a loss object, not a loss",
            candidates=[
                Candidate(
                    title,
                    (ReplaceExpression(module.span(named or call.func), f"{module.source(named or call.func)}()"),),
                    keeps_value=False,
                )
            ],
        )

    @staticmethod
    def _named_class(module: Module, func: ast.expr) -> ast.expr | None:
        """The class in `loss_object = MeanSquaredError`, where each use of the name is a call with two values."""
        definitions = module.definitions(func) if isinstance(func, ast.Name) else []
        if len(definitions) != 1 or definitions[0].kind != "assign" or definitions[0].path:
            return None
        calls = [module.parent(use) for use in definitions[0].uses]
        plain = all(isinstance(c, ast.Call) and len(c.args) == 2 and not c.keywords for c in calls)
        return definitions[0].value if plain else None

    def _factory_called(self, module: Module, call: ast.Call) -> Iterator[Finding]:
        """`focal_loss(y, prediction)` in a tape, where `focal_loss(gamma=2.0)` returns the loss function."""
        if len(call.args) != 2 or call.keywords or not isinstance(call.func, (ast.Name, ast.Attribute)):
            return
        if not module.tapes.around(call):
            return
        factory = self._function(module, call.func)
        if factory is None or not self._makes_function(module, factory):
            return
        parent = module.parent(call)
        if isinstance(parent, ast.Call) and parent.func is call:
            return
        use = module.results.strict_use(call)
        if not isinstance(use, ast.BinOp) and not any(gradient.call is use for gradient in module.tapes.gradients):
            return
        name = module.source(call.func)
        candidates = []
        if not _required(module, factory):
            candidates = [
                Candidate(
                    f"make the loss first: {name}()(...)",
                    (ReplaceExpression(module.span(call.func), f"{name}()"),),
                    keeps_value=False,
                )
            ]
        yield self.finding(
            module,
            call,
            f"{name} returns the loss function: this is a function and not yet a loss.",
            label="a function",
            candidates=candidates,
            advice=""
            if candidates
            else f"Call {name} with its settings first, then what it returns with the target and the prediction.",
        )


def _items(loss: ast.expr) -> list[ast.expr]:
    if isinstance(loss, (ast.List, ast.Tuple)):
        return [i for item in loss.elts for i in _items(item)]
    if isinstance(loss, ast.Dict):
        return [i for item in loss.values for i in _items(item)]
    return [loss]


def _required(module: Module, function: Function) -> list[str]:
    """The parameters without a default."""
    parameters = module.objects.parameters(function)
    positional = len(parameters) - len(function.args.kwonlyargs)
    free = [p.arg for p in parameters[: positional - len(function.args.defaults)]]
    return free + [a.arg for a, d in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True) if d is None]


def _is_class(name: str) -> bool:
    """A loss class by its name. `MSE`, `KLD` and the like are functions."""
    last = name.rpartition(".")[2]
    return last[:1].isupper() and not last.isupper()
