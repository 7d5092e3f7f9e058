"""One bug at a time, put into healthy TensorFlow code: the generator that mutants.py judges tapefix with.

`mutants(text)` yields every place of one file where a bug of a known kind can be put so that it really is one.
"""

from __future__ import annotations

import ast
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from reading import File, Region, count, dotted, functions, gradients, names, recorded, targets

NUMPY = {"reduce_mean": "mean", "reduce_sum": "sum", "reduce_max": "max", "reduce_min": "min", "math.log": "log",
         "math.square": "square", "math.exp": "exp", "math.abs": "abs", "math.sqrt": "sqrt", "square": "square",
         "abs": "abs", "exp": "exp", "sqrt": "sqrt", "maximum": "maximum", "minimum": "minimum",
         "concat": "concatenate",
         "clip_by_value": "clip", "math.reduce_mean": "mean", "math.reduce_sum": "sum", "tanh": "tanh",
         "math.maximum": "maximum", "math.minimum": "minimum", "multiply": "multiply", "subtract": "subtract",
         "expand_dims": "expand_dims", "squeeze": "squeeze", "stack": "stack"}  # fmt: skip
LOGS = {"math.log", "log", "math.log1p"}


class Mutant(NamedTuple):
    """A file with one bug. `counted` counts the bug's construct in a tree: in the original it is `healthy`."""

    kind: str
    line: int
    text: str
    counted: Callable[[ast.AST], int]
    healthy: int
    # What is around the place: the same code in two files gives one mutant.
    around: str

    def is_gone(self, tree: ast.AST) -> bool:
        return self.counted(tree) <= self.healthy


# ------------------------------------------------------------------------------------------------ the kinds of bugs


def forward_outside(file: File, blocks: list[tuple[ast.With, Region]]) -> Iterator[Mutant]:
    """A forward call moved out of its tape's block to just before it."""
    for tape, region in blocks:
        used = Counter(dotted(call.func) for call in region.calls())
        for position, statement in enumerate(tape.body):
            if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Call) or len(tape.body) < 2:
                continue
            model = dotted(statement.value.func)
            earlier = {
                t for s in tape.body[:position] for n in ast.walk(s) if isinstance(n, ast.Assign) for t in targets(n)
            }
            own = targets(statement)
            again = [n for n in region.assigns if n is not statement and targets(n) & own]
            if (
                model not in region.models
                or used[model] > 1
                or names(statement.value) & earlier
                or again
                or not own & region.needed
            ):
                continue
            if any(dotted(item.optional_vars) in names(statement) for item in tape.items if item.optional_vars):
                continue
            lines = file.lines[statement.lineno - 1 : statement.end_lineno]
            indent = file.lines[tape.lineno - 1][: tape.col_offset]
            if lines[0][: statement.col_offset].strip():
                continue
            moved = textwrap.indent(textwrap.dedent("".join(lines)), indent)
            before, end = tape.lineno - 1, statement.end_lineno
            text = (
                "".join(file.lines[:before])
                + moved
                + "".join(file.lines[before : statement.lineno - 1] + file.lines[end:])
            )
            wanted, tf = count(statement), file.tf
            yield mutant(
                file, "forward-outside-tape", statement, text, lambda t, w=wanted, tf=tf: _outside(t, w, tf), 0, tape
            )


def _outside(tree: ast.AST, wanted: Callable[[ast.AST], int], tf: str | None) -> int:
    """How many such statements no tape records. (The others are counted as often as they are inside of one.)"""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.With) and f"{tf}.GradientTape" in ast.unparse(n.items[0])]
    return 0 if sum(wanted(block) for block in blocks) else 1


def predict(file: File, blocks: list[tuple[ast.With, Region]]) -> Iterator[Mutant]:
    """`model.predict(x)` in place of `model(x)` in a tape, in the ways that it is written."""
    for tape, region in blocks:
        for call in region.calls():
            plain = len(call.args) == 1 and {k.arg for k in call.keywords} <= {"training"}
            if dotted(call.func) in region.models and plain and region.matters(call):
                written = ("predict($)", "predict($, verbose=0)", "predict_on_batch($)")[call.lineno % 3]
                new = f"{file.source(call.func)}.{written.replace('$', file.source(call.args[0]))}"
                yield mutant(file, "predict-in-tape", call, file.replaced((call, new)), new, 0, tape)


