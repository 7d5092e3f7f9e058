"""What the rules about NaN and Inf share: where their operations matter, and how findings are put together."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.intervals import Range
from tapefix.analysis.ranges import SAME
from tapefix.codemods.edits import Edit, Insert, ReplaceExpression

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class Risk(NamedTuple):
    """An operation whose gradient is NaN or Inf at some value that its argument may take."""

    node: ast.expr
    argument: ast.expr
    range: Range


def worth_a_look(module: Module) -> bool:
    """False where a run shows that gradients are missing, but none that is NaN, infinite or zero."""
    run = module.measured
    if run is None or any(place.kind == "bad" for place in run.breaks):
        return True
    states = {source.state for gradient in run.gradients for source in gradient.sources}
    finite = all(gradient.target is None or abs(gradient.target) < float("inf") for gradient in run.gradients)
    return not finite or not states or bool(states & {"nan", "inf", "zero"}) or states == {"ok"}


def measured_bad(module: Module, node: ast.AST) -> bool:
    """Does the run blame a line of `node` for NaN or Inf?"""
    if module.measured is None:
        return False
    line, last = node.lineno, node.end_lineno or node.lineno  # type: ignore[attr-defined]
    return any(place.kind == "bad" and line <= place.line <= last for place in module.measured.breaks)


def measured_numeric(module: Module) -> bool:
    """Has a run shown a NaN or an infinite value?"""
    run = module.measured
    if run is None:
        return False
    if any(place.kind == "bad" for place in run.breaks):
        return True
    if any(value != value or abs(value) == float("inf") for value in run.losses):
        return True
    return any(
        (gradient.target is not None and not abs(gradient.target) < float("inf"))
        or any(source.state in ("nan", "inf") for source in gradient.sources)
        for gradient in run.gradients
    )


def only_values_are_bad(module: Module) -> bool:
    """Has a run shown a loss that is NaN, though every gradient is a number, as the log of a negative number gives?"""
    run = module.measured
    if run is None or any(place.kind == "bad" for place in run.breaks):
        return False
    states = {source.state for gradient in run.gradients for source in gradient.sources}
    return measured_numeric(module) and not states & {"nan", "inf"}


def matters(module: Module, node: ast.expr, argument: ast.expr) -> bool:
    """May a gradient pass here: is the argument computed from something trainable, while gradients are recorded?"""
    if measured_bad(module, node):
        return True
    if module.training.is_recorded(node) and argument in module.flow.learned:
        return True
    return in_loss_by_name(module, node, argument)


def surely_matters(module: Module, node: ast.expr, argument: ast.expr) -> bool:
    """Is the operation on the way from something trainable to a loss, as far as the text shows it?"""
    if module.training.is_recorded(node) and argument in module.flow.learned and node in module.flow.toward_loss:
        return True
    return in_loss_by_name(module, node, argument)


def in_loss_by_name(module: Module, node: ast.expr, argument: ast.expr) -> bool:
    """In a function that by name and parameters (y_true, y_pred) is a loss, though nothing here compiles it."""
    parameter = module.training.named_prediction(module.function(node))
    return (
        parameter is not None
        and parameter in module.flow.backward([argument])
        and not _is_metric(module, parameter.scope.node)
    )


def _is_metric(module: Module, function: ast.AST) -> bool:
    name = getattr(function, "name", None)
    return any(
        keyword.arg in ("metrics", "weighted_metrics")
        and any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(keyword.value))
        for call in module.calls
        for keyword in call.keywords
    )


def by_function(module: Module, risks: Iterable[Risk]) -> list[list[Risk]]:
    """The risks of each function together, in the order of the file."""
    groups: dict[ast.AST | None, list[Risk]] = {}
    for risk in sorted(risks, key=lambda risk: (risk.node.lineno, risk.node.col_offset)):
        groups.setdefault(module.function(risk.node), []).append(risk)
    return list(groups.values())


def leader(module: Module, risks: list[Risk]) -> Risk:
    """The risk at which a finding about several stands: the one that a run blames, else the first."""
    return next((risk for risk in risks if measured_bad(module, risk.node)), risks[0])


def in_double(module: Module) -> bool:
    """Does the file compute in float64, where other bounds hold?"""
    return "float64" in module.text and "set_floatx('float64')" in module.text.replace('"', "'")


def root_name(node: ast.AST) -> ast.Name | None:
    """The name behind a subscript or a plain name."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node if isinstance(node, ast.Name) else None


