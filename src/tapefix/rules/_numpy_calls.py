"""Writes NumPy calls as TensorFlow calls: edits for one call, or None where TensorFlow has no such function."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Insert, ReplaceExpression
from tapefix.rules import _numpy_table as table

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.findings import Span

Edits = Sequence[ReplaceExpression | Insert] | None
_OPTIONAL = re.compile(r"\{([^{}|]*)\|([^{}]*)\}")
_HOLE = re.compile(r"\$(\w+)")
_FLOAT64 = ("float64", "float", "double", "float_", "longdouble")


def operation_name(module: Module, call: ast.Call) -> str:
    """`linalg.norm` for np.linalg.norm, `log` for math.log and np.log, `expit` for scipy.special.expit."""
    name = module.call_name(call) or ""
    if name.startswith("np."):
        return name[3:]
    last = name.rpartition(".")[2]
    if name.startswith(("scipy.linalg.", "scipy.fft.")):
        group = name.split(".")[1]
        return name if name in table.TEMPLATES else f"{group}.{last}"
    return last


def translated(module: Module, call: ast.Call) -> Edits:
    """The edits that turn the call of a NumPy, math or SciPy function into TensorFlow's."""
    name = operation_name(module, call)
    if module.call_name(call) == "math.log":
        name = "math.log"
    if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
        return None
    keywords = {k.arg for k in call.keywords}
    if name == "sum" and len(call.args) == 1 and isinstance(call.args[0], ast.GeneratorExp) and not keywords:
        return [_rename(module, call, "sum")]
    floats = _floats(module, call, name)
    simple = _simple_name(name, call, keywords)
    if simple is not None:
        return [_rename(module, call, simple), *floats]
    if name in ("cov", "corrcoef"):
        entry = _off_diagonal(module, call)
        if entry is not None:
            return _by_template(module, call, f"{name}[0, 1]", None, entry)
    made = _by_template(module, call, name, None)
    return None if made is None else [*made, *floats]


def _floats(module: Module, call: ast.Call, name: str) -> list[ReplaceExpression]:
    """`np.maximum(0, x)`: TensorFlow takes the type from the first argument, so 0 has to be 0.0."""
    if name == "where":
        values = call.args[1:3]
    elif name in table.BINARY or name == "linspace":
        values = call.args[:2]
    else:
        return []
    numbers = [_is_number(value) for value in values]
    if not numbers or not numbers[0] or len(values) != 2 or (all(numbers) and name != "where"):
        return []
    return [ReplaceExpression(module.span(value), f"{ast.unparse(value)}.0") for value in values if _is_integer(value)]


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool)


def _is_integer(node: ast.expr) -> bool:
    return _is_number(node) and ast.unparse(node).lstrip("-").isdigit()


def _off_diagonal(module: Module, call: ast.Call) -> ast.expr | None:
    """`np.corrcoef(a, b)[0, 1]`: the entry that says how two series go together."""
    parent = module.parent(call)
    if len(call.args) != 2 or not isinstance(parent, ast.Subscript) or parent.value is not call:
        return None
    index = ast.unparse(parent.slice).strip("()")
    if index in ("0, 1", "1, 0"):
        return parent
    above = module.parent(parent)
    whole = isinstance(above, ast.Subscript) and above.value is parent
    if whole and (index, ast.unparse(above.slice)) in (("0", "1"), ("1", "0")):  # type: ignore[union-attr]
        return above  # type: ignore[return-value]
    return None


