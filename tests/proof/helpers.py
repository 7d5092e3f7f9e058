"""Short ways to run a piece of code through the fork server."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tapefix.proof.run import Run

Runner = Callable[..., Run]

HEADER = "import numpy as np\nimport tensorflow as tf\n"


def source(code: str, header: str = HEADER) -> bytes:
    """The script: two imports, then `code`."""
    return (header + textwrap.dedent(code)).encode()


def line_of(text: bytes, part: str) -> int:
    """The number of the first line that holds `part`."""
    return next(n for n, line in enumerate(text.decode().splitlines(), 1) if part in line)


def states(run: Run, number: int = 0) -> dict[str, str]:
    """The state of each source of one gradient computation."""
    return {source.name: source.state for source in run.gradients[number].sources}


def write(folder: Path, code: str, **kwargs: Any) -> Path:
    """Write a script."""
    path = folder / "train.py"
    path.write_bytes(source(code, **kwargs))
    return path
