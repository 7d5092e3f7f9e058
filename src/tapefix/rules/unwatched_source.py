"""TPF105: the gradient's source is a plain tensor that nobody watches."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def
from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.codemods.edits import Edit, Insert, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules._tensors import SourceKinds, definitions_of, is_watched, items
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import GradientCall, Tape

_PARAMETER_LIKE = {
    "np.array",
    "np.zeros",
    "np.ones",
    "np.random.randn",
    "np.random.normal",
    "np.random.rand",
    "np.random.uniform",
    "tf.constant",
    "tf.zeros",
    "tf.ones",
    "tf.random.normal",
    "tf.random.uniform",
    "tf.random.truncated_normal",
    "tf.convert_to_tensor",
}


class UnwatchedSource(Rule):
    """The gradient with respect to a plain tensor is asked for, but no tape watches that tensor.

    What it finds:
        `tape.gradient(y, x)` where x is a constant, a grid, an image, a feature map or another tensor that was made
        before the block, without `tape.watch(x)`.

    Why the gradient stops:
        A tape watches trainable variables by itself, but tensors only when told to. It does not record what is
        computed from an unwatched tensor, so the gradient is None.

    Example:
        ```python
        import tensorflow as tf

        x = tf.linspace(0.0, 3.0, 7)
        with tf.GradientTape() as tape:
            y = x ** 2
        slope = tape.gradient(y, x)
        print(slope)
        ```

    Fix safety:
        Safe: watching a tensor changes no value.
    """

    code = "TPF105"
    name = "unwatched-source"
    safety = "safe"
    tokens = ("GradientTape",)

    def check(self, module: Module) -> Iterator[Finding]:
        done: set[tuple[ast.AST, str]] = set()
        for gradient in module.tapes.gradients:
            tape = gradient.tape
            if tape is None or tape.name is None:
                continue
            kinds: set[str] = set()
            starved: list[ast.expr] = []
            for item in items(module, gradient):
                kind = self._kind(module, tape, gradient, item)
                if kind is not None and (tape.call, ast.unparse(item)) not in done:
                    done.add((tape.call, ast.unparse(item)))
                    kinds.add(kind)
                    starved.append(item)
            if starved:
                yield self._finding(module, tape, gradient, starved, kinds)

    def _finding(
        self, module: Module, tape: Tape, gradient: GradientCall, starved: list[ast.expr], kinds: set[str]
    ) -> Finding:
        early: list[str] = []
        edits: list[Edit] = []
        for item in starved:
            made = [d for d in definitions_of(module, item) if module.inside(d.node, tape.block)]
            text = module.source(item)
            if made:
                edits += [
                    Insert(module.span(module.statement(d.node)), "after", f"{tape.name}.watch({text})") for d in made
                ]
            else:
                early.append(text)
            if SourceKinds(module).of(item) == {"array"} and not made:
                convert = f"{text} = {module.tf}.convert_to_tensor({text})"
                edits.append(Insert(module.span(tape.block), "before", convert))
            edits += _as_floats(module, item)
        if early:
            watched = early[0] if len(early) == 1 else f"[{', '.join(early)}]"
            edits.insert(0, Insert(module.span(tape.block), "first", f"{tape.name}.watch({watched})"))
        names = (
            " and ".join(f"`{module.source(i)}`" for i in starved[:2])
            if len(starved) < 3
            else f"{len(starved)} of the sources"
        )
        return self.finding(
            module,
            starved[0],
            f"{names} {'is a plain tensor' if len(starved) == 1 else 'are plain tensors'} that the tape does not "
            "watch, so the gradient is None.",
            label="not watched",
            notes=[(tape.call, "this tape watches trainable variables only")],
            candidates=[Candidate("watch it" if len(starved) == 1 else "watch them", tuple(edits))],
            certain=kinds <= {"tensor", "array"} and not self._is_lesson(module, tape, starved),
        )

    @staticmethod
    def _is_lesson(module: Module, tape: Tape, starved: list[ast.expr]) -> bool:
        """Does the next tape of the same code watch the very tensors, to show what difference that makes?"""
        end, home = tape.block.end_lineno or 0, module.function(tape.block)
        later = [t for t in module.tapes.tapes if t.block.lineno > end and module.function(t.block) is home]
        return bool(later) and all(is_watched(module, later[0], item) for item in starved)

    def _kind(self, module: Module, tape: Tape, gradient: GradientCall, item: ast.expr) -> str | None:
        """`tensor` where the text shows that nobody watches it, `array`, `maybe` where it may be; None: all is well."""
        if not isinstance(item, (ast.Name, ast.Attribute)) or is_watched(module, tape, item):
            return None
        if module.kinds.of(item) is not None or (isinstance(item, ast.Attribute) and item.attr in VARIABLE_LISTS):
            return None
        definitions = definitions_of(module, item)
        inside = [d for d in definitions if module.inside(d.node, tape.block)]
        if inside and (len(inside) < len(definitions) or any(_connected(module, tape, d) for d in inside)):
            return None
        kinds = SourceKinds(module).of(item)
        if not kinds or "variable" in kinds:
            return None
        if self._is_parameter(module, gradient, item):
            return None
        roads = [r for r in module.recordings[gradient][1] if r.unit.text == module.source(item)]
        if not any(r.marks & {"in", "out"} for r in roads):
            return None
        if kinds <= {"tensor"}:
            return "tensor"
        if (
            kinds == {"array"}
            and isinstance(item, ast.Name)
            and all(d.scope is module.scope(tape.block) for d in definitions)
        ):
            return "array"
        return "maybe"

    @staticmethod
    def _is_parameter(module: Module, gradient: GradientCall, item: ast.expr) -> bool:
        """A constant that is then updated was meant to be a variable: that is another rule's concern."""
        origins = module.objects.origins(item)
        if not any(module.call_name(o) in _PARAMETER_LIKE for o in origins):
            return False
        wanted = ast.unparse(item)
        for node in module.all(ast.Assign, ast.AugAssign):
            assert isinstance(node, (ast.Assign, ast.AugAssign))
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if ast.unparse(target) != wanted:
                continue
            operation = node.value if isinstance(node, ast.Assign) else node
            if isinstance(getattr(operation, "op", None), ast.Sub):
                return True
        for call in module.calls:
            if (
                isinstance(call.func, ast.Attribute)
                and call.func.attr in ("assign", "assign_sub", "assign_add")
                and ast.unparse(call.func.value) == wanted
            ):
                return True
            if (
                isinstance(call.func, ast.Attribute)
                and call.func.attr == "apply_gradients"
                and any(ast.unparse(n) == wanted for a in call.args for n in ast.walk(a) if isinstance(n, ast.expr))
            ):
                return True
            if (
                module.call_name(call) == "zip"
                and len(call.args) == 2
                and ast.unparse(call.args[1]) == ast.unparse(gradient.sources)
            ):
                return True
        return False


