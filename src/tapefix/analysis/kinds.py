"""What a value is: a model, a layer, a variable, an optimiser, a loss."""

from __future__ import annotations

import ast
from functools import cached_property
from typing import TYPE_CHECKING

from tapefix.analysis.classes import BASES
from tapefix.analysis.names import dotted_name

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_VARIABLE_CALLS = {
    "tf.Variable",
    "keras.Variable",
    "keras.backend.variable",
    "tf.compat.v1.get_variable",
    "tf.compat.v1.Variable",
}
_MODEL_FUNCTIONS = {
    "keras.models.load_model",
    "keras.models.clone_model",
    "keras.models.model_from_json",
    "keras.saving.load_model",
}
# Functions that are written like classes.
_LOSS_FUNCTIONS = {"MSE", "MAE", "MAPE", "MSLE", "KLD"}
_MODEL_LIKE_PARTS = ("trainable_variables", "trainable_weights")


class Kinds:
    """Answers for one module, memoised."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._kinds: dict[ast.AST, str | None] = {}

    # -------------------------------------------------------------- kinds

    def of(self, node: ast.AST) -> str | None:
        """`model`, `layer`, `variable`, `optimizer`, `loss`, `metric`, `module`, `tape`, or None if unknown."""
        if node not in self._kinds:
            self._kinds[node] = None
            self._kinds[node] = self._find_kind(node)
        return self._kinds[node]

    def _find_kind(self, node: ast.AST) -> str | None:
        for origin in self.module.objects.origins(node):
            kind = self.made(origin)
            if kind is not None:
                return kind
        if isinstance(node, (ast.Name, ast.Attribute)) and self._used_as_model(node):
            return "model"
        if isinstance(node, ast.Name) and self.module.classes.is_self(node):
            # `self(x)` in another method of a model.
            owner = self.module.class_of(node)
            return self.module.classes.kind(owner) if owner is not None else None
        return None

    def is_keras(self, node: ast.AST) -> bool:
        """Does the text show that this model or layer is Keras'? (Other libraries have lists of the same name.)"""
        if self.module.classes.is_self(node):
            owner = self.module.class_of(node)
            return owner is not None and self.module.classes.kind(owner) in ("model", "layer")
        origins = self.module.objects.origins(node)
        return bool(origins) and all(self.made(o) in ("model", "layer") for o in origins)

    def made(self, origin: ast.AST) -> str | None:
        """What a constructor call makes."""
        if not isinstance(origin, ast.Call):
            return None
        made = self.module.objects.instance_class(origin)
        if made is not None:
            return self.module.classes.kind(made)
        name = self.module.call_name(origin)
        if name is None:
            return (
                "variable"
                if isinstance(origin.func, ast.Attribute) and origin.func.attr in ("add_weight", "add_variable")
                else None
            )
        if name in _VARIABLE_CALLS:
            return "variable"
        if name in BASES:
            return BASES[name]
        if name in _MODEL_FUNCTIONS or name.startswith("keras.applications."):
            return "model"
        if name.rpartition(".")[2] in _LOSS_FUNCTIONS:
            return None
        for prefix, kind in (
            ("keras.layers.", "layer"),
            ("keras.optimizers.", "optimizer"),
            ("keras.losses.", "loss"),
            ("keras.metrics.", "metric"),
        ):
            if name.startswith(prefix) and name[len(prefix) :][:1].isupper():
                return kind if name.rpartition(".")[2] not in _LOSS_FUNCTIONS else None
            if (
                name.startswith(prefix)
                and "." in name[len(prefix) :]
                and kind == "optimizer"
                and "schedules" not in name
            ):
                return kind
        if name in ("tf.GradientTape", "tf.compat.v1.GradientTape"):
            return "tape"
        return None

    def _used_as_model(self, node: ast.Name | ast.Attribute) -> bool:
        """A value of unknown origin whose `trainable_variables` are read somewhere is a model (or a layer)."""
        return self._spelling(node) in self._model_spellings

    @cached_property
    def _model_spellings(self) -> set[tuple[int, str]]:
        found = set()
        for node in self.module.all(ast.Attribute):
            if node.attr in _MODEL_LIKE_PARTS or self._is_asked_for(node):  # type: ignore[attr-defined,arg-type]
                value = node.value  # type: ignore[attr-defined]
                if isinstance(value, (ast.Name, ast.Attribute)):
                    found.add(self._spelling(value))
        return found

    def _is_asked_for(self, node: ast.Attribute) -> bool:
        """`tape.gradient(loss, model.variables)`: an optimiser has `variables`, too, but nobody derives by them."""
        if node.attr not in ("variables", "weights"):
            return False
        call = self.module.parent(node)
        return (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "gradient"
            and node in call.args[1:]
        )

    def _spelling(self, node: ast.Name | ast.Attribute) -> tuple[int, str]:
        if isinstance(node, ast.Name):
            definitions = self.module.definitions(node)
            return (id(definitions[0].scope) if definitions else 0, node.id)
        owner = self.module.class_of(node) if self.module.classes.is_self(node.value) else None
        return (id(owner), dotted_name(node) or ast.unparse(node))
