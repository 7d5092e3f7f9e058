"""Constants in a loss of which a comment says that they are to be trained."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import GradientCall
from tapefix.codemods.edits import Edit, Move
from tapefix.findings import Candidate
from tapefix.rules._trained_lists import with_more
from tapefix.rules._weights import as_variable

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_INTENT = re.compile(
    r"#.*(not (a |an )?(tf\.)?variable|untrainable|not trainable"
    r"|(should|must|meant|supposed|want|needs?) .*(train|learn)"
    r"|to be (trained|learn)|trainable (weight|parameter|variable|scalar|factor)|learn(ed|able)|tf\.variable)",
    re.IGNORECASE,
)
_OTHERWISE = re.compile(
    r"#.*(fixed|on purpose|frozen|hyper-?param|kept constant|do not train|don't train|no gradient)", re.IGNORECASE
)


def declared_weights(module: Module) -> list[tuple[ast.Assign, list[GradientCall]]]:
    """Constants in functions of which a comment says that they are to be trained, with the gradients behind them."""
    found = []
    for node in module.all(ast.Assign):
        assert isinstance(node, ast.Assign)
        if len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name) or not _is_constant(module, node.value):
            continue
        if module.function(node) is None or not _declares(module, node):
            continue
        gradients = [g for g in module.tapes.gradients if node.value in module.flow.backward([g.target])]
        if gradients and not any(node.value in module.flow.backward([g.sources]) for g in gradients):
            found.append((node, gradients))
    return found


def _is_constant(module: Module, node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return type(node.value) is float
    return module.call_name(node) == "tf.constant" and isinstance(node, ast.Call) and bool(node.args)


def _declares(module: Module, node: ast.Assign) -> bool:
    above = module.line_text(node.lineno - 1).strip()
    lines = [module.line_text(node.end_lineno or node.lineno)[node.end_col_offset :]]
    if above.startswith("#"):
        lines.append(above)
    return any(_INTENT.search(line) for line in lines) and not any(_OTHERWISE.search(line) for line in lines)


def candidate(module: Module, node: ast.Assign, gradients: list[GradientCall]) -> Candidate | None:
    """The constant as a variable of the module, made once, in the list that is differentiated and updated."""
    target = node.targets[0]
    assert isinstance(target, ast.Name)
    function = module.function(node)
    if not isinstance(function, ast.FunctionDef) or function not in module.tree.body or len(gradients) != 1:
        return None
    scope = module.reaching.scope_of[function]
    if (
        module.reaching.module.defs.get(target.id)
        or len(scope.defs.get(target.id, ())) != 1
        or module.block(node) is not function.body
    ):
        return None
    listed = with_more(module, gradients[0], variables=[target.id])
    if listed is None:
        return None
    edits: list[Edit] = [
        *as_variable(module, node.value),
        Move((module.span(node),), module.span(function), "before"),
        *listed,
    ]
    return Candidate(
        f"make {target.id} a tf.Variable outside the function, and train it",
        tuple(edits),
        safe=False,
        keeps_value=True,
        trains_more=True,
    )
