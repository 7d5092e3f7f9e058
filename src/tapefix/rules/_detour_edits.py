"""The edits that bring one detour back to TensorFlow."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Delete, Edit, Insert, ReplaceExpression, ReplaceStatement
from tapefix.rules._numpy_calls import cast, drawn, is_float64, operation_name, replaced, translated
from tapefix.rules._numpy_dtypes import float32, float64
from tapefix.rules._numpy_table import BINARY, MIXED, STRICT
from tapefix.rules._stores import rebound, stores

if TYPE_CHECKING:
    from tapefix.analysis.detours import Detour
    from tapefix.analysis.flow import Vertex
    from tapefix.analysis.module import Module

_LISTS = (ast.List, ast.Tuple, ast.ListComp)


def edits_for(module: Module, detour: Detour) -> list[Edit] | None:
    """The edits for one detour, None where TensorFlow has no form of it."""
    node = detour.node
    if not isinstance(node, ast.Call):
        return store(module, node)
    if detour.kind == "operation":
        made = translated(module, node)
        return None if made is None else [*made, *_casts(module, node)]
    if detour.kind == "export":
        return _export(module, node)
    if detour.kind == "predict":
        return _predict(module, node)
    if detour.kind == "random":
        flow = module.flow
        given = [*node.args, *[k.value for k in node.keywords]]
        made = drawn(module, node, {id(a) for a in given if a in flow.learned})
        return None if made is None else [*made]
    if detour.kind == "wrapper":
        return _wrapper(module, node)
    return constant(module, node)


def _casts(module: Module, call: ast.Call) -> list[Edit]:
    """NumPy counts True as one and mixes float64 with float32; TensorFlow does neither."""
    name = operation_name(module, call)
    if name in ("sum", "mean", "std", "var", "prod", "average") and call.args and isinstance(call.args[0], ast.Compare):
        return [cast(module, call.args[0])]
    strict = name in STRICT
    if not strict and name not in BINARY and name not in MIXED:
        return []
    found: list[Edit] = []
    for value in call.args:
        for item in value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]:
            if isinstance(item, ast.Constant) or item in module.flow.learned or float32(module, item):
                continue
            if strict or float64(module, item):
                found.append(cast(module, item))
    return found


def is_list(module: Module, node: ast.expr) -> bool:
    """A Python list (of tensors, say), by all that the text shows."""
    origins = module.objects.origins(node)
    return isinstance(node, _LISTS) or (bool(origins) and all(isinstance(o, _LISTS) for o in origins))


def _export(module: Module, call: ast.Call) -> list[Edit] | None:
    func = call.func
    name = module.call_name(call)
    if name is None and isinstance(func, ast.Attribute):
        return [without(module, call, func.value)]
    if not call.args:
        return None
    value = call.args[0]
    parts = {"x": module.span(value)}
    dtype = argument(call, 1, "dtype") if name is not None and name.startswith("np.") else None
    if name in ("np.float32", "np.float16", "np.single"):
        return [replaced(module, call, "tf.cast($x, tf.float32)", parts)]
    if dtype is not None and not is_float64(module, dtype):
        single = module.name(dtype) in ("np.float32", "tf.float32") or (
            isinstance(dtype, ast.Constant) and dtype.value == "float32"
        )
        if single:
            return [replaced(module, call, "tf.cast($x, tf.float32)", parts)]
        return [replaced(module, call, "tf.cast($x, $dtype)", {**parts, "dtype": module.span(dtype)})]
    if name is not None and name.startswith("np.") and name not in ("np.float64", "np.double"):
        if isinstance(value, _LISTS) and not any(isinstance(e, _LISTS) for e in getattr(value, "elts", [])):
            return [replaced(module, call, "tf.stack($x)", parts)]
        if is_list(module, value):
            nested = isinstance(value, _LISTS)
            return [replaced(module, call, "tf.convert_to_tensor($x)" if nested else "tf.stack($x)", parts)]
        if not module.objects.origins(value) or any(isinstance(o, _LISTS) for o in module.objects.origins(value)):
            return [replaced(module, call, "tf.convert_to_tensor($x)", parts)]
    return [without(module, call, value)]


def without(module: Module, call: ast.Call, value: ast.expr) -> Edit:
    """Only the value that a call converts; `x = x.numpy()` goes as a whole."""
    whole: ast.expr = call
    choice = module.parent(call)
    if isinstance(choice, ast.IfExp) and call is not choice.test:
        # `x.numpy() if hasattr(x, "numpy") else x` is x, whatever it is.
        other = choice.orelse if choice.body is call else choice.body
        whole = choice if ast.dump(other) == ast.dump(value) else call
    statement = module.parent(whole)
    if (
        isinstance(statement, ast.Assign)
        and isinstance(value, ast.Name)
        and [ast.unparse(target) for target in statement.targets] == [value.id]
        and len(module.block(statement)) > 1
        and not module.line_text(statement.lineno - 1).lstrip().startswith("#")
    ):
        return Delete(module.span(statement))
    return ReplaceExpression(module.span(whole), "$x", {"x": module.span(value)})


def _predict(module: Module, call: ast.Call) -> list[Edit] | None:
    func = call.func
    value = argument(call, 0, "x")
    if not isinstance(func, ast.Attribute) or value is None:
        return None
    template = "$model($x, training=True)" if trains(module, call, func.value) else "$model($x)"
    return [ReplaceExpression(module.span(call), template, {"model": module.span(func.value), "x": module.span(value)})]


def trains(module: Module, call: ast.Call, model: ast.expr) -> bool:
    """Is a model that runs at `call` meant to run in training mode: do its neighbours, or does it say so elsewhere?"""
    forward = {m for m in map(module.classes.forward_method, _classes(module, model)) if m is not None}
    if any(f.args.kwarg is None and "training" not in [a.arg for a in module.objects.parameters(f)] for f in forward):
        return False
    place, spelled, recorded = module.function(call), ast.unparse(model), bool(module.tapes.around(call))
    for other in module.calls:
        mode = next((k.value for k in other.keywords if k.arg == "training"), None)
        if not isinstance(mode, ast.Constant) or not isinstance(mode.value, bool):
            continue
        if module.function(other) is place and mode.value and module.training.is_forward(other):
            return True
        # Where a model is told elsewhere that it does not train, it is told here that it does.
        if recorded and ast.unparse(other.func) == spelled:
            return True
    return False


def _classes(module: Module, model: ast.expr) -> list[ast.ClassDef]:
    made = [module.objects.instance_class(origin) for origin in module.objects.origins(model)]
    own = module.class_of(model) if module.classes.is_self(model) else None
    return [c for c in [*made, own] if c is not None]


def _wrapper(module: Module, call: ast.Call) -> list[Edit] | None:
    function, given = argument(call, 0, "func"), argument(call, 1, "inp")
    if (
        function is None
        or not isinstance(given, (ast.List, ast.Tuple))
        or any(isinstance(e, ast.Starred) for e in given.elts)
    ):
        return None
    parts = {f"a{i}": module.span(e) for i, e in enumerate(given.elts)}
    holes = ", ".join("$" + p for p in parts)
    if isinstance(function, (ast.Name, ast.Attribute)):
        name = module.name(function)
        if name is not None and name.startswith("np."):
            made = translated(module, ast.copy_location(ast.Call(function, list(given.elts), []), call))
            renamed = made[0] if made is not None and len(made) == 1 else None
            if not isinstance(renamed, ReplaceExpression) or renamed.span != module.span(function):
                return None
            return [ReplaceExpression(module.span(call), f"{renamed.template}({holes})", parts)]
        return [ReplaceExpression(module.span(call), f"$f({holes})", {"f": module.span(function), **parts})]
    return (
        [ReplaceExpression(module.span(call), f"$f({holes})", {"f": module.span(function), **parts})]
        if isinstance(function, ast.Lambda)
        else None
    )


def constant(module: Module, call: ast.Call) -> list[Edit] | None:
    """`tf.constant(x)` is x; of a list it is a stack."""
    value = call.args[0] if call.args else argument(call, 0, "value") or argument(call, 0, "initial_value")
    if value is None:
        return None
    parts = {"x": module.span(value)}
    dtype = argument(call, 1, "dtype") if module.call_name(call) != "tf.Variable" else argument(call, 99, "dtype")
    template = "$x"
    if is_list(module, value):
        nested = isinstance(value, _LISTS) and any(isinstance(e, _LISTS) for e in getattr(value, "elts", []))
        template = "tf.convert_to_tensor($x)" if nested else "tf.stack($x)"
    if (
        dtype is not None
        and module.name(dtype) != "tf.float32"
        and not (isinstance(dtype, ast.Constant) and dtype.value in ("float32", None))
    ):
        template = f"tf.cast({template}, $dtype)"
        parts["dtype"] = module.span(dtype)
    return [replaced(module, call, template, parts)]


def blocked(module: Module, function: ast.AST | None, tensors: set[Vertex]) -> bool:
    """Is something stored into a value of this function that becomes a tensor, and cannot be made anew instead?"""
    return any(
        module.function(node) is function and rebound(module, node, into) is None
        for node, into in stores(module, tensors)
        if any(d.kind in ("assign", "parameter", "loop") for d in into)
    )


def store(module: Module, node: ast.expr) -> list[Edit] | None:
    """`out = np.zeros(n)` filled by `out[i] = v` in one plain loop: a list that is stacked after the loop."""
    statement = module.statement(node)
    if (
        not isinstance(node, ast.Subscript)
        or not isinstance(node.value, ast.Name)
        or not isinstance(statement, ast.Assign)
        or len(statement.targets) != 1
    ):
        return None
    loop = module.parent(statement)
    if (
        not isinstance(loop, ast.For)
        or loop.orelse
        or statement not in loop.body
        or not _counts(module, loop, node.slice)
    ):
        return None
    made = {d for d in module.reaching.bindings.get(node, ()) for d in d.previous if d.kind == "assign"}
    if len(made) != 1:
        return None
    start = made.pop()
    first = module.statement(start.node)
    if (
        not isinstance(first, ast.Assign)
        or len(first.targets) != 1
        or start.value is None
        or module.block(first) is not module.block(loop)
    ):
        return None
    for other in ast.walk(loop):
        if isinstance(other, ast.Name) and other.id == node.value.id and other is not node.value:
            return None
        if isinstance(other, (ast.Break, ast.Continue)):
            return None
    name = node.value.id
    return [
        ReplaceExpression(module.span(start.value), "[]"),
        ReplaceStatement(module.span(statement), f"{name}.append($v)", {"v": module.span(statement.value)}),
        Insert(module.span(loop), "after", f"{name} = {module.tf}.stack({name})"),
    ]


def _counts(module: Module, loop: ast.For, index: ast.expr) -> bool:
    """Does the loop run over the positions 0, 1, 2, ... that `index` names?"""
    target = loop.target
    name = module.call_name(loop.iter)
    if name == "enumerate" and isinstance(target, ast.Tuple):
        target = target.elts[0]
    elif name != "range" or len(loop.iter.args) != 1:  # type: ignore[attr-defined]
        return False
    return isinstance(target, ast.Name) and isinstance(index, ast.Name) and target.id == index.id
