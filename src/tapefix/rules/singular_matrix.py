"""TPF612: a Cholesky decomposition, or the like, of a matrix that can be singular."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Edit, Insert, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._numeric import matters, measured_bad, worth_a_look
from tapefix.rules._spelling import Spelling
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# Of these the matrix is symmetric and positive, as covariances are; the others take any matrix that has an inverse.
_POSITIVE = ("cholesky", "logdet")
_OTHERS = ("inv", "solve", "slogdet")
_JITTERS = ("1e-6", "1e-5", "1e-4")


class SingularMatrix(Rule):
    """A matrix that can be singular is decomposed or inverted.

    What it finds:
        `tf.linalg.cholesky(kernel)`, and `logdet`, `inv`, `solve` where a run shows that they fail: a covariance of
        points of which two are the same, or whose noise is too small for float32.

    Why the gradient stops:
        A singular matrix has no Cholesky decomposition and no inverse: the result is NaN, or an error.

    Example:
        ```python
        import tensorflow as tf

        x = tf.constant([[0.0], [1.0], [1.0], [2.0]])
        length = tf.Variable(1.0)
        with tf.GradientTape() as tape:
            kernel = tf.exp(-tf.square(x - tf.transpose(x)) / length)
            chol = tf.linalg.cholesky(kernel)
            loss = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(chol)))
        gradients = tape.gradient(loss, [length])
        ```

    Fix safety:
        Safe: a jitter of 1e-6 on the diagonal is lost in the noise of float32; a larger one is tried where this is
        not enough. Before an inverse it is unsafe, as the matrix may be no covariance.
    """

    code = "TPF612"
    name = "singular-matrix"
    safety = "safe"
    tokens = ("cholesky", "logdet", "linalg", "slogdet")

    def check(self, module: Module) -> Iterator[Finding]:
        calls = [call for call in module.calls if module.op(call) in (*_POSITIVE, *_OTHERS)]
        if not calls or not worth_a_look(module):
            return
        for call in calls:
            matrix = argument(call, 0, "input") or argument(call, 0, "matrix")
            positive = module.op(call) in _POSITIVE
            if matrix is None or not (_is_blamed(module, call) or (positive and _is_bare(module, matrix))):
                continue
            if matters(module, call, matrix):
                yield self.finding(
                    module,
                    call,
                    "The matrix can be singular in float32: then this gives NaN or an error, and so does its gradient.",
                    label="the matrix can be singular",
                    candidates=[
                        Candidate(
                            f"add {jitter} to the diagonal",
                            tuple(_jittered(module, call, matrix, jitter)),
                            safe=positive,
                            keeps_value=False,
                        )
                        for jitter in _JITTERS
                    ],
                    certain=False,
                    numeric=True,
                )


def _is_blamed(module: Module, call: ast.Call) -> bool:
    """Does a run show NaN, or an error, that comes from this decomposition?"""
    failure = module.measured.failure if module.measured is not None else None
    lines = range(call.lineno, (call.end_lineno or call.lineno) + 1)
    failed = failure is not None and failure.line in lines and failure.type == "InvalidArgumentError"
    return failed or measured_bad(module, call)


def _is_bare(module: Module, matrix: ast.expr) -> bool:
    """Is nothing added to the diagonal, as far as the text shows?"""
    behind = {module.op(v) or module.numpy_op(v) for v in module.flow.backward([matrix]) if isinstance(v, ast.Call)}
    return not behind & {"eye", "set_diag", "identity_matrix", "diag", "matrix_set_diag"}


def _jittered(module: Module, call: ast.Call, matrix: ast.expr, jitter: str) -> Iterator[Edit]:
    spelling = Spelling(module)
    eye = f"{spelling.op('eye')}({spelling.op('shape')}($x)[-1], dtype=$x.dtype)"
    span = module.span(matrix)
    if isinstance(matrix, (ast.Name, ast.Attribute)):
        yield ReplaceExpression(span, f"$x + {jitter} * {eye}", {"x": span})
    else:
        statement = module.statement(call)
        name = next(n for n in ("matrix", "bare_matrix", "matrix_2") if not module.scope(call).lookup(n))
        yield Insert(module.span(statement), "before", f"{name} = $x", {"x": span})
        parts = {f"a{i}": module.span(a) for i, a in enumerate(call.args) if a is not matrix}
        parts |= {f"k{i}": module.span(k.value) for i, k in enumerate(call.keywords) if k.value is not matrix}
        given = [f"${hole}" if hole[0] == "a" else f"{call.keywords[int(hole[1:])].arg}=${hole}" for hole in parts]
        raised = f"{name} + {jitter} * {eye.replace('$x', name)}"
        template = f"{module.source(call.func)}({', '.join([raised, *given])})"
        yield ReplaceExpression(module.span(call), template, parts)
    yield from spelling.imports
