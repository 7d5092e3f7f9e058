"""TPF401: a loss, a forward pass or a helper that computes its result and does not return it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.control import End, ends, is_generator
from tapefix.analysis.results import Need
from tapefix.codemods.edits import Insert
from tapefix.findings import Candidate, Finding
from tapefix.rules._last_value import Last, LastValue
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Functions that return nothing by custom.
_NO_RESULT = ("__init__", "build", "setUp", "__enter__", "__exit__", "main")

# Who needs the result, where Keras or TensorFlow itself calls the function.
_FRAMEWORK = ("layer", "model", "class", "loss", "lambda", "callback")

Definition = ast.FunctionDef | ast.AsyncFunctionDef


class MissingReturn(Rule):
    """A function computes the value that its caller needs, but does not return it.

    What it finds:
        A loss, the `call` of a layer or a model, a training step, the function of a Lambda layer or a helper with
        whose result a caller computes, that ends without `return`. It may end with the bare value, with an
        assignment, or with a `print` of the value.

    Why the gradient stops:
        A Python function without `return` gives None. Nothing of what was computed in it reaches the loss; Keras
        fails later and elsewhere, with `None values not supported` or `No gradients provided for any variable`.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])


        def squared_error(y_true, y_pred):
            loss = tf.reduce_mean(tf.square(y_true - y_pred))


        model.compile(optimizer="sgd", loss=squared_error)
        model.fit(tf.ones([4, 2]), tf.ones([4, 1]), verbose=0)
        ```

    Fix safety:
        Safe: the value computed last, which nothing else uses, can only have been meant as the result.
    """

    code = "TPF401"
    name = "missing-return"
    safety = "safe"
    tokens = ("def ",)

    def check(self, module: Module) -> Iterator[Finding]:
        with_value = {module.function(node) for node in module.each(ast.Return) if _is_value(node.value)}
        for function in module.each(ast.FunctionDef):
            if function in with_value or function.name in _NO_RESULT or not module.results.is_possible(function):
                continue
            places = ends(function.body)
            if not places or is_generator(function) or _is_abstract(function):
                continue
            need = module.results.need(function)
            if need is None:
                continue
            last = self._last(module, function, places, need)
            if last is None:
                yield self._advice(module, function, need)
                continue
            title = f"return {last.text}" if "\n" not in last.text else "return what is computed last"
            yield self.finding(
                module,
                last.node,
                f"{function.name} ends here without return, so it gives None: {need.reason}.",
                label="computed, but not returned",
                candidates=[Candidate(title, last.edits)],
                notes=[(need.place, "the result is used here")] if need.place is not None else (),
                certain=self._certain(module, function, need, last),
                latent=True,
            )

    def _certain(self, module: Module, function: Definition, need: Need, last: Last) -> bool:
        if not last.dead and need.kind != "step":
            return False
        owner = module.method_class(function)
        # A model with a training step of its own may have a `call` that nobody calls.
        return not (
            need.kind == "model" and owner is not None and module.classes.method(owner, "train_step") is not None
        )

    def _last(self, module: Module, function: ast.FunctionDef, places: list[End], need: Need) -> Last | None:
        """What the function computes last, and how to return it."""
        if len(need.names) > 1 or need.kind == "step":
            return self._of_need(module, function, need)
        if need.kind == "element" and len(_given(function)) > 1:
            return self._of_element(module, function, need)
        last = LastValue(module, function, needed=need.kind in _FRAMEWORK).of(function.body)
        if last is None and isinstance(function.body[-1], ast.FunctionDef):
            last = _inner_function(module, function)
        if last is None and isinstance(function.body[-1], ast.If):
            last = self._of_ends(module, function, places)
        return last or LastValue(module, function).unread(function.body)

    def _of_element(self, module: Module, function: ast.FunctionDef, need: Need) -> Last | None:
        """What Dataset.map makes of an element of several parts: each of them, changed or as it came."""
        assert isinstance(need.place, ast.Call)
        bound = {k.arg for k in need.place.args[0].keywords} if isinstance(need.place.args[0], ast.Call) else set()
        scope = module.reaching.scope_of[function]
        parts: list[str] = []
        changed = False
        for parameter in _given(function):
            definitions = scope.defs.get(parameter, [])
            if parameter in bound:
                continue
            new = any(d.kind != "parameter" for d in definitions)
            if new or not any(d.uses for d in definitions):
                parts.append(parameter)
                changed |= new
                continue
            # What came in is read, and what was made of it has another name.
            made = LastValue(module, function).unread(function.body)
            if made is None or made.text in parts:
                return None
            parts.append(made.text)
            changed = True
        if not changed:
            return None
        tail = function.body[-1]
        text = ", ".join(parts)
        return Last(tail, text, (Insert(module.span(tail), "after", f"return {text}"),), True)

    def _of_ends(self, module: Module, function: Definition, places: list[End]) -> Last | None:
        """Every branch computes its own result."""
        found = [LastValue(module, function).of(end.block) for end in places if end.missing_branch is None]
        if len(found) != len(places) or any(last is None for last in found):
            return None
        values = [last for last in found if last is not None]
        return Last(
            values[0].node,
            "the value of each branch",
            tuple(e for v in values for e in v.edits),
            all(v.dead for v in values),
        )

    def _of_need(self, module: Module, function: Definition, need: Need) -> Last | None:
        """A result that is more than one value: a training step's logs, several values that the caller unpacks."""
        tail = function.body[-1]
        if need.kind == "step" and function.name in ("train_step", "test_step"):
            if isinstance(tail, ast.Expr) and isinstance(tail.value, (ast.Name, ast.Dict)):
                return LastValue(module, function).of(function.body)
            text = _logs(module, function)
            return (
                Last(tail, text, (Insert(module.span(tail), "after", f"return {text}"),), True)
                if text is not None
                else None
            )
        if len(need.names) < 2:
            return None
        last = LastValue(module, function, len(need.names)).of(function.body)
        if last is not None:
            return last
        scope = module.reaching.scope_of[function]
        if all(
            name and any(d.kind in ("assign", "augment", "mutate") for d in scope.defs.get(name, ()))
            for name in need.names
        ):
            text = ", ".join(need.names)
            return Last(tail, text, (Insert(module.span(tail), "after", f"return {text}"),), True)
        return None

    def _advice(self, module: Module, function: Definition, need: Need) -> Finding:
        return self.finding(
            module,
            function,
            f"{function.name} returns nothing: {need.reason}.",
            label="no return",
            certain=False,
            advice=f"Return the result at the end of {function.name}.",
        )


def _is_value(node: ast.expr | None) -> bool:
    """`return None` says that there is no result yet, as a bare `return` does."""
    return node is not None and not (isinstance(node, ast.Constant) and node.value is None)


def _given(function: ast.FunctionDef) -> list[str]:
    """The parameters without defaults."""
    every = [*function.args.posonlyargs, *function.args.args]
    return [p.arg for p in every[: len(every) - len(function.args.defaults)] if p.arg != "self"]


def _is_abstract(function: Definition) -> bool:
    """Nothing but a docstring, `pass` or `...`; or to be overridden."""
    if any(
        isinstance(d, ast.Attribute | ast.Name)
        and (d.attr if isinstance(d, ast.Attribute) else d.id).endswith("abstractmethod")
        for d in function.decorator_list
    ):
        return True
    return all(
        isinstance(s, ast.Pass) or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
        for s in function.body
    )


def _inner_function(module: Module, function: Definition) -> Last | None:
    """A factory whose last statement defines the function that it makes."""
    inner = function.body[-1]
    assert isinstance(inner, ast.FunctionDef)
    bound = module.reaching.bindings.get(inner, [])
    if any(d.uses for d in bound):
        return None
    return Last(inner, inner.name, (Insert(module.span(inner), "after", f"return {inner.name}"),), True)


def _logs(module: Module, function: Definition) -> str | None:
    """What a training step returns to Keras: the metrics where it updates any, else its loss."""
    parameters = [*function.args.posonlyargs, *function.args.args]
    if not parameters:
        return None
    inside = [
        call for call in module.calls if module.function(call) is function and isinstance(call.func, ast.Attribute)
    ]
    if any(call.func.attr == "update_state" for call in inside):  # type: ignore[attr-defined]
        owner = parameters[0].arg
        return f"{{m.name: m.result() for m in {owner}.metrics}}"
    for gradient in module.tapes.gradients:
        if module.function(gradient.call) is not function:
            continue
        target = gradient.target
        if isinstance(target, ast.Name):
            return f'{{"loss": {target.id}}}'
        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            return target.value.id  # tape.gradient(losses["total"], ...): the losses by their names
    if any(d for d in module.reaching.scope_of[function].defs.get("loss", ())):
        return '{"loss": loss}'
    return None
