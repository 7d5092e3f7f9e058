"""Training: what is trainable, which functions are losses, where the values are that a gradient is asked of."""

from __future__ import annotations

import ast
import re
from functools import cached_property
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def, Function
from tapefix.analysis.tapes import argument

if TYPE_CHECKING:
    from tapefix.analysis.flow import Vertex
    from tapefix.analysis.module import Module

_TRUTH = re.compile(r"^(y_?true|true|labels?|targets?|y|truth|y_?t|real|gt)$", re.IGNORECASE)
_PREDICTION = re.compile(r"^(y_?pred\w*|pred\w*|logits?|outputs?|y_?hat|y_?p|probs?|p)$", re.IGNORECASE)
LOSS_NAME = re.compile(r"loss|cost|objective|nll|likelihood|entropy|(^|_)b?ce($|_)|focal|divergence", re.IGNORECASE)
VARIABLE_LISTS = {"trainable_variables", "trainable_weights", "variables", "weights"}
REGULARIZED = (
    "kernel_regularizer",
    "bias_regularizer",
    "activity_regularizer",
    "embeddings_regularizer",
    "regularizer",
)
# Methods of a model that run it in a loop of their own and give arrays.
PREDICTS = ("predict", "predict_on_batch")
# Methods of an optimizer of mixed precision that give the loss back, scaled.
SCALES = ("get_scaled_loss", "scale_loss")


