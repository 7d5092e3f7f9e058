"""TPF608: softmax, logsumexp, softplus or sigmoid written out with exp."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.scopes import Def
from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Delete, Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding, Span
from tapefix.rules._logs import inward, log_space, risky_logs
from tapefix.rules._numeric import Risk, matters, surely_matters, worth_a_look
from tapefix.rules._spelling import Spelling
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class _Form(NamedTuple):
    """A written-out function: what it is, its input, the template of its replacement and the name it made needless."""

    what: str
    node: ast.expr
    inner: ast.expr
    candidate: Candidate


class SoftmaxByHand(Rule):
    """Softmax, logsumexp, softplus or sigmoid are written out with exp.

    What it finds:
        `tf.exp(x) / tf.reduce_sum(tf.exp(x), axis=1, keepdims=True)`, `tf.math.log(tf.reduce_sum(tf.exp(x)))`,
        `tf.math.log(1 + tf.exp(x))` and `1 / (1 + tf.exp(-x))`, where nothing keeps x small.

    Why the gradient stops:
        exp overflows above 88 in float32: inf / inf and 0 * inf are NaN. TensorFlow's own functions subtract the
        largest element first.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable([[90.0, 89.0]])
        x, y = tf.constant([[1.0], [2.0]]), tf.constant([[0.2, 0.8], [0.5, 0.5]])
        with tf.GradientTape() as tape:
            logits = x @ w
            p = tf.exp(logits) / tf.reduce_sum(tf.exp(logits), axis=1, keepdims=True)
            loss = tf.reduce_mean(tf.square(p - y))
        gradients = tape.gradient(loss, [w])
        ```

    Fix safety:
        Safe: the functions compute the same wherever the written-out form is finite.
    """

    code = "TPF608"
    name = "softmax-by-hand"
    safety = "safe"
    tokens = ("exp(",)

    def check(self, module: Module) -> Iterator[Finding]:
        if not worth_a_look(module):
            return
        for form in self._forms(module):
            high = module.ranges.of(form.inner).high
            if high <= 88 or not matters(module, form.node, form.inner):
                continue
            yield self._finding(module, form)

    def _finding(self, module: Module, form: _Form) -> Finding:
        unbounded = module.ranges.of(form.inner).source in ("linear", "output")
        return self.finding(
            module,
            form.node,
            f"This is {form.what} written out: exp overflows above 88, and the gradient is NaN.",
            label=f"{form.what} by hand",
            candidates=[form.candidate],
            certain=unbounded and surely_matters(module, form.node, form.inner),
            numeric=True,
        )

    def _forms(self, module: Module) -> Iterator[_Form]:
        for node in module.all(ast.BinOp):
            assert isinstance(node, ast.BinOp)
            if isinstance(node.op, ast.Div):
                form = self._softmax(module, node, node.left, node.right) or self._sigmoid(module, node)
                if form is not None:
                    yield form
        for call in module.calls:
            operation = module.op(call)
            if operation in ("divide", "truediv") and len(call.args) == 2:
                form = self._softmax(module, call, call.args[0], call.args[1])
                if form is not None:
                    yield form
            elif operation in ("log", "log1p") and call.args:
                form = self._softplus(module, call, operation)
                if form is not None:
                    yield form
        for risk in risky_logs(module):
            if inward(module, risk) == {"exp", "sum"}:
                candidate = log_space(module, [risk], "use reduce_logsumexp")
                inner = self._first_exponent(module, risk)
                if candidate is not None and inner is not None:
                    yield _Form("logsumexp", risk.node, inner, candidate)

    @staticmethod
    def _first_exponent(module: Module, risk: Risk) -> ast.expr | None:
        for vertex in [risk.argument, *module.flow.backward([risk.argument])]:
            if (
                isinstance(vertex, ast.Call)
                and module.op(vertex) == "exp"
                and vertex.args
                and vertex.lineno <= risk.node.lineno
            ):
                return vertex.args[0]
        return None

    def _softmax(self, module: Module, node: ast.expr, top: ast.expr, bottom: ast.expr) -> _Form | None:
        exponent, name = _exponential(module, top)
        total = _only_value(module, bottom)
        if (
            isinstance(total, ast.BinOp)
            and isinstance(total.op, ast.Add)
            and isinstance(module.ranges.of(total.right).constant, float)
        ):
            total = _only_value(module, total.left)
        if exponent is None or not (
            isinstance(total, ast.Call) and module.op(total) in ("reduce_sum", "sum") and total.args
        ):
            return None
        other, _ = _exponential(module, total.args[0])
        if other is None or ast.dump(other) != ast.dump(exponent):
            return None
        axis = argument(total, 1, "axis")
        if axis is None:
            return None
        if isinstance(axis, (ast.List, ast.Tuple)):
            if len(axis.elts) != 1:
                return None
            axis = axis.elts[0]
        if name is not None and not _stays(module, exponent):
            return None
        spelling = Spelling(module, total)
        parts = {"x": module.span(exponent), "axis": module.span(axis)}
        edits: list[Edit] = [
            ReplaceExpression(module.span(node), f"{spelling.op('nn.softmax')}($x, axis=$axis)", parts)
        ]
        edits += _clean(module, node, [name, _definition(module, bottom)])
        return _Form("a softmax", node, exponent, Candidate("use tf.nn.softmax", (*edits, *spelling.imports)))

    @staticmethod
    def _sigmoid(module: Module, node: ast.BinOp) -> _Form | None:
        if not (isinstance(node.left, ast.Constant) and node.left.value == 1):
            return None
        exponent = _one_plus_exp(module, node.right)
        if not (isinstance(exponent, ast.UnaryOp) and isinstance(exponent.op, ast.USub)):
            return None
        spelling = Spelling(module, _exp_call(module, node.right))
        parts = {"x": module.span(exponent.operand)}
        edits = (ReplaceExpression(module.span(node), f"{spelling.op('sigmoid')}($x)", parts), *spelling.imports)
        return _Form("a sigmoid", node, exponent.operand, Candidate("use tf.sigmoid", edits))

    @staticmethod
    def _softplus(module: Module, call: ast.Call, operation: str) -> _Form | None:
        inner = call.args[0]
        if operation == "log1p":
            exponent = (
                inner.args[0] if isinstance(inner, ast.Call) and module.op(inner) == "exp" and inner.args else None
            )
        else:
            exponent = _one_plus_exp(module, inner)
        if exponent is None:
            return None
        spelling = Spelling(module, call)
        edits = (
            ReplaceExpression(module.span(call), f"{spelling.op('nn.softplus')}($x)", {"x": module.span(exponent)}),
            *spelling.imports,
        )
        return _Form("a softplus", call, exponent, Candidate("use tf.nn.softplus", edits))


def _exponential(module: Module, node: ast.expr) -> tuple[ast.expr | None, Def | None]:
    """`x` of `exp(x)`, and the name through which it was found."""
    value = _only_value(module, node)
    if isinstance(value, ast.Call) and module.op(value) == "exp" and value.args:
        return value.args[0], _definition(module, node)
    return None, None


def _definition(module: Module, node: ast.expr) -> Def | None:
    if not isinstance(node, ast.Name):
        return None
    definitions = module.definitions(node)
    if (
        len(definitions) != 1
        or definitions[0].kind != "assign"
        or definitions[0].path
        or definitions[0].scope is not module.scope(node)
    ):
        return None
    return definitions[0]


def _only_value(module: Module, node: ast.expr) -> ast.expr:
    definition = _definition(module, node)
    return definition.value if definition is not None and definition.value is not None else node


def _stays(module: Module, node: ast.expr) -> bool:
    """Do all names of an expression still have the values that they had where it stands?"""
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    return all(len({x for d in module.definitions(n) for x in d.scope.defs.get(n.id, [])}) <= 1 for n in names)


def _clean(module: Module, node: ast.expr, definitions: list[Def | None]) -> list[Edit]:
    """Removes assignments that only the replaced expression read."""
    gone: list[Def] = []
    for definition in reversed([d for d in definitions if d is not None]):
        places = [node, *[module.statement(d.node) for d in gone]]
        if all(any(module.inside(use, place) for place in places) for use in definition.uses):
            gone.append(definition)
    spans: list[Span] = [module.span(module.statement(d.node)) for d in gone]
    return [Delete(span) for span in dict.fromkeys(spans)]


def _exp_call(module: Module, node: ast.expr) -> ast.AST | None:
    return next((n for n in ast.walk(node) if isinstance(n, ast.Call) and module.op(n) == "exp"), None)


def _one_plus_exp(module: Module, node: ast.expr) -> ast.expr | None:
    """`x` of `1 + exp(x)`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if (
                isinstance(one, ast.Constant)
                and one.value == 1
                and isinstance(other, ast.Call)
                and module.op(other) == "exp"
                and other.args
            ):
                return other.args[0]
    return None
