"""Who needs the result of a function: Keras, a tape, or a caller that computes with it."""

from __future__ import annotations

import ast
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.scopes import Function
from tapefix.analysis.training import LOSS_NAME

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Methods of a Keras model that Keras calls and whose result it uses.
STEPS = ("train_step", "test_step", "predict_step", "compute_loss")
# Where a function of the user is handed to Keras or TensorFlow, which then uses what it returns.
_KEYWORDS = {
    "activation",
    "recurrent_activation",
    "kernel_regularizer",
    "bias_regularizer",
    "activity_regularizer",
    "kernel_initializer",
}
_TAKERS = {"map_fn", "vectorized_map", "scan", "foldl", "foldr", "value_and_gradient", "minimize", "lbfgs_minimize"}
# `print_loss` and `update_loss` do something with a loss.
_VERBS = (
    "print",
    "show",
    "plot",
    "log_",
    "write",
    "save",
    "record",
    "update",
    "add_",
    "check",
    "assert",
    "test",
    "set_",
)
_UNUSED = {"print", "tf.print", "type", "id", "isinstance", "repr", "str", "bool", "hasattr"}


class Need(NamedTuple):
    """Why a function must return something: a phrase for the message, and the call that uses the result, if any.

    `names` are the names that a caller unpacks the result into; `kind` is loss, class, layer, model, lambda, step,
    callback, element or caller.
    """

    kind: str
    reason: str
    place: ast.AST | None = None
    names: tuple[str, ...] = ()


