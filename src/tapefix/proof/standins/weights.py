"""Weights that are not on this machine: the model keeps those that it was made with.

Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from .inert import Inert
from .notes import Notes


def install(notes: Notes) -> set[str]:
    """Patch load_weights; in the set that comes back go the paths of weight files that are made up."""
    import tensorflow as tf

    made: set[str] = set()
    done = set()
    for model in (tf.keras.Model, tf.keras.Sequential):
        owner = next(c for c in model.__mro__ if "load_weights" in c.__dict__)
        if owner not in done:
            done.add(owner)
            _patch(owner, notes, made)
    return made


def _patch(owner: Any, notes: Notes, made: set[str]) -> None:
    import tensorflow as tf

    original = owner.load_weights

    @functools.wraps(original)
    def load_weights(model: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        path = os.fspath(filepath) if isinstance(filepath, os.PathLike) else filepath
        if isinstance(path, str) and str(Path(path).absolute()) in made:
            return Inert("status")
        try:
            return original(model, filepath, *args, **kwargs)
        except (OSError, tf.errors.NotFoundError, ValueError):
            if not isinstance(path, str) or any(map(os.path.exists, (path, f"{path}.index"))):
                raise
            notes.say(f"{path} is not there: the model keeps its random weights")
            return Inert("status")

    owner.load_weights = load_weights
