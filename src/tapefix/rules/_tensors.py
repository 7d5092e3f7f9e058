"""What the rules about plain tensors as sources share: what a source may be, and whether a tape watches it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tapefix.analysis.scopes import Def

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import GradientCall, Tape

_INTEGER = {"tf.range", "tf.argmax", "tf.shape"}


def items(module: Module, gradient: GradientCall) -> list[ast.expr]:
    """The single sources, also where a name stands for a list of them."""
    items = gradient.source_items()
    if len(items) == 1 and isinstance(items[0], ast.Name) and items[0] is gradient.sources:
        definitions = module.definitions(items[0])
        if (
            len(definitions) == 1
            and not definitions[0].path
            and isinstance(definitions[0].value, (ast.List, ast.Tuple))
        ):
            return list(definitions[0].value.elts)
    return items


def listed_sources(module: Module, gradient: GradientCall) -> list[ast.expr]:
    """The single sources: of a list, also one that has a name or is kept on an object."""
    if isinstance(gradient.sources, (ast.List, ast.Tuple)):
        return gradient.source_items()
    lists = [o for o in module.objects.origins(gradient.sources) if isinstance(o, (ast.List, ast.Tuple))]
    return [item for one in lists for item in one.elts] or [gradient.sources]


def definitions_of(module: Module, item: ast.expr) -> tuple[Def, ...]:
    return module.definitions(item) if isinstance(item, ast.Name) else ()


def is_watched(module: Module, tape: Tape, item: ast.expr) -> bool:
    definitions = set(definitions_of(module, item))
    for watch in tape.watches:
        for argument in watch.args:
            for node in ast.walk(argument):
                if isinstance(node, ast.Name):
                    found = module.definitions(node)
                    if definitions & set(found):
                        return True
                    # for v in xs: tape.watch(v)
                    for definition in found:
                        if (
                            definition.kind == "loop"
                            and definition.value is not None
                            and _mentions(module, definition.value, item)
                        ):
                            return True
                        if isinstance(definition.value, (ast.List, ast.Tuple)) and _mentions(
                            module, definition.value, item
                        ):
                            return True
                elif isinstance(node, ast.Attribute) and ast.unparse(node) == ast.unparse(item):
                    return True
    return False


def _mentions(module: Module, value: ast.expr, item: ast.expr) -> bool:
    if ast.unparse(value) == ast.unparse(item):
        return True
    if isinstance(value, ast.Name):
        return any(
            d.value is not None and isinstance(d.value, (ast.List, ast.Tuple)) and _mentions(module, d.value, item)
            for d in module.definitions(value)
        )
    return any(ast.unparse(n) == ast.unparse(item) for n in ast.walk(value) if isinstance(n, (ast.Name, ast.Attribute)))


class SourceKinds:
    """What a source may be: `tensor`, `array` (NumPy), `variable`, `maybe` (unknown)."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.seen: set[int] = set()

    def of(self, node: ast.AST) -> set[str]:
        if id(node) in self.seen or len(self.seen) > 200:
            return set()
        self.seen.add(id(node))
        if isinstance(node, ast.Name):
            definitions = self.module.definitions(node)
            return {k for d in definitions for k in self.definition(d)} if definitions else {"maybe"}
        if isinstance(node, ast.Attribute):
            writes = self.module.objects.attribute_values(node)
            return {k for value, path in writes for k in (self.of(value) if not path else {"maybe"})} or {"maybe"}
        if isinstance(node, ast.BinOp):
            sides = self.of(node.left) | self.of(node.right)
            if sides & {"tensor", "variable"}:
                return {"tensor"}
            return {"array"} if sides == {"array"} else {"maybe"}
        if isinstance(node, ast.UnaryOp):
            return {"tensor" if k == "variable" else k for k in self.of(node.operand)}
        if isinstance(node, ast.IfExp):
            return self.of(node.body) | self.of(node.orelse)
        if isinstance(node, ast.Subscript):
            kinds = self.of(node.value)
            return kinds if kinds <= {"tensor", "array"} else {"maybe"}
        if isinstance(node, ast.Call):
            return self._call(node)
        return set() if isinstance(node, ast.Constant) and node.value is None else {"maybe"}

    def _call(self, node: ast.Call) -> set[str]:
        objects = self.module.objects
        if self.module.kinds.made(node) == "variable":
            return {"variable"}
        name = self.module.call_name(node) or ""
        if name.startswith("np."):
            return {"array"}
        if name in _INTEGER and not any(k.arg == "dtype" for k in node.keywords):
            return {"maybe"}
        if name.startswith(("tf.data", "tf.keras")) or (
            name.startswith("keras.") and not name.startswith(("keras.ops.", "keras.backend.", "keras.random."))
        ):
            return {"maybe"}
        if name.startswith(("tf.", "keras.")):
            return {"tensor"}
        if self.module.training.is_forward(node):
            return {"tensor"}
        callees = objects.callees(node)
        if callees:
            return {k for c in callees for r in objects.returns.get(c, []) for k in self.of(r)} or {"maybe"}
        if isinstance(node.func, ast.Attribute) and node.func.attr in (
            "astype",
            "reshape",
            "copy",
            "randn",
            "rand",
            "normal",
            "uniform",
            "random",
            "numpy",
        ):
            return {"array"} if node.func.attr != "reshape" or self.of(node.func.value) == {"array"} else {"maybe"}
        return {"maybe"}

    def definition(self, definition: Def) -> set[str]:
        if definition.kind == "parameter":
            arguments = self.module.objects.arguments_of(definition)
            return {k for a in arguments for k in self.of(a)} if arguments else {"maybe"}
        if definition.kind == "augment":
            return {k for d in definition.previous for k in self.definition(d)}
        if definition.kind == "assign" and definition.value is not None:
            if not definition.path:
                return self.of(definition.value)
            values = [
                v for v in self.module.flow.unpacked(definition.value, definition.path) if v is not definition.value
            ]
            if values:
                return {k for v in values if isinstance(v, ast.AST) for k in self.of(v)}
            return (
                {"tensor"}
                if isinstance(definition.value, ast.Call) and self.module.training.is_forward(definition.value)
                else {"maybe"}
            )
        return {"maybe"}
