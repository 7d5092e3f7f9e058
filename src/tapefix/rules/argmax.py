"""TPF303: an argmax between the variables and the loss."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.analysis.flow import Vertex
from tapefix.analysis.scopes import Def
from tapefix.analysis.tapes import argument
from tapefix.codemods.edits import Delete, Edit, Insert, ReplaceExpression, ReplaceStatement
from tapefix.findings import Candidate, Finding
from tapefix.rules._soft import Cut, counts, cuts, met, starves, straight_through, through_casts
from tapefix.rules._soft_position import (
    are_probabilities,
    expected_backwards,
    expected_position,
    free_name,
    is_float_cast,
    is_over_the_last_axis,
)
from tapefix.rules._spelling import Spelling
from tapefix.rules._text import rewritten
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

_INDEX = ("argmax", "argmin")


class Argmax(Rule):
    """The class with the largest score is taken between the variables and the loss.

    What it finds:
        A loss that compares `tf.argmax(logits, 1)` with the labels, `tf.one_hot(tf.argmax(x, -1), n)`, and an argmax
        that is cast to float, where nothing differentiable is left of the scores.

    Why the gradient stops:
        The position of the largest element is an integer and does not change with small changes of the scores.

    Example:
        ```python
        import tensorflow as tf

        w = tf.Variable(tf.random.normal([3, 4]))
        x, labels = tf.random.normal([8, 3]), tf.one_hot([0, 1, 2, 3, 0, 1, 2, 3], 4)
        with tf.GradientTape() as tape:
            logits = x @ w
            wrong = tf.cast(tf.argmax(logits, 1) - tf.argmax(labels, 1), tf.float32)
            loss = tf.reduce_mean(tf.square(wrong))
        gradients = tape.gradient(loss, [w])
        ```

    Fix safety:
        Unsafe: the cross entropy with the labels, the softmax or the expected position is another value. Where the
        position picks an embedding or a sample, what is meant cannot be known, and there is advice only.
    """

    code = "TPF303"
    name = "argmax"
    safety = "unsafe"
    tokens = _INDEX

    def check(self, module: Module) -> Iterator[Finding]:
        for cut in cuts(module, "argmax"):
            yield self.finding(
                module,
                cut.node,
                f"The position of the largest element has no gradient: {starves(cut)}.",
                label="no gradient passes here",
                candidates=[] if counts(module, cut) else self._candidates(module, cut),
                certain=cut.certain,
                silent=cut.silent,
                advice="Train on the scores (a cross entropy, a softmax), and take the argmax for the metric.",
            )

    def _candidates(self, module: Module, cut: Cut) -> list[Candidate]:
        call = cut.node
        assert isinstance(call, ast.Call)
        if not call.args or (module.op(call) or module.numpy_op(call)) != "argmax":
            return []
        scores = call.args[0]
        parent = _taken_by(module, through_casts(module, call))
        if isinstance(parent, ast.Call) and module.op(parent) == "one_hot":
            return self._one_hot(module, parent, call, scores)
        if cut.effect == "loss":
            found = self._cross_entropy(module, call, scores)
            if found is not None:
                return [found]
        passing = [passed_on] if (passed_on := expected_backwards(module, call, scores)) is not None else []
        if through_casts(module, call) is call:
            return self._expected_place(module, call, scores) or passing
        expected = self._expected(module, call, scores)
        # What a layer hands on is to stay the position that it is; a loss is better off without jumps.
        return [*passing, *expected] if cut.effect == "layer" else [*expected, *passing]

    @staticmethod
    def _one_hot(module: Module, one_hot: ast.Call, call: ast.Call, scores: ast.expr) -> list[Candidate]:
        spelling = Spelling(module, one_hot)
        statement = module.statement(call)
        # A name for the position that nothing else reads goes with it.
        named = [] if module.inside(call, one_hot) else [Delete(module.span(statement))]
        known = are_probabilities(module, scores)
        soft = "$x" if known else f"{spelling.op('nn.softmax')}($x)"
        edit = ReplaceExpression(module.span(one_hot), soft, {"x": module.span(scores)})
        title = "use the softmax in place of the hard choice"
        found = [Candidate(title, (*named, edit, *spelling.imports), safe=False)]
        passing = None
        if known and not named:
            passing = straight_through(module, one_hot, scores, spelling)
        elif isinstance(scores, (ast.Name, ast.Attribute)) and isinstance(module.statement(one_hot), ast.Assign):
            span, name = module.span(module.statement(one_hot)), free_name(module, one_hot, "soft")
            hard = f"{name} + {spelling.op('stop_gradient')}($hard - {name})"
            passing = (
                Insert(span, "before", f"{name} = {soft.replace('$x', module.source(scores))}"),
                ReplaceExpression(module.span(one_hot), hard, {"hard": module.span(one_hot)}),
                *spelling.imports,
            )
        if passing is not None:
            found.append(
                Candidate("choose forwards, pass the gradient backwards", passing, safe=False, keeps_value=True)
            )
        return found

    @staticmethod
    def _expected(module: Module, call: ast.Call, scores: ast.expr) -> list[Candidate]:
        """The position that is expected when the scores are taken as probabilities."""
        spelling = Spelling(module, call)
        if not is_over_the_last_axis(module, call) or not is_float_cast(module, through_casts(module, call)):
            return []
        span = module.span(through_casts(module, call))
        text = expected_position(module, call, scores, "$x", spelling)
        edits = (ReplaceExpression(span, text, {"x": module.span(scores)}), *spelling.imports)
        return [Candidate("use the expected position (soft argmax)", edits, safe=False)]

    @staticmethod
    def _expected_place(module: Module, call: ast.Call, scores: ast.expr) -> list[Candidate]:
        """Row and column that are expected, where they are computed from the position in a flattened map."""
        assign = module.parent(call)
        if not (
            isinstance(assign, ast.Assign) and len(assign.targets) == 1 and isinstance(assign.targets[0], ast.Name)
        ):
            return []
        if not isinstance(scores, ast.Name) or not is_over_the_last_axis(module, call):
            return []
        uses = [use for definition in module.reaching.bindings.get(assign.targets[0], []) for use in definition.uses]
        if not uses or any(
            not isinstance(use, ast.Name) or module.function(use) is not module.function(call) for use in uses
        ):
            return []
        spelling, tf = Spelling(module, call), module.spell("tf") or "tf"
        chances, cells = (free_name(module, call, name) for name in ("chances", "cells"))
        soft = scores.id if are_probabilities(module, scores) else f"{spelling.op('nn.softmax')}({scores.id})"
        made = f"{chances} = {soft}\n{cells} = {tf}.range({tf}.shape({scores.id})[-1])"
        edits: list[Edit] = [ReplaceStatement(module.span(assign), made)]
        for use in uses:
            assert isinstance(use, ast.Name)
            position = _arithmetic_around(module, use)
            if position is use:
                return []
            place = f"{spelling.op('cast')}({rewritten(module, position, {use: cells})}, {tf}.float32)"
            text = f"{spelling.op('reduce_sum')}({chances} * {place}, axis=-1)"
            edits.append(ReplaceExpression(module.span(through_casts(module, position)), text))
        return [Candidate("use the expected position (soft argmax)", (*edits, *spelling.imports), safe=False)]

    @staticmethod
    def _cross_entropy(module: Module, call: ast.Call, scores: ast.expr) -> Candidate | None:
        """The whole loss becomes the cross entropy of the scores with what the argmax was compared to."""
        target = _loss_of(module, call)
        labels = _compared_labels(module, call)
        if target is None or labels is None:
            return None
        hot = (
            isinstance(labels, ast.Call)
            and (module.op(labels) or module.numpy_op(labels)) in _INDEX
            and bool(labels.args)
        )
        truth = labels.args[0] if hot and isinstance(labels, ast.Call) else labels
        within = module.function(target) is module.function(call)
        # `1 - accuracy(labels, logits)`: what the helper gets is known where it is called.
        there = [truth, scores] if within else [_passed(module, target, call, part) for part in (truth, scores)]
        if there[0] is None or there[1] is None:
            return None
        spelling = Spelling(module, call if module.op(call) is not None else None)
        parts = {"t": module.span(there[0]), "s": module.span(there[1])}
        mean = spelling.op("reduce_mean")
        if are_probabilities(module, scores):
            name = "categorical_crossentropy" if hot else "sparse_categorical_crossentropy"
            losses = module.spell(f"keras.losses.{name}") or f"{module.tf}.keras.losses.{name}"
            text = f"{mean}({losses}($t, $s))"
        else:
            name = "softmax_cross_entropy_with_logits" if hot else "sparse_softmax_cross_entropy_with_logits"
            text = f"{mean}({spelling.op(f'nn.{name}')}(labels=$t, logits=$s))"
        edits: list[Edit] = [ReplaceExpression(module.span(target), text, parts), *spelling.imports]
        if within:
            edits += [Delete(module.span(module.statement(d.node))) for d in _needless(module, target, call)]
        return Candidate("use the cross entropy with the labels as the loss", tuple(edits), safe=False)


def _taken_by(module: Module, value: ast.expr) -> ast.AST | None:
    """What a value goes into, also through one name that nothing else reads."""
    parent = module.parent(value)
    if isinstance(parent, ast.Assign) and len(parent.targets) == 1 and isinstance(parent.targets[0], ast.Name):
        uses = [use for d in module.reaching.bindings.get(parent.targets[0], []) for use in d.uses]
        return module.parent(through_casts(module, uses[0])) if len(uses) == 1 else parent
    return parent


def _arithmetic_around(module: Module, use: ast.expr) -> ast.expr:
    """The outermost `// width` or `% width` and the like around a position."""
    while True:
        parent = module.parent(use)
        if not isinstance(parent, ast.BinOp):
            return use
        other = parent.right if parent.left is use else parent.left
        if other in module.cuts.dependent:
            return use
        use = parent


def _loss_of(module: Module, call: ast.expr) -> ast.expr | None:
    """The expression of the dead loss that the argmax ends in: in its own function, or where that one is called."""
    function = module.function(call)
    found: list[ast.expr] = []
    for target in module.cuts.dead_losses:
        if call not in module.cuts.backward([target]):
            continue
        value = _value_of(module, target)
        # Through the functions that only hand out what another one computes.
        for _ in range(3):
            if value is None or module.function(value) is function or not isinstance(value, ast.Call):
                break
            callees = module.objects.callees(value)
            returned = module.objects.returns.get(callees[0], []) if len(callees) == 1 else []
            if len(returned) != 1 or len(module.objects.call_sites.get(callees[0], [])) != 1:
                break
            value = _value_of(module, returned[0])
        if value is None:
            return None
        if value not in found:
            found.append(value)
    return found[0] if len(found) == 1 else None


def _value_of(module: Module, node: Vertex) -> ast.expr | None:
    """What a name was given, where that is one plain assignment; another expression as it is."""
    if isinstance(node, ast.Name):
        definitions = module.definitions(node)
        if len(definitions) != 1 or definitions[0].kind != "assign" or definitions[0].path:
            return None
        return definitions[0].value
    return node if isinstance(node, ast.expr) else None


def _passed(module: Module, target: ast.expr, call: ast.expr, part: ast.expr) -> ast.expr | None:
    """What the one call inside `target` of the function around `call` passes for the parameter that `part` names."""
    function = module.function(call)
    if not isinstance(part, ast.Name) or not isinstance(function, ast.FunctionDef):
        return None
    sites = [s for s in module.objects.call_sites.get(function, []) if module.inside(s, target)]
    names = [a.arg for a in module.objects.parameters(function)]
    definitions = module.definitions(part)
    if len(sites) != 1 or part.id not in names or [d.kind for d in definitions] != ["parameter"]:
        return None
    return argument(sites[0], names.index(part.id), part.id)


def _compared_labels(module: Module, call: ast.expr) -> ast.expr | None:
    """What the argmax is subtracted from or tested against, if that is one thing and made of labels alone."""
    others = met(module, call)
    if len(others) != 1 or others[0] in module.cuts.dependent:
        return None
    return _plain_labels(module, others[0])


def _plain_labels(module: Module, node: ast.expr) -> ast.expr:
    """The argmax of one-hot labels behind casts and names; else the labels without the casts around them."""
    value, depth = node, 6
    while depth:
        depth -= 1
        if isinstance(value, ast.Call) and module.op(value) == "cast" and value.args:
            value = value.args[0]
            if module.statement(value) is module.statement(node):
                node = value
        elif isinstance(value, ast.Name):
            definitions = module.definitions(value)
            if len(definitions) != 1 or definitions[0].kind != "assign" or definitions[0].path:
                break
            if definitions[0].value is None:
                break
            value = definitions[0].value
        else:
            break
    return value if isinstance(value, ast.Call) and module.op(value) in _INDEX else node


def _needless(module: Module, target: ast.expr, call: ast.expr) -> list[Def]:
    """Assignments between the argmax and the loss that nothing else reads."""
    gone: list[Def] = []
    places: list[ast.AST] = [target]
    for _ in range(4):
        for assign in module.all(ast.Assign):
            assert isinstance(assign, ast.Assign)
            if len(assign.targets) != 1 or not isinstance(assign.targets[0], ast.Name) or assign.value is target:
                continue
            # Only what is left of the argmax goes, not the scores and labels that the new loss reads.
            is_left = assign.value in module.cuts.dependent and assign.value not in module.cuts.alive
            if not is_left or module.function(assign) is not module.function(call):
                continue
            for definition in module.reaching.bindings.get(assign.targets[0], []):
                uses = definition.uses
                if definition not in gone and uses and all(any(module.inside(u, p) for p in places) for u in uses):
                    gone.append(definition)
                    places.append(assign)
    return gone