def numpy_method(file: File, blocks: list[tuple[ast.With, Region]]) -> Iterator[Mutant]:
    """`.numpy()` after a forward call, after a value of the model that the loss is computed of, after the loss."""
    for tape, region in blocks:
        asked = {dotted(call.args[0]) for call in gradients(file, tape)}
        for assign in (a for a in region.assigns if isinstance(a, ast.Assign) and targets(a) & asked):
            value = assign.value
            if isinstance(assign.targets[0], ast.Name) and not isinstance(value, ast.Name) and region.is_learned(value):
                inner = file.source(value)
                new = f"{inner}.numpy()" if isinstance(value, ast.Call) else f"({inner}).numpy()"
                yield mutant(file, "numpy-method", assign, file.replaced((value, new)), new, 0, tape)
        for node in (n for s in region.block for n in ast.walk(s)):
            is_value = isinstance(node, ast.Call) and dotted(node.func) in region.models
            if (
                isinstance(node, ast.Name)
                and isinstance(node.ctx, ast.Load)
                and isinstance(file.parents[node], (ast.Call, ast.BinOp))
            ):
                is_value = node.id in region.learned - region.models and node is not getattr(
                    file.parents[node], "func", None
                )
            statement = file.statement(node)
            single = isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
            if is_value and region.matters(node) and (isinstance(node, ast.Name) or single):
                assert isinstance(node, ast.expr)
                new = f"{file.source(node)}.numpy()"
                yield mutant(file, "numpy-method", node, file.replaced((node, new)), new, 0, tape)


def numpy_operation(file: File, regions: list[tuple[ast.stmt, Region]]) -> Iterator[Mutant]:
    """An operation of the loss is NumPy's."""
    np = file.np or "np"
    for home, region in regions:
        for call in region.calls():
            name = NUMPY.get(file.operation(call))
            if name is None or not call.args or not region.is_learned(call) or not region.matters(call):
                continue
            if not {k.arg for k in call.keywords} <= {"axis", "keepdims", "name"}:
                continue
            # The arguments stay as they are written.
            text = file.replaced((call.func, f"{np}.{name}"))
            if any(k.arg == "name" for k in call.keywords):
                inner = [file.source(a) for a in (*call.args, *(k for k in call.keywords if k.arg != "name"))]  # type: ignore[arg-type]
                text = file.replaced((call, f"{np}.{name}({', '.join(inner)})"))
            if file.np is None:
                text = with_import(file, text)
            wanted = f"{np}.{name}"
            counted = lambda t, w=wanted: sum(isinstance(n, ast.Call) and dotted(n.func) == w for n in ast.walk(t))  # noqa: E731
            yield mutant(file, "numpy-operation", call, text, counted, counted(file.tree), home)


def with_import(file: File, text: str) -> str:
    """`import numpy as np` above the file's first import of TensorFlow."""
    for node in file.tree.body:
        if isinstance(node, ast.Import) and any(a.name.startswith("tensorflow") for a in node.names):
            start = file.at(node.lineno, 0)
            return text[:start] + "import numpy as np\n" + text[start:]
    return "import numpy as np\n" + text


def constant_source(file: File, _: list[tuple[ast.With, Region]]) -> Iterator[Mutant]:
    """`tf.constant` where a variable is trained."""
    sources = {n for tape in file.tapes() for call in gradients(file, tape) for n in names(call.args[1])}
    for node in file.nodes:
        if isinstance(node, ast.Assign) and targets(node) & sources and isinstance(node.value, (ast.List, ast.Tuple)):
            sources |= names(node.value)
    updated = {dotted(n.func.value) for n in file.nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
               and n.func.attr.startswith("assign")}  # fmt: skip
    for node in file.nodes:
        if isinstance(node, ast.Call) and dotted(node.func).endswith("apply_gradients"):
            updated |= {n for argument in node.args for n in names(argument)}
    updated |= {n for node in file.nodes if isinstance(node, ast.Assign) and targets(node) & updated
                and isinstance(node.value, (ast.List, ast.Tuple)) for n in names(node.value)}  # fmt: skip
    for node in file.nodes:
        if isinstance(node, ast.Assign) and file.operation(node.value) == "Variable" and targets(node) & sources:
            call = node.value
            assert isinstance(call, ast.Call)
            if call.args and targets(node) & updated and is_source(file, node):
                kept = [file.source(call.args[0])] + [file.source(k) for k in call.keywords if k.arg == "dtype"]  # type: ignore[arg-type]
                new = f"{file.tf}.constant({', '.join(kept)})"
                home = next((n for n in file.above(node) if isinstance(n, ast.FunctionDef)), node)
                yield mutant(
                    file,
                    "constant-source",
                    node,
                    file.replaced((call, new)),
                    f"{file.source(node.targets[0])} = {new}",
                    0,
                    home,
                )


