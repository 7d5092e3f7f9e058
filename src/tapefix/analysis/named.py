"""Losses of libraries: functions that nothing in their file compiles or records, but that are losses by their names."""

from __future__ import annotations

import ast
import re
from functools import cached_property
from typing import TYPE_CHECKING

from tapefix.analysis.exports import EXPORT_METHODS, EXPORTS, exit_kind
from tapefix.analysis.scopes import Def, Function
from tapefix.analysis.training import LOSS_NAME

if TYPE_CHECKING:
    from tapefix.analysis.flow import Vertex
    from tapefix.analysis.module import Module

# What has to do with losses and trains nothing: evaluation, reports, NumPy's own version of a loss.
_NO_LOSS = re.compile(
    r"(^|_)(np|numpy|tests?|eval\w*|plot\w*|print\w*|log|logs|report\w*|show\w*|metrics?|history|monitor"
    r"|valid\w*|val|accuracy|summary|save\w*|load\w*|parse\w*|check\w*|callback|score)(_|$)|(^|_)(grads?|gradients?)$",
    re.IGNORECASE,
)
# Parameters that hold what a network gives, or what is computed from it.
_PREDICTED = re.compile(
    r"pred|logit|output|(^|_)hat|prob|fake|recon|decoded|generated|log_?var|log_?std|log_?sig|score|distance|(^|_)p(_|$)"
    r"|anchor|positive|negative|^mu$|^sigma$|mean|embedding|error|diff|delta",
    re.IGNORECASE,
)
_TRAINS = re.compile(r"train|step|forward|learn|update|optimi[sz]e", re.IGNORECASE)
# Parameters that hold settings and data.
_FED = re.compile(
    r"(^|_)(std|stddev|scale|eps|epsilon|alpha|gamma|margin|tau|size|num|n|noise|temperature|threshold|lambda|coef\w*|rate"
    r"|axis|dim|config|name|reduction|weights?|mask)($|_|\d)|^(x|inputs?|batch|data|images?|imgs?|y|labels?|targets?|y_?true|truth|gt|y_gt"
    r"|ground_truth)$",
    re.IGNORECASE,
)
_TENSORS = ("tf.", "keras.ops.", "keras.losses.", "keras.activations.", "keras.metrics.")
_KNOWN = ("tf.", "keras.", "np.", "math.", "scipy.", "sklearn.")
# The rest of keras.backend is about names, sessions and dtypes.
_BACKEND = {
    "abs", "argmax", "batch_dot", "batch_flatten", "binary_crossentropy", "cast", "categorical_crossentropy", "clip",
    "concatenate", "conv2d", "cos", "dot", "elu", "equal", "exp", "expand_dims", "flatten", "gather", "greater",
    "hard_sigmoid", "l2_normalize", "less", "log", "logsumexp", "max", "maximum", "mean", "min", "minimum",
    "not_equal", "one_hot", "permute_dimensions", "pow", "prod", "relu", "repeat", "repeat_elements", "reshape",
    "round", "shape", "sigmoid", "sign", "sin", "softmax", "softplus", "sparse_categorical_crossentropy", "sqrt",
    "square", "squeeze", "stack", "std", "sum", "switch", "tanh", "tile", "transpose", "var",
}  # fmt: skip
# Of these roots, what gives no tensor, or takes arrays as they are.
_NO_TENSORS = (
    "tf.io.", "tf.data.", "tf.config.", "tf.summary.", "tf.train.", "tf.debugging.", "tf.test.", "tf.distribute.",
    "tf.saved_model.", "tf.convert_to_tensor", "tf.constant", "tf.TensorShape", "tf.print", "tf.Variable",
)  # fmt: skip


