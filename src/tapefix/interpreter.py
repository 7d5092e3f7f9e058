"""The interpreter whose TensorFlow runs the code: which it is, which Keras it has, and which the project asks for."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from tapefix.analysis.versions import asks_for_keras_2
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


_REQUIREMENTS = ("requirements*.txt", "requirements/*", "requirements/*/*", "environment*.y*ml", "Pipfile")
_PROJECT = ("setup.py", "setup.cfg", "pyproject.toml")
_LARGEST = 100_000


@cache
def declared_keras(folder: Path) -> int | None:
    """2 where the project of this folder asks for a TensorFlow that comes with Keras 2, None where it does not say."""
    for place in (folder, *folder.parents):
        if str(place) == os.environ.get("HOME"):
            break
        texts = [text for text in map(_text, _declarations(place)) if "tensorflow" in text]
        if texts:
            return 2 if any(asks_for_keras_2(text) for text in texts) else None
        if (place / ".git").exists():
            break
    return None


def _declarations(place: Path) -> list[Path]:
    return [file for pattern in (*_REQUIREMENTS, *_PROJECT) for file in sorted(place.glob(pattern))]


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace") if file.is_file() and file.stat().st_size < _LARGEST else ""
    except OSError:
        return ""