class Training:
    """Losses, predictions, parameters and targets of one module."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.objects = module.objects

    # -------------------------------------------------------------- losses

    @cached_property
    def losses(self) -> dict[Function, str]:
        """Functions with the signature (y_true, y_pred) that Keras calls as a loss, and how that is known.

        `compile`: passed to compile(loss=...), also through a factory; `class`: `call` of a keras.losses.Loss;
        `exercised`: a loss by its name whose gradients a run on made-up inputs has measured broken.
        """
        found: dict[Function, str] = {}
        for node in self.module.classes.by_name.values():
            if self.module.classes.kind(node) == "loss":
                method = self.module.classes.method(node, "call")
                if method is not None:
                    found[method] = "class"
        for call in self.module.calls:
            if isinstance(call.func, ast.Attribute) and call.func.attr == "compile":
                loss = argument(call, 1, "loss")
                for function in self.loss_functions(loss) if loss is not None else ():
                    found.setdefault(function, "compile")
        if self.module.measured is not None:
            broken = {one.target for one in self.module.measured.exercised if one.state != "ok"}
            for function in self.objects.functions if broken else ():
                owners = {getattr(one, "name", "") for one in (function, *self.module.ancestors(function))}
                if self.named_prediction(function) is not None and owners & broken:
                    found.setdefault(function, "exercised")
        return found

    def loss_functions(self, node: ast.expr) -> list[Function]:
        """The functions of this module that `compile(loss=node)` takes as losses."""
        if isinstance(node, (ast.List, ast.Tuple)):
            return [f for item in node.elts for f in self.loss_functions(item)]
        if isinstance(node, ast.Dict):
            return [f for item in node.values for f in self.loss_functions(item)]
        found: list[Function] = []
        for origin in self.objects.origins(node):
            if isinstance(origin, (ast.FunctionDef, ast.Lambda)):
                found.append(origin)
            elif isinstance(origin, ast.Attribute) and self.module.classes.is_self(origin.value):
                owner = self.module.class_of(origin)
                method = self.module.classes.method(owner, origin.attr) if owner is not None else None
                found += [method] if method is not None else []
            else:
                # An instance of a loss class of this module, also of a plain class with __call__.
                made = self.objects.instance_class(origin)
                method = self.module.classes.forward_method(made) if made is not None else None
                found += [method] if method is not None else []
        return found

    def prediction_parameter(self, function: Function) -> Def | None:
        """`y_pred` of a loss: its second parameter."""
        parameters = self.objects.parameters(function)
        if len(parameters) < 2:
            return None
        bound = self.module.reaching.bindings.get(parameters[1], [])
        return bound[0] if bound else None

    def named_prediction(self, function: Function | ast.AST | None) -> Def | None:
        """The parameter for the predictions of a function that by its name and parameters is a loss, though nothing
        here compiles it; also of a function nested in one of such a name.
        """
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return None
        owner = self.module.method_class(function)
        names = [function.name, owner.name if owner is not None else ""]
        names += [above.name for above in self.module.ancestors(function) if isinstance(above, ast.FunctionDef)]
        parameters = self.objects.parameters(function)
        if len(parameters) < 2 or not any(LOSS_NAME.search(name) for name in names):
            return None
        if _TRUTH.match(parameters[0].arg) and _PREDICTION.match(parameters[1].arg):
            return self.prediction_parameter(function)
        return None

    def names_prediction_first(self, function: Function) -> bool:
        """Do the names of a loss's parameters say that the prediction comes before the target?"""
        names = [p.arg for p in self.objects.parameters(function)[:2]]
        return len(names) == 2 and _PREDICTION.match(names[0]) is not None and _TRUTH.match(names[1]) is not None

    def target_parameter(self, function: Function) -> Def | None:
        """`y_true` of a loss: its first parameter."""
        parameters = self.objects.parameters(function)
        bound = self.module.reaching.bindings.get(parameters[0], []) if parameters else []
        return bound[0] if bound else None

    # -------------------------------------------------------------- layers

    @cached_property
    def forward_methods(self) -> dict[Function, str]:
        """`call` of the layers and models of this module, and functions in Lambda layers."""
        found: dict[Function, str] = {}
        for node in self.module.classes.by_name.values():
            kind = self.module.classes.kind(node)
            if kind in ("layer", "model"):
                method = next((s for s in node.body if isinstance(s, ast.FunctionDef) and s.name == "call"), None)
                if method is not None:
                    found[method] = kind
        for call in self.module.calls:
            if (
                self.module.call_name(call) == "keras.layers.Lambda"
                and (function := argument(call, 0, "function")) is not None
            ):
                for origin in self.objects.origins(function):
                    if isinstance(origin, (ast.FunctionDef, ast.Lambda)):
                        found[origin] = "lambda"
        return found

    @cached_property
    def regularizers(self) -> list[Function]:
        """What Keras calls with a weight, or with an output of a layer, and adds to the loss."""
        if "egularizer" not in self.module.text:
            return []
        found: list[Function] = []
        for node in self.module.classes.by_name.values():
            if any(self.module.name(base) == "keras.regularizers.Regularizer" for base in node.bases):
                method = self.module.classes.method(node, "__call__")
                found += [method] if method is not None else []
        for call in self.module.calls:
            for keyword in call.keywords:
                # Of what a key of settings holds, any value may be meant.
                if keyword.arg in REGULARIZED and not isinstance(keyword.value, ast.Subscript):
                    origins = self.objects.origins(keyword.value)
                    found += [o for o in origins if isinstance(o, (ast.FunctionDef, ast.Lambda)) and o not in found]
        return found

    @cached_property
    def custom_gradients(self) -> set[Function]:
        """Functions under `tf.custom_gradient`, also where it is called with them."""
        if "custom_gradient" not in self.module.text:
            return set()
        found: set[Function] = {
            function
            for function in self.module.each(ast.FunctionDef)
            if any(self.module.name(d) == "tf.custom_gradient" for d in function.decorator_list)
        }
        for call in self.module.calls:
            if self.module.call_name(call) == "tf.custom_gradient" and call.args:
                origins = self.objects.origins(call.args[0])
                found |= {o for o in origins if isinstance(o, (ast.FunctionDef, ast.Lambda))}
        return found

    # -------------------------------------------------------------- seeds of the flow

    @cached_property
    def parameters(self) -> list[Vertex]:
        """Where trainable values enter: variables, model and layer calls, watched tensors, predictions, inputs."""
        found: list[Vertex] = []
        for call in self.module.calls:
            kind = self.module.kinds.made(call)
            if (kind == "variable" and not _not_trainable(call)) or self.is_forward(call):
                found.append(call)
        for node in self.module.all(ast.Attribute):
            assert isinstance(node, ast.Attribute)
            if (
                node.attr in VARIABLE_LISTS
                and isinstance(node.ctx, ast.Load)
                and not self.objects.attribute_values(node)
            ):
                found.append(node)
        for tape in self.module.tapes.tapes:
            for watch in tape.watches:
                for argument_ in watch.args:
                    found += self._names(argument_)
        for gradient in self.module.tapes.gradients:
            for item in gradient.source_items():
                found += self._names(item)
        for function in self.losses:
            prediction = self.prediction_parameter(function)
            if prediction is not None:
                found.append(prediction)
        for function, kind in self.forward_methods.items():
            parameters = self.objects.parameters(function)
            if parameters and kind in ("layer", "lambda"):
                found += self.module.reaching.bindings.get(parameters[0], [])
        for function in self.regularizers:
            for parameter in self.objects.parameters(function)[:1]:
                found += self.module.reaching.bindings.get(parameter, [])
        return found

    def _names(self, node: ast.expr) -> list[Vertex]:
        """A watched or differentiated name: the values that it was given."""
        if isinstance(node, (ast.List, ast.Tuple)):
            return [v for item in node.elts for v in self._names(item)]
        if self.module.kinds.of(node) in ("model", "layer"):
            return []
        if isinstance(node, ast.Name):
            return [d for d in self.module.definitions(node) if d.kind != "import"]
        return [node]

    def is_forward(self, call: ast.Call) -> bool:
        """Does this call run a layer or a model (`model(x)`, `self.dense(h)`, `model.call(x)`)?"""
        func = call.func
        if isinstance(func, ast.Attribute) and func.attr in ("call", "__call__", *PREDICTS):
            return self.module.kinds.of(func.value) in ("model", "layer", "module")
        if self.module.call_name(call) is not None and self.module.kinds.made(call) is not None:
            return False
        return self.module.kinds.of(func) in ("model", "layer", "module")

    # -------------------------------------------------------------- what runs while gradients are recorded

    @cached_property
    def recorded_functions(self) -> set[Function]:
        """Functions whose operations a tape (or fit) records: losses, forward methods, and all that these call."""
        found: set[Function] = {*self.losses, *self.forward_methods, *self.regularizers}
        queue = list(found)
        for tape in self.module.tapes.tapes:
            for statement in tape.block.body:
                for node in ast.walk(statement):
                    queue += self._run_by(node)
        for call in self.module.calls:
            # minimize(loss), tf.gradients(...) of a function, tfp's value_and_gradient(f, x)
            if isinstance(call.func, ast.Attribute) and call.func.attr in ("minimize", "add_loss") and call.args:
                for origin in self.objects.origins(call.args[0]):
                    if isinstance(origin, (ast.FunctionDef, ast.Lambda)):
                        queue.append(origin)
        found.update(queue)
        inner: dict[Function | None, list[Function]] = {}
        for function in self.objects.functions:
            inner.setdefault(self.module.function(function), []).append(function)
        queue = list(found)
        seen = set(queue)
        while queue:
            function = queue.pop()
            # What stands inside of a recorded function is looked at with it, though it may not be one itself.
            nested = [f for f in inner.get(function, []) if f not in seen]
            called = [f for call in self.module.calls_in.get(function, []) for f in self._run_by(call)]
            found.update(called)
            for other in (*nested, *called):
                if other not in seen:
                    seen.add(other)
                    queue.append(other)
        return found

    def _run_by(self, node: ast.AST) -> list[Function]:
        if not isinstance(node, ast.Call):
            return []
        found = list(self.objects.callees(node))
        for argument_ in [*node.args, *[k.value for k in node.keywords]]:
            if isinstance(argument_, (ast.Name, ast.Lambda)):
                found += [o for o in self.objects.origins(argument_, 4) if isinstance(o, (ast.FunctionDef, ast.Lambda))]
        return found

    def is_recorded(self, node: ast.AST) -> bool:
        """Does `node` run while a gradient is being recorded: in a tape's block, a loss, a layer, or called by them?"""
        for above in self.module.ancestors(node):
            if any(tape.block is above for tape in self.module.tapes.tapes):
                return True
            if above in self.recorded_functions:
                return True
        return False

    @cached_property
    def targets(self) -> list[Vertex]:
        """Values of which a gradient is taken: tape targets, losses' results, layers' outputs, add_loss, minimize."""
        found: list[Vertex] = [gradient.target for gradient in self.module.tapes.gradients]
        for function in [*self.losses, *self.forward_methods, *self.regularizers]:
            found += self.objects.returns.get(function, [])
        for call in self.module.calls:
            if self.module.call_name(call) in ("tf.gradients", "keras.backend.gradients", "tf.compat.v1.gradients"):
                target = argument(call, 0, "ys")
                found += [target] if target is not None else []
            if isinstance(call.func, ast.Attribute) and call.func.attr in ("add_loss", "minimize") and call.args:
                found.append(call.args[0])
                for origin in self.objects.origins(call.args[0]):
                    if isinstance(origin, (ast.FunctionDef, ast.Lambda)):
                        found += self.objects.returns.get(origin, [])
        return found


def _not_trainable(call: ast.Call) -> bool:
    value = (
        argument(call, 1, "trainable")
        if not (isinstance(call.func, ast.Attribute) and call.func.attr == "add_weight")
        else next((k.value for k in call.keywords if k.arg == "trainable"), None)
    )
    return isinstance(value, ast.Constant) and value.value is False
