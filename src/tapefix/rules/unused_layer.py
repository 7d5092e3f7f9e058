"""TPF508: a layer whose output no loss depends on, as a run has measured."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.findings import Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module
    from tapefix.proof.run import Run


class UnusedLayer(Rule):
    """A layer's weights get no gradient, while those around it do: nothing uses what it computes.

    What it finds:
        With a run: variables that are None in every gradient, beside others that are healthy, where no operation was
        seen that cuts them off. Typical is the pooler of an encoder of which only the sequence output is used.

    Why the gradient stops:
        The layer runs, but its output is on no path to the loss.

    Example:
        ```python
        import tensorflow as tf

        used = tf.keras.layers.Dense(1)
        unused = tf.keras.layers.Dense(1)
        x = tf.ones([4, 3])
        with tf.GradientTape() as tape:
            side = unused(x)
            loss = tf.reduce_mean(tf.square(used(x)))
        gradients = tape.gradient(loss, used.trainable_variables + unused.trainable_variables)
        ```

    Fix safety:
        Advice only: whether to use the layer, to drop it or to leave it out of the list is for the author to say.
    """

    code = "TPF508"
    name = "unused-layer"
    safety = "advice"

    def check(self, module: Module) -> Iterator[Finding]:
        run = module.measured
        if run is None or run.failure is not None or any(place.kind != "bad" for place in run.breaks):
            return
        for owner, names in self._starved(run).items():
            place = self._place(module, owner) or self._call_at(module, run)
            if place is None:
                continue
            shown = owner or names[0]
            yield self.finding(
                module,
                place,
                f"The weights of {shown} get no gradient, though others do: what it computes is on no "
                "path to the loss.",
                label="not used by the loss",
                certain=False,
                advice=(
                    f"Use the output of {shown} in the loss, remove the layer, or leave its variables out of the list."
                ),
            )

    def _starved(self, run: Run) -> dict[str, list[str]]:
        """Layers (by their path) of which every variable is None in every gradient, where others are not."""
        states: dict[str, set[str]] = {}
        for gradient in run.gradients:
            for source in gradient.sources:
                states.setdefault(source.name, set()).add(source.state)
        if not any("ok" in found for found in states.values()):
            return {}
        owners: dict[str, list[str]] = {}
        for name, found in states.items():
            owner = name.rpartition("/")[0]
            if found == {"none"} and owner:
                owners.setdefault(owner, []).append(name)
        whole = {name.rpartition("/")[0] for name, found in states.items() if found != {"none"}}
        return {owner: names for owner, names in owners.items() if owner not in whole}

    def _place(self, module: Module, owner: str) -> ast.AST | None:
        """Where the layer is made: by its name, or by the attribute that holds it."""
        last = owner.rpartition("/")[2]
        for call in module.calls:
            if module.kinds.made(call) not in ("layer", "model"):
                continue
            if any(
                k.arg == "name" and isinstance(k.value, ast.Constant) and k.value.value == last for k in call.keywords
            ):
                return call
        for (_, name), writes in module.classes.attribute_writes.items():
            if name == last and isinstance(writes[0][0], ast.Call):
                return writes[0][0]
        return None

    def _call_at(self, module: Module, run: Run) -> ast.AST | None:
        lines = [gradient.line for gradient in run.gradients]
        return next((g.call for g in module.tapes.gradients if g.call.lineno in lines), None)
