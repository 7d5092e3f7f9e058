"""Taking logs inwards: log(softmax(x)) is log_softmax(x), log(1 - prod(1 - p)) stays finite as a sum of logs.

A log of a product, a sum of exponentials or a probability loses everything where its argument underflows to 0 or
rounds to 1. Carried inside, it never sees such an argument. Names are looked through where they have one definition.
"""

from __future__ import annotations

import ast
from typing import NamedTuple

from tapefix.analysis.scopes import Def
from tapefix.analysis.tapes import argument
from tapefix.rules._log_edits import Collected
from tapefix.rules._log_helpers import Twin, helper_of, spliced, twin_name
from tapefix.rules._numeric import is_number, one_minus
from tapefix.rules._spelling import Spelling

_REDUCTIONS = ("reduce_sum", "sum", "reduce_prod", "prod")
_DEPTH = 10


class Inward(NamedTuple):
    """The log of an expression, written without the log: a template, and which operations gave way to it."""

    text: str
    kinds: frozenset[str] = frozenset()
    is_sum: bool = False  # needs parentheses as a factor

    @property
    def factor(self) -> str:
        return f"({self.text})" if self.is_sum else self.text


class LogSpace(Collected):
    """Rewrites the logs of one function. Collect with `rewrite`, then take `edits`."""

    # -------------------------------------------------------------- what the rules ask

    def rewrite(self, log: ast.expr, inner: ast.expr) -> frozenset[str]:
        """Takes in the log at `log` of the expression `inner`; returns what it was taken through, empty if nothing."""
        saved = self._state()
        made = self._log(inner, False, _DEPTH)
        if made is None or not made.kinds:
            self._restore(saved)
            return frozenset()
        self._replaced.append((log, made.text))
        return made.kinds

    def kinds(self, inner: ast.expr) -> frozenset[str]:
        """What the log of `inner` could be taken through."""
        made = LogSpace(self.module, Spelling(self.module))._log(inner, False, _DEPTH)
        return made.kinds if made is not None else frozenset()

    # -------------------------------------------------------------- the log of an expression

    def _log(self, node: ast.expr, through: bool, depth: int) -> Inward | None:
        """The log of `node`; None where its text cannot be used at the place of the log."""
        if depth <= 0:
            return None
        saved = self._state()
        definition = self._single(node)
        made: Inward | None = None
        if definition is not None and definition.value is not None:
            made = self._of_name(definition, definition.value, depth)
        elif isinstance(node, ast.Call):
            made = self._of_call(node, through, depth)
        elif isinstance(node, ast.BinOp):
            made = self._of_operation(node, through, depth)
        elif isinstance(node, ast.Subscript) and not through:
            made = self._of_part(node, depth)
        if made is None:
            self._restore(saved)
            made = self._plain(node, through)
        return made

    def _of_part(self, node: ast.Subscript, depth: int) -> Inward | None:
        """An index stays as it is: log(softmax(x)[..., i]) is log_softmax(x)[..., i]."""
        inner = self._log(node.value, False, depth - 1)
        whole, part = self.module.source(node), self.module.source(node.value)
        if inner is None or inner.kinds != {"softmax"} or not whole.startswith(part):
            return None
        # What the index reads is still read.
        self._kept.append(node.slice)
        return Inward(inner.text + whole[len(part) :], inner.kinds)

    def _of_name(self, definition: Def, value: ast.expr, depth: int) -> Inward | None:
        if definition in self._twins:
            return Inward(self._twins[definition], frozenset({"twin"}))
        operation = self._operation(value)
        # What gets a name of its own is written where the value was computed, all else at the place of the log.
        made = self._log(value, operation not in _REDUCTIONS, depth - 1)
        if made is None or not made.kinds:
            return None
        self._looked_through.append(definition)
        if operation in _REDUCTIONS:
            # A log that is worth a name: it is used where the name was.
            name = self._fresh(f"log_{definition.name}", definition)
            self._twins[definition] = name
            self._twin_edits[definition] = (self.module.statement(definition.node), f"{name} = {made.text}")
            return Inward(name, made.kinds)
        return made

    def _of_call(self, node: ast.Call, through: bool, depth: int) -> Inward | None:
        operation = self._operation(node)
        first = node.args[0] if node.args else None
        if operation is None:
            return self._of_density(node, through)
        if first is None or isinstance(first, ast.Starred):
            return None
        if operation == "exp":
            inner = self._leaf(first, through, "exponent")
            return Inward(inner, frozenset({"exp"})) if inner else None
        if operation in ("softmax", "sigmoid"):
            inner = self._leaf(first, through, "logits" if operation == "softmax" else "logit")
            if inner is None or len(node.args) > 2 or any(k.arg not in ("axis", "name") for k in node.keywords):
                return None
            if operation == "sigmoid":
                return Inward(self._log_sigmoid(inner), frozenset({"sigmoid"}))
            axis = argument(node, 1, "axis")
            rest = f", axis={self._hole(axis)}" if axis is not None else ""
            return Inward(f"{self.spelling.op('nn.log_softmax')}({inner}{rest})", frozenset({"softmax"}))
        if operation in _REDUCTIONS:
            made = self._log(first, through, depth - 1)
            if made is None:
                return None
            rest = self._other_arguments(node)
            if operation in ("reduce_prod", "prod"):
                return Inward(f"{self.spelling.op('reduce_sum')}({made.text}{rest})", made.kinds | {"prod"})
            if not made.kinds & {"exp", "softmax", "prod"}:
                return None
            return Inward(f"{self.spelling.op('reduce_logsumexp')}({made.text}{rest})", made.kinds | {"sum"})
        if operation in ("squeeze", "expand_dims", "reshape", "transpose", "cast", "gather", "gather_nd"):
            made = self._log(first, through, depth - 1)
            if made is None or not made.kinds or through:
                return None
            return Inward(f"{self.module.source(node.func)}({made.text}{self._other_arguments(node)})", made.kinds)
        return None

    def _of_density(self, node: ast.Call, through: bool) -> Inward | None:
        """A density that a helper of this module or a distribution computes, which has the log of it, too."""
        func = node.func
        found = helper_of(self.module, node) if not self._in_helper else None
        if found is not None:
            twin = self._helpers.get(found[0]) or self._twin_of(*found)
            if twin is None:
                return None
            self._helpers[found[0]] = twin
            self._helped.append(node)
            name, kinds = twin.name, twin.kinds
        elif isinstance(func, ast.Attribute) and func.attr == "prob" and self.module.name(func) is None:
            name, kinds = "log_prob", frozenset({"exp", "density"})
        else:
            return None
        texts = [self._leaf(value, through, "argument") for value in node.args]
        named = [(k.arg, self._leaf(k.value, through, "argument")) for k in node.keywords]
        if any(text is None for text in [*texts, *[text for _, text in named]]) or any(k is None for k, _ in named):
            return None
        if isinstance(func, ast.Attribute):
            name = f"{self.module.source(func.value)}.{name}"
        return Inward(f"{name}({', '.join([*map(str, texts), *[f'{k}={text}' for k, text in named]])})", kinds)

    def _twin_of(self, function: ast.FunctionDef, returned: ast.expr) -> Twin | None:
        inner = LogSpace(self.module, self.spelling, in_helper=True)
        kinds = inner.rewrite(returned, returned)
        name = twin_name(self.module, function)
        made = spliced(self.module, function, inner.edits(), name) if "exp" in kinds else None
        return Twin(name, *made, kinds | {"density"}) if made is not None else None

    def _of_operation(self, node: ast.BinOp, through: bool, depth: int) -> Inward | None:
        if isinstance(node.op, (ast.Mult, ast.Div)):
            left, right = self._log(node.left, through, depth - 1), self._log(node.right, through, depth - 1)
            if left is None or right is None or not (left.kinds | right.kinds):
                return None
            sign = "+" if isinstance(node.op, ast.Mult) else "-"
            return Inward(
                f"{left.text} {sign} {right.text if sign == '+' else right.factor}", left.kinds | right.kinds, True
            )
        inner = one_minus(node)
        if inner is None and isinstance(node.op, ast.Add):
            return self._of_mixture([self._log(side, through, depth - 1) for side in (node.left, node.right)])
        return self._log_of_complement(inner, through, depth - 1) if inner is not None else None

    def _of_mixture(self, logs: list[Inward | None]) -> Inward | None:
        """log(p + q) of two densities."""
        made = [log for log in logs if log is not None and "density" in log.kinds]
        if len(made) < len(logs):
            return None
        text = f"{self.spelling.op('reduce_logsumexp')}([{', '.join(log.text for log in made)}], axis=0)"
        return Inward(text, frozenset({"sum"}).union(*(log.kinds for log in made)))

    def _log_of_complement(self, node: ast.expr, through: bool, depth: int) -> Inward | None:
        """log(1 - node)."""
        if depth <= 0:
            return None
        definition = self._single(node)
        if definition is not None and definition.value is not None:
            made = self._log_of_complement_of_name(definition, definition.value, depth)
            if made is not None and made.kinds:
                self._looked_through.append(definition)
            return made
        twice = one_minus(node)
        if twice is not None:
            return self._log(twice, through, depth - 1)
        if not isinstance(node, ast.Call):
            return None
        operation = self._operation(node)
        if operation == "sigmoid" and len(node.args) == 1:
            inner = self._leaf(node.args[0], through, "logit")
            return Inward(self._log_sigmoid(inner, negative=True), frozenset({"sigmoid"})) if inner else None
        if operation in ("reduce_prod", "prod", "exp"):
            made = self._log(node, through, depth)
            return self._from_log(made) if made is not None else None
        return None

    def _log_of_complement_of_name(self, definition: Def, value: ast.expr, depth: int) -> Inward | None:
        if self._operation(value) in ("reduce_prod", "prod"):
            made = self._of_name(definition, value, depth)
            return self._from_log(made) if made is not None else None
        return self._log_of_complement(value, True, depth)

    def _from_log(self, made: Inward) -> Inward:
        """log(1 - exp(a)): the epsilon keeps it finite where exp(a) is 1."""
        return Inward(
            f"{self.spelling.op('math.log')}(-{self.spelling.op('math.expm1')}({made.text}) + 1e-7)",
            made.kinds | {"complement"},
        )

    def _log_sigmoid(self, inner: str, negative: bool = False) -> str:
        if self.spelling.backend and self.module.needs_tf_import:
            return f"-{self.spelling.op('math.softplus')}({inner if negative else '-' + inner})"
        return f"{self.spelling.op('math.log_sigmoid')}({'-' if negative else ''}{inner})"

    def _plain(self, node: ast.expr, through: bool) -> Inward | None:
        """The log of what stays as it is; a number in a product has its own, in NumPy."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and not is_number(self.module, node):
            for number, other in ((node.left, node.right), (node.right, node.left)):
                if is_number(self.module, number):
                    logs = [self._plain(side, through) for side in (other, number)]
                    return Inward(" + ".join(log.text for log in logs if log), is_sum=True) if all(logs) else None
        inner = self._leaf(node, through, "value")
        if inner is None:
            return None
        numpy = self.module.aliases.get("np")
        if numpy is not None and is_number(self.module, node):
            # In TensorFlow the log of a NumPy number is a float64, which no float32 is added to.
            return Inward(f"{numpy}.log({inner})")
        found = self.module.ranges.of(node)
        if not found.positive:
            inner = self.spelling.at_least(inner, self.spelling.epsilon)
        return Inward(f"{self.spelling.op('math.log')}({inner})")

    # -------------------------------------------------------------- leaves

    def _operation(self, node: ast.expr) -> str | None:
        name = self.module.op(node)
        if (
            name is None
            and isinstance(node, ast.Call)
            and (self.module.call_name(node) or "").startswith("keras.activations.")
        ):
            name = (self.module.call_name(node) or "").rpartition(".")[2]
        return name

    def _single(self, node: ast.expr) -> Def | None:
        """The one plain assignment that gives a name its value, in the same function."""
        if not isinstance(node, ast.Name):
            return None
        definitions = self.module.definitions(node)
        if len(definitions) != 1 or definitions[0].kind != "assign" or definitions[0].path:
            return None
        definition = definitions[0]
        statement = self.module.statement(definition.node)
        plain = (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        )
        if not plain or definition.scope is not self.module.scope(node) or definition.value is None:
            return None
        return definition

    def _leaf(self, node: ast.expr, through: bool, hint: str) -> str | None:
        """How to write an expression at the place of the log: as it is, or by a name given to it where it stands."""
        if not through or self._stays(node):
            return self._hole(node)
        if node in self._hoisted:
            return self._hoisted[node]
        statement = self.module.statement(node)
        if statement in self._hoists or not isinstance(statement, ast.Assign):
            return None
        name = self._fresh(hint, node)
        self._hoisted[node] = name
        self._kept.append(node)
        self._hoists[statement] = (node, name)
        return name

    def _stays(self, node: ast.expr) -> bool:
        """Does the expression have the same value wherever it is written in its function?"""
        if isinstance(node, ast.Constant):
            return True
        if isinstance(node, ast.UnaryOp):
            return self._stays(node.operand)
        if isinstance(node, ast.Name):
            definitions = self.module.definitions(node)
            return len(definitions) == 1 and len(definitions[0].scope.defs.get(node.id, [])) == 1
        return isinstance(node, ast.Attribute) and self.module.classes.is_self(node.value)

    def _hole(self, node: ast.expr) -> str:
        name = f"e{len(self.parts)}"
        self._kept.append(node)
        self.parts[name] = self.module.span(node)
        return f"${name}"

    def _other_arguments(self, node: ast.Call) -> str:
        rest = [self._hole(a) for a in node.args[1:]]
        rest += [f"{k.arg}={self._hole(k.value)}" for k in node.keywords if k.arg is not None]
        return "".join(f", {text}" for text in rest)

    def _fresh(self, hint: str, place: ast.AST | Def) -> str:
        scope = place.scope if isinstance(place, Def) else self.module.scope(place)
        taken = {*self._hoisted.values(), *self._twins.values()}
        name, number = hint, 2
        while scope.lookup(name) or name in scope.defs or name in taken:
            name, number = f"{hint}_{number}", number + 1
        return name
