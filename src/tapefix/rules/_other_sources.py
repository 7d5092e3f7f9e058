"""Gradients that are all None because the sources belong to another network than the one that the loss runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.names import dotted_name
from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import GradientCall, Tape


def is_starved(module: Module, gradient: GradientCall) -> bool:
    """Has the run measured None for every source of this call?"""
    run = module.measured
    states = {
        source.state
        for one in (run.gradients if run is not None else ())
        if one.line in gradient.lines
        for source in one.sources
    }
    return states == {"none"} or _fails_at_optimizer(module, gradient)


def _fails_at_optimizer(module: Module, gradient: GradientCall) -> bool:
    """Has the run failed where the gradients are applied, to other variables than they were asked for?"""
    failure = module.measured.failure if module.measured is not None else None
    asked = module.source(gradient.sources)
    return failure is not None and any(
        other.lineno <= failure.line <= (other.end_lineno or other.lineno) and module.source(other) != asked
        for other in _zipped_with(module, gradient)
    )


def candidates(module: Module, gradient: GradientCall, tape: Tape) -> Iterator[Candidate]:
    """The variables of each network that the block runs, those that the optimiser gets first."""
    asked = module.source(gradient.sources)
    applied = _zipped_with(module, gradient)
    models = [text for text in _run_in(module, tape) if not asked.startswith(f"{text}.")]
    for other in applied:
        if isinstance(other, ast.Attribute) and other.attr in VARIABLE_LISTS and module.source(other) != asked:
            text = module.source(other)
            models = [m for m in models if not text.startswith(f"{m}.")]
            yield _asking(module, gradient, text, [])
    for model in models:
        same = [other for other in applied if module.source(other) == asked]
        yield _asking(module, gradient, f"{model}.trainable_variables", same)


def _asking(module: Module, gradient: GradientCall, text: str, also: list[ast.expr]) -> Candidate:
    edits: list[Edit] = [ReplaceExpression(module.span(node), text) for node in (gradient.sources, *also)]
    return Candidate(f"ask for {text}", tuple(edits), needs_proof=True)


def _zipped_with(module: Module, gradient: GradientCall) -> list[ast.expr]:
    """What is zipped with the gradients."""
    found: list[ast.expr] = []
    for call in module.calls:
        paired = module.call_name(call) == "zip" and len(call.args) == 2
        if paired and gradient.call in [call.args[0], *module.objects.origins(call.args[0])]:
            found.append(call.args[1])
    return found


def _run_in(module: Module, tape: Tape) -> list[str]:
    """Networks that the block calls, or hands to a function that calls them."""
    found: dict[str, None] = {}
    for statement in tape.block.body:
        for node in ast.walk(statement):
            if not isinstance(node, ast.Call):
                continue
            plain = [node.func] if module.kinds.of(node.func) == "model" else []
            for callee in module.objects.callees(node):
                parameters = module.objects.parameters(callee)
                plain += [a for a, p in zip(node.args, parameters, strict=False) if _is_called(module, p)]
            for place in plain:
                if dotted_name(place) is not None:
                    found[module.source(place)] = None
    return list(found)


def _is_called(module: Module, parameter: ast.arg) -> bool:
    uses = [use for d in module.reaching.bindings.get(parameter, ()) for use in d.uses]
    parents = [(use, module.parent(use)) for use in uses]
    return any(isinstance(above, ast.Call) and above.func is use for use, above in parents)