class NamedLosses:
    """The functions of one module that are losses by name, with the parameters that a gradient goes to."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.objects = module.objects

    @cached_property
    def functions(self) -> dict[Function, set[Vertex]]:
        known = {*self.module.training.losses, *self.module.training.forward_methods}
        found: dict[Function, set[Vertex]] = {}
        for function in self.objects.functions:
            if (
                isinstance(function, ast.FunctionDef)
                and function not in known
                and self._is_loss(function)
                and self._may_be_recorded(function)
            ):
                parameters = [
                    d
                    for p in self.objects.parameters(function)
                    if not _FED.search(p.arg)
                    for d in self.module.reaching.bindings.get(p, [])
                ]
                found[function] = {d for d in parameters if _PREDICTED.search(d.name) or self._is_used(d)}
        return found

    @cached_property
    def run(self) -> set[Function]:
        """These functions and all that they call."""
        found: set[Function] = set(self.functions)
        queue = list(found)
        while queue:
            for node in ast.walk(queue.pop()):
                for callee in self.objects.callees(node) if isinstance(node, ast.Call) else ():
                    if callee not in found:
                        found.add(callee)
                        queue.append(callee)
        return found

    def holds(self, node: ast.AST) -> bool:
        return any(above in self.run for above in self.module.ancestors(node))

    def _is_loss(self, function: ast.FunctionDef) -> bool:
        owner = self.module.method_class(function)
        names = [function.name]
        if owner is not None and function.name in ("call", "__call__", "compute", "forward"):
            names.append(owner.name)
        if owner is None:
            names += [f.name for f in self.module.ancestors(function) if isinstance(f, ast.FunctionDef)]
        if any(_NO_LOSS.search(name) for name in names):
            return False
        return any(LOSS_NAME.search(name) for name in names)

    def _may_be_recorded(self, function: Function) -> bool:
        """False where this module calls it, but never from a loss, a training step or where something records."""
        sites = self.objects.call_sites.get(function, [])
        return not sites or any(
            self.module.training.is_recorded(site)
            or (isinstance(caller := self.module.function(site), ast.FunctionDef) and self._may_train(caller))
            for site in sites
        )

    def _may_train(self, function: ast.FunctionDef) -> bool:
        return bool(_TRAINS.search(function.name)) or self._is_loss(function)

    # -------------------------------------------------------------- evidence

    def is_tensor(self, node: ast.AST, depth: int = 8) -> bool:
        """Is this surely the result of TensorFlow's functions?"""
        if depth <= 0:
            return False
        if isinstance(node, ast.Name):
            return any(
                d.value is not None and d.kind in ("assign", "augment") and self.is_tensor(d.value, depth - 1)
                for d in self.module.definitions(node)
            )
        if isinstance(node, ast.Call):
            name = self.module.call_name(node)
            if name is not None and (name.startswith(_KNOWN) or not is_called_loss(node)):
                return self.is_tensor_function(name)
            if isinstance(node.func, ast.Attribute) and node.func.attr in EXPORT_METHODS:
                return False
            if self.module.training.is_forward(node):
                return exit_kind(self.module, node) is None
            if is_called_loss(node) and not self.objects.callees(node):
                return True
            return any(
                self.is_tensor(value, depth - 1)
                for callee in self.objects.callees(node)
                for value in self.objects.returns.get(callee, [])
            )
        if isinstance(node, ast.BinOp):
            return self.is_tensor(node.left, depth - 1) or self.is_tensor(node.right, depth - 1)
        if isinstance(node, ast.UnaryOp):
            return self.is_tensor(node.operand, depth - 1)
        if isinstance(node, ast.Subscript):
            return self.is_tensor(node.value, depth - 1)
        if isinstance(node, (ast.List, ast.Tuple)):
            return any(self.is_tensor(item, depth - 1) for item in node.elts)
        return False

    @staticmethod
    def is_tensor_function(name: str) -> bool:
        room, _, last = name.rpartition(".")
        if room == "keras.backend":
            return last in _BACKEND
        return (
            name.startswith(_TENSORS)
            and not name.startswith(_NO_TENSORS)
            and name not in EXPORTS
            and "preprocessing" not in name
            and not last[:1].isupper()
        )

    def is_certain(self, call: ast.Call) -> bool:
        """Does TensorFlow compute with the same value, before this NumPy call or after it?"""
        values = [*call.args, *[k.value for k in call.keywords]]
        if any(self.is_tensor(value) for value in values):
            return True
        if self._goes_to_tensors(call):
            return True
        used = {d for value in values for n in ast.walk(value) if isinstance(n, ast.Name) for d in self._behind(n)}
        if any(d.kind == "parameter" and self._is_used(d) and not _FED.search(d.name) for d in used):
            return True
        return self._is_a_stranger

    def _behind(self, name: ast.Name) -> set[Def]:
        """The definitions of a name, and those that they are arithmetic of."""
        found: set[Def] = set()
        queue = list(self.module.definitions(name))
        while queue:
            definition = queue.pop()
            if definition not in found:
                found.add(definition)
                if definition.kind in ("assign", "augment") and definition.value is not None:
                    queue += [
                        d
                        for n in ast.walk(definition.value)
                        if isinstance(n, ast.Name)
                        for d in self.module.definitions(n)
                        if d.kind != "import"
                    ]
        return found

    def _is_used(self, parameter: Def) -> bool:
        """Is this parameter, or arithmetic of it, an argument of a function of TensorFlow?"""
        return parameter in self._given

    @cached_property
    def _given(self) -> set[Def]:
        found: set[Def] = set()
        for call in self.module.calls:
            name = self.module.call_name(call)
            if name is not None and self.is_tensor_function(name):
                for value in call.args:
                    for n in _arithmetic(value):
                        if isinstance(n, ast.Name):
                            found.update(self.module.definitions(n))
        return found

    def _goes_to_tensors(self, call: ast.Call) -> bool:
        """Is the result, or arithmetic of it, given to a function of TensorFlow?"""
        node: ast.AST = call
        for above in self.module.ancestors(call):
            if isinstance(above, ast.Call) and node is not above.func:
                name = self.module.call_name(above)
                return is_called_loss(above) or (name is not None and self.is_tensor_function(name))
            if isinstance(above, ast.Assign):
                made = [d for t in above.targets for d in self.module.reaching.bindings.get(t, [])]
                return any(d in self._given for d in made)
            if not isinstance(above, (ast.BinOp, ast.UnaryOp, ast.Subscript, ast.List, ast.Tuple)):
                return False
            node = above
        return False

    @cached_property
    def _is_a_stranger(self) -> bool:
        """Does NumPy compute nothing else in this file, which is one of TensorFlow's?"""
        counted = [c for c in self.module.calls if exit_kind(self.module, c) in ("operation", "export", "random")]
        ours = sum(self.is_tensor_function(self.module.call_name(c) or "") for c in self.module.calls)
        return len(counted) <= 2 and all(self.holds(c) for c in counted) and ours >= 6


def is_called_loss(node: ast.AST) -> bool:
    """Is this the call of something that is named like a loss, wherever it is defined?"""
    if not isinstance(node, ast.Call):
        return False
    func = node.func
    name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
    return bool(LOSS_NAME.search(name)) and not _NO_LOSS.search(name)


def _arithmetic(node: ast.AST) -> list[ast.AST]:
    """The operands of arithmetic, and the items of a list."""
    if isinstance(node, ast.BinOp):
        return [*_arithmetic(node.left), *_arithmetic(node.right)]
    if isinstance(node, ast.UnaryOp):
        return _arithmetic(node.operand)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [n for item in node.elts for n in _arithmetic(item)]
    return [node]
