"""TPF512: a block of a model is a function that closes over its layers, where Keras does not look."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import AddImport, Edit, ReplaceStatement
from tapefix.findings import Candidate, Finding, Span
from tapefix.rules._weights import makes_weighted_layer
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.scopes import Def


class LayersInClosure(Rule):
    """A block of a model is a function that closes over its layers, where Keras does not look.

    What it finds:
        A function that makes layers with weights and returns an inner function that calls them, where a Keras layer
        or model keeps what it returns: `self.block = conv_block(16)`.

    Why the gradient stops:
        Keras lists the weights of the layers that it finds on an object, in its lists and its dictionaries. It does
        not look into functions, so these weights are in no list that fit or a tape gets.

    Example:
        ```python
        import tensorflow as tf


        def block(units):
            dense = tf.keras.layers.Dense(units, activation="relu")

            def apply(x):
                return dense(x) + x

            return apply


        class Net(tf.keras.Model):
            def __init__(self):
                super().__init__()
                self.block = block(3)
                self.head = tf.keras.layers.Dense(1)

            def call(self, inputs):
                return self.head(self.block(inputs))


        net = Net()
        net.compile("sgd", "mse")
        net.fit(tf.ones([4, 3]), tf.ones([4, 1]), verbose=0)
        ```

    Fix safety:
        Safe: a Keras layer of the same name and parameters, which owns the layers and computes the same.
    """

    code = "TPF512"
    name = "layers-in-closure"
    safety = "safe"
    tokens = ("def ",)

    def check(self, module: Module) -> Iterator[Finding]:
        for function in module.each(ast.FunctionDef):
            inner = _inner(module, function)
            if inner is None:
                continue
            made = [
                statement
                for statement in function.body
                if isinstance(statement, ast.Assign)
                and isinstance(statement.targets[0], ast.Name)
                and _is_weighted(module, statement.value)
                and any(module.inside(use, inner) for d in _bound(module, statement.targets[0]) for use in d.uses)
            ]
            if not made or not self._is_kept(module, function):
                continue
            edits = _as_layer(module, function, inner)
            names = ", ".join(module.source(s.targets[0]) for s in made)
            yield self.finding(
                module,
                inner,
                f"Keras does not look into functions: the weights of {names} are in no model that keeps what "
                f"{function.name} returns.",
                label="closes over layers",
                notes=[(made[0], "made here")],
                candidates=[Candidate(f"make {function.name} a Keras layer", tuple(edits), trains_more=True)]
                if edits is not None
                else (),
                silent=True,
                advice="" if edits is not None else f"Make {function.name} a class that is a Keras layer.",
            )

    @staticmethod
    def _is_kept(module: Module, function: ast.FunctionDef) -> bool:
        """Do only the methods of Keras objects call it, and keep what it returns?"""
        calls = module.results.calls_of(function)
        for call in calls:
            home = module.function(call)
            owner = module.method_class(home) if home is not None else None
            statement = module.statement(call)
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            kept = any(isinstance(t, ast.Attribute) and module.classes.is_self(t.value) for t in targets)
            appended = isinstance(statement, ast.Expr) and _adds_to_self(module, statement.value)
            if owner is None or module.classes.kind(owner) not in ("layer", "model") or not (kept or appended):
                return False
        return bool(calls)


def _inner(module: Module, function: ast.FunctionDef) -> ast.FunctionDef | None:
    """The function that `function` defines last and returns."""
    if len(function.body) < 3 or function.decorator_list:
        return None
    inner, last = function.body[-2:]
    if not isinstance(inner, ast.FunctionDef) or inner.decorator_list or not isinstance(last, ast.Return):
        return None
    return inner if isinstance(last.value, ast.Name) and last.value.id == inner.name else None


def _bound(module: Module, name: ast.expr) -> list[Def]:
    return list(module.reaching.bindings.get(name, ()))


def _is_weighted(module: Module, value: ast.expr) -> bool:
    return any(makes_weighted_layer(module, node) for node in ast.walk(value))


def _adds_to_self(module: Module, value: ast.expr) -> bool:
    """`self.blocks.append(...)`"""
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "append"):
        return False
    listed = value.func.value
    return isinstance(listed, ast.Attribute) and module.classes.is_self(listed.value)


def _as_layer(module: Module, function: ast.FunctionDef, inner: ast.FunctionDef) -> list[Edit] | None:
    """The edits that make a Keras layer of the function: what it makes is kept in __init__, `call` computes."""
    text = module.source(function)
    about = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    described = module.source(about) if about is not None else ""
    rest = text.replace(described, "", 1)
    head = "".join(module.line_text(n) for n in range(function.lineno, function.body[0].lineno))
    if "$" in text or "#" in head or '"""' in rest or "'''" in rest or module.function(function) is not None:
        return None
    plain = not any(a.vararg or a.kwarg or a.kwonlyargs for a in (function.args, inner.args))
    if not plain or any(isinstance(n, ast.Nonlocal) for n in ast.walk(inner)):
        return None
    scope = module.reaching.scope_of[function]
    kept = {
        d.name
        for defs in scope.defs.values()
        for d in defs
        if d.node is not inner and any(module.inside(use, inner) for use in d.uses)
    }
    if kept & {"self", "name", "dtype", "weights", "built", "losses", "call", "build"} or any(
        len(scope.defs[name]) != 1 for name in kept
    ):
        return None
    parameters = {p.arg for p in [*function.args.posonlyargs, *function.args.args]}
    base = module.spell("keras.layers.Layer")
    spans = [
        module.span(node)
        for name in kept - parameters
        for d in scope.defs[name]
        for node in (_target(d), *d.uses)
        if node is not None
    ]
    spans += [module.span(u) for name in kept & parameters for u in scope.defs[name][0].uses if module.inside(u, inner)]
    start = [f"self.{p} = {p}" for p in sorted(kept & parameters)]
    first = (about.end_lineno or about.lineno) + 1 if about is not None else function.body[0].lineno
    made = _lines(module, first, inner.lineno - 1, spans)
    body = _lines(module, inner.body[0].lineno, inner.end_lineno or inner.lineno, spans)
    given, taken = _parameters(module, function.args), _parameters(module, inner.args)
    init = textwrap.indent("\n".join(["super().__init__()", *start, made.rstrip()]), " " * 8)
    call = textwrap.indent(body.rstrip(), " " * 8)
    lines = [
        f"class {function.name}({base or 'keras.layers.Layer'}):",
        *([f"    {described}", ""] if described else []),
        f"    def __init__({', '.join(['self', *given])}):",
        init,
        "",
        f"    def call({', '.join(['self', *taken])}):",
        call,
    ]
    edits: list[Edit] = [] if base else [AddImport("from tensorflow import keras")]
    return [*edits, ReplaceStatement(module.span(function), "\n".join(lines))]


def _parameters(module: Module, arguments: ast.arguments) -> list[str]:
    """The parameters with their annotations and defaults, as they are written."""
    plain = [*arguments.posonlyargs, *arguments.args]
    bare = len(plain) - len(arguments.defaults)
    found = [module.source(parameter) for parameter in plain[:bare]]
    for parameter, default in zip(plain[bare:], arguments.defaults, strict=True):
        equals = " = " if parameter.annotation is not None else "="
        found.append(f"{module.source(parameter)}{equals}{module.source(default)}")
    return found


def _target(definition: Def) -> ast.AST | None:
    node = definition.node
    if isinstance(node, ast.Assign):
        return next((t for t in node.targets if isinstance(t, ast.Name) and t.id == definition.name), None)
    return node if isinstance(node, ast.Name) else None


def _lines(module: Module, first: int, last: int, spans: list[Span]) -> str:
    """The lines of the file, without their common indentation, with `self.` before the names at `spans`."""
    lines = [module.line_text(n) for n in range(first, last + 1)]
    for span in sorted(spans, reverse=True):
        if first <= span.line <= last:
            line = lines[span.line - first]
            lines[span.line - first] = f"{line[: span.column]}self.{line[span.column :]}"
    return textwrap.dedent("\n".join(lines))