def _connected(module: Module, tape: Tape, definition: Def) -> bool:
    """Is this value of the block computed from a variable, a model or a watched tensor?"""
    behind = module.flow.backward([definition])
    watched = {
        d
        for w in tape.watches
        for a in w.args
        for n in ast.walk(a)
        if isinstance(n, ast.Name)
        for d in module.definitions(n)
    }
    if behind & watched:
        return True
    return any(
        (
            isinstance(v, ast.Call)
            and (
                module.kinds.made(v) == "variable"
                or module.training.is_forward(v)
                or (module.call_name(v) is None and not module.objects.callees(v))
            )
        )
        or (isinstance(v, ast.Attribute) and not module.objects.attribute_values(v))
        or (isinstance(v, Def) and v.kind == "parameter" and not module.objects.arguments_of(v))
        for v in behind
    )


def _as_floats(module: Module, item: ast.expr) -> Iterable[Edit]:
    """An integer constant has no gradient even if it is watched."""
    for origin in module.objects.origins(item):
        if (
            isinstance(origin, ast.Call)
            and module.call_name(origin) in ("tf.constant", "tf.convert_to_tensor")
            and len(origin.args) == 1
            and not origin.keywords
        ):
            value = origin.args[0]
            numbers = list(value.elts) if isinstance(value, (ast.List, ast.Tuple)) else [value]
            if numbers and all(isinstance(n, ast.Constant) and type(n.value) is int for n in numbers):
                for number in numbers:
                    yield ReplaceExpression(module.span(number), f"{module.source(number)}.0")
