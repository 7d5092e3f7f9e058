"""The position of the largest score with a gradient: the one that is expected of the scores as probabilities."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.cuts import is_integer_type
from tapefix.analysis.scopes import Def
from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Edit, Insert, ReplaceExpression
from tapefix.findings import Candidate
from tapefix.rules._soft import through_casts
from tapefix.rules._spelling import Spelling
from tapefix.rules._text import rewritten

if TYPE_CHECKING:
    from tapefix.analysis.flow import Vertex
    from tapefix.analysis.module import Module

_SHAPED = ("cast", "expand_dims", "reshape", "squeeze", "identity", "transpose", "repeat", "tile", "stack", "concat")
_SIMPLE = (ast.Assign, ast.Return, ast.AugAssign, ast.Expr, ast.AnnAssign)
_INNER = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)


def are_probabilities(module: Module, scores: ast.expr) -> bool:
    found = module.ranges.of(scores)
    return found.source == "softmax" or found.probability


def is_over_the_last_axis(module: Module, call: ast.Call) -> bool:
    """As far as the text tells: scores have two axes, as a rule, and a run proves what comes of it."""
    axis = argument(call, 1, "axis")
    return axis is None or module.ranges.of(axis).constant in (-1, 1)


def free_name(module: Module, place: ast.AST, name: str) -> str:
    while module.scope(place).lookup(name):
        name += "_"
    return name


def expected_position(module: Module, call: ast.Call, scores: ast.expr, value: str, spelling: Spelling) -> str:
    """The expected position for the argmax at `call`, whose scores are written as `value`."""
    axis = argument(call, 1, "axis")
    over = module.source(axis) if axis is not None and not is_over_the_last_axis(module, call) else None
    soft = value
    if not are_probabilities(module, scores):
        soft = f"{spelling.op('nn.softmax')}({value}{f', axis={over}' if over else ''})"
    size = f"{spelling.op('shape')}({value})[{over or -1}]"
    positions = f"{spelling.op('cast')}({spelling.op('range')}({size}), {_float32(spelling)})"
    if over is not None:
        return f"{spelling.op('tensordot')}({soft}, {positions}, [[{over}], [0]])"
    return f"{spelling.op('reduce_sum')}({soft} * {positions}, axis=-1)"


def _float32(spelling: Spelling) -> str:
    return '"float32"' if spelling.prefix else spelling.op("float32")


def expected_backwards(module: Module, call: ast.Call, scores: ast.expr) -> Candidate | None:
    """The argmax forwards, the gradient of the expected position backwards, where the position becomes a float."""
    if not _becomes_a_float(module, call):
        return None
    spelling = Spelling(module, call)
    place = through_casts(module, call)
    edits = _in_lambda(module, place, call, scores, spelling) or _in_statement(module, place, call, scores, spelling)
    if not edits:
        return None
    title = "choose forwards, pass the gradient of the expected position backwards (straight-through estimator)"
    return Candidate(title, (*edits, *spelling.imports), safe=False, keeps_value=True)


def _in_statement(
    module: Module, place: ast.expr, call: ast.Call, scores: ast.expr, spelling: Spelling
) -> list[Edit] | None:
    statement = module.statement(call)
    above = [a for a in module.ancestors(call) if module.inside(a, statement)]
    if not isinstance(statement, _SIMPLE) or any(isinstance(a, _INNER) for a in above):
        return None
    span = module.span(statement)
    edits: list[Edit] = []
    value = module.source(scores)
    if not isinstance(scores, (ast.Name, ast.Attribute)):
        value = free_name(module, call, "scores")
        edits.append(Insert(span, "before", f"{value} = $x", {"x": module.span(scores)}))
    expected = free_name(module, call, "expected")
    text = expected_position(module, call, scores, value, spelling)
    edits.append(Insert(span, "before", f"{expected} = {text}"))
    passing = _passing(module, place, call, scores, value, expected, spelling)
    if place is not getattr(statement, "value", None):
        position = free_name(module, call, "position")
        edits.append(Insert(span, "before", f"{position} = {passing}"))
        passing = position
    return [*edits, ReplaceExpression(module.span(place), passing)]


def _in_lambda(
    module: Module, place: ast.expr, call: ast.Call, scores: ast.expr, spelling: Spelling
) -> list[Edit] | None:
    """A lambda has no room for a name: it becomes a function above its statement."""
    function, statement = module.function(call), module.statement(call)
    if not isinstance(function, ast.Lambda) or not isinstance(statement, _SIMPLE):
        return None
    if any(isinstance(a, _INNER) for a in module.ancestors(function) if module.inside(a, statement)):
        return None
    name, value = free_name(module, statement, "choose"), module.source(scores)
    lines = [f"def {name}({ast.unparse(function.args)}):"]
    if not isinstance(scores, (ast.Name, ast.Attribute)):
        lines.append(f"    scores = {value}")
        value = "scores"
    lines.append(f"    expected = {expected_position(module, call, scores, value, spelling)}")
    passing = _passing(module, place, call, scores, value, "expected", spelling)
    if place is not function.body:
        lines.append(f"    position = {passing}")
        passing = "position"
    lines.append(f"    return {rewritten(module, function.body, {place: passing})}")
    wanted, line = 1 if module.function(statement) is not None else 2, statement.lineno - 1
    blank = [""] * (wanted - sum(not module.line_text(above).strip() for above in (line - 1, line)[-wanted:]))
    return [
        Insert(module.span(statement), "before", "\n".join([*blank, *lines])),
        ReplaceExpression(module.span(function), name),
    ]


def _passing(
    module: Module, place: ast.expr, call: ast.Call, scores: ast.expr, value: str, expected: str, spelling: Spelling
) -> str:
    hard = rewritten(module, place, {scores: value})
    if module.op(call) is None:
        # NumPy's argmax is taken by TensorFlow: a graph gives no arrays.
        axis = argument(call, 1, "axis")
        hard = f"{spelling.op('argmax')}({value}, axis={module.source(axis) if axis is not None else -1})"
    if module.op(call) is None or place is call or not is_float_cast(module, place):
        hard = f"{spelling.op('cast')}({hard}, {_float32(spelling)})"
    return f"{expected} + {spelling.op('stop_gradient')}({hard} - {expected})"


def _becomes_a_float(module: Module, call: ast.Call) -> bool:
    """Is the position only given another shape before it becomes a float, on every way that it takes?"""
    found = False
    seen: set[Vertex] = {call}
    queue: list[Vertex] = [call]
    while queue:
        vertex = queue.pop()
        for after in module.cuts.uses(vertex):
            if isinstance(after, ast.expr) and is_float_cast(module, after):
                found = True
            elif isinstance(after, (Def, ast.Name, ast.List, ast.Tuple)) or _is_shaped(module, after, vertex):
                queue += [after] if after not in seen else []
                seen.add(after)
            else:
                return False
    return found


def _is_shaped(module: Module, vertex: Vertex, value: Vertex) -> bool:
    if isinstance(vertex, ast.Subscript):
        return vertex.value is value
    if isinstance(vertex, ast.Call):
        return module.op(vertex) in _SHAPED or bool(module.objects.callees(vertex))
    return False


def is_float_cast(module: Module, node: ast.expr) -> bool:
    dtype: ast.expr | None = None
    if isinstance(node, ast.Call) and module.op(node) == "cast":
        dtype = argument(node, 1, "dtype")
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "astype":
        dtype = node.args[0] if node.args else None
    return dtype is not None and not is_integer_type(dtype)
