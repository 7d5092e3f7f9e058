"""Stand-ins for what keras.utils.get_file and urlretrieve download: files of the right form under the right names.

Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..scratch import mirror
from .files import make
from .notes import Notes, replace

_cached_only = False


class NotCached(BaseException):
    """A file would have to be downloaded. Not an Exception, which Keras would wrap into one of its own."""


@contextlib.contextmanager
def only_cached() -> Iterator[None]:
    """Within this, a download raises NotCached."""
    global _cached_only
    before, _cached_only = _cached_only, True
    try:
        yield
    finally:
        _cached_only = before


def install(notes: Notes, folder: Path, made_weights: set[str]) -> None:
    """Patch get_file, and the two places from which files are downloaded."""
    made: set[str] = set()
    _patch_retrieve(notes, made, made_weights)
    utilities_of = ("keras.src.utils.file_utils", "keras.src.utils.data_utils", "tf_keras.src.utils.data_utils")
    for name in utilities_of:
        utilities: Any = sys.modules.get(name)
        if utilities is not None:
            _patch_validate(utilities, made)
            original = utilities.get_file
            replace("get_file", original, _get_file(original, folder))


def _patch_retrieve(notes: Notes, made: set[str], made_weights: set[str]) -> None:
    original = urllib.request.urlretrieve

    def urlretrieve(url: str, filename: Any = None, reporthook: Any = None, data: Any = None) -> Any:
        if _cached_only:
            raise NotCached
        if filename is not None:
            target = Path(os.fsdecode(filename))
            stood_in = make(url, target)
            if stood_in is not None:
                made.add(str(target.absolute()))
                if stood_in == "weights":
                    made_weights.add(str(target.absolute()))
                notes.say(f"{Path(url).name} is not in the local cache: {_words(stood_in)} stood in")
                return str(target), None
        return original(url, filename, reporthook, data)

    replace("urlretrieve", original, urlretrieve)
    keras_own = getattr(sys.modules.get("keras.src.utils.data_utils"), "urlretrieve", None)
    if keras_own is not None:
        replace("urlretrieve", keras_own, urlretrieve)
    urllib.request.urlretrieve = urlretrieve


def _words(stood_in: str) -> str:
    return "random weights" if stood_in == "weights" else f"made-up {stood_in}"


def _patch_validate(utilities: Any, made: set[str]) -> None:
    original = utilities.validate_file

    @functools.wraps(original)
    def validate_file(fpath: Any, *args: Any, **kwargs: Any) -> Any:
        return str(Path(fpath).absolute()) in made or original(fpath, *args, **kwargs)

    utilities.validate_file = validate_file


def _get_file(original: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """get_file with a cache that can be written to: the user's files are linked there."""
    linked: set[str] = set()

    def cache(subfolder: str) -> str:
        theirs = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
        if subfolder not in linked and not Path(subfolder).is_absolute():
            linked.add(subfolder)
            (folder / "keras" / subfolder).mkdir(parents=True, exist_ok=True)
            mirror((theirs / subfolder).resolve(), folder / "keras" / subfolder)
        return str(folder / "keras")

    @functools.wraps(original)
    def get_file(*args: Any, **kwargs: Any) -> Any:
        given = kwargs.get("cache_dir")
        if given is None or not _takes_files(Path(given).expanduser()):
            kwargs["cache_dir"] = cache(str(kwargs.get("cache_subdir", args[5] if len(args) > 5 else "datasets")))
        return original(*args, **kwargs)

    return get_file


def _takes_files(folder: Path) -> bool:
    """Tried, as the walls around a run do not show in permissions."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
