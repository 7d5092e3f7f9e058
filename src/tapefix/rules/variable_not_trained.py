"""TPF503: a network or a variable that the loss depends on and that no optimiser gets."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tapefix.analysis.flow import Vertex
from tapefix.analysis.moves import is_built
from tapefix.analysis.tapes import GradientCall
from tapefix.analysis.training import VARIABLE_LISTS
from tapefix.findings import Candidate, Finding
from tapefix.rules._text import listing
from tapefix.rules._trained_lists import with_more
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module

# The call that makes a network, and the position unpacked from its result.
Made = tuple[ast.Call, tuple[int, ...]]


class Untrained(NamedTuple):
    """Something that a loss depends on and nobody trains."""

    place: ast.Call
    spelled: str
    # As the list of the gradient call would name it; None where that is not known.
    written: str | None
    gradient: GradientCall
    is_network: bool


# Methods after which a network's or a variable's value is somebody else's business.
_SET = {
    "set_weights", "load_weights", "compile", "fit", "train_on_batch", "assign", "assign_add", "assign_sub",
    "restore", "build_from_config", "adapt",
}  # fmt: skip
# What networks are called that are fixed on purpose.
_FIXED = (
    "target", "teacher", "frozen", "fixed", "old", "ema", "pretrained", "reference", "momentum", "prior", "random",
    "vgg", "feature_extractor", "extractor", "perceptual", "inception", "lpips", "backbone", "base_model",
)  # fmt: skip


class VariableNotTrained(Rule):
    """The loss depends on a network or a variable that is in no list of trained variables.

    What it finds:
        A model or a tf.Variable that takes part in a loss under a tape, with variables that no `tape.gradient` and no
        optimiser of the file is ever given. Frozen networks, target networks and networks with loaded weights are
        left alone.

    Why the gradient stops:
        Nothing asks for its gradient: it keeps its random weights while all else trains, without any message.

    Example:
        ```python
        import tensorflow as tf

        keras = tf.keras
        encoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        optimizer = keras.optimizers.Adam(0.01)
        x = tf.ones([4, 3])
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(decoder(encoder(x)) - x))
        variables = decoder.trainable_variables
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables))
        ```

    Fix safety:
        Safe: a network with random weights in a loss was meant to learn. Its variables join the list of the network
        next to it.
    """

    code = "TPF503"
    name = "variable-not-trained"
    safety = "safe"
    tokens = (".gradient(",)

    def check(self, module: Module) -> Iterator[Finding]:
        if not module.tapes.gradients or not any(self._is_update(module, c) for c in module.calls):
            return
        run = module.measured
        if run is not None and run.gradients and all(v.asked or v.applied for v in run.variables):
            return
        untrained = [
            self._of_network(module, network, forward)
            for network, forward in self._networks(module).items()
            if not self._is_used_elsewhere(module, network, forward)
        ]
        untrained += [
            self._of_variable(module, made)
            for made in module.calls
            if module.call_name(made) == "tf.Variable" and self._is_free_variable(module, made)
        ]
        groups: dict[tuple[ast.AST, bool], list[Untrained]] = {}
        for one in untrained:
            if one is not None:
                groups.setdefault((one.gradient.call, one.written is not None), []).append(one)
        for group in groups.values():
            yield self._found(module, group)

    def _found(self, module: Module, group: list[Untrained]) -> Finding:
        """What is missing in one list is one defect, and is added to it at once."""
        gradient = group[0].gradient
        lists = [u.written for u in group if u.is_network and u.written is not None]
        variables = [u.written for u in group if not u.is_network and u.written is not None]
        edits = with_more(module, gradient, lists=lists, variables=variables) if lists or variables else None
        names = listing([u.spelled for u in group])
        it, its, keep = ("it", "its", "it keeps its") if len(group) == 1 else ("them", "their", "they keep their")
        if all(u.is_network for u in group):
            lost = f"{its} variables are in no list that a tape or an optimiser gets: {keep} random weights."
        else:
            lost = f"no tape is asked for {its} gradient and no optimiser gets {it}: {keep} first value."
        return self.finding(
            module,
            group[0].place,
            f"The loss depends on {names}, but {lost}",
            label="is not trained",
            candidates=[Candidate(f"train {names}, too", edits, trains_more=True)] if edits is not None else (),
            notes=[(u.place, "nor is this") for u in group[1:]] + [(gradient.sources, "trained here")],
            certain=edits is not None,
            silent=True,
            advice="" if edits is not None else f"Add {names} to the list that is differentiated and updated.",
        )

    @staticmethod
    def _is_update(module: Module, call: ast.Call) -> bool:
        return isinstance(call.func, ast.Attribute) and call.func.attr in ("apply_gradients", "apply", "assign_sub")

    # -------------------------------------------------------------- networks

    def _networks(self, module: Module) -> dict[Made, list[ast.Call]]:
        """The models and layers made in this file outside of other layers, with the calls that run them."""
        found: dict[Made, list[ast.Call]] = {}
        for call in module.calls:
            if not isinstance(call.func, (ast.Name, ast.Attribute)) or not module.training.is_forward(call):
                continue
            origins = module.objects.origins(call.func)
            if len(origins) != 1 or not isinstance(origins[0], ast.Call) or not self._is_fresh(module, origins[0]):
                continue
            made = module.objects.made_at(call.func)
            if made is None:
                continue
            owner = module.class_of(call)
            if owner is not None and module.classes.kind(owner) in ("model", "layer", "module"):
                continue  # its owner lists its variables
            found.setdefault(made, []).append(call)
        return found

    def _is_fresh(self, module: Module, made: ast.Call) -> bool:
        """Does this call make a network with random weights?"""
        owner = module.class_of(made)
        if owner is not None and module.classes.kind(owner) in ("model", "layer", "module"):
            return False
        if module.objects.instance_class(made) is not None:
            return module.kinds.made(made) in ("model", "layer")
        name = module.call_name(made) or ""
        if name in ("keras.Model", "keras.models.Model", "keras.Sequential", "keras.models.Sequential"):
            pretrained = any("applications" in (module.call_name(c) or "") for c in module.calls)
            return not pretrained and not self._is_made_of_networks(module, made)
        return name in ("keras.layers.Dense", "keras.layers.Embedding", "keras.layers.Conv2D", "keras.layers.LSTM")

    def _is_made_of_networks(self, module: Module, made: ast.Call) -> bool:
        """`Model(scan, masked(generator(scan)))`: the weights are those of networks that are trained by themselves."""
        behind = module.flow.backward([*made.args, *[k.value for k in made.keywords]])
        inner = {
            module.objects.made_at(v.func)
            for v in behind
            if isinstance(v, ast.Call) and module.kinds.of(v.func) == "model"
        }
        lists = [n for n in module.all(ast.Attribute) if n.attr in VARIABLE_LISTS] if inner else []  # type: ignore[attr-defined]
        return any(module.objects.made_at(node.value) in inner - {None} for node in lists)  # type: ignore[attr-defined]

    def _is_used_elsewhere(self, module: Module, made: Made, forward: list[ast.Call]) -> bool:
        """Is it trained, frozen, loaded, copied, or part of another model: anything but called?"""
        inner = module.objects.origins(forward[0].func)[0]
        for node in module.all(ast.Name, ast.Attribute):
            if not isinstance(getattr(node, "ctx", None), ast.Load):
                continue
            parent = module.parent(node)
            if isinstance(parent, ast.Attribute) and parent.value is node and not _matters(parent):
                continue
            if isinstance(parent, ast.Call) and parent.func is node and parent in forward:
                if self._is_symbolic(module, parent):
                    return True
                continue
            if inner not in module.objects.origins(node):
                continue
            own = module.objects.made_at(node)
            if own is not None and own != made and own != (inner, ()):
                continue  # another network that the same function makes
            if any(word in module.source(node).lower() for word in _FIXED):
                return True
            if isinstance(parent, ast.Attribute) and parent.value is node:
                return True
            if self._is_plain_pass(module, node, parent):
                continue
            return True
        return any(word in module.source(call.func).lower() for call in forward for word in _FIXED)

    def _is_symbolic(self, module: Module, call: ast.Call) -> bool:
        """Is it run on a keras.Input, so that it is part of a functional model?"""
        values = module.flow.backward(call.args)
        return any(
            isinstance(v, ast.Call) and module.call_name(v) in ("keras.Input", "keras.layers.Input") for v in values
        )

    def _is_plain_pass(self, module: Module, node: ast.AST, parent: ast.AST | None) -> bool:
        """`self.encoder = encoder`, `return encoder`, or an argument of a function of this module."""
        if isinstance(parent, (ast.Return, ast.Assign, ast.Tuple)):
            above = module.parent(parent)
            return not isinstance(parent, ast.Tuple) or isinstance(above, (ast.Return, ast.Assign))
        if isinstance(parent, ast.Call) and node in parent.args:
            made = module.objects.instance_class(parent)
            if made is not None:
                return module.classes.kind(made) is None
            return bool(module.objects.callees(parent)) and not module.training.is_forward(parent)
        return False

    def _of_network(self, module: Module, made: Made, forward: list[ast.Call]) -> Untrained | None:
        reached = [
            (gradient, distance)
            for gradient in module.tapes.gradients
            if gradient.tape is not None and (distance := self._distance(module, gradient, forward)) is not None
        ]
        if not reached:
            return None
        nearest = min(distance for _, distance in reached)
        chosen = [gradient for gradient, distance in reached if distance == nearest]
        place = min((c for c in forward), key=lambda c: c.lineno)
        written = None
        # Side by side in the one loss of the file is as near as one behind the other.
        if len(chosen) == 1 and (nearest == 0 or len(module.tapes.gradients) == 1):
            text = self._spelled(module, made, chosen[0], forward)
            if text is not None and self._known_in_time(module, place, chosen[0]):
                written = f"{text}.trainable_variables"
        return Untrained(place, module.source(place.func), written, chosen[0], is_network=True)

    def _known_in_time(self, module: Module, forward: ast.Call, gradient: GradientCall) -> bool:
        """Has the network its variables where the list is made?"""
        if not isinstance(gradient.sources, ast.Name) or is_built(module, forward.func):
            return True
        definitions = module.definitions(gradient.sources)
        tape = gradient.tape
        line = getattr(definitions[0].node, "lineno", 0) if definitions else 0
        return tape is not None and line > tape.block.lineno

    def _spelled(self, module: Module, made: Made, gradient: GradientCall, forward: list[ast.Call]) -> str | None:
        """The network as the function of the gradient call writes it."""
        function = module.function(gradient.call)
        for call in forward:
            if module.function(call) is function:
                return module.source(call.func)
        for node in module.all(ast.Name, ast.Attribute):
            if module.function(node) is function and made == module.objects.made_at(node):
                return module.source(node)
        for call in forward:
            text = module.source(call.func)
            if text.startswith("self.") and module.class_of(call) is module.class_of(gradient.call) is not None:
                return text
            if module.scope(gradient.call).lookup(text.split(".")[0]) and not text.startswith("self."):
                return text
        return None

    def _distance(self, module: Module, gradient: GradientCall, forward: list[ast.Call]) -> int | None:
        """How many other networks stand between this one and those that the gradient is asked for; None: no path."""
        behind = module.flow.backward([gradient.target])
        mine = [call for call in forward if call in behind]
        if not mine:
            return None
        owners = self._owners(module, gradient)
        trained = [
            c
            for c in module.calls
            if c in behind and module.training.is_forward(c) and module.objects.made_at(c.func) in owners
        ]
        if not trained:
            return 0 if not owners else None  # what is trained takes no part: that is another defect
        best = None
        for call in trained:
            for one, two in [(call, m) for m in mine] + [(m, call) for m in mine]:
                steps = self._steps(module, one, two)
                if steps is not None and (best is None or steps < best):
                    best = steps
        return best if best is not None else 9

    def _owners(self, module: Module, gradient: GradientCall) -> set[Made | None]:
        behind = module.flow.backward([gradient.sources])
        lists = [v for v in behind if isinstance(v, ast.Attribute) and v.attr in VARIABLE_LISTS]
        return {module.objects.made_at(node.value) for node in lists} - {None}

    def _steps(self, module: Module, later: ast.Call, earlier: ast.Call) -> int | None:
        """Forward calls on the shortest way from `earlier` to `later` through the values, both left out."""
        level: list[Vertex] = [*later.args, *[k.value for k in later.keywords]]
        seen: set[Vertex] = set()
        for count in range(4):
            following: list[Vertex] = []
            while level:
                vertex = level.pop()
                if vertex in seen:
                    continue
                seen.add(vertex)
                if vertex is earlier:
                    return count
                crosses = isinstance(vertex, ast.Call) and module.training.is_forward(vertex)
                (following if crosses else level).extend(module.flow.inputs(vertex))
            level = following
        return None

    # -------------------------------------------------------------- single variables

    def _is_free_variable(self, module: Module, made: ast.Call) -> bool:
        """A trainable variable of a script or a plain class that is read in computations only."""
        if any(k.arg == "trainable" for k in made.keywords) or len(made.args) > 1:
            return False
        assign = module.parent(made)
        if not isinstance(assign, ast.Assign) or len(assign.targets) != 1:
            return False
        target = assign.targets[0]
        owner = module.class_of(made)
        if isinstance(target, ast.Name):
            if module.function(made) is not None or owner is not None:
                return False
            bound = module.reaching.bindings.get(target, [])
            uses: list[ast.AST] = list(bound[0].uses) if bound else []
            spelled = target.id
        elif isinstance(target, ast.Attribute) and module.classes.is_self(target.value) and owner is not None:
            if module.classes.kind(owner) is not None or any(module.name(b) is None for b in owner.bases):
                return False
            if len(module.classes.attribute_writes.get((owner, target.attr), ())) != 1:
                return False
            uses = [n for n in module.all(ast.Attribute) if n.attr == target.attr and isinstance(n.ctx, ast.Load)]  # type: ignore[attr-defined]
            spelled = target.attr
        else:
            return False
        if not uses or any(word in spelled.lower() for word in (*_FIXED, "step", "count", "epoch")):
            return False
        return all(self._computes(module, use) for use in uses)

    def _computes(self, module: Module, use: ast.AST) -> bool:
        """Is this read part of a computation: an operand, an argument of an operation, something printed?"""
        parent = module.parent(use)
        if isinstance(parent, ast.Call):
            if use in parent.args:
                return module.op(parent) is not None or module.call_name(parent) in ("print", "float")
            return False
        if isinstance(parent, ast.Attribute):
            return parent.attr in ("numpy", "name", "shape", "dtype")
        return isinstance(parent, (ast.BinOp, ast.UnaryOp, ast.FormattedValue, ast.Subscript))

    def _of_variable(self, module: Module, made: ast.Call) -> Untrained | None:
        reached = [g for g in module.tapes.gradients if g.tape is not None and made in module.flow.backward([g.target])]
        reached = [g for g in reached if made not in module.flow.backward([g.sources])]
        if not reached:
            return None
        target = module.parent(made).targets[0]  # type: ignore[union-attr]
        written = self._spelled_there(module, reached[0], target) if len(reached) == 1 else None
        return Untrained(made, module.source(target), written, reached[0], is_network=False)

    def _spelled_there(self, module: Module, gradient: GradientCall, target: ast.AST) -> str | None:
        """The variable as the place of the gradient call writes it."""
        if isinstance(target, ast.Name):
            seen = module.scope(gradient.call).lookup(target.id) or module.function(gradient.call) is None
            return target.id if seen else None
        assert isinstance(target, ast.Attribute)
        owner = module.class_of(target)
        if module.class_of(gradient.call) is owner:
            return module.source(target)
        for item in gradient.source_items():
            # Another variable of the same object is in the list: `line.slope`.
            if isinstance(item, ast.Attribute) and owner in [
                module.objects.instance_class(o) for o in module.objects.origins(item.value)
            ]:
                return f"{module.source(item.value)}.{target.attr}"
        return None


def _matters(use: ast.Attribute) -> bool:
    """Does `network.attribute` train, freeze, load or hand out the weights?"""
    others = ("trainable", "layers", "non_trainable_variables", "call", "get_layer", "kernel")
    return use.attr in VARIABLE_LISTS or use.attr in _SET or use.attr in others
