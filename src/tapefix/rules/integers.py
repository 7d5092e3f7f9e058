"""TPF305: integers between the variables and the loss, and integer variables."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.cuts import is_integer_type
from tapefix.analysis.tapes import GradientCall, argument
from tapefix.codemods.edits import Edit, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._positions import interpolated
from tapefix.rules._soft import counts, cuts, first_argument, met, starves, without_casts
from tapefix.rules._spelling import Spelling
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_JOINS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_ARRAYS = ("np.array", "np.asarray", "tf.constant", "tf.convert_to_tensor")
_MAKERS = ("tf.Variable", "tf.constant", "keras.backend.variable", "keras.Variable")


class Integers(Rule):
    """A value is made an integer, or a gradient is asked with respect to an integer.

    What it finds:
        `tf.cast(x, tf.int32)` on the way from the variables to the loss, and `tf.Variable(3)` whose gradient is asked.

    Why the gradient stops:
        TensorFlow differentiates floating-point numbers only; the gradient of everything else is None.

    Example:
        ```python
        import tensorflow as tf

        x = tf.Variable(3)
        with tf.GradientTape() as tape:
            y = x * x
        gradient = tape.gradient(y, x)
        ```

    Fix safety:
        An integer variable becomes a float: safe. Leaving out a cast to integer changes the value and is unsafe.
    """

    code = "TPF305"
    name = "integer"
    safety = "unsafe"
    tokens = ("int", "Variable(", "constant(")

    def check(self, module: Module) -> Iterator[Finding]:
        yield from self._variables(module)
        for cut in cuts(module, "integer"):
            inner = first_argument(cut.node)
            if inner is None:
                continue
            yield self.finding(
                module,
                cut.node,
                f"A cast to integers has no gradient: {starves(cut)}.",
                label="no gradient passes here",
                candidates=interpolated(module, cut.node)
                if counts(module, cut)
                else self._kept_floats(module, cut.node, inner),
                certain=cut.certain,
                silent=cut.silent,
                advice="Keep the value a float until after the loss.",
            )

    @staticmethod
    def _kept_floats(module: Module, cast: ast.expr, inner: ast.expr) -> list[Candidate]:
        """The value without the cast; then also what it is compared to (integer labels, as a rule) cast to its type."""
        kept = ReplaceExpression(module.span(cast), "$x", {"x": module.span(inner)})
        found = [Candidate("keep the value a float", (kept,), safe=False)]
        others = [other for other in met(module, cast, _JOINS) if other not in module.cuts.dependent]
        if others:
            spelling = Spelling(module, cast)
            dtype = f"{inner.id}.dtype" if isinstance(inner, ast.Name) else f"{module.tf}.float32"
            edits: list[Edit] = [kept, *spelling.imports]
            for other in others:
                labels = without_casts(module, other)
                written = f"{spelling.op('cast')}($x, {dtype})"
                edits.append(ReplaceExpression(module.span(other), written, {"x": module.span(labels)}))
            found.append(Candidate("keep the value a float, and make what it meets one", tuple(edits), safe=False))
        return found

    def _variables(self, module: Module) -> Iterator[Finding]:
        if "GradientTape" not in module.text:
            return
        seen: set[ast.AST] = set()
        for gradient in module.tapes.gradients:
            for item in _items(module, gradient):
                for origin in module.objects.origins(item) if isinstance(item, (ast.Name, ast.Attribute)) else []:
                    if origin in seen or not isinstance(origin, ast.Call) or module.call_name(origin) not in _MAKERS:
                        continue
                    seen.add(origin)
                    edits = _as_float(module, origin)
                    if edits:
                        yield self.finding(
                            module,
                            origin,
                            "This is an integer, and TensorFlow has no gradient with respect to integers.",
                            label="an integer",
                            candidates=[Candidate("make it a float", tuple(edits))],
                            notes=[(gradient.call, "its gradient is asked here")],
                        )


def _items(module: Module, gradient: GradientCall) -> list[ast.expr]:
    """The single sources of a gradient, also where a name stands for the list of them."""
    found: list[ast.expr] = []
    for source in gradient.source_items():
        lists = [o for o in module.objects.origins(source) if isinstance(o, (ast.List, ast.Tuple))]
        found += [element for made in lists for element in made.elts] or [source]
    return found


def _as_float(module: Module, made: ast.Call) -> list[Edit]:
    """Edits that make the initial value of a variable a float; [] where it is one, or is not known."""
    value = argument(made, 0, "initial_value") or argument(made, 0, "value") or argument(made, 0, "initializer")
    while isinstance(value, ast.Call) and module.call_name(value) in _ARRAYS and len(value.args) == 1:
        if value.keywords:
            return []
        value = value.args[0]
    dtype = (
        argument(made, 1, "dtype")
        if module.call_name(made) == "tf.constant"
        else next((k.value for k in made.keywords if k.arg == "dtype"), None)
    )
    if dtype is not None:
        if not is_integer_type(dtype) or (isinstance(dtype, ast.Attribute) and dtype.attr == "bool"):
            return []
        span = module.span(dtype)
        if isinstance(dtype, ast.Attribute):
            return [ReplaceExpression(span, "$x.float32", {"x": module.span(dtype.value)})]
        return [ReplaceExpression(span, '"float32"')]
    numbers = _numbers(value) if value is not None else None
    if not numbers or not all(isinstance(n.value, int) and not isinstance(n.value, bool) for n in numbers):
        return []
    return [ReplaceExpression(module.span(n), f"{module.source(n)}.0") for n in numbers]


def _numbers(node: ast.expr) -> list[ast.Constant] | None:
    """The numbers of a literal; None where it is something else."""
    if isinstance(node, ast.Constant):
        return [node] if isinstance(node.value, (int, float)) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _numbers(node.operand)
    if isinstance(node, (ast.List, ast.Tuple)):
        found: list[ast.Constant] = []
        for item in node.elts:
            inner = _numbers(item)
            if inner is None:
                return None
            found += inner
        return found
    return None