def is_source(file: File, node: ast.Assign) -> bool:
    """Is what is assigned here still there where a gradient of that name is asked for?"""
    home = next((n for n in file.above(node) if isinstance(n, ast.FunctionDef)), file.tree)
    again = [n.lineno for n in file.nodes if isinstance(n, ast.Assign) and targets(n) & targets(node)]
    for tape in file.tapes():
        for call in gradients(file, tape):
            inside = home in file.above(call) or any("." in t for t in targets(node))
            between = [line for line in again if node.lineno < line < call.lineno]
            if inside and call.lineno > node.lineno and not between:
                return True
            # A function that is given it: `train_step(w, x, y)`.
            given = next((n for n in file.above(call) if isinstance(n, ast.FunctionDef)), None)
            if home is file.tree and given is not None and {a.arg for a in given.args.args} & targets(node):
                return True
    return False


def missing_return(file: File, regions: list[tuple[ast.stmt, Region]]) -> Iterator[Mutant]:
    """A loss, `call` or `train_step` without its return."""
    losses = {home for home, _ in regions}
    for node in file.nodes:
        if (
            not isinstance(node, ast.FunctionDef)
            or not isinstance(last := node.body[-1], ast.Return)
            or last.value is None
        ):
            continue
        own = [n for n in ast.walk(node) if isinstance(n, ast.Return)]
        owner = file.parents[node]
        bases = [dotted(b) for b in owner.bases] if isinstance(owner, ast.ClassDef) else []
        keras = any(b.rpartition(".")[2] in ("Layer", "Model", "Loss") for b in bases)
        if len(own) > 1 or not (node in losses or (keras and node.name in ("call", "train_step"))):
            continue
        if isinstance(last.value, (ast.Constant, ast.Tuple)) or (
            isinstance(last.value, ast.Name) and len(node.body) < 2
        ):
            continue
        value = file.source(last.value)
        texts = [value if isinstance(last.value, ast.Name) else f"result = {value}", value]
        if isinstance(last.value, ast.Name):
            texts = ["", value, "return", "pass"]
        for new in texts:
            text = file.replaced((last, new)) if new else without(file, last)
            place = (node.name, getattr(owner, "name", ""))
            counted = lambda t, place=place: _without_return(t, place)  # noqa: E731
            yield mutant(file, "missing-return", last, text, counted, 0, node)._replace(
                around=f"{ast.unparse(node)}{new}"
            )


def without(file: File, statement: ast.stmt) -> str:
    """The text without the lines of a statement."""
    return "".join(file.lines[: statement.lineno - 1] + file.lines[statement.end_lineno or 0 :])


def _without_return(tree: ast.AST, place: tuple[str, str]) -> int:
    for owner in ast.walk(tree):
        for node in ast.iter_child_nodes(owner):
            if isinstance(node, ast.FunctionDef) and (node.name, getattr(owner, "name", "")) == place:
                return int(not any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(node)))
    return 1


def unguarded_log(file: File, regions: list[tuple[ast.stmt, Region]]) -> Iterator[Mutant]:
    """A log without what kept it from 0."""
    for home, region in regions:
        for call in region.calls():
            operation = file.operation(call)
            is_log = operation in LOGS or dotted(call.func) in ("K.log", "backend.log", "keras.backend.log")
            if not call.args or not region.is_learned(call) or not region.matters(call):
                continue
            if operation.endswith("nn.log_softmax") and len(call.args) == 1:
                inner = [file.source(call.args[0])] + [file.source(k) for k in call.keywords if k.arg == "axis"]  # type: ignore[arg-type]
                new = f"{file.tf}.math.log({file.tf}.nn.softmax({', '.join(inner)}))"
                yield mutant(file, "unguarded-log", call, file.replaced((call, new)), new, 0, home)
            elif is_log and (bare := unguarded(call.args[0])) is not None and region.is_learned(bare):
                new = f"{file.source(call.func)}({file.source(bare)})"
                yield mutant(
                    file, "unguarded-log", call, file.replaced((call.args[0], file.source(bare))), new, 0, home
                )
            elif is_log:
                yield from own_line(file, home, region, call)