def is_number(module: Module, node: ast.expr, depth: int = 6) -> bool:
    """Is the value a plain number of Python or NumPy, such as `1 / np.sqrt(2 * np.pi)` under a name?"""
    if depth <= 0:
        return False
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float))
    if isinstance(node, ast.UnaryOp):
        return is_number(module, node.operand, depth - 1)
    if isinstance(node, ast.BinOp):
        return is_number(module, node.left, depth - 1) and is_number(module, node.right, depth - 1)
    if isinstance(node, ast.Call):
        from_numbers = (module.call_name(node) or "").startswith(("np.", "math."))
        return from_numbers and not node.keywords and all(is_number(module, a, depth - 1) for a in node.args)
    if isinstance(node, ast.Attribute):
        return module.name(node) in ("np.pi", "np.e", "math.pi", "math.e", "math.tau")
    if isinstance(node, ast.Name):
        found = module.definitions(node)
        return bool(found) and all(
            d.kind == "assign" and not d.path and d.value is not None and is_number(module, d.value, depth - 1)
            for d in found
        )
    return False


def one_minus(node: ast.AST) -> ast.expr | None:
    """`p` of `1 - p`."""
    if (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Sub)
        and isinstance(node.left, ast.Constant)
        and node.left.value == 1
    ):
        return node.right
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        # -p + 1, 1 + -p
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if (
                isinstance(one, ast.Constant)
                and one.value == 1
                and isinstance(other, ast.UnaryOp)
                and isinstance(other.op, ast.USub)
            ):
                return other.operand
    return None


def behind(module: Module, node: ast.expr, depth: int = 8) -> ast.expr:
    """The expression that `node` is only another shape, part or name of."""
    if depth <= 0:
        return node
    if isinstance(node, ast.Subscript):
        return behind(module, node.value, depth - 1)
    if (
        isinstance(node, ast.Call)
        and node.args
        and (module.op(node) or "") in SAME
        and not isinstance(node.args[0], ast.Starred)
    ):
        return behind(module, node.args[0], depth - 1)
    if isinstance(node, ast.Name):
        definitions = module.definitions(node)
        if len(definitions) == 1 and definitions[0].kind == "assign" and definitions[0].value is not None:
            value = definitions[0].value
            # `mu, sigma = a, b` and `mu, sigma = split(x)`.
            for index in definitions[0].path:
                if isinstance(value, (ast.Tuple, ast.List)) and index < len(value.elts):
                    value = value.elts[index]
            return behind(module, value, depth - 1)
    return node


def is_prediction(module: Module, node: ast.expr) -> bool:
    """Is `node` (a part of) what a model gives to a loss function?"""
    base = behind(module, node)
    if not isinstance(base, ast.Name):
        return False
    for definition in module.definitions(base):
        function = definition.scope.node
        if definition.kind != "parameter" or isinstance(function, (ast.Module, ast.ClassDef)):
            continue
        if function in module.training.losses and module.training.prediction_parameter(function) is definition:
            return True
        if module.training.named_prediction(function) is definition:
            return True
    return False


def rebind(module: Module, names: list[ast.Name], template: str) -> Insert | None:
    """A statement `name = template` above all these uses of one name; None where there is no place for it."""
    first = names[0]
    definitions = set(module.definitions(first))
    if not definitions or any(set(module.definitions(name)) != definitions for name in names):
        return None
    if any(d.scope is not module.scope(first) for d in definitions):
        return None
    function = module.function(first)
    if isinstance(function, ast.Lambda) or any(isinstance(d.node, ast.AugAssign) for d in definitions):
        return None
    common = _blocks(module, first, function)
    for name in names[1:]:
        others = {id(block) for block, _ in _blocks(module, name, function)}
        common = [(block, statement) for block, statement in common if id(block) in others]
    if not common:
        return None
    block = common[0][0]
    holding = [next(s for b, s in _blocks(module, name, function) if b is block) for name in names]
    anchor = min(holding, key=lambda s: s.lineno)
    start = block.index(anchor)
    for definition in definitions:
        if any(module.inside(definition.node, later) for later in block[start:]) and definition.kind != "parameter":
            return None
    return Insert(module.span(anchor), "before", f"{first.id} = {template}", {})