class Results:
    """Answers for one module, one function at a time."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.objects = module.objects
        self._needs: dict[Function, Need | None] = {}

    def need(self, function: Function) -> Need | None:
        """Who needs what `function` returns, None where nobody is known to."""
        if function not in self._needs:
            self._needs[function] = None  # a recursion shows no new use
            self._needs[function] = self._from_framework(function) or self._from_callers(function)
        return self._needs[function]

    def is_possible(self, function: ast.FunctionDef) -> bool:
        """A cheap first question: can anybody need the result, by the names alone?"""
        name = function.name
        known = name in self._read_names or name in ("call", "__call__", *STEPS)
        return known or self._is_loss_by_name(function)

    @cached_property
    def _read_names(self) -> set[str]:
        """Names that are called for their result, or handed on, anywhere in the module."""
        found: set[str] = set()
        nodes: list[ast.Name | ast.Attribute] = [*self.module.each(ast.Name), *self.module.each(ast.Attribute)]
        for node in nodes:
            if not isinstance(node.ctx, ast.Load):
                continue
            parent = self.module.parent(node)
            is_call = isinstance(parent, ast.Call) and parent.func is node
            if not is_call or not isinstance(self.module.parent(parent), ast.Expr):  # type: ignore[arg-type]
                found.add(node.id if isinstance(node, ast.Name) else node.attr)
        return found

    # -------------------------------------------------------------- functions that Keras and TensorFlow call

    def _from_framework(self, function: Function) -> Need | None:
        name = getattr(function, "name", "")
        owner = self.module.method_class(function)
        kind = self.module.classes.kind(owner) if owner is not None else None
        if kind == "model" and name in STEPS:
            if any(isinstance(self.module.parent(call), ast.Expr) for call in self.calls_of(function)):
                return None  # run by a loop of the author's own
            return Need("step", f"Keras uses what {name} returns")
        if kind in ("layer", "model") and name == "call":
            return Need(kind, f"every forward pass of {owner.name if owner else 'the layer'} is None")
        if kind == "loss" and name == "call":
            return Need("class", "Keras uses what it returns as the loss")
        if kind is None and owner is not None and name == "__call__" and self._is_regularizer(owner):
            return Need("callback", "Keras adds what it returns to the loss")
        if owner is not None and kind is not None:
            return None
        if function in self.module.training.losses:
            return Need("loss", "Keras uses what it returns as the loss")
        if self._is_loss_by_name(function):
            return Need("loss", "a loss is what it returns")
        if self.module.training.forward_methods.get(function) == "lambda":
            return Need("lambda", "the Lambda layer passes on what it returns")
        wrapped = self._wrapped(function)
        if wrapped is not None:
            return wrapped
        if self._is_backward_pass(function):
            return Need("callback", "tf.custom_gradient uses what it returns as the gradient")
        for call, slot in self._handed_over(function):
            return Need("callback", f"{slot} uses what it returns", call)
        mapped = self._maps_dataset(function)
        if mapped is not None:
            return Need("element", "Dataset.map uses what it returns", mapped)
        return None

    def _is_loss_by_name(self, function: Function) -> bool:
        """A function (y_true, y_pred) with the name of a loss, or made by one of such a name; in a library, say."""
        if self.module.training.named_prediction(function) is None:
            return False
        made = isinstance(self.module.parent(function), ast.FunctionDef)
        name = getattr(function, "name", "")
        if name.startswith(_VERBS):
            return False
        return made or name in ("call", "__call__") or LOSS_NAME.search(name) is not None

    def _wrapped(self, function: Function) -> Need | None:
        """The inner function of a decorator gives the result of what it decorates."""
        decorator = self.module.parent(function)
        if not isinstance(decorator, ast.FunctionDef) or not isinstance(function, ast.FunctionDef):
            return None
        if not self._returns(decorator, function):
            return None
        outer = self.module.parent(decorator)
        factory = outer if isinstance(outer, ast.FunctionDef) and self._returns(outer, decorator) else None
        for decorated in self.module.each(ast.FunctionDef):
            for mark in decorated.decorator_list:
                applied = mark.func if isinstance(mark, ast.Call) else mark
                meant = factory if isinstance(mark, ast.Call) else decorator
                if meant is None or not self._names(applied, meant, meant.name):
                    continue
                need = self.need(decorated)
                if need is not None:
                    return Need("caller", f"{decorated.name}, which it wraps, loses its result", need.place)
        return None

    def _returns(self, outer: ast.FunctionDef, inner: ast.FunctionDef) -> bool:
        return any(isinstance(r, ast.Name) and r.id == inner.name for r in self.objects.returns.get(outer, ()))

    def _is_backward_pass(self, function: Function) -> bool:
        """The second of the two results of a function under `tf.custom_gradient`."""
        forward = self.module.parent(function)
        if not isinstance(forward, ast.FunctionDef) or not isinstance(function, ast.FunctionDef):
            return False
        pairs = [r for r in self.objects.returns.get(forward, ()) if isinstance(r, ast.Tuple) and len(r.elts) == 2]
        if not any(isinstance(p.elts[1], ast.Name) and p.elts[1].id == function.name for p in pairs):
            return False
        return forward in self.module.training.custom_gradients

    def _is_regularizer(self, owner: ast.ClassDef) -> bool:
        return any(
            (self.module.name(base) or "").startswith(
                ("keras.regularizers.", "keras.constraints.", "keras.initializers.")
            )
            for base in owner.bases
        )

    def _handed_over(self, function: Function) -> list[tuple[ast.Call, str]]:
        name = getattr(function, "name", None)
        found = []
        for call in self.module.calls:
            for keyword in call.keywords:
                if keyword.arg in _KEYWORDS and self._names(keyword.value, function, name):
                    found.append((call, f"the argument {keyword.arg}"))
            last = call.func.attr if isinstance(call.func, ast.Attribute) else None
            if last in _TAKERS and call.args and self._names(call.args[0], function, name):
                found.append((call, last))
        return found

    def _maps_dataset(self, function: Function) -> ast.Call | None:
        """`dataset.map(function)`, also through functools.partial."""
        for call in self.module.calls if "Dataset" in self.module.text or "tfds." in self.module.text else ():
            if not (isinstance(call.func, ast.Attribute) and call.func.attr == "map" and call.args):
                continue
            if isinstance(self.module.parent(call), ast.Expr):
                continue  # a pool of workers
            given = call.args[0]
            if isinstance(given, ast.Call) and self.module.call_name(given) == "functools.partial" and given.args:
                given = given.args[0]
            if self._names(given, function, getattr(function, "name", None)):
                return call
        return None

    def _names(self, node: ast.AST, function: Function, name: str | None) -> bool:
        if node is function:
            return True
        return (
            isinstance(node, ast.Name)
            and node.id == name
            and any(d.node is function for d in self.module.definitions(node))
        )

    # -------------------------------------------------------------- functions of which a caller uses the result

    def calls_of(self, function: Function) -> list[ast.Call]:
        """The calls that run `function` by its name; of a function in a function, also those of what hands it out."""
        name = getattr(function, "name", None)
        if name is None:
            return []
        outer = self.module.parent(function)
        handed_out = isinstance(outer, ast.FunctionDef) and isinstance(function, ast.FunctionDef)
        handed_out = handed_out and self._returns(outer, function)  # type: ignore[arg-type]
        found = []
        for call in self.module.calls:
            func = call.func
            spelled = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else None
            if (handed_out or spelled == name) and function in self.objects.callees(call):
                found.append(call)
        return found

    def _from_callers(self, function: Function) -> Need | None:
        calls = self.calls_of(function)
        for call in calls:
            names = self._unpacked(call)
            if names:
                return Need("caller", f"line {call.lineno} unpacks its result", call, names)
        for read in [*calls, *self._reads_of_property(function)]:
            use = self.strict_use(read)
            if use is not None:
                return Need("caller", f"line {use.lineno} computes with its result", use)  # type: ignore[attr-defined]
        return None

    def _reads_of_property(self, function: Function) -> list[ast.Attribute]:
        owner = self.module.method_class(function)
        decorators = getattr(function, "decorator_list", ())
        if owner is None or not any(isinstance(d, ast.Name) and d.id == "property" for d in decorators):
            return []
        return [
            read
            for read in self.module.each(ast.Attribute)
            if read.attr == function.name  # type: ignore[union-attr]
            and isinstance(read.ctx, ast.Load)
            and (
                self.module.class_of(read) is owner
                if self.module.classes.is_self(read.value)
                else owner in map(self.objects.instance_class, self.objects.origins(read.value))
            )
        ]

    def _unpacked(self, call: ast.Call) -> tuple[str, ...]:
        parent = self.module.parent(call)
        if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], (ast.Tuple, ast.List)):
            return tuple(e.id if isinstance(e, ast.Name) else "" for e in parent.targets[0].elts)
        return ()

    def strict_use(self, node: ast.AST, depth: int = 4) -> ast.AST | None:
        """A place that fails, or computes nonsense, where `node` is None; None where every use could bear a None."""
        parent = self.module.parent(node)
        if parent is None or depth <= 0:
            return None
        if isinstance(parent, (ast.BinOp, ast.Starred)) or (
            isinstance(parent, ast.UnaryOp) and not isinstance(parent.op, ast.Not)
        ):
            return parent
        if isinstance(parent, ast.Compare):
            return parent if all(isinstance(op, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for op in parent.ops) else None
        if isinstance(parent, (ast.Attribute, ast.Subscript)) and parent.value is node:
            return parent
        if isinstance(parent, (ast.For, ast.comprehension)) and parent.iter is node:
            return node
        if isinstance(parent, ast.AugAssign):
            return parent
        if isinstance(parent, ast.keyword) or (isinstance(parent, ast.Call) and node in parent.args):
            return self._strict_argument(node, parent, depth)
        if isinstance(parent, ast.Call):
            return parent  # the result is called
        if isinstance(parent, ast.IfExp) and parent.test is not node:
            return self.strict_use(parent, depth - 1)
        if (
            isinstance(parent, (ast.List, ast.Tuple, ast.ListComp, ast.GeneratorExp))
            and getattr(parent, "elt", node) is node
        ):
            above = self.module.parent(parent)
            return (
                self._strict_argument(parent, above, depth)
                if isinstance(above, ast.Call) and parent in above.args
                else None
            )
        if isinstance(parent, (ast.Assign, ast.AnnAssign)):
            return self._strict_name(parent, depth)
        if isinstance(parent, (ast.Return, ast.Lambda)):
            outer = parent if isinstance(parent, ast.Lambda) else self.module.function(parent)
            need = self.need(outer) if outer is not None else None
            return node if need is not None else None
        return None

    def _strict_argument(self, node: ast.AST, parent: ast.AST, depth: int) -> ast.AST | None:
        call = self.module.parent(parent) if isinstance(parent, ast.keyword) else parent
        if not isinstance(call, ast.Call):
            return None
        name = self.module.call_name(call)
        if name in _UNUSED:
            return None
        if isinstance(parent, ast.keyword):
            is_loss = parent.arg == "loss" and isinstance(call.func, ast.Attribute) and call.func.attr == "compile"
            return call if is_loss else None
        if name is not None and name.startswith(("tf.", "np.", "keras.ops.", "keras.backend.")):
            return call if self.module.op(call) is not None or self.module.numpy_op(call) is not None else None
        if name in ("float", "len", "sum", "zip", "enumerate", "int", "min", "max"):
            return call
        if any(gradient.call is call and gradient.target is node for gradient in self.module.tapes.gradients):
            return call
        if self.module.training.is_forward(call) or self.module.kinds.of(call.func) == "loss":
            return call
        return self._strict_parameter(node, call, depth)

    def _strict_parameter(self, node: ast.AST, call: ast.Call, depth: int) -> ast.AST | None:
        """A use in a function of this module to which the value is passed by position."""
        if depth <= 1 or node not in call.args:
            return None
        position = call.args.index(node)
        for callee in self.objects.callees(call):
            parameters = self.objects.parameters(callee)
            if position >= len(parameters) or any(isinstance(a, ast.Starred) for a in call.args):
                continue
            for definition in self.module.reaching.bindings.get(parameters[position], ()):
                for use in definition.uses:
                    alone = len(self.module.definitions(use)) == 1
                    if alone and (found := self.strict_use(use, depth - 1)) is not None:
                        return found
        return None

    def _may_be_none(self, use: ast.Name) -> bool:
        """Does the text itself give this name None somewhere, or ask whether it is, so that its readers are ready?"""
        return any(
            d.kind != "assign"
            or isinstance(d.value, ast.Constant)
            or (any(self._is_asked(u) for u in d.uses) and not self._says_not_yet(d.value))
            for d in self.module.definitions(use)
        )

    def _says_not_yet(self, value: ast.expr | None) -> bool:
        """A call of a function with a `return None` of its own: its callers ask for that, and not for a lost result."""
        callees = self.objects.callees(value) if isinstance(value, ast.Call) else ()
        return any(
            isinstance(node.value, ast.Constant) and node.value.value is None and self.module.function(node) in callees
            for node in self.module.each(ast.Return)
        )

    def _is_asked(self, use: ast.AST) -> bool:
        """`if state:`, `state is not None`, `not state`."""
        parent = self.module.parent(use)
        if isinstance(parent, ast.Compare):
            return any(isinstance(op, (ast.Is, ast.IsNot)) for op in parent.ops)
        if isinstance(parent, ast.UnaryOp):
            return isinstance(parent.op, ast.Not)
        return isinstance(parent, ast.BoolOp) or getattr(parent, "test", None) is use

    def _strict_name(self, assign: ast.Assign | ast.AnnAssign, depth: int) -> ast.AST | None:
        targets = assign.targets if isinstance(assign, ast.Assign) else [assign.target]
        for target in targets:
            if isinstance(target, (ast.Tuple, ast.List)):
                return assign
            if isinstance(target, ast.Name):
                bound = self.module.reaching.bindings.get(target, [])
                for use in bound[0].uses if bound else ():
                    if not self._may_be_none(use) and (found := self.strict_use(use, depth - 1)) is not None:
                        return found
            elif isinstance(target, ast.Attribute) and self.module.classes.is_self(target.value):
                owner = self.module.class_of(target)
                if owner is None or len(self.module.classes.attribute_writes.get((owner, target.attr), ())) != 1:
                    continue
                for read in self.module.all(ast.Attribute):
                    same = read.attr == target.attr and isinstance(read.ctx, ast.Load)  # type: ignore[attr-defined]
                    if same and self.module.class_of(read) is owner and self.module.classes.is_self(read.value):  # type: ignore[attr-defined]
                        found = self.strict_use(read, depth - 1)
                        if found is not None:
                            return found
        return None
