"""What tapefix costs where nothing is run: CPU time, as a ratio to importing its own dependencies.

    python benchmarks/start_up.py [ROUNDS]

Two commands are compared with an import, in turns, so that a busy machine slows both alike:
a check of a 150-line file with nothing to find, against `import typer`; and `--diff --no-verify` of a file with a
repair, against `import typer, rich.console, libcst`. Both sides find compiled modules, as pip installs them.
Exit status 1 when one of them takes more than 1.5 times as long.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 1.5
ROUNDS = 21

STEP = '''

def train_step_{number}(model, optimizer, features, targets):
    """One step of gradient descent."""
    with tf.GradientTape() as tape:
        predictions = model(features, training=True)
        error = tf.square(targets - predictions)
        loss = tf.reduce_mean(error) + 0.01 * tf.add_n([tf.nn.l2_loss(v) for v in model.trainable_variables])
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    optimizer.apply_gradients(zip(gradients, variables))
    return loss
'''
HEALTHY = "import numpy as np\nimport tensorflow as tf\n" + "".join(STEP.format(number=number) for number in range(12))
BROKEN = HEALTHY.replace("zip(gradients, variables)", "zip(variables, gradients)", 1)


def cpu(command: list[str], statuses: tuple[int, ...], cache: str) -> float:
    """The CPU seconds of one process and its children."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode not in statuses:
        sys.exit(f"{' '.join(command)} ended with status {ran.returncode}:\n{ran.stdout}{ran.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ratio(name: str, tapefix: list[str], status: int, imports: str, rounds: int, cache: str) -> float:
    """Median CPU of a tapefix call over that of an import, printed and returned."""
    ours: list[float] = []
    theirs: list[float] = []
    call = [sys.executable, "-m", "tapefix", *tapefix]
    plain = [sys.executable, "-c", f"import {imports}"]
    for command, allowed in ((call, (status,)), (plain, (0,))):
        cpu(command, allowed, cache)  # The first run of each compiles and reads from the disk.
    for _ in range(rounds):
        ours.append(cpu(call, (status,), cache))
        theirs.append(cpu(plain, (0,), cache))
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"{name:<28} {mine * 1000:6.0f} ms   import {imports:<30} {other * 1000:6.0f} ms   ratio {mine / other:.2f}")
    return mine / other


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        healthy, broken = Path(folder, "healthy.py"), Path(folder, "broken.py")
        healthy.write_text(HEALTHY)
        broken.write_text(BROKEN)
        diff = ["--diff", "--no-verify", str(broken)]
        ratios = [
            ratio("tapefix FILE", [str(healthy)], 0, "typer", rounds, folder),
            ratio("tapefix --diff --no-verify", diff, 1, "typer, rich.console, libcst", rounds, folder),
        ]
    if max(ratios) > LIMIT:
        print(f"over the limit of {LIMIT}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
