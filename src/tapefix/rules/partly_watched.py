"""TPF113: a tape that watches by hand watches less than it is asked for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import Edit, Insert, ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.analysis.tapes import GradientCall, Tape


class PartlyWatched(Rule):
    """A tape that watches by hand watches less than it is asked for.

    What it finds:
        `tf.GradientTape(watch_accessed_variables=False)` whose `watch` leaves out some of the variables of which
        the gradient is asked, or all of them.

    Why the gradient stops:
        Such a tape records nothing of a variable that it was not told to watch.

    Example:
        ```python
        import tensorflow as tf

        gain, offset = tf.Variable(1.0), tf.Variable(0.5)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(gain)
            loss = tf.square(gain * 2.0 + offset)
        print(tape.gradient(loss, [gain, offset]))
        ```

    Fix safety:
        Safe: watching a variable changes no value.
    """

    code = "TPF113"
    name = "partly-watched"
    safety = "safe"
    tokens = ("watch_accessed_variables",)

    def check(self, module: Module) -> Iterator[Finding]:
        for tape in module.tapes.tapes:
            keyword = next((k for k in tape.call.keywords if k.arg == "watch_accessed_variables"), None)
            if keyword is None or not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
                continue
            for gradient in tape.gradients:
                missing = self._missing(module, tape, gradient)
                if missing is None:
                    continue
                candidates = [Candidate("let the tape watch by itself", (watching_by_itself(module, tape),))]
                edits = self._watched(module, tape, gradient)
                if edits:
                    watch = Candidate(f"watch {module.source(gradient.sources)}", edits)
                    candidates.insert(0, watch)
                yield self.finding(
                    module,
                    gradient.sources,
                    "The tape watches by hand (watch_accessed_variables=False), but not all that it is asked for: the "
                    "gradient of the rest is None.",
                    label=f"{missing} is not watched" if missing else "not all of this is watched",
                    notes=[(w, "what is watched") for w in tape.watches[:2]],
                    candidates=candidates,
                    certain=bool(missing),
                )
                break

    def _missing(self, module: Module, tape: Tape, gradient: GradientCall) -> str | None:
        """A source that surely is not watched; empty where one may not be, None where all are."""
        if any(self._is_loop_variable(module, a) for w in tape.watches for a in w.args):
            return None
        watched = {text for watch in tape.watches for argument in watch.args for text in _texts(module, argument)}
        asked = _texts(module, gradient.sources)
        if module.source(gradient.sources) in watched or asked <= watched:
            return None
        # Watched under another name, or by a function that got the tape: then the text does not tell.
        known = _elements(module, gradient.sources) is not None and watched and watched <= asked
        return min(asked - watched) if known else ""

    @staticmethod
    def _is_loop_variable(module: Module, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and any(d.kind == "loop" for d in module.definitions(node))

    @staticmethod
    def _watched(module: Module, tape: Tape, gradient: GradientCall) -> tuple[Edit, ...]:
        """The sources in place of the one thing that is watched so far, or as a further thing."""
        sources = gradient.sources
        late = any(
            module.definitions(n) and any(d.node.lineno >= tape.block.lineno for d in module.definitions(n))  # type: ignore[attr-defined]
            for n in ast.walk(sources)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
        )
        if late or tape.name is None:
            return ()
        text = module.source(sources)
        if len(tape.watches) == 1 and len(tape.watches[0].args) == 1:
            argument = tape.watches[0].args[0]
            if _texts(module, argument) <= _texts(module, sources):
                return (ReplaceExpression(module.span(argument), text),)
        return (Insert(module.span(tape.block), "first", f"{tape.name}.watch({text})"),)


def watching_by_itself(module: Module, tape: Tape) -> Edit:
    """The tape without `watch_accessed_variables`."""
    others = [module.source(a) for a in tape.call.args]
    others += [f"{k.arg}={module.source(k.value)}" for k in tape.call.keywords if k.arg != "watch_accessed_variables"]
    return ReplaceExpression(module.span(tape.call), f"{module.source(tape.call.func)}({', '.join(others)})")


def _elements(module: Module, node: ast.expr) -> list[ast.expr] | None:
    """The members of a list, also behind a name or a property; None where it is not known to be one."""
    if isinstance(node, (ast.List, ast.Tuple)):
        return list(node.elts)
    lists = [o for o in module.objects.origins(node) if isinstance(o, (ast.List, ast.Tuple))]
    return list(lists[0].elts) if len(lists) == 1 else None


def _texts(module: Module, node: ast.expr) -> set[str]:
    elements = _elements(module, node)
    return {module.source(e) for e in elements} if elements is not None else {module.source(node)}
