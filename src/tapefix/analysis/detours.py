"""Detours: where values leave TensorFlow between what is trained and the loss, so that the tape sees constants."""

from __future__ import annotations

import ast
from functools import cached_property
from typing import TYPE_CHECKING

from tapefix.analysis.exports import ARRAYS, WRAPPERS, Exit, exit_kind
from tapefix.analysis.flow import Vertex
from tapefix.analysis.gradient_targets import Target, targets
from tapefix.analysis.parts import Part, Parts
from tapefix.analysis.paths import Paths, State
from tapefix.analysis.scopes import Def, Function
from tapefix.analysis.tapes import argument
from tapefix.analysis.training import PREDICTS
from tapefix.analysis.values import DERIVED, FLAT, GOOD, HELD, METHODS, PICKS, UNKNOWN, Mode

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class Detour:
    """One place that takes a value out of TensorFlow. `certain`: the text alone shows that a gradient is lost.

    `node` is a call, or the subscript of an array that a value is stored into.
    """

    __slots__ = ("certain", "kind", "node", "part", "silent")

    def __init__(self, node: ast.expr, kind: Exit, part: Part, certain: bool, silent: bool) -> None:
        self.node = node
        self.kind = kind
        self.part = part
        self.certain = certain
        self.silent = silent


class Detours:
    """All detours of one module.

    `tensors` are the values that become tensors again once the certain detours are taken out, `perhaps` those
    after the others. `beside` are NumPy calls on data in what runs as a graph: they fail there, too. `outside` are
    the exports of which a program that TensorFlow cannot run makes a term of the loss.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self.objects = module.objects
        self.training = module.training
        self.found: dict[ast.expr, Detour] = {}
        self.tensors: set[Vertex] = set()
        self.perhaps: set[Vertex] = set()
        self.beside: set[ast.Call] = set()
        self.outside: set[ast.Call] = set()
        self.live: set[Vertex] = set()
        if self._candidates:
            for target in targets(module):
                self._search(target)
                if self._compiled(target):
                    self._in_compiled_loss(target)

    @cached_property
    def _candidates(self) -> dict[Vertex, Exit]:
        found: dict[Vertex, Exit] = {}
        own = self._own_gradients
        for call in self.module.calls:
            kind = exit_kind(self.module, call) if not any(self.module.inside(call, f) for f in own) else None
            if kind is not None and (self.training.is_recorded(call) or self._is_in_named_loss(call, kind)):
                found[call] = kind
        for store in self.module.all(ast.Subscript):
            for definition in self.module.reaching.bindings.get(store, ()) if isinstance(store.ctx, ast.Store) else ():  # type: ignore[attr-defined]
                if self.training.is_recorded(store) and any(self._is_array(d) for d in definition.previous):
                    found[definition] = "export"
        return found

    @cached_property
    def _own_gradients(self) -> set[Function]:
        """Functions under `tf.custom_gradient`, whose gradient does not depend on how their value is computed, and
        those that they hand to `numpy_function`.
        """
        found = set(self.training.custom_gradients)
        for call in self.module.calls if found else ():
            handed = call.args[:1] if self.module.call_name(call) in WRAPPERS else []
            if handed and any(self.module.inside(call, function) for function in found):
                found |= {o for o in self.objects.origins(handed[0]) if isinstance(o, (ast.FunctionDef, ast.Lambda))}
        return found

    def _is_in_named_loss(self, call: ast.Call, kind: Exit) -> bool:
        return kind in ("operation", "export", "predict") and self.module.named_losses.holds(call)

    def _is_array(self, definition: Def) -> bool:
        return self.module.call_name(definition.value) in ARRAYS if definition.value is not None else False

    # -------------------------------------------------------------- one target

    def _search(self, target: Target) -> None:
        stop = target.enters
        paths = Paths(self.module, target.values, lambda v: not isinstance(v, ast.Call) and stop(v))
        if not paths.complete or not any(s.vertex in self._candidates for s in paths.inputs):
            return
        seeds = [s for s in paths.inputs if stop(s.vertex)]
        exits = {s for s in paths.inputs if s.vertex in self._candidates and self._cuts(s)}
        strict: set[Mode] = {GOOD, DERIVED}
        learned = paths.reach(seeds, {GOOD, DERIVED, UNKNOWN, FLAT})
        if not learned & exits:
            return
        surely = paths.reach(seeds, strict)
        directly = paths.reach(seeds, {GOOD})
        onward = paths.sources(paths.targets, strict)
        carrying: set[Mode] = {GOOD, DERIVED, UNKNOWN}
        live = paths.reach([s for s in seeds if s not in exits], carrying, lambda s: s not in exits)
        # What lives on its way but is cut later does not reach the target: only the rest keeps a term alive.
        live &= paths.sources([t for t in paths.targets if t in live], carrying, lambda s: s in live)
        # What has left TensorFlow before is no tensor any more, and NumPy is right for it.
        left = {s for s in exits if self._candidates[s.vertex] in ("export", "predict")}
        tensors = paths.reach([s for s in seeds if s not in left], carrying, lambda s: s not in left)
        # Where nothing lives in the target, a function of another module between here and there changes nothing.
        lost = target.kind == "tape" and not any(t in live for t in paths.targets)
        dead_end = paths.sources(paths.targets, carrying, lambda s: self._is_closed(s.vertex)) if lost else set()
        dead_terms = self._dead_terms(paths, live) if target.kind == "tape" else set()
        self.live |= {s.vertex for s in live}
        recorded = {s for s in learned if self._recorded(s, target)}
        starving = self._starving(target)
        cut: dict[bool, list[State]] = {True: [], False: []}
        for state in recorded & exits:
            if not self._fed_by_learning(paths, state, learned, target):
                continue
            graph = self._in_graph(state, target)
            ends = state in dead_end or (state in dead_terms and self._is_method(state.vertex))
            sure = self._is_tensor(state, surely, target) and (
                state in onward or ends or graph or target.kind == "named"
            )
            if not sure and state not in paths.sources(paths.targets, carrying):
                continue
            kind = self._candidates[state.vertex]
            if target.kind == "named" and kind != "operation":
                continue  # a library may well hand out arrays: that alone is no defect
            tensor = any(edge.state in tensors for edge in paths.inputs[state])
            onto = carrying if ends else strict
            parts = Parts(self.module, paths, live).of(state, onto)
            certain, part = self._judge(kind, parts, state in directly, target, graph)
            if part == "factor" and kind == "operation" and not certain:
                certain = tensor and not self._is_shared(state) and not self._is_held(paths, state, live)
            if state.vertex in starving:
                certain, sure, part = True, True, "all"
            certain &= part == "all" or not self._is_rollout(state.vertex)
            if kind == "random" and not certain:
                continue  # an action drawn from a policy: its log-probability is what trains
            if target.kind == "named" and not (certain and sure and tensor):
                continue
            trained = target.kind != "layer" or (part != "factor" and self._trained(paths, state, target))
            silent = certain and sure and trained and target.kind != "named"
            node = state.vertex.node if isinstance(state.vertex, Def) else state.vertex
            assert isinstance(node, ast.expr)
            self._note(Detour(node, kind, part, certain and sure, silent))
            cut[certain and sure].append(state)
        if target.kind == "tape" and not cut[True]:
            self._outside(paths, recorded & exits & left, live)
        self.tensors |= {s.vertex for s in paths.reach(cut[True], strict) - live if s in recorded}
        self.perhaps |= {s.vertex for s in paths.reach(cut[False], strict) - live if s in recorded}
        if cut[True]:
            self._beside(paths, target)

    def _outside(self, paths: Paths, exports: set[State], live: set[State]) -> None:
        every: set[Mode] = {GOOD, DERIVED, UNKNOWN, FLAT}
        for state in exports:
            if self._is_method(state.vertex) and Parts(self.module, paths, live).of(state, every) == {"term"}:
                assert isinstance(state.vertex, ast.Call)
                self.outside.add(state.vertex)

    def _dead_terms(self, paths: Paths, live: set[State]) -> set[State]:
        """What the target is computed from, where calls of unknown functions are given nothing else that lives."""
        seen = set(paths.targets)
        queue = list(paths.targets)
        while queue:
            state = queue.pop()
            for edge in paths.inputs.get(state, ()):
                if edge.mode == UNKNOWN and (state in live or not self._is_closed(state.vertex)):
                    continue
                if edge.mode != FLAT and edge.state not in seen:
                    seen.add(edge.state)
                    queue.append(edge.state)
        return seen

    def _starving(self, target: Target) -> set[Vertex]:
        """The calls through which alone a model that a gradient is asked for has a part in the target."""
        if target.gradient is None or target.gradient.tape is None:
            return set()
        return {cut for road in self.module.recordings[target.gradient][0] if road.is_starved for cut in road.cuts}

    def _is_tensor(self, state: State, surely: set[State], target: Target) -> bool:
        """Does the text alone show that a tensor comes here?"""
        node = state.vertex
        if self._candidates[node] != "operation" or not isinstance(node, ast.Call):
            return state in surely or (target.kind == "tape" and self._is_method(node))
        if target.kind == "named":
            return self.module.named_losses.is_certain(node)
        return state in surely or any(self.module.named_losses.is_tensor(a) for a in node.args)

    @staticmethod
    def _is_method(node: Vertex) -> bool:
        """`x.numpy()` and `model.predict(x)`: what has such a method is a tensor or a model, whatever made it."""
        return isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("numpy", *PREDICTS)

    def _beside(self, paths: Paths, target: Target) -> None:
        """In a graph NumPy fails on the other tensors of the same computation, too: on `y_true`, on the batch."""
        given = {d for p in self._graph_parameters(target) for d in self.module.reaching.bindings.get(p, [])}
        for state in paths.reach([s for s in paths.inputs if s.vertex in given], {GOOD, FLAT, DERIVED}):
            node = state.vertex
            if isinstance(node, ast.Call) and self._candidates.get(node) in ("operation", "export"):
                self.beside.add(node)
        self.beside |= self._asked_in_python(given)

    def _in_compiled_loss(self, target: Target) -> None:
        """A symbolic tensor has no value to give: what asks for one fails, whatever it is wanted for."""
        for call in self._asked_in_python({d for d in target.parameters if isinstance(d, Def)}):
            if getattr(call.func, "attr", "") in ("numpy", "get_value", "eval"):
                self._note(Detour(call, "export", "factor", certain=True, silent=False))

    def _asked_in_python(self, given: set[Def]) -> set[ast.Call]:
        """Exports of a graph's tensors that only a Python branch asks for: `if K.get_value(count) > 0:`."""
        found: set[ast.Call] = set()
        functions = {d.scope.node for d in given}
        for node in self._candidates:
            if not isinstance(node, ast.Call) or self._candidates[node] != "export" or node in self.found:
                continue
            if self.module.function(node) in functions and given & self.module.flow.backward([node]):
                found.add(node)
        return found

    def _graph_parameters(self, target: Target) -> list[ast.arg]:
        """The parameters of what Keras or tf.function runs as a graph."""
        if self._compiled(target) and target.root is not None:
            return self.objects.parameters(target.root)
        found: list[ast.arg] = []
        for value in target.values if "run_eagerly" not in self.module.text else ():
            function = None if isinstance(value, Def) else self.module.function(value)
            if not isinstance(function, ast.FunctionDef):
                continue
            decorators = {self.module.name(d.func if isinstance(d, ast.Call) else d) for d in function.decorator_list}
            if "tf.function" in decorators or function.name in ("train_step", "test_step"):
                found += self.objects.parameters(function)
        return found

    def _note(self, new: Detour) -> None:
        old = self.found.get(new.node)
        if old is None or (new.certain, new.silent) > (old.certain, old.silent):
            self.found[new.node] = new

    def _cuts(self, state: State) -> bool:
        """Does the gradient end here? `tf.constant` of a tensor lets it through (in eager mode)."""
        node = state.vertex
        if self._candidates[node] != "constant" or not isinstance(node, ast.Call):
            return True
        value = node.args[0] if node.args else argument(node, 0, "value") or argument(node, 0, "initial_value")
        if self.module.call_name(node) in ("tf.Variable", "keras.Variable"):
            return True
        if self.module.call_name(node) == "tf.convert_to_tensor" or value is None:
            return False
        return isinstance(value, (ast.List, ast.Tuple, ast.ListComp)) or self.module.kinds.of(value) == "variable"

    def _fed_by_learning(self, paths: Paths, state: State, learned: set[State], target: Target) -> bool:
        if self._candidates[state.vertex] == "predict" and target.enters(state.vertex):
            return True
        return any(edge.state in learned for edge in paths.inputs[state] if edge.mode != FLAT)

    def _trained(self, paths: Paths, state: State, target: Target) -> bool:
        """Does the detour starve something besides the input of a layer?"""
        return any(target.asked(s.vertex) for s in paths.sources([state], {GOOD}))

    def _recorded(self, state: State, target: Target) -> bool:
        vertex = state.vertex.node if isinstance(state.vertex, Def) else state.vertex
        places = [*state.calls, vertex]
        if any(self._in_tape(place) for place in places):
            return True
        if target.root is not None and any(self.module.inside(place, target.root) for place in places):
            return True
        return not state.calls and self.module.function(vertex) is not None and self.training.is_recorded(vertex)

    def _in_tape(self, node: ast.AST) -> bool:
        return any(above is tape.block for above in self.module.ancestors(node) for tape in self.module.tapes.tapes)

    # -------------------------------------------------------------- what is lost

    def _compiled(self, target: Target) -> bool:
        """Is this a loss that Keras runs as a graph? NumPy functions and .numpy() fail on its symbolic tensors."""
        text = self.module.text
        fit = target.kind == "fit" or (target.kind == "class" and ".compile(" in text)
        return fit and "run_eagerly" not in text and "run_functions_eagerly" not in text

    def _in_graph(self, state: State, target: Target) -> bool:
        """Does tf.function, or Keras, run this as a graph? There a tensor is no array, whatever it is wanted for."""
        node = state.vertex
        if not isinstance(node, ast.Call) or self._candidates[node] not in ("export", "predict", "operation"):
            return False
        function = self.module.function(node)
        text = self.module.text
        if target.kind != "tape" or not isinstance(function, ast.FunctionDef) or "_eagerly" in text:
            return False
        if not self._in_tape(node):
            return False
        decorators = {self.module.name(d.func if isinstance(d, ast.Call) else d) for d in function.decorator_list}
        owner = self.module.method_class(function) if function.name == "train_step" else None
        return "tf.function" in decorators or (owner is not None and self.module.classes.kind(owner) == "model")

    def _is_shared(self, state: State) -> bool:
        """Is this in a helper that is used where nothing is recorded, too: there it may be given arrays?"""
        called = [f for call in state.calls for f in self.objects.callees(call)]
        return any(not self.training.is_recorded(site) for f in called for site in self.objects.call_sites.get(f, ()))

    def _is_rollout(self, node: Vertex) -> bool:
        """`tf.numpy_function(self.rollout, [], ...)`: what takes no tensors makes data, which may be meant as such."""
        if not isinstance(node, ast.Call) or self._candidates[node] != "wrapper":
            return False
        given = argument(node, 1, "inp")
        return given is None or (isinstance(given, (ast.List, ast.Tuple)) and not given.elts)

    def _is_held(self, paths: Paths, start: State, live: set[State]) -> bool:
        """May this part of a formula be held constant on purpose, as targets, advantages and weights are?"""
        if isinstance(start.vertex, ast.Call) and self.module.call_name(start.vertex) in PICKS:
            return True
        dead = paths.reach([start], {GOOD, DERIVED, FLAT}, lambda s: s not in live)
        names = {s.vertex.name for s in dead if isinstance(s.vertex, Def)}
        names |= {s.vertex.attr for s in dead if isinstance(s.vertex, ast.Attribute)}
        return any(HELD.search(name) for name in names)

    def _is_closed(self, vertex: Vertex) -> bool:
        """Does this compute with its arguments only? A method may use a model of its object, and what a model is
        handed to may run it."""
        if not isinstance(vertex, ast.Call) or self.objects.callees(vertex):
            return True
        arguments = [*vertex.args, *[k.value for k in vertex.keywords]]
        if any(self.module.classes.is_self(a) or self.module.kinds.of(a) in ("model", "module") for a in arguments):
            return False
        if self.module.call_name(vertex) is not None or self.module.kinds.of(vertex.func) is not None:
            return True
        if isinstance(vertex.func, ast.Attribute) and vertex.func.attr in METHODS:
            return True
        if isinstance(vertex.func, ast.Name):
            return True
        made = self.objects.origins(vertex.func)
        return bool(made) and all(
            isinstance(o, ast.Call) and self.module.call_name(o) is not None and self._is_closed(o) for o in made
        )

    def _judge(self, kind: Exit, parts: set[Part], directly: bool, target: Target, graph: bool) -> tuple[bool, Part]:
        if "all" in parts:
            return True, "all"
        if "term" in parts:
            return True, "term"
        layer = target.kind == "layer" and bool(target.parameters) and "run_eagerly" not in self.module.text
        if self._compiled(target) or layer or graph or target.kind == "named":
            return True, "factor"
        if "fed" in parts:
            # Features of a frozen network, states between two chunks and attacked inputs are detached on purpose.
            meant = (
                kind in ("export", "predict", "constant") or not directly or ".trainable = False" in self.module.text
            )
            return not meant, "fed"
        return False, "factor"
