"""The interpreter whose TensorFlow runs the code: which it is, and which Keras it has."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from tapefix.errors import TapefixError


def find_interpreter(explicit: str | None, near: Path) -> str:
    """The Python whose TensorFlow runs the code: as told, else of the active or the project's virtual environment."""
    if explicit is not None:
        import shutil

        found = shutil.which(str(Path(explicit).expanduser()) if explicit.startswith("~") else explicit)
        if found is None:
            raise TapefixError(f"--python {explicit}: there is no such interpreter")
        return found
    active = os.environ.get("VIRTUAL_ENV")
    places = [Path(active)] if active else []
    near = near.absolute()
    for folder in (near, *near.parents):
        places += [folder / ".venv", folder / "venv"]
    name = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    for place in places:
        if (place / name).is_file():
            return str(place / name)
    return sys.executable


@cache
def installed_keras(python: str) -> int | None:
    """The major version of an interpreter's Keras, read from its folders; nothing is run. None where it is unknown."""
    if os.environ.get("TF_USE_LEGACY_KERAS", "") in ("1", "true", "True"):
        return 2
    found: dict[str, int] = {}
    for folder in _package_folders(python):
        try:
            names = [entry.name for entry in folder.iterdir()]
        except OSError:
            continue
        for name in names:
            package, _, rest = name.lower().partition("-")
            major = rest.partition(".")[0]
            if package in ("keras", "tensorflow") and name.endswith(".dist-info") and major.isdigit():
                found.setdefault(package, int(major))
    # Until 2.5 TensorFlow had its Keras, a Keras 2, in itself.
    return found.get("keras", 2 if "tensorflow" in found else None)


def _package_folders(python: str) -> list[Path]:
    if python == sys.executable:
        return [Path(folder) for folder in sys.path if folder.endswith("-packages")]
    # The link to the interpreter stays unresolved: it is what lies beside it that makes a virtual environment.
    home = Path(python).parent.parent
    return [*home.glob("lib/python3*/site-packages"), *home.glob("Lib/site-packages")]
