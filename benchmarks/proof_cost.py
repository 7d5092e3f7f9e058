"""What running code for a proof costs, with TensorFlow imported already.

    python benchmarks/proof_cost.py [ROUNDS]

First, the wall time of a proof (the script as it is and three candidates, two at a time) as a ratio to one plain
`python script.py` that ends after the steps asked for, and to the part of it that comes after TensorFlow's import.
Then what recording costs: the median CPU time of a training step when it is recorded, as a ratio to the same step when
it is not. Both with the Python that runs this file, in turns, so that a busy machine slows both alike.
Exit status 1 when a proof takes more than 1.5 times a plain run, an eager step more than 1.3 times, or a compiled
step more than 1.1 times as long.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tapefix.proof.client import ForkServer, RunRequest

ROUNDS = 3
LIMITS = {"proof": 1.5, "eager": 1.3, "compiled": 1.1}
CANDIDATES = 3

MODEL = """
import sys, time
import tensorflow as tf
started = time.perf_counter()
layers = tf.keras.layers
x, y = tf.random.normal((128, 64)), tf.random.normal((128, 1))
model = tf.keras.Sequential([layers.Dense(256, "relu"), layers.Dense(256, "relu"), layers.Dense(1)])
optimizer = tf.keras.optimizers.Adam()
"""
STEPS = """
def step():
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x) - y))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    return loss
{decorated}
times = []
for _ in range({count}):
    before = time.process_time()
    float(step())
    times.append(time.process_time() - before)
print("median", sorted(times[{count} // 4:])[{count} * 3 // 8])
"""
FIT = """
model.compile(optimizer, "mse")
model.fit(x, y, batch_size=32, steps_per_epoch=3, verbose=0)
"""
END = 'print("own", time.perf_counter() - started)\n'
SCRIPTS = {
    "eager tape": MODEL + STEPS.format(decorated="", count=3) + END,
    "tf.function": MODEL + STEPS.format(decorated="step = tf.function(step)", count=3) + END,
    "fit": MODEL + FIT + END,
}
LONG = {
    "eager": MODEL + STEPS.format(decorated="", count=200),
    "compiled": MODEL + STEPS.format(decorated="step = tf.function(step)", count=400),
}


def printed(output: str, word: str) -> float:
    """The number that a script has printed after `word`."""
    return next(float(line.split()[1]) for line in output.splitlines() if line.startswith(word))


def plain(script: Path) -> tuple[float, str]:
    """The wall time of a plain run, and what it prints."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    start = time.perf_counter()
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, run.stdout


def proof(server: ForkServer, script: Path) -> float:
    """The wall time of the runs of a proof."""
    text = script.read_bytes()
    start = time.perf_counter()
    runs = [
        server.submit(RunRequest(script, text + b"\n" * number, cwd=script.parent, diagnose=number == 0))
        for number in range(1 + CANDIDATES)
    ]
    for run in runs:
        if not run.result().gradients:
            sys.exit(f"{script.name} was not measured: {run.result()}")
    return time.perf_counter() - start


def proofs(server: ForkServer, folder: Path, rounds: int) -> float:
    """The worst ratio of a proof to a plain run."""
    worst = 0.0
    for name, text in SCRIPTS.items():
        script = folder / "script.py"
        script.write_text(text)
        ours, wholes, owns = [], [], []
        for _ in range(rounds):
            whole, output = plain(script)
            wholes.append(whole)
            owns.append(printed(output, "own"))
            ours.append(proof(server, script))
        mine, whole, own = map(statistics.median, (ours, wholes, owns))
        worst = max(worst, mine / whole)
        print(
            f"{name:<12} proof {mine:5.2f} s   plain run {whole:5.2f} s, ratio {mine / whole:.2f}   "
            f"without the import {own:5.2f} s, ratio {mine / own:.2f}",
            flush=True,
        )
    return worst


def recording(server: ForkServer, folder: Path, name: str, rounds: int) -> float:
    """The ratio of a recorded step to one that is not."""
    script = folder / "long.py"
    script.write_text(LONG[name])
    recorded, unrecorded = [], []
    for _ in range(rounds):
        unrecorded.append(printed(plain(script)[1], "median"))
        run = server.run(RunRequest(script, script.read_bytes(), cwd=folder, steps=1 << 30))
        recorded.append(printed(run.output, "median"))
    ours, theirs = statistics.median(recorded), statistics.median(unrecorded)
    print(
        f"{name:<12} step {1e3 * theirs:5.2f} ms, recorded {1e3 * ours:5.2f} ms, ratio {ours / theirs:.2f}", flush=True
    )
    return ours / theirs


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as folder, ForkServer(sys.executable) as server:
        server.wait_ready()
        ratios = {"proof": proofs(server, Path(folder), rounds)}
        for name in LONG:
            ratios[name] = recording(server, Path(folder), name, rounds)
    return int(any(ratios[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