def translated_method(module: Module, call: ast.Call) -> Edits:
    """The edits that turn `array.mean(axis=0)` into `tf.reduce_mean(array, axis=0)`."""
    func = call.func
    assert isinstance(func, ast.Attribute)
    array = module.span(func.value)
    method = func.attr
    if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
        return None
    if method in ("copy", "item", "tolist", "numpy") and not call.args and not call.keywords:
        return [ReplaceExpression(module.span(call), "$x", {"x": array})]
    if method == "astype" and call.args:
        return [_cast(module, call, array, call.args[0])]
    if method == "flatten" and not call.args:
        return [replaced(module, call, "tf.reshape($a, [-1])", {"a": array})]
    if method == "reshape" and call.args and not call.keywords:
        if len(call.args) == 1 and not (isinstance(call.args[0], (ast.Constant, ast.UnaryOp))):
            return [replaced(module, call, "tf.reshape($a, $shape)", {"a": array, "shape": module.span(call.args[0])})]
        parts = {f"d{i}": module.span(a) for i, a in enumerate(call.args)}
        return [replaced(module, call, f"tf.reshape($a, [{', '.join('$' + p for p in parts)}])", {"a": array, **parts})]
    if method == "transpose" and not call.keywords:
        if not call.args:
            return [replaced(module, call, "tf.transpose($a)", {"a": array})]
        parts = {f"d{i}": module.span(a) for i, a in enumerate(call.args)}
        single = len(call.args) == 1
        return [
            replaced(
                module,
                call,
                f"tf.transpose($a, {'$d0' if single else '[' + ', '.join('$' + p for p in parts) + ']'})",
                {"a": array, **parts},
            )
        ]
    return _by_template(module, call, method, func.value) if method in table.METHODS else None


def drawn(module: Module, call: ast.Call, learned: set[int]) -> Edits:
    """`np.random.normal(mu, sigma)` as a function of mu, sigma and noise. `learned` are ids of learned arguments."""
    method = call.func.attr if isinstance(call.func, ast.Attribute) else operation_name(module, call)
    method = method.rpartition(".")[2]
    if method not in table.DRAWN:
        return None
    parameters, template = table.DRAWN[method]
    given = _bind(call, parameters, None)
    if given is None:
        return None
    shaped = next((p for p in parameters if p in given and id(given[p]) in learned), None)
    size = given.get("size")
    if size is not None and not (isinstance(size, ast.Constant) and size.value is None):
        whole = isinstance(size, ast.Constant) and isinstance(size.value, int)
        template = template.replace("SHAPE", "[$size]" if whole else "$size")
    elif shaped is not None:
        template = template.replace("SHAPE", f"tf.shape(${shaped})")
    else:
        return None
    for name in parameters:
        if name not in given and name != "size":
            template = template.replace(f"${name}", table.DRAWN_DEFAULTS.get(name, f"${name}"))
        elif name in given and _is_zero(given[name]):
            template = template.removeprefix(f"${name} + ")
    template = template.removeprefix("0.0 + ").replace("1.0 * ", "")
    wanted = set(_HOLE.findall(template))
    if not wanted <= set(given):
        return None
    return [replaced(module, call, template, {p: module.span(given[p]) for p in wanted})]


def _takes_another_form(name: str, values: list[ast.expr]) -> bool:
    """Does TensorFlow want these arguments in another form?"""
    if name == "split":
        return not _is_number(values[0])
    if name == "linalg.norm":
        return any(isinstance(v, ast.Constant) and isinstance(v.value, str) for v in values)
    return name == "reshape" and any(_is_number(v) for v in values)


def _fits(key: str, node: ast.expr) -> bool:
    """Widths of padding for each dimension, tables of values in arrays: TensorFlow needs no other form of them."""
    if isinstance(node, (ast.Tuple, ast.List)):
        return key == "pad_width" and all(isinstance(e, (ast.Tuple, ast.List)) for e in node.elts)
    return not _is_number(node)


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in (0, 0.0)


def replaced(module: Module, node: ast.expr, template: str, parts: dict[str, Span]) -> ReplaceExpression:
    """A replacement whose template speaks of `tf`, in the file's own spelling."""
    return ReplaceExpression(
        module.span(node), re.sub(r"\btf\.((?:\w+\.)*\w+)", lambda m: spelled(module, m.group(0)), template), parts
    )


def cast(module: Module, node: ast.expr) -> ReplaceExpression:
    return replaced(module, node, "tf.cast($x, tf.float32)", {"x": module.span(node)})


def spelled(module: Module, name: str) -> str:
    return module.spell(name) or f"{module.tf}.{name[3:]}"


