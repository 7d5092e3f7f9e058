"""float64: NumPy's default, which a TensorFlow function keeps and then refuses to mix with float32."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def
from tapefix.codemods.edits import Edit, Insert, ReplaceExpression
from tapefix.rules._numpy_calls import is_float64

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_DEFAULT = {
    "zeros",
    "ones",
    "empty",
    "eye",
    "identity",
    "linspace",
    "logspace",
    "geomspace",
    "loadtxt",
    "genfromtxt",
    "hanning",
    "hamming",
}
_DRAWN = {
    "rand",
    "randn",
    "random",
    "random_sample",
    "normal",
    "uniform",
    "standard_normal",
    "beta",
    "gamma",
    "exponential",
    "laplace",
    "dirichlet",
}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def data_casts(module: Module, handled: set[ast.expr]) -> Iterator[Edit]:
    """Float64 data given to a helper that now computes with TensorFlow, while a tape records and elsewhere."""
    functions = {f for node in handled if (f := module.function(node)) is not None}
    for function in sorted(functions, key=lambda f: f.lineno):
        used = {d for node in handled if module.function(node) is function for d in _parameters(module, node)}
        sites = module.objects.call_sites.get(function, [])
        plain = [site for site in sites if _on_arrays(module, site)] if isinstance(function, ast.FunctionDef) else []
        # TensorFlow makes float32 of a number: only where all is float64 does it stay among itself.
        mixed = [s for s in plain if not all(float64(module, v) for d in used for v in _given(module, s, d))]
        inside = set()
        for definition in sorted(used, key=lambda d: d.name):
            if any(float64(module, value) for site in mixed for value in _given(module, site, definition)):
                inside.add(definition)
                yield _cast_at_the_top(module, function, definition.name)
        for site in plain:
            yield from _back_to_arrays(module, site, function)
        for site in sites:
            if not module.training.is_recorded(site):
                continue
            for definition in used - inside:
                for value in _given(module, site, definition):
                    if value not in module.flow.learned and float64(module, value):
                        yield _single(module, value)


def _single(module: Module, value: ast.expr) -> Edit:
    """The array in float32, still an array: the helper may use what only arrays have."""
    dtype = module.spell("np.float32") or '"float32"'
    return ReplaceExpression(module.span(value), f"$x.astype({dtype})", {"x": module.span(value)})


def _given(module: Module, site: ast.Call, parameter: Def) -> list[ast.expr]:
    here = [*site.args, *[k.value for k in site.keywords]]
    return [a for a in module.objects.arguments_of(parameter) if any(a is b for b in here)]


def _on_arrays(module: Module, site: ast.Call) -> bool:
    """A call outside of the tape with nothing but NumPy arrays and numbers, so that the author expects arrays back."""
    if module.training.is_recorded(site) or isinstance(module.parent(site), (ast.Expr, ast.FormattedValue)):
        return False
    values = [*site.args, *[k.value for k in site.keywords]]
    arrays = [v for v in values if not isinstance(v, ast.Constant)]
    return bool(arrays) and all(float64(module, v) or _numpy_made(module, v) for v in arrays)


def _numpy_made(module: Module, node: ast.expr) -> bool:
    origins = module.objects.origins(node, 4)
    return bool(origins) and all(
        isinstance(o, ast.Constant) or (isinstance(o, ast.Call) and (module.call_name(o) or "").startswith("np."))
        for o in origins
    )


def _cast_at_the_top(module: Module, function: ast.AST, name: str) -> Edit:
    assert isinstance(function, ast.FunctionDef)
    text = ast.get_docstring(function) is not None and len(function.body) > 1
    tf = module.tf
    return Insert(module.span(function.body[1 if text else 0]), "before", f"{name} = {tf}.cast({name}, {tf}.float32)")


def _back_to_arrays(module: Module, site: ast.Call, function: ast.AST) -> Iterator[Edit]:
    """What the rest of the program does with the result is NumPy."""
    returned = module.objects.returns.get(function, [])  # type: ignore[call-overload]
    parent = module.parent(site)
    tuples = [isinstance(value, ast.Tuple) for value in returned]
    part = {"call": module.span(site)}
    if tuples and all(tuples):
        if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], (ast.Tuple, ast.List)):
            yield ReplaceExpression(module.span(site), "[v.numpy() for v in $call]", part)
    elif not any(tuples) and not (isinstance(parent, ast.Call) and module.call_name(parent) in ("print", "float")):
        yield ReplaceExpression(module.span(site), "$call.numpy()", part)


def _parameters(module: Module, node: ast.expr) -> Iterator[Def]:
    """The parameters of its own function that a value is computed from, by names."""
    seen: set[Def] = set()
    queue = [d for n in _computed_with(node) for d in module.definitions(n)]
    function = module.function(node)
    while queue:
        definition = queue.pop()
        if definition in seen or definition.scope.node is not function:
            continue
        seen.add(definition)
        if definition.kind == "parameter":
            yield definition
        elif definition.value is not None:
            queue += [d for n in _computed_with(definition.value) for d in module.definitions(n)]


def _computed_with(node: ast.AST) -> Iterator[ast.Name]:
    """The names in an expression, but for those that say a position only: `i` of `x[i]`."""
    if isinstance(node, ast.Name):
        yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.Subscript) and child is node.slice):
            yield from _computed_with(child)


def float64(module: Module, node: ast.AST, depth: int = 8) -> bool:
    """Does the text show that this is a float64 array?"""
    if depth <= 0:
        return False
    if isinstance(node, ast.Name):
        return any(
            (d.kind == "assign" and d.value is not None and not d.path and float64(module, d.value, depth - 1))
            or (d.kind == "parameter" and any(float64(module, a, depth - 3) for a in module.objects.arguments_of(d)))
            for d in module.definitions(node)
        )
    if isinstance(node, ast.BinOp):
        sides = (node.left, node.right)
        return any(float64(module, s, depth - 1) for s in sides) and not any(_tensor(module, s) for s in sides)
    if isinstance(node, (ast.Subscript, ast.UnaryOp)):
        return float64(module, node.value if isinstance(node, ast.Subscript) else node.operand, depth - 1)
    if not isinstance(node, ast.Call):
        return False
    dtype = next((k.value for k in node.keywords if k.arg == "dtype"), None)
    if dtype is not None:
        return is_float64(module, dtype)
    func = node.func
    name = module.call_name(node)
    if name is None and isinstance(func, ast.Attribute):
        if func.attr == "astype":
            return bool(node.args) and is_float64(module, node.args[0])
        if func.attr in _DRAWN and (origin := module.objects.origins(func.value, 4)):
            return any(isinstance(o, ast.Call) and (module.call_name(o) or "").startswith("np.random.") for o in origin)
        return func.attr in ("reshape", "mean", "copy", "sum", "flatten") and float64(module, func.value, depth - 1)
    if name is None or not name.startswith("np."):
        return False
    last = name.rpartition(".")[2]
    if last in _DEFAULT or (name.startswith("np.random.") and last in _DRAWN):
        return True
    if last in ("array", "asarray") and node.args and len(node.args) == 1:
        numbers = [n for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant)]
        return any(isinstance(n.value, float) for n in numbers) or float64(module, node.args[0], depth - 1)
    return last not in ("float32", "int32", "int64", "argmax", "argmin") and any(
        float64(module, a, depth - 1) for a in node.args
    )


def float32(module: Module, node: ast.AST, depth: int = 6) -> bool:
    """Does the text show that this is float32, or takes its type from what it meets?"""
    if depth <= 0:
        return False
    if isinstance(node, ast.Name):
        values = [d.value if d.kind == "assign" and not d.path else None for d in module.definitions(node)]
        return bool(values) and all(v is not None and float32(module, v, depth - 1) for v in values)
    if isinstance(node, ast.BinOp):
        return all(isinstance(s, ast.Constant) or float32(module, s, depth - 1) for s in (node.left, node.right))
    if isinstance(node, (ast.Subscript, ast.UnaryOp, ast.Attribute)):
        inner = node.operand if isinstance(node, ast.UnaryOp) else node.value
        return float32(module, inner, depth - 1)
    if not isinstance(node, ast.Call):
        return isinstance(node, ast.Constant)
    if _tensor(module, node):
        return True
    func = node.func
    dtypes = [k.value for k in node.keywords if k.arg == "dtype"]
    if isinstance(func, ast.Attribute) and func.attr == "astype":
        dtypes += node.args[:1]
    return any("float32" in ast.unparse(d) or ast.unparse(d) in ("'f'", "'f4'") for d in dtypes)


def _tensor(module: Module, node: ast.expr) -> bool:
    return (module.call_name(node) or "").startswith(("tf.", "keras."))