def _blocks(module: Module, node: ast.AST, function: ast.AST | None) -> list[tuple[list[ast.stmt], ast.stmt]]:
    """The blocks around a node with its statement in each, from the inside out, as far as its function goes."""
    found = []
    for above in [node, *module.ancestors(node)]:
        if above is function:
            break
        if isinstance(above, ast.stmt):
            found.append((module.block(above), above))
    return found


def other_bound(module: Module, node: ast.expr, low: str | None, high: str | None) -> list[Edit]:
    """Edits that tighten an existing clip behind `node`: new bounds where they are not None; [] where there is none."""
    call: ast.expr | None = node
    if isinstance(node, ast.Name):
        definitions = module.definitions(node)
        call = (
            definitions[0].value
            if len(definitions) == 1 and definitions[0].kind == "assign" and not definitions[0].path
            else None
        )
    if not isinstance(call, ast.Call) or (module.op(call) or "") not in ("clip_by_value", "clip"):
        return []
    edits: list[Edit] = []
    for position, names, new in (
        (1, ("clip_value_min", "min_value", "x_min"), low),
        (2, ("clip_value_max", "max_value", "x_max"), high),
    ):
        bound = next((k.value for k in call.keywords if k.arg in names), None)
        bound = bound or (call.args[position] if len(call.args) > position else None)
        if new is None:
            continue
        if bound is None or module.ranges.of(bound).constant is None:
            return []
        edits.append(ReplaceExpression(module.span(bound), new))
    return edits


def discarded_guards(module: Module) -> list[ast.Expr]:
    """Statements such as `tf.clip_by_value(p, 1e-7, 1.0)`, whose result nothing takes."""
    found = []
    for statement in module.all(ast.Expr):
        assert isinstance(statement, ast.Expr)
        call = statement.value
        if (
            isinstance(call, ast.Call)
            and module.op(call) in ("clip_by_value", "clip", "maximum")
            and call.args
            and isinstance(call.args[0], ast.Name)
        ):
            found.append(statement)
    return found


def guarded_in_vain(module: Module, node: ast.expr) -> ast.Expr | None:
    """The clip without effect that was meant for the value at `node`."""
    value = one_minus(node) or node
    while isinstance(value, (ast.UnaryOp, ast.Subscript)):
        value = value.operand if isinstance(value, ast.UnaryOp) else value.value
    if not isinstance(value, ast.Name):
        return None
    for statement in discarded_guards(module):
        name = statement.value.args[0]  # type: ignore[attr-defined]
        same = module.definitions(name) == module.definitions(value) and name.id == value.id
        if same and statement.lineno < value.lineno:
            return statement
    return None


def speaks_of(module: Module, condition: ast.expr, inner: ast.expr) -> bool:
    """Does a condition test what an argument is computed from, directly or through a name?"""
    names = {d for n in ast.walk(inner) if isinstance(n, ast.Name) for d in module.definitions(n)}
    names = {d for d in names if d.kind != "import" and not isinstance(d.value, ast.Constant)}
    tested = {d for n in ast.walk(condition) if isinstance(n, ast.Name) for d in module.definitions(n)}
    for definition in list(tested):
        if definition.value is not None:
            tested |= {d for n in ast.walk(definition.value) if isinstance(n, ast.Name) for d in module.definitions(n)}
    return bool(names & tested)


def in_branch(module: Module, node: ast.expr) -> ast.Call | None:
    """The tf.where of which `node` is (in) one of the two values."""
    below: ast.AST = node
    for above in module.ancestors(node):
        if isinstance(above, ast.stmt):
            return None
        if (
            isinstance(above, ast.Call)
            and module.op(above) in ("where", "switch")
            and len(above.args) == 3
            and below is not above.args[0]
        ):
            return above
        below = above
    return None


def unguarded(module: Module, risks: Iterable[Risk]) -> Iterator[tuple[Risk, list[Risk]]]:
    """The risks that matter and that no other rule repairs, function by function: where to speak of them, and all."""
    open_risks = [
        risk for risk in risks if not is_guarded_elsewhere(module, risk) and matters(module, risk.node, risk.argument)
    ]
    for group in by_function(module, open_risks):
        yield leader(module, group), group


def is_guarded_elsewhere(module: Module, risk: Risk) -> bool:
    """Is another rule to repair what guards this: a branch of tf.where, or a clip whose result is thrown away?"""
    where = in_branch(module, risk.node)
    if where is not None and speaks_of(module, where.args[0], risk.argument):
        return True
    return guarded_in_vain(module, risk.argument) is not None
