"""What the generator of mutants reads in a file: its tapes, its losses, and what flows there from a model to a loss.

Simple on purpose, and nothing of tapefix's own analysis: it reads names, not objects.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef
Block = list[ast.stmt]

VARIABLES = ("trainable_variables", "trainable_weights", "variables", "weights")
# Operations through which no gradient passes, or whose result is no part of the loss.
CUTS = {"stop_gradient", "argmax", "argmin", "shape", "equal", "greater", "less", "greater_equal", "less_equal",
        "round", "floor", "ceil", "sign", "one_hot", "print", "numpy", "size", "rank", "zeros_like", "ones_like",
        "gradient", "scalar", "update_state", "float", "int", "len", "range"}  # fmt: skip
PREDICTION = re.compile(r"^(y_?pred\w*|preds?|predictions?|logits|y_?hat|outputs?|probs)$")
LOSS = re.compile(r"loss|entropy|focal|dice|likelihood|nll|(^|_)bce")


class File:
    """The text of one file with the few things that a mutation asks about it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self.lines = text.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        self.nodes = list(ast.walk(self.tree))
        self.parents = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.tf, self.np = self._alias("tensorflow"), self._alias("numpy")

    def _alias(self, package: str) -> str | None:
        for node in self.nodes:
            for alias in node.names if isinstance(node, ast.Import) else ():
                if alias.name.partition(".compat")[0] == package and (alias.asname or "." not in alias.name):
                    return alias.asname or alias.name
        return None

    def at(self, line: int, column: int) -> int:
        """The position in the text of a place as `ast` gives it: columns count bytes."""
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def range(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    def source(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.range(node)
        return self.text[start:end]

    def replaced(self, *changes: tuple[ast.expr | ast.stmt, str]) -> str:
        text = self.text
        for node, new in sorted(changes, key=lambda change: self.range(change[0]), reverse=True):
            start, end = self.range(node)
            text = text[:start] + new + text[end:]
        return text

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        while node in self.parents:
            node = self.parents[node]
            yield node

    def operation(self, node: ast.AST) -> str:
        """`math.log` for `tf.math.log(x)`, whatever TensorFlow is called here; else empty."""
        if isinstance(node, ast.Call) and self.tf:
            name = dotted(node.func)
            if name.startswith(self.tf + "."):
                return name[len(self.tf) + 1 :]
        return ""

    def statement(self, node: ast.AST) -> ast.stmt:
        return node if isinstance(node, ast.stmt) else next(n for n in self.above(node) if isinstance(n, ast.stmt))

    def tapes(self) -> Iterator[ast.With]:
        """The outermost blocks that record."""
        for node in self.nodes:
            if self.is_tape(node) and not any(self.is_tape(above) for above in self.above(node)):
                assert isinstance(node, ast.With)
                yield node

    def is_tape(self, node: ast.AST) -> bool:
        return isinstance(node, ast.With) and any(self.operation(i.context_expr) == "GradientTape" for i in node.items)


def dotted(node: ast.AST) -> str:
    """`a.b.c`, or empty."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""


def names(node: ast.AST) -> set[str]:
    return {dotted(n) for n in ast.walk(node) if isinstance(n, (ast.Name, ast.Attribute))} - {""}


def carried(node: ast.AST) -> set[str]:
    """The names of an expression that a gradient can go through: not those inside of `stop_gradient(...)`."""
    if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in CUTS:
        return set()
    found = {dotted(node)} if isinstance(node, (ast.Name, ast.Attribute)) else set()
    return found.union(*(carried(child) for child in ast.iter_child_nodes(node))) - {""}


def count(wanted: ast.AST) -> Callable[[ast.AST], int]:
    """Counts what is written the same, formatting aside."""
    text = ast.unparse(wanted)
    return lambda tree: sum(type(n) is type(wanted) and ast.unparse(n) == text for n in ast.walk(tree))


class Region:
    """Code in which a gradient flows: the block of a tape or the body of a loss, with what flows there.

    `learned` are the names of values that come from the model, `needed` those that the loss is made of.
    """

    def __init__(self, file: File, block: Block, models: set[str], learned: set[str], needed: set[str]) -> None:
        self.file, self.block, self.models = file, block, models
        self.learned, self.needed = set(learned), set(needed)
        self.assigns = [
            n for s in block for n in ast.walk(s) if isinstance(n, (ast.Assign, ast.AugAssign, ast.AnnAssign))
        ]
        for _ in range(len(self.assigns) + 1):
            known = len(self.learned) + len(self.needed)
            for node in self.assigns:
                if node.value is not None and self.is_learned(node.value):
                    self.learned |= targets(node)
                if targets(node) & self.needed:
                    self.needed |= carried(node.value) if node.value is not None else set()
            if known == len(self.learned) + len(self.needed):
                break

    def is_learned(self, node: ast.AST) -> bool:
        """Does the gradient of the loss go through this expression to the model?"""
        if isinstance(node, ast.Call):
            if dotted(node.func).rpartition(".")[2] in CUTS:
                return False
            if dotted(node.func) in self.models:
                return True
            if dotted(node.func).rpartition(".")[2] == "cast":
                return "float" in ast.unparse(node) and any(self.is_learned(a) for a in node.args)
        elif isinstance(node, (ast.Compare, ast.Lambda, ast.Constant)):
            return False
        elif isinstance(node, ast.Name):
            return node.id in self.learned
        elif isinstance(node, ast.Attribute):
            return node.attr not in ("shape", "dtype") and (dotted(node) in self.learned or self.is_learned(node.value))
        return any(
            self.is_learned(child) for child in ast.iter_child_nodes(node) if isinstance(child, (ast.expr, ast.keyword))
        )

    def matters(self, node: ast.AST) -> bool:
        """Is it a part of the loss, and not cut off within its own statement?"""
        for above in self.file.above(node):
            if isinstance(above, ast.Call) and dotted(above.func).rpartition(".")[2] in {*CUTS, "cast"}:
                return False
            if isinstance(above, (ast.Compare, ast.Lambda, ast.If, ast.While, ast.Subscript)) and not isinstance(
                above, ast.stmt
            ):
                return False
            if isinstance(above, ast.stmt):
                if isinstance(above, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
                    return bool(targets(above) & self.needed)
                return isinstance(above, ast.Return)
        return False

    def calls(self) -> Iterator[ast.Call]:
        for statement in self.block:
            yield from (n for n in ast.walk(statement) if isinstance(n, ast.Call))


def targets(node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> set[str]:
    found = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {dotted(t) for target in found for t in (target.elts if isinstance(target, ast.Tuple) else [target])} - {""}


def gradients(file: File, tape: ast.With) -> list[ast.Call]:
    """The calls `tape.gradient(target, sources)` that ask this tape: of one name, the nearest tape above the call."""
    home = next((n for n in file.above(tape) if isinstance(n, (ast.FunctionDef, ast.Module))), file.tree)
    found = []
    for node in ast.walk(home):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr == "gradient" and len(node.args) > 1 and dotted(node.func.value) in made(tape):
            named = dotted(node.func.value)
            above = [t for t in ast.walk(home) if file.is_tape(t) and t.lineno <= node.lineno and named in made(t)]  # type: ignore[attr-defined]
            if max(above, key=lambda t: t.lineno, default=tape) is tape:  # type: ignore[attr-defined]
                found.append(node)
    return found


def made(tape: ast.AST) -> set[str]:
    """The names of the tapes of one `with`."""
    items = tape.items if isinstance(tape, ast.With) else []
    return {dotted(item.optional_vars) for item in items if item.optional_vars is not None}


def trained(file: File, asked: list[ast.Call]) -> set[str]:
    """The models whose variables a gradient is asked for: `model` of `model.trainable_variables`."""
    found = set()
    for call in asked:
        sources: list[ast.AST] = [call.args[1]]
        if isinstance(call.args[1], ast.Name):
            sources += [n.value for n in last_assigned(file, call, call.args[1].id)]
        for node in (n for s in sources for n in ast.walk(s)):
            if isinstance(node, ast.Attribute) and node.attr in VARIABLES:
                found.add(dotted(node.value))
    return found - {""}


def last_assigned(file: File, node: ast.expr, name: str) -> list[ast.Assign]:
    """The assignment to a name that is next above `node`; all of them where none is above."""
    found = [n for n in file.nodes if isinstance(n, ast.Assign) and name in targets(n)]
    above = [n for n in found if n.lineno <= node.lineno]
    return [max(above, key=lambda n: n.lineno)] if above else found


def recorded(file: File) -> list[tuple[ast.With, Region]]:
    """Each tape that trains a model, with its block."""
    found = []
    for tape in file.tapes():
        asked = gradients(file, tape)
        needed = {dotted(n) for call in asked for n in ast.walk(call.args[0])} - {""}
        if models := trained(file, asked):
            found.append((tape, Region(file, tape.body, models, set(), needed)))
    return found


def functions(file: File, blocks: list[tuple[ast.With, Region]]) -> list[tuple[Function, Region]]:
    """The losses: given to `compile`, or called in a tape with what the model gives, or of (y_true, y_pred)."""
    compiled = {dotted(k.value) for n in file.nodes if isinstance(n, ast.Call) for k in n.keywords if k.arg == "loss"}
    found = []
    for node in file.nodes:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("test"):
            continue
        parameters = [a.arg for a in node.args.args]
        learned: set[str] = set()
        own = parameters[1:] if parameters[:1] == ["self"] else parameters
        if len(own) > 1 and PREDICTION.search(own[1]) and (node.name in compiled or LOSS.search(node.name)):
            learned = {own[1]}
        for _, region in blocks:
            for call in region.calls():
                if dotted(call.func) in (node.name, f"self.{node.name}") and region.matters(call):
                    learned |= {p for p, a in zip(own, call.args, strict=False) if region.is_learned(a)}
        if learned:
            needed = {
                n for r in ast.walk(node) if isinstance(r, ast.Return) and r.value is not None for n in names(r.value)
            }
            found.append((node, Region(file, node.body, set(), learned, needed)))
    return found