def is_float64(module: Module, dtype: ast.expr) -> bool:
    text = (
        dtype.value if isinstance(dtype, ast.Constant) and isinstance(dtype.value, str) else (module.name(dtype) or "")
    )
    return text.rpartition(".")[2] in _FLOAT64


def _cast(module: Module, node: ast.expr, value: Span, dtype: ast.expr) -> ReplaceExpression:
    """NumPy computes in float64 where TensorFlow stays in float32: such a cast is not taken over."""
    if is_float64(module, dtype):
        return ReplaceExpression(module.span(node), "$x", {"x": value})
    name = module.name(dtype) or ""
    if name == "np.float32" or (isinstance(dtype, ast.Constant) and dtype.value in ("float32", "f", "f4", "<f4")):
        return replaced(module, node, "tf.cast($x, tf.float32)", {"x": value})
    return replaced(module, node, "tf.cast($x, $dtype)", {"x": value, "dtype": module.span(dtype)})


def _rename(module: Module, call: ast.Call, name: str) -> ReplaceExpression:
    return ReplaceExpression(module.span(call.func), spelled(module, name) if name.startswith("tf.") else name)


def _simple_name(name: str, call: ast.Call, keywords: set[str | None]) -> str | None:
    """TensorFlow's name where nothing but the name differs."""
    count = len(call.args)
    if name in table.UNARY and count == 1 and not keywords:
        return table.UNARY[name]
    if name in table.BINARY and count == 2 and not keywords:
        return table.BINARY[name]
    if name in table.REDUCTIONS and 1 <= count <= 2 and keywords <= {"axis", "keepdims"}:
        return table.REDUCTIONS[name]
    if name in table.SAME_ARGUMENTS:
        target, most, allowed = table.SAME_ARGUMENTS[name]
        least = 3 if name == "where" else 1
        complete = name not in ("concatenate", "concat", "roll", "linspace") or count + len(keywords) == most
        values = [*call.args[1:], *[k.value for k in call.keywords]]
        odd = any(isinstance(v, ast.Constant) and v.value is None for v in values)
        fits = least <= count <= most and keywords <= allowed and complete
        if fits and not _takes_another_form(name, values) and (not odd or name == "average"):
            return target
    return None


def _by_template(
    module: Module, call: ast.Call, name: str, receiver: ast.expr | None, whole: ast.expr | None = None
) -> Edits:
    parameters, templates = _template(name, call)
    given = _bind(call, parameters, receiver)
    if given is None or any(key in given and not _fits(key, given[key]) for key in ("pad_width", "xp", "fp")):
        return None
    for key in ("out", "where", "initial", "b"):
        if key in given and isinstance(given[key], ast.Constant) and given[key].value is None:  # type: ignore[attr-defined]
            del given[key]
    if name not in table.REDUCTIONS and name != "sort":
        given = {k: v for k, v in given.items() if not (isinstance(v, ast.Constant) and v.value is None)}
    if "ddof" in given and isinstance(given["ddof"], ast.Constant) and given["ddof"].value == 0:
        del given["ddof"]
    if name.startswith("fft.") and "axis" in given:
        if ast.unparse(given["axis"]) != "-1":
            return None
        del given["axis"]
    dtype = given.pop("dtype", None)
    given.pop("copy", None)
    for condition_and_template in templates:
        conditions, _, template = condition_and_template.rpartition(" :: ")
        fixed = dict(c.split("=") for c in conditions.split())
        if any(key not in given or ast.unparse(given[key]) != value for key, value in fixed.items()):
            continue
        free = given.keys() - fixed.keys()
        chosen = _OPTIONAL.sub(
            lambda m: m.group(1) if set(_HOLE.findall(m.group(1))) <= free else m.group(2),  # noqa: B023
            template,
        )
        wanted = set(_HOLE.findall(chosen))
        if "tf.keras.ops." in chosen and module.keras < 3:
            continue
        if wanted == free:
            given = {key: given[key] for key in free}
            if dtype is not None and not is_float64(module, dtype):
                chosen = f"tf.cast({chosen}, $dtype)"
                given["dtype"] = dtype
            for shape in ("newshape", "shape"):
                if shape in given and _is_number(given[shape]):
                    chosen = chosen.replace(f"${shape}", f"[${shape}]")
            chosen = chosen.replace("PI", spelled_pi(module))
            chosen, bound = _bound(module, call, name, chosen, given)
            parts = {p: module.span(v) for p, v in given.items() if p not in bound}
            return [*bound.values(), replaced(module, whole or call, chosen, parts)]
    return None


