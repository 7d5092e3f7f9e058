"""What a proof costs: wall time of `tapefix --write`, as a ratio to one plain run of the repaired script.

    python benchmarks/proof.py CASES [NAME]

CASES is a folder with one folder per case, each with a `broken.py` and the `fixed.py` that repairs it. The cases whose
name holds NAME (tape-scope if it is not given) are measured: `tapefix --write broken.py` against `python fixed.py`,
both with the Python that runs this file. Only cases that are repaired count: less is run for the others.
Exit status 1 when the median ratio is over 1.5, or nothing was repaired.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 1.5
ROUNDS = 3


def wall(command: list[str], folder: Path) -> tuple[float, int]:
    """The seconds that a command takes, and its exit status."""
    start = time.perf_counter()
    ran = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - start, ran.returncode


def measure(case: Path, folder: Path) -> float | None:
    """The ratio for one case, printed and, if the case is repaired, returned."""
    ours: list[float] = []
    theirs: list[float] = []
    status = 0
    for _ in range(ROUNDS):
        shutil.copyfile(case / "broken.py", folder / "script.py")
        seconds, status = wall([sys.executable, "-m", "tapefix", "--write", "script.py"], folder)
        ours.append(seconds)
        shutil.copyfile(case / "fixed.py", folder / "fixed.py")
        theirs.append(wall([sys.executable, "fixed.py"], folder)[0])
    mine, other = statistics.median(ours), statistics.median(theirs)
    outcome = {0: "repaired", 1: "not repaired"}.get(status, "failed")
    print(f"{case.name:<44} {mine:6.2f} s   plain {other:6.2f} s   ratio {mine / other:.2f}   {outcome}", flush=True)
    return mine / other if status == 0 else None


def main() -> int:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    cases, name = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else "tape-scope"
    chosen = [case for case in sorted(cases.iterdir()) if name in case.name and (case / "fixed.py").exists()]
    if not chosen:
        sys.exit(f"{cases} holds no case whose name holds {name!r}")
    with tempfile.TemporaryDirectory() as folder:
        measured = [measure(case, Path(folder)) for case in chosen]
    ratios = [ratio for ratio in measured if ratio is not None]
    if not ratios:
        sys.exit("no case was repaired")
    median = statistics.median(ratios)
    print(f"median {median:.2f}, worst {max(ratios):.2f}, {len(ratios)} of {len(chosen)} cases")
    return 1 if median > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