def own_line(file: File, home: ast.stmt, region: Region, log: ast.Call) -> Iterator[Mutant]:
    """`p = clip(p, ...)` above the log goes."""
    read = {n.id for n in ast.walk(log.args[0]) if isinstance(n, ast.Name)}
    guards = [a for a in region.assigns if isinstance(a, ast.Assign) and targets(a) & read and a.lineno < log.lineno]
    for guard in guards[-1:]:
        bare = unguarded(guard.value)
        if isinstance(guard.value, ast.Call) and bare is not None and region.is_learned(bare):
            same = isinstance(bare, ast.Name) and bare.id in targets(guard)
            text = without(file, guard) if same else file.replaced((guard.value, file.source(bare)))
            counted, guarded = unguarded_reads(home, read), 0
            yield mutant(file, "unguarded-log", guard, text, counted, guarded, home)


def unguarded_reads(home: ast.stmt, read: set[str]) -> Callable[[ast.AST], int]:
    """1 where no guard and no log-space function is left in the function of that name, or the tape of that line."""
    name = getattr(home, "name", "")

    def counted(tree: ast.AST) -> int:
        for node in ast.walk(tree):
            if (
                getattr(node, "name", None) == name
                if name
                else isinstance(node, ast.With) and abs(node.lineno - home.lineno) < 3
            ):
                calls = [n for n in ast.walk(node) if isinstance(n, ast.Call)]
                safe = ("log_softmax", "log_sigmoid", "logsigmoid", "softplus")
                return int(not any(guards_any(c, read) or dotted(c.func).endswith(safe) for c in calls))
        return 1

    return counted


def guards_any(call: ast.Call, read: set[str]) -> bool:
    bare = unguarded(call)
    return bare is not None and bool(names(bare) & read)


def unguarded(node: ast.expr) -> ast.expr | None:
    """`x` of `x + eps`, `eps + x`, `clip(x, ...)` and `maximum(x, eps)`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for value, guard in ((node.left, node.right), (node.right, node.left)):
            small = isinstance(guard, ast.Constant) and isinstance(guard.value, float) and 0 < guard.value < 1e-3
            if small or (dotted(guard) or ast.unparse(guard)).rpartition(".")[2].lower() in (
                "eps",
                "epsilon",
                "epsilon()",
                "_epsilon",
                "smooth",
            ):
                return value
    if (
        isinstance(node, ast.Call)
        and dotted(node.func).rpartition(".")[2] in ("clip", "clip_by_value", "maximum")
        and node.args
    ):
        return node.args[0]
    return None


def swapped_zip(file: File, _: object) -> Iterator[Mutant]:
    """`zip(variables, gradients)`."""
    for node in file.nodes:
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "apply_gradients"
            and node.args
        ):
            pairs = node.args[0]
            if isinstance(pairs, ast.Call) and dotted(pairs.func) == "zip" and len(pairs.args) == 2:
                one, two = (file.source(a) for a in pairs.args)
                home = next((n for n in file.above(node) if isinstance(n, ast.FunctionDef)), node)
                text = file.replaced((pairs.args[0], two), (pairs.args[1], one))
                yield mutant(file, "swapped-zip", node, text, f"zip({two}, {one})", 0, home)


def mutant(
    file: File,
    kind: str,
    node: ast.expr | ast.stmt,
    text: str,
    construct: str | Callable[[ast.AST], int],
    healthy: int,
    home: ast.AST,
) -> Mutant:
    if isinstance(construct, str):
        parsed = ast.parse(textwrap.dedent(construct)).body[0]
        construct = count(parsed.value if isinstance(parsed, ast.Expr) else parsed)
        healthy = construct(file.tree)
    return Mutant(kind, node.lineno, text, construct, healthy, f"{ast.unparse(home)}\n{ast.unparse(node)}")


KINDS = (
    "forward-outside-tape",
    "predict-in-tape",
    "numpy-method",
    "numpy-operation",
    "constant-source",
    "missing-return",
    "unguarded-log",
    "swapped-zip",
)


def mutants(text: str) -> Iterator[Mutant]:
    """All mutants of one file. Raises SyntaxError where it is no Python."""
    file = File(text)
    blocks = recorded(file)
    losses = functions(file, blocks)
    everything: list[tuple[ast.stmt, Region]] = [*blocks, *losses]
    yield from forward_outside(file, blocks)
    yield from predict(file, blocks)
    yield from numpy_method(file, blocks)
    yield from numpy_operation(file, everything)
    yield from constant_source(file, blocks)
    yield from missing_return(file, [*losses])
    yield from unguarded_log(file, everything)
    yield from swapped_zip(file, blocks)
