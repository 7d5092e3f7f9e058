"""Likelihoods with a learned deviation: log(sigma) beside a division by sigma, where sigma can be 0."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate
from tapefix.rules._numeric import Risk, behind, is_prediction, rebind
from tapefix.rules._spelling import Spelling

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# A deviation that is floored at an epsilon of 1e-7 gives finite gradients of 1e14, which train nothing.
_FLOOR = "1e-3"


def scale_candidates(module: Module, risks: list[Risk]) -> list[Candidate]:
    """For a log whose argument is also a divisor: a head that is positive by its activation, or a floor for both."""
    found: list[Candidate] = []
    edits: list[Edit] = []
    for risk in risks:
        divisors = _as_divisor(module, risk)
        if not divisors or not isinstance(risk.argument, ast.Name):
            continue
        for edit in _softplus_heads(module, risk):
            if edit not in edits:
                edits.append(edit)
        spelling = Spelling(module, risk.node)
        floored = rebind(module, [risk.argument, *divisors], spelling.at_least(risk.argument.id, _FLOOR))
        if floored is not None:
            found.append(Candidate("keep the deviation away from 0", (floored, *spelling.imports)))
    if edits:
        found.insert(
            0, Candidate("make the deviation positive with softplus in place of relu", tuple(edits), safe=False)
        )
    return found


def _as_divisor(module: Module, risk: Risk) -> list[ast.Name]:
    """The other uses of the log's argument, below a division bar."""
    if not isinstance(risk.argument, ast.Name):
        return []
    found = []
    for definition in module.definitions(risk.argument):
        for use in definition.uses:
            if module.function(use) is module.function(risk.node) and _is_below(module, use):
                found.append(use)
    return found


def _is_below(module: Module, node: ast.AST) -> bool:
    below = node
    for above in module.ancestors(node):
        if isinstance(above, ast.stmt):
            return isinstance(above, ast.AugAssign) and isinstance(above.op, ast.Div)
        if isinstance(above, ast.BinOp) and isinstance(above.op, ast.Div) and above.right is below:
            return True
        if (
            isinstance(above, ast.Call)
            and module.op(above) in ("divide", "truediv", "reciprocal")
            and below is above.args[-1]
        ):
            return True
        below = above
    return False


def _softplus_heads(module: Module, risk: Risk) -> list[Edit]:
    """Edits that give the layer (or the call) that makes the deviation a softplus where it has a relu."""
    value = behind(module, risk.argument)
    edits: list[Edit] = []
    if isinstance(value, ast.Call) and module.op(value) == "relu":
        spelling = Spelling(module, value)
        edits += [ReplaceExpression(module.span(value.func), spelling.op("nn.softplus")), *spelling.imports]
        return edits
    layers = module.layers.of_value(value)
    function = module.function(risk.node)
    if not layers and function is not None and is_prediction(module, risk.argument):
        layers = module.layers.of_prediction(function)
    for layer in layers:
        node = module.layers.activation_argument(layer)
        if module.layers.activation(layer) == "relu" and isinstance(node, ast.Constant):
            quote = module.source(node)[:1]
            edits.append(ReplaceExpression(module.span(node), f"{quote}softplus{quote}"))
    return edits
