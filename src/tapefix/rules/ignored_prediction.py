"""TPF404: a loss that never looks at the prediction."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.control import own_nodes
from tapefix.analysis.scopes import Def, Function
from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Parts of names that say "this is about the prediction".
_PREDICTED = {
    "pred", "preds", "predicted", "prediction", "predictions", "hat", "out", "output", "outputs", "logit", "logits",
    "est", "estimate", "estimated", "fake", "recon", "reconstructed", "p", "yp",
}  # fmt: skip


class IgnoredPrediction(Rule):
    """A loss is computed from the target alone.

    What it finds:
        A loss that never reads `y_pred`, or in which the name that is to hold the prediction is computed from
        `y_true`; and a loss that is called with the target twice.

    Why the gradient stops:
        The loss does not depend on the model, so every gradient is None.

    Example:
        ```python
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(3)])


        def slope_loss(y_true, y_pred):
            true_slope = y_true[:, 1:] - y_true[:, :-1]
            pred_slope = y_true[:, 1:] - y_true[:, :-1]
            return tf.reduce_mean(tf.square(true_slope - pred_slope))


        model.compile(optimizer="sgd", loss=slope_loss)
        model.fit(tf.ones([4, 3]), tf.ones([4, 3]), verbose=0)
        ```

    Fix safety:
        Safe where a name says that the prediction was meant; else there is advice only.
    """

    code = "TPF404"
    name = "ignored-prediction"
    safety = "safe"
    tokens = ("loss", "Loss")

    def check(self, module: Module) -> Iterator[Finding]:
        losses = module.training.losses
        for function in [*losses, *self._called_losses(module)]:
            parameters = module.objects.parameters(function)
            prediction = module.training.prediction_parameter(function)
            target = module.training.target_parameter(function)
            if prediction is None or target is None or prediction.uses or len(parameters) < 2 or not target.uses:
                continue
            if any(prediction in d.previous for d in prediction.scope.defs.get(prediction.name, ())):
                continue
            if function in losses or self._slips(function, target, prediction):
                yield self._of_loss(module, function, target, prediction)
        yield from self._twice(module)

    def _called_losses(self, module: Module) -> list[Function]:
        """Functions (target, prediction) that a training loop of the author's own calls."""
        found: list[Function] = []
        for function in module.all(ast.FunctionDef):
            assert isinstance(function, ast.FunctionDef)
            parameters = module.objects.parameters(function)
            if (
                function in module.training.losses
                or len(parameters) < 2
                or not _speaks_of_prediction(parameters[1].arg, "", parameters[0].arg)
            ):
                continue
            if (
                any(bound.uses for bound in module.reaching.bindings.get(parameters[1], []))
                or module.method_class(function) is not None
            ):
                continue
            if module.results.need(function) is not None:
                found.append(function)
        return found

    def _of_loss(self, module: Module, function: Function, target: Def, prediction: Def) -> Finding:
        name = getattr(function, "name", "the lambda")
        slips = self._slips(function, target, prediction)
        place: ast.AST = slips[0] if slips else module.objects.parameters(function)[1]
        edits = tuple(
            ReplaceExpression(module.span(use), prediction.name)
            for slip in slips
            for use in _reads(slip.value, target.name)
        )
        return self.finding(
            module,
            place,
            f"{name} computes its loss from {target.name} alone, {prediction.name} is never read: no "
            "gradient can reach the model.",
            label=f"computed from {target.name}" if slips else "never read",
            candidates=[Candidate(f"compute it from {prediction.name}", edits, keeps_value=False)] if edits else (),
            # A name like `_` says that it is meant to be ignored.
            certain=bool(edits) or not (prediction.name.startswith("_") or self._closes_over_values(module, function)),
            advice="" if edits else f"Use {prediction.name} in the loss.",
        )

    def _slips(self, function: Function, target: Def, prediction: Def) -> list[ast.Assign]:
        """Assignments to a name that speaks of the prediction, computed from the target."""
        found = []
        for node in own_nodes(function):
            if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
                continue
            name = node.targets[0].id
            if not _reads(node.value, target.name):
                continue
            if name == prediction.name or _speaks_of_prediction(name, prediction.name, target.name):
                found.append(node)
        return found

    def _closes_over_values(self, module: Module, function: Function) -> bool:
        """Does the loss use tensors of outside (a VAE's loss over its latent mean), or nothing but constants?"""
        inside = module.reaching.scope_of[function]
        for node in ast.walk(function):
            if not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)):
                continue
            for definition in module.definitions(node):
                if definition.scope is inside or definition.kind in ("import", "function", "class"):
                    continue
                if not (isinstance(definition.value, ast.Constant) and definition.kind == "assign"):
                    return True
        if any(
            module.op(call) in ("zeros_like", "zeros", "constant")
            for call in module.calls
            if module.inside(call, function)
        ):
            return True
        return any(isinstance(node, ast.Name) and module.classes.is_self(node) for node in ast.walk(function))

    # -------------------------------------------------------------- loss(y, y)

    def _twice(self, module: Module) -> Iterator[Finding]:
        for call in module.calls:
            names = [a.id for a in call.args if isinstance(a, ast.Name)]
            if len(call.args) != 2 or len(names) != 2 or names[0] != names[1]:
                continue
            if not self._is_loss(module, call) or not module.tapes.around(call):
                continue
            unread = self._unread_predictions(module, call)
            candidates = []
            if len(unread) == 1:
                second = (ReplaceExpression(module.span(call.args[1]), unread[0]),)
                candidates = [Candidate(f"compare with {unread[0]}", second, keeps_value=False)]
            same = module.source(call.args[0])
            yield self.finding(
                module,
                call,
                f"The loss compares {same} with itself: it does not depend on the model.",
                label=f"{same} twice",
                candidates=candidates,
                certain=bool(candidates),
                advice="" if candidates else "Give the loss the target and the model's output.",
            )

    def _is_loss(self, module: Module, call: ast.Call) -> bool:
        name = module.call_name(call) or ""
        if name.startswith("keras.losses."):
            return True
        return module.kinds.of(call.func) == "loss"

    def _unread_predictions(self, module: Module, call: ast.Call) -> list[str]:
        """The names around `call` that hold a model's output which nothing reads."""
        scope = module.scope(call)
        return [
            name
            for name, definitions in scope.defs.items()
            if any(
                not d.uses
                and d.kind == "assign"
                and isinstance(d.value, ast.Call)
                and not d.path
                and module.training.is_forward(d.value)
                for d in definitions
            )
        ]


def _reads(node: ast.AST, name: str) -> list[ast.Name]:
    return [n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load)]


def _speaks_of_prediction(name: str, prediction: str, target: str) -> bool:
    words = set(re.split(r"[_\d]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()))
    of_target = set(re.split(r"[_\d]+", target.lower())) - {"y", ""}
    if words & of_target:
        return False
    own = set(re.split(r"[_\d]+", prediction.lower())) - {"y", "x", ""}
    return bool(words & (_PREDICTED | own))
