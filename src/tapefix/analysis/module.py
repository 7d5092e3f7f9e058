"""One parsed file with what every rule asks of it: places, names, definitions, flow, tapes, losses."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from tapefix.analysis.names import canonical, imported_names, tensor_op
from tapefix.analysis.scopes import Def, Function, Reaching, Scope, ScopeNode, children
from tapefix.analysis.versions import keras_of_text
from tapefix.findings import Span

if TYPE_CHECKING:
    from tapefix.analysis.classes import Classes
    from tapefix.analysis.cuts import Cuts
    from tapefix.analysis.detours import Detours
    from tapefix.analysis.flow import Flow
    from tapefix.analysis.kinds import Kinds
    from tapefix.analysis.layers import Layers
    from tapefix.analysis.named import NamedLosses
    from tapefix.analysis.objects import Objects
    from tapefix.analysis.ranges import Ranges
    from tapefix.analysis.recording import Road
    from tapefix.analysis.results import Results
    from tapefix.analysis.tapes import GradientCall, Tapes
    from tapefix.analysis.training import Training
    from tapefix.proof.run import Run

Node = TypeVar("Node", bound=ast.AST)

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
SCOPES = (*FUNCTIONS, ast.Module, ast.ClassDef, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)


class Module:
    """The analysis of one file. `measured` is the run of the code as it stands, None where nothing was run.

    `keras_version` tells the major version of Keras that the code is for; without it, the text does.
    """

    def __init__(
        self,
        text: str,
        tree: ast.Module | None = None,
        measured: Run | None = None,
        keras_version: Callable[[Module], int] = keras_of_text,
    ) -> None:
        self.text = text
        self.tree = tree if tree is not None else ast.parse(text)
        self.measured = measured
        self._keras_version = keras_version
        self._ascii = text.isascii()
        self._parents: dict[ast.AST, ast.AST] = {}
        self._call_names: dict[ast.Call, str | None] = {}
        self._functions: dict[ast.AST, Function | None] = {}
        self._classes: dict[ast.AST, ast.ClassDef | None] = {}
        self.nodes: list[ast.AST] = []
        self._by_type: dict[type[ast.AST], list[ast.AST]] = {}
        stack: list[ast.AST] = [self.tree]
        while stack:
            node = stack.pop()
            self.nodes.append(node)
            self._by_type.setdefault(type(node), []).append(node)
            below = children(node)
            for child in below:
                self._parents[child] = node
            stack += reversed(below)

    # -------------------------------------------------------------- places

    def parent(self, node: ast.AST) -> ast.AST | None:
        return self._parents.get(node)

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """The parents of `node` from the inside out."""
        above = self._parents.get(node)
        while above is not None:
            yield above
            above = self._parents.get(above)

    def all(self, *types: type[ast.AST]) -> Iterator[ast.AST]:
        """Every node of these types, in source order within one type."""
        for kind in types:
            yield from self._by_type.get(kind, ())

    def each(self, kind: type[Node]) -> list[Node]:
        """Every node of one type, in source order."""
        return self._by_type.get(kind, [])  # type: ignore[return-value]

    @property
    def calls(self) -> list[ast.Call]:
        return self._by_type.get(ast.Call, [])  # type: ignore[return-value]

    def inside(self, node: ast.AST, outer: ast.AST) -> bool:
        return node is outer or any(above is outer for above in self.ancestors(node))

    def statement(self, node: ast.AST) -> ast.stmt:
        """The statement that holds `node` (or is it)."""
        while not isinstance(node, ast.stmt):
            node = self._parents[node]
        return node

    def function(self, node: ast.AST) -> Function | None:
        """The innermost function or lambda around `node`, not `node` itself."""
        found: Function | None = self._around(node, FUNCTIONS, self._functions)
        return found

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        """The class in whose body `node` lies (also inside its methods)."""
        found: ast.ClassDef | None = self._around(node, ast.ClassDef, self._classes)
        return found

    def _around(self, node: ast.AST, kinds: Any, known: dict[ast.AST, Any]) -> Any:
        """The innermost node of some kinds around `node`, looked up once for all that lies on the way to it."""
        way = [node]
        found: ast.AST | None = None
        while node not in known:
            above = self._parents.get(node)
            if above is None or isinstance(above, kinds):
                found = above
                break
            way.append(above)
            node = above
        else:
            found = known[node]
        for passed in way:
            known[passed] = found
        return found

    @cached_property
    def calls_in(self) -> dict[Function | None, list[ast.Call]]:
        """The calls directly in each function (None: in none), not in a function inside of it, in source order."""
        found: dict[Function | None, list[ast.Call]] = {}
        for call in self.calls:
            found.setdefault(self.function(call), []).append(call)
        return found

    def method_class(self, function: ast.AST) -> ast.ClassDef | None:
        """The class of which `function` is directly a method."""
        above = self._parents.get(function)
        return above if isinstance(above, ast.ClassDef) else None

    def block(self, statement: ast.stmt) -> list[ast.stmt]:
        """The list of statements in which `statement` stands."""
        above = self._parents[statement]
        for name in ("body", "orelse", "finalbody"):
            body = getattr(above, name, None)
            if isinstance(body, list) and statement in body:
                return body
        return [statement]

    def scope(self, node: ast.AST) -> Scope:
        """The scope whose names `node` sees."""
        for above in self.ancestors(node):
            if isinstance(above, SCOPES):
                return self.reaching.scope_of[above]
        return self.reaching.module

    def span(self, node: ast.AST) -> Span:
        """Where `node` stands, in characters (ast itself counts UTF-8 bytes)."""
        start, end = node.col_offset, node.end_col_offset  # type: ignore[attr-defined]
        line, last = node.lineno, node.end_lineno  # type: ignore[attr-defined]
        if not self._ascii:
            start = self._characters(line, start)
            end = self._characters(last, end)
        return Span(line, start, last, end)

    def _characters(self, line: int, column: int) -> int:
        text = self.lines[line - 1]
        return column if text.isascii() else len(text.encode()[:column].decode(errors="ignore"))

    @cached_property
    def lines(self) -> list[str]:
        # Python's own idea of lines: form feeds and U+2028 do not end one.
        return self.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")

    def source(self, node: ast.AST) -> str:
        """The text of `node` as it stands in the file."""
        line, column, last, end = self.span(node)
        lines = self.lines[line - 1 : last]
        if len(lines) == 1:
            return lines[0][column:end]
        return "\n".join([lines[0][column:], *lines[1:-1], lines[-1][:end]])

    def line_text(self, line: int) -> str:
        return self.lines[line - 1] if 0 < line <= len(self.lines) else ""

    def indent_of(self, line: int) -> str:
        """The blanks that a line begins with."""
        text = self.line_text(line)
        return text[: len(text) - len(text.lstrip())]

    # -------------------------------------------------------------- names

    @cached_property
    def reaching(self) -> Reaching:
        return Reaching(self.tree, bool(self.each(ast.Global) or self.each(ast.Nonlocal)))

    def definitions(self, name: ast.Name) -> tuple[Def, ...]:
        """The definitions that a name read at this place may have its value from; () for builtins."""
        return self.reaching.definitions.get(name, ())

    def name(self, node: ast.AST) -> str | None:
        """The canonical dotted name of an imported thing (`tf.math.log`), None for local values.

        Follows plain aliases: `Dense = tf.keras.layers.Dense`. Builtins come back as they are (`float`).
        """
        attributes = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        root = self._root_name(node)
        if root is None:
            return None
        return canonical(".".join([root, *reversed(attributes)]))

    def _root_name(self, node: ast.Name) -> str | None:
        definitions = self.definitions(node)
        if not definitions:
            return node.id if isinstance(node.ctx, ast.Load) else None
        found = None
        for definition in definitions:
            if definition.kind == "import":
                names = imported_names(definition.node)  # type: ignore[arg-type]
                found = names.get(definition.name)
            elif (
                definition.kind == "assign"
                and not definition.path
                and isinstance(definition.value, (ast.Attribute, ast.Name))
            ):
                if any(inner is node for inner in ast.walk(definition.value)):
                    return None
                found = self.name(definition.value)
            else:
                return None
            if found is None:
                return None
        if found is not None and "." not in found and len(definitions) and definitions[-1].kind == "assign":
            # An alias of a local value that happens to resolve to a bare builtin name.
            return found if found in ("tf", "np", "keras") else None
        return found

    def call_name(self, node: ast.AST) -> str | None:
        """The canonical name of what is called, None where `node` is no call of an imported thing."""
        if not isinstance(node, ast.Call):
            return None
        if node not in self._call_names:
            self._call_names[node] = self.name(node.func)
        return self._call_names[node]

    def op(self, node: ast.AST) -> str | None:
        """The TensorFlow or Keras operation that a call runs (`log` for tf.math.log and K.log), else None."""
        return tensor_op(self.call_name(node))

    def numpy_op(self, node: ast.AST) -> str | None:
        """The NumPy function that a call runs (`linalg.norm`), else None."""
        name = self.call_name(node)
        return name[3:] if name is not None and name.startswith("np.") else None

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Canonical name to local spelling, of the module's top-level imports (first one wins)."""
        found: dict[str, str] = {}
        for statement in self.tree.body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                for local, name in imported_names(statement).items():
                    # `import tensorflow.keras` binds `tensorflow`, which is canonical `tf`.
                    found.setdefault(name, local)
        return found

    def spell(self, name: str) -> str | None:
        """How this file writes the canonical `name` (`tf.math.log`), None where it needs an import first."""
        if name in self.aliases and "." not in name:
            return self.aliases[name]
        root, _, rest = name.partition(".")
        if root in self.aliases:
            return f"{self.aliases[root]}.{rest}"
        if root == "keras" and "tf" in self.aliases:
            return f"{self.aliases['tf']}.{name}"
        package, _, rest = name.rpartition(".")
        while package:
            if package in self.aliases:
                return f"{self.aliases[package]}.{rest}"
            package, _, last = package.rpartition(".")
            rest = f"{last}.{rest}"
        return None

    @cached_property
    def tf(self) -> str:
        """The file's alias of TensorFlow, `tf` where it has none (then `needs_tf_import` is true)."""
        return self.aliases.get("tf", "tf")

    @cached_property
    def keras(self) -> int:
        """The major version of Keras that the code is for."""
        return self._keras_version(self)

    @property
    def needs_tf_import(self) -> bool:
        return "tf" not in self.aliases

    # -------------------------------------------------------------- deeper models, built when first asked for

    @cached_property
    def classes(self) -> Classes:
        from tapefix.analysis.classes import Classes

        return Classes(self)

    @cached_property
    def kinds(self) -> Kinds:
        from tapefix.analysis.kinds import Kinds

        return Kinds(self)

    @cached_property
    def objects(self) -> Objects:
        from tapefix.analysis.objects import Objects

        return Objects(self)

    @cached_property
    def flow(self) -> Flow:
        from tapefix.analysis.flow import Flow

        return Flow(self)

    @cached_property
    def tapes(self) -> Tapes:
        from tapefix.analysis.tapes import Tapes

        return Tapes(self)

    @cached_property
    def recordings(self) -> dict[GradientCall, tuple[list[Road], list[Road]]]:
        """The roads of each gradient call whose tape is known: as recorded, and if the tape recorded until the call."""
        from tapefix.analysis.recording import both_roads

        return {gradient: both_roads(self, gradient) for gradient in self.tapes.gradients if gradient.tape is not None}

    @cached_property
    def training(self) -> Training:
        from tapefix.analysis.training import Training

        return Training(self)

    @cached_property
    def named_losses(self) -> NamedLosses:
        from tapefix.analysis.named import NamedLosses

        return NamedLosses(self)

    @cached_property
    def results(self) -> Results:
        from tapefix.analysis.results import Results

        return Results(self)

    @cached_property
    def cuts(self) -> Cuts:
        from tapefix.analysis.cuts import Cuts

        return Cuts(self)

    @cached_property
    def layers(self) -> Layers:
        from tapefix.analysis.layers import Layers

        return Layers(self)

    @cached_property
    def ranges(self) -> Ranges:
        from tapefix.analysis.ranges import Ranges

        return Ranges(self)

    @cached_property
    def detours(self) -> Detours:
        from tapefix.analysis.detours import Detours

        return Detours(self)

    def scope_nodes(self) -> list[ScopeNode]:
        return list(self.reaching.scope_of)  # type: ignore[arg-type]
