"""What the rules about operations without a gradient share: which of them are to blame, and soft forms of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Edit, Insert, ReplaceExpression
from tapefix.findings import Candidate, Span
from tapefix.rules._numeric import is_prediction
from tapefix.rules._spelling import Spelling

if TYPE_CHECKING:
    from tapefix.analysis.flow import Vertex
    from tapefix.analysis.module import Module

# How steep a sigmoid in place of a step is.
STEEPNESS = 10
_EQUALITIES = ("equal", "not_equal")
_RANDOM = re.compile(r"(^|\.)random(_uniform|_normal|_bernoulli)?(\.|$)")


class Cut(NamedTuple):
    """One operation that cuts gradients off; `effect` as in Cuts.blamed."""

    node: ast.expr
    kind: str
    effect: str

    @property
    def certain(self) -> bool:
        return self.effect in ("loss", "term", "weight")

    @property
    def silent(self) -> bool:
        return self.effect in ("term", "weight")


def cuts(module: Module, *kinds: str) -> Iterator[Cut]:
    """The operations of these kinds that cut a loss, a term or a layer off, while gradients are recorded."""
    if not any(module.cuts.kind(node) in kinds for node in module.all(ast.Call, ast.Compare, ast.BinOp)):
        return
    broken = (
        {place.line for place in module.measured.breaks if place.kind != "bad"}
        if module.measured is not None
        else set()
    )
    for node, effect in module.cuts.blamed().items():
        kind = module.cuts.kind(node)
        if kind not in kinds or kind is None:
            continue
        if effect == "maybe" and not any(node.lineno <= line <= (node.end_lineno or node.lineno) for line in broken):
            continue
        named = any(module.training.named_prediction(f) is not None for f in module.ancestors(node))
        if named or module.training.is_recorded(node):
            yield Cut(node, kind, effect)


Found = tuple[Cut, ast.expr, list[Candidate]]


def together(module: Module, found: list[Found]) -> Iterator[tuple[Cut, ast.expr, list[Candidate], list[ast.expr]]]:
    """One finding for the cuts of a function that want the same repairs: what to say, where, and the other places."""
    groups: dict[object, list[Found]] = {}
    for item in sorted(found, key=lambda item: (item[1].lineno, item[1].col_offset)):
        cut, place, candidates = item
        same = (module.function(place), cut.effect, tuple(c.title for c in candidates))
        groups.setdefault(same if candidates else place, []).append(item)
    for group in groups.values():
        first, place, ladder = group[0]
        joined = [
            rung._replace(edits=tuple(edit for _, _, candidates in group for edit in candidates[i].edits))
            for i, rung in enumerate(ladder)
        ]
        yield first, place, joined, [other for _, other, _ in group[1:]]


def starves(cut: Cut) -> str:
    """What a cut does, for a message."""
    return {
        "loss": "it cuts the loss off from every variable",
        "term": "this term of the loss does not train anything",
        "layer": "all that comes before it gets no gradient",
        "weight": "this weight does not train",
    }.get(cut.effect, "no gradient passes it")


def counts(module: Module, cut: Cut) -> bool:
    """Does it end in a confusion matrix, a count or a choice of samples, whose soft form nobody can guess?"""
    after = _after(module, cut.node)
    # What is not zero can be summed up instead.
    if any(module.cuts.kind(v) == "counting" and not _is_sum(module, v) for v in after):
        return True
    return any(
        isinstance(v, ast.Call) and module.op(v) in ("boolean_mask", "gather", "embedding_lookup") for v in after
    )


def _is_sum(module: Module, vertex: Vertex) -> bool:
    return isinstance(vertex, ast.Call) and (module.op(vertex) or module.numpy_op(vertex)) == "count_nonzero"


def _after(module: Module, node: ast.expr) -> set[Vertex]:
    seen: set[Vertex] = set()
    queue: list[Vertex] = [node]
    while queue:
        vertex = queue.pop()
        if vertex not in seen:
            seen.add(vertex)
            queue.extend(module.cuts.uses(vertex))
    return seen


def draws(module: Module, node: ast.expr, depth: int = 6) -> bool:
    """Is random noise added to the value where it is computed?"""
    if depth <= 0:
        return False
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        return draws(module, node.left, depth - 1) or draws(module, node.right, depth - 1)
    if isinstance(node, ast.Call) and module.op(node) in ("add", "subtract"):
        return any(draws(module, value, depth - 1) for value in node.args[:2])
    if isinstance(node, ast.Name):
        values = [d.value for d in module.definitions(node) if d.kind == "assign"]
        return any(isinstance(v, (ast.BinOp, ast.Call)) and draws(module, v, depth - 1) for v in values)
    return isinstance(node, ast.Call) and _RANDOM.search(module.call_name(node) or "") is not None


def is_turned_round(module: Module, node: ast.expr) -> bool:
    """Is the value subtracted (1 - accuracy, -f1) on its way to the loss, so that a larger one is better?"""
    for vertex in _after(module, node):
        if isinstance(vertex, ast.UnaryOp) and isinstance(vertex.op, ast.USub):
            return True
        if isinstance(vertex, ast.BinOp) and isinstance(vertex.op, ast.Sub):
            return True
        if isinstance(vertex, ast.Call) and module.op(vertex) in ("subtract", "negative"):
            return True
    return False


# -------------------------------------------------------------- the place of a cut in its expression


def through_casts(module: Module, node: ast.expr) -> ast.expr:
    """The outermost cast around a value."""
    parent = module.parent(node)
    while isinstance(parent, ast.Call) and parent.args and parent.args[0] is node and module.op(parent) == "cast":
        node, parent = parent, module.parent(parent)
    if isinstance(parent, ast.Attribute) and parent.attr == "astype":
        call = module.parent(parent)
        if isinstance(call, ast.Call) and call.func is parent:
            return through_casts(module, call)
    return node


def comparison_around(module: Module, node: ast.expr) -> ast.expr | None:
    """The equality test that a rounded or thresholded value goes into, also through a name."""
    value = through_casts(module, node)
    parent = module.parent(value)
    if isinstance(parent, ast.Assign) and len(parent.targets) == 1 and isinstance(parent.targets[0], ast.Name):
        bound = module.reaching.bindings.get(parent.targets[0], [])
        uses = [use for definition in bound for use in definition.uses]
        found = [comparison_around(module, use) for use in uses]
        return found[0] if len(found) == 1 else None
    if isinstance(parent, ast.Call) and module.op(parent) in _EQUALITIES and value in parent.args:
        return parent
    if isinstance(parent, ast.Compare) and len(parent.ops) == 1 and isinstance(parent.ops[0], (ast.Eq, ast.NotEq)):
        return parent
    return None


def operands(module: Module, test: ast.expr) -> tuple[ast.expr, ast.expr, str] | None:
    """Both sides of a comparison and its sign: one of > < ==  !=."""
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        signs = {ast.Gt: ">", ast.GtE: ">", ast.Lt: "<", ast.LtE: "<", ast.Eq: "==", ast.NotEq: "!="}
        sign = signs.get(type(test.ops[0]))
        return (test.left, test.comparators[0], sign) if sign else None
    if isinstance(test, ast.Call) and len(test.args) == 2:
        names = {"greater": ">", "greater_equal": ">", "less": "<", "less_equal": "<", "equal": "==", "not_equal": "!="}
        sign = names.get(module.op(test) or module.numpy_op(test) or "")
        return (test.args[0], test.args[1], sign) if sign else None
    return None


# -------------------------------------------------------------- soft forms


def is_probability(module: Module, node: ast.expr) -> bool:
    """Is the value between 0 and 1, or the prediction of a model whose activation is not known to be linear?"""
    found = module.ranges.of(node)
    if found.probability or found.source in ("sigmoid", "softmax"):
        return True
    return found.source != "output" and any(
        isinstance(n, ast.expr) and is_prediction(module, n) for n in ast.walk(node) if isinstance(n, ast.Name)
    )


def step_forms(module: Module, test: ast.expr, spelling: Spelling) -> list[tuple[str, str, dict[str, Span]]]:
    """Soft forms of `x > t`: a title, a template and its parts. The mildest first."""
    sides = operands(module, test)
    if sides is None or sides[2] not in "><":
        return []
    left, right, sign = sides
    alive_left, alive_right = left in module.cuts.alive, right in module.cuts.alive
    if not (alive_left or alive_right):
        return []
    parts = {"a": module.span(left), "b": module.span(right)}
    found = []
    value, bound = (left, right) if alive_left else (right, left)
    limit = module.ranges.of(bound).constant
    above = (sign == ">") == alive_left
    if alive_left != alive_right and limit is not None:
        part = {"x": module.span(value)}
        if 0 < limit < 1 and is_probability(module, value):
            found.append(("use the probabilities in place of the threshold", "$x" if above else "1.0 - $x", part))
        elif limit == 0:
            sigmoid = spelling.op("sigmoid")
            found.append(("use a sigmoid in place of the step", f"{sigmoid}($x)" if above else f"{sigmoid}(-$x)", part))
    first, second = ("$a", "$b") if sign == ">" else ("$b", "$a")
    soft = f"{spelling.op('sigmoid')}({STEEPNESS}.0 * ({first} - {second}))"
    if limit != 0:
        found.append(("use a steep sigmoid in place of the step", soft, parts))
    return found


def agreement(module: Module, test: ast.expr, spelling: Spelling) -> tuple[str, dict[str, Span]] | None:
    """A soft form of `a == b` for values between 0 and 1: 1 - |a - b|."""
    sides = operands(module, test)
    if sides is None or sides[2] not in ("==", "!="):
        return None
    texts = []
    parts: dict[str, Span] = {}
    for name, side in (("a", sides[0]), ("b", sides[1])):
        inner = without_casts(module, side)
        parts[name] = module.span(inner)
        alive = inner in module.cuts.dependent
        is_target = isinstance(inner, ast.Name) and any(d.kind == "parameter" for d in module.definitions(inner))
        if alive or is_target:
            texts.append(f"${name}")
        else:
            dtype = '"float32"' if spelling.prefix else f"{spelling.op('float32')}"
            texts.append(f"{spelling.op('cast')}(${name}, {dtype})")
    difference = f"{spelling.op('abs')}({texts[0]} - {texts[1]})"
    return (difference if sides[2] == "!=" else f"1.0 - {difference}"), parts


def without_casts(module: Module, node: ast.expr) -> ast.expr:
    """What stands inside casts."""
    while isinstance(node, ast.Call) and module.op(node) == "cast" and node.args:
        node = node.args[0]
    return node


def met(
    module: Module, node: ast.expr, operators: tuple[type[ast.operator], ...] = (ast.Sub,), depth: int = 4
) -> list[ast.expr]:
    """What a value is subtracted from (or joined with by one of `operators`) or tested against, also through a name."""
    value = through_casts(module, node)
    parent = module.parent(value)
    if (
        isinstance(parent, ast.Assign)
        and len(parent.targets) == 1
        and isinstance(parent.targets[0], ast.Name)
        and depth
    ):
        uses = [use for definition in module.reaching.bindings.get(parent.targets[0], []) for use in definition.uses]
        return [other for use in uses if isinstance(use, ast.expr) for other in met(module, use, operators, depth - 1)]
    if isinstance(parent, ast.BinOp) and isinstance(parent.op, operators):
        return [parent.right if parent.left is value else parent.left]
    if isinstance(parent, ast.Compare) and len(parent.comparators) == 1:
        return [parent.comparators[0] if parent.left is value else parent.left]
    tests = ("equal", "not_equal", "subtract", "squared_difference")
    if isinstance(parent, ast.Call) and len(parent.args) >= 2 and module.op(parent) in tests:
        return [parent.args[1] if parent.args[0] is value else parent.args[0]]
    return []


def straight_through(
    module: Module, node: ast.expr, inner: ast.expr, spelling: Spelling, written: str | None = None
) -> tuple[Edit, ...] | None:
    """`x + stop_gradient(round(x) - x)` in place of `round(x)`; a longer x gets a name first.

    `written` is how the operation is to be written, with `$x` for its argument, where it is not to stay as it is.
    """
    span, part = module.span(node), module.span(inner)
    stop = spelling.op("stop_gradient")
    hard = written or _with_hole(module, node, inner)
    if hard is None:
        return None
    if isinstance(inner, (ast.Name, ast.Attribute)):
        return (ReplaceExpression(span, f"$x + {stop}({hard} - $x)", {"x": part}), *spelling.imports)
    statement = module.statement(node)
    simple = isinstance(statement, (ast.Assign, ast.Return, ast.AugAssign, ast.Expr, ast.AnnAssign))
    enclosed = any(
        isinstance(a, (ast.Lambda, ast.ListComp, ast.GeneratorExp))
        for a in module.ancestors(node)
        if module.inside(a, statement)
    )
    if not simple or enclosed:
        return (ReplaceExpression(span, f"$x + {stop}({hard} - $x)", {"x": part}), *spelling.imports)
    scope = module.scope(node)
    name = next(n for n in ("soft", "soft_value", "soft_value_2") if not scope.lookup(n))
    text = hard.replace("$x", name)
    return (
        Insert(module.span(statement), "before", f"{name} = $x", {"x": part}),
        ReplaceExpression(span, f"{name} + {stop}({text} - {name})"),
        *spelling.imports,
    )


def _with_hole(module: Module, node: ast.expr, inner: ast.expr) -> str | None:
    """The text of an operation with `$x` in place of its argument."""
    whole, part = module.source(node), module.source(inner)
    start = whole.find(part, len(module.source(node.func)) if isinstance(node, ast.Call) else 0)
    return None if start < 0 or "$" in whole else whole[:start] + "$x" + whole[start + len(part) :]


def in_layer(module: Module, node: ast.expr) -> bool:
    return any(above in module.training.forward_methods for above in module.ancestors(node))


def first_argument(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "astype":
            return node.func.value
        return argument(node, 0, "x") or argument(node, 0, "input")
    return node.left if isinstance(node, ast.BinOp) else None
