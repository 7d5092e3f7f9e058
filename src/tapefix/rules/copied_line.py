"""TPF514: a copied line uses a weight or a layer a second time, and its sibling is used nowhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapefix.codemods.edits import ReplaceExpression
from tapefix.findings import Candidate, Finding
from tapefix.rules.base import Rule

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class CopiedLine(Rule):
    """A copied line uses a weight or a layer a second time, and its sibling is used nowhere.

    What it finds:
        In a Keras layer or model: `self.w_z` is used twice and `self.w_h`, which is made in the same way, never;
        `self.dense1(self.dense1(x))` where `self.dense2` exists. Only where a run measures that the unused one gets
        no gradient.

    Why the gradient stops:
        What is not used is on no path to the loss.

    Example:
        ```python
        import tensorflow as tf


        class Net(tf.keras.Model):
            def __init__(self):
                super().__init__()
                self.dense1 = tf.keras.layers.Dense(4, activation="relu")
                self.dense2 = tf.keras.layers.Dense(4, activation="relu")
                self.head = tf.keras.layers.Dense(1)

            def build(self, shape):
                self.dense1.build(shape)
                self.dense2.build((None, 4))

            def call(self, inputs):
                return self.head(self.dense1(self.dense1(inputs)))


        net = Net()
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(net(tf.ones([3, 4]))))
        gradients = tape.gradient(loss, net.trainable_variables)
        ```

    Fix safety:
        Safe: the uses stand in the order in which the weights are made, but for this one.
    """

    code = "TPF514"
    name = "copied-line"
    safety = "safe"

    def check(self, module: Module) -> Iterator[Finding]:
        if module.measured is None:
            return
        for owner in module.classes.by_name.values():
            if module.classes.kind(owner) in ("layer", "model"):
                for read, name in _misread(module, owner):
                    yield self.finding(
                        module,
                        read,
                        f"{module.source(read)} is used twice, and self.{name}, which is made like it, nowhere.",
                        label="copied?",
                        candidates=[
                            Candidate(
                                f"use self.{name}",
                                (ReplaceExpression(module.span(read), f"self.{name}"),),
                                keeps_value=False,
                                needs_proof=True,
                            )
                        ],
                        certain=False,
                    )


def _misread(module: Module, owner: ast.ClassDef) -> Iterator[tuple[ast.Attribute, str]]:
    """The reads that stand in the place of an unused sibling, and the sibling's name."""
    for family in _families(module, owner):
        reads = sorted(
            (
                node
                for node in module.each(ast.Attribute)
                if node.attr in family
                and isinstance(node.ctx, ast.Load)
                and module.classes.is_self(node.value)
                and module.class_of(node) is owner
                and getattr(module.function(node), "name", "") not in ("__init__", "build", "get_config")
            ),
            key=lambda node: module.span(node),
        )
        ordered = _in_order(module, reads)
        used = [node.attr for node in ordered]
        if len(used) == len(family) and len({*family} - {*used}) == 1:
            place = next(i for i, name in enumerate(family) if name not in used)
            rest = [name for i, name in enumerate(used) if i != place]
            if rest == [name for i, name in enumerate(family) if i != place]:
                yield ordered[place], family[place]


def _in_order(module: Module, reads: list[ast.Attribute]) -> list[ast.Attribute]:
    """The reads in the order in which they run: in `self.b(self.a(x))` a comes first."""

    def order(read: ast.Attribute) -> tuple[int, int, int]:
        statement = module.statement(read)
        call = module.parent(read)
        depth = 0
        if isinstance(call, ast.Call) and call.func is read:
            depth = len([other for other in reads if other is not read and module.inside(other, call)])
        return statement.lineno, depth, read.col_offset

    return sorted(reads, key=order)


def _families(module: Module, owner: ast.ClassDef) -> list[list[str]]:
    """Attributes that are made by the same kind of call and have names of the same form, in the order of the file."""
    found: dict[tuple[str, str], list[str]] = {}
    for (holder, name), writes in module.classes.attribute_writes.items():
        if holder is not owner or len(writes) != 1 or not isinstance(writes[0][0], ast.Call):
            continue
        maker = ast.unparse(writes[0][0].func)
        if maker.endswith("add_weight") or module.kinds.made(writes[0][0]) in ("layer", "variable"):
            found.setdefault((maker, _form(name)), []).append(name)
    return [family for family in found.values() if len(family) > 1]


def _form(name: str) -> str:
    """What the names of siblings share: `w_` of w_z and w_h, `dense` of dense1 and dense2."""
    return re.sub(r"(_[a-zA-Z]{1,2}|_?\d+|(?<=[a-z])[A-Z])$", "", name)