_SIMPLE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr)
_SOMETIMES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.IfExp, ast.BoolOp)


def _bound(
    module: Module, call: ast.Call, name: str, template: str, given: dict[str, ast.expr]
) -> tuple[str, dict[str, Insert]]:
    """A long argument that the template needs several times gets a name of its own, before the statement."""
    statement = module.statement(call)
    above = [a for a in module.ancestors(call) if isinstance(a, _SOMETIMES) and module.inside(a, statement)]
    if above or not isinstance(statement, _SIMPLE):
        return template, {}
    found: dict[str, Insert] = {}
    holes = _HOLE.findall(template)
    for parameter, value in given.items():
        if holes.count(parameter) < 2 or not any(isinstance(n, (ast.Call, ast.BinOp)) for n in ast.walk(value)):
            continue
        new = f"{re.sub(r'[^a-z0-9].*', '', name.rpartition('.')[2])}_{parameter.lower()}"
        same = [
            c
            for c in module.calls
            if c is not call
            and operation_name(module, c) == operation_name(module, call)
            and module.inside(c, statement)
            and (c.lineno, c.col_offset) < (call.lineno, call.col_offset)
        ]
        new += f"_{len(same) + 1}" if same else ""
        while re.search(rf"\b{new}\b", module.text):
            new += "_"
        template = re.sub(rf"\${parameter}\b", new, template)
        found[parameter] = Insert(module.span(statement), "before", f"{new} = $value", {"value": module.span(value)})
    return template, found


def _template(name: str, call: ast.Call) -> tuple[tuple[str, ...], tuple[str, ...]]:
    parameters, templates = table.TEMPLATES.get(name, ((), ()))
    if name in table.REDUCTIONS:
        plain = f"{table.REDUCTIONS[name]}($a{{, axis=$axis|}}{{, keepdims=$keepdims|}})"
        return parameters or table.REDUCTION_PARAMETERS[name], (plain, *templates)
    if templates:
        return parameters, templates
    if name in table.UNARY:
        return ("x",), (f"{table.UNARY[name]}($x)",)
    if name in table.BINARY:
        return ("x1", "x2"), (f"{table.BINARY[name]}($x1, $x2)",)
    if name in table.SAME_ARGUMENTS and len(call.args) <= 1:
        target, most, allowed = table.SAME_ARGUMENTS[name]
        names = ("a", *sorted(allowed))[: max(most, len(allowed) + 1)]
        return names, (f"{target}($a{''.join('{, ' + n + '=$' + n + '|}' for n in sorted(allowed))})",)
    return (), ()


def _bind(call: ast.Call, parameters: tuple[str, ...], receiver: ast.expr | None) -> dict[str, ast.expr] | None:
    """The arguments by the names of the parameters; None where there are others."""
    given: dict[str, ast.expr] = {}
    positional = [*([receiver] if receiver is not None else []), *call.args]
    if len(positional) > len(parameters):
        return None
    given.update(zip(parameters, positional, strict=False))
    for keyword in call.keywords:
        name = keyword.arg
        if name in ("a", "x", "array", "arr", "arrays", "m") and parameters and parameters[0] not in given:
            name = parameters[0]
        if (
            name in ("where", "initial", "out", "b", "casting", "order")
            and isinstance(keyword.value, ast.Constant)
            and keyword.value.value is None
        ):
            continue
        if name is None or (name not in parameters and name != "dtype") or name in given:
            return None
        given[name] = keyword.value
    return given


def spelled_pi(module: Module) -> str:
    """`np.pi` in the file's spelling, or the number."""
    return module.spell("np.pi") or module.spell("math.pi") or "3.141592653589793"
