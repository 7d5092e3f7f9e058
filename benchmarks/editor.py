"""How long an editor waits for the language server: diagnostics, code actions, and a proof.

    python benchmarks/editor.py [--no-proof] [FILE]

A file of 1,000 lines (or FILE, with as many lines as it has) is opened and typed in. From a key to its diagnostics at
most 100 ms may pass, from a request to its code actions 20 ms, and 1 s from a second command to a proved and applied
repair of a small script. Exit status 1 when a median takes longer.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lsp.editor import Editor  # noqa: E402
from lsp.profiles import VSCODE  # noqa: E402
from lsp.texts import BROKEN, HEALTHY, HERE, URI  # noqa: E402

ROUNDS = 15
HELPER = '''

class Block_{number}(tf.keras.layers.Layer):
    """Two dense layers with normalisation, and what is added to the loss."""

    def __init__(self, units, rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.first = tf.keras.layers.Dense(units, activation="relu")
        self.second = tf.keras.layers.Dense(units)
        self.norm = tf.keras.layers.LayerNormalization()
        self.dropout = tf.keras.layers.Dropout(rate)

    def call(self, inputs, training=False):
        hidden = self.dropout(self.first(inputs), training=training)
        outputs = self.norm(inputs + self.second(hidden))
        self.add_loss(1e-4 * tf.reduce_sum(tf.square(outputs)))
        return outputs


def evaluate_{number}(model, dataset):
    """The mean error over a data set."""
    errors = []
    for features, targets in dataset:
        predictions = model(features, training=False)
        errors.append(tf.reduce_mean(tf.abs(predictions - targets)).numpy())
    return sum(errors) / max(len(errors), 1)
'''


def thousand_lines() -> str:
    """A module of layers and helpers that trains in four places, one of them wrong."""
    parts = [BROKEN] + [HEALTHY.replace("import tensorflow as tf\n", "")] * 3
    text, number = "\n".join(parts), 0
    while text.count("\n") < 1000 - HELPER.count("\n"):
        text += HELPER.format(number=number)
        number += 1
    return text


def median(name: str, limit: float, call: Callable[[int], None], rounds: int = ROUNDS) -> bool:
    """Time a call and print its median; whether it is within the limit."""
    seconds = []
    for number in range(rounds):
        started = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - started)
    middle = statistics.median(seconds)
    worst = f"worst {max(seconds) * 1000:.0f} ms, " if rounds > 1 else ""
    print(f"{name:<40} {middle * 1000:7.1f} ms   {worst}limit {limit * 1000:.0f} ms")
    return middle <= limit


def main() -> int:
    words = [word for word in sys.argv[1:] if word != "--no-proof"]
    text = Path(words[0]).read_text(encoding="utf-8") if words else thousand_lines()
    command = [sys.executable, "-m", "tapefix.lsp"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    editor = Editor(process.stdout, process.stdin, VSCODE)
    editor.start()
    print(f"{'start of the server':<40} {(time.perf_counter() - started) * 1000:7.1f} ms")
    started = time.perf_counter()
    found = editor.open(URI, text)
    lines = text.count("\n")
    print(f"{f'first diagnostics, {lines} lines':<40} {(time.perf_counter() - started) * 1000:7.1f} ms")
    end = {"line": lines, "character": 0}
    where = found[0]["range"] if found else HERE
    editor.actions(URI, where)

    def type_a_key(number: int) -> None:
        editor.type(URI, {"start": end, "end": end}, "#")
        editor.diagnosed(URI)

    within = [
        median(f"diagnostics after a key, {lines} lines", 0.1, type_a_key),
        median("code actions", 0.02, lambda _: (editor.actions(URI, where), None)[1]),
    ]
    if "--no-proof" not in sys.argv:
        small = URI.replace("train", "small")
        editor.open(small, BROKEN)

        def prove(number: int) -> None:
            editor.rewrite(small, BROKEN.replace("0.1", f"0.{number + 2}"))
            before = len(editor.applied)
            editor.ask("workspace/executeCommand", {"command": "tapefix.proveAndApply", "arguments": [small]})
            editor.wait(lambda: len(editor.applied) > before)

        median("first proof, TensorFlow's import in it", 30, prove, rounds=1)
        within.append(median("second proof", 1, lambda number: prove(number + 1), rounds=5))
    editor.stop()
    process.wait(10)
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
