"""What stands in, during a run, for what is not on this machine: data sets, weights, loggers, someone at the keyboard.

Only shape and type of a stand-in are right, which is what gradients depend on. Each one is told to the user.
Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

from pathlib import Path

from ..channel import Channel
from . import builders, downloads, images, modules, prompts, weights
from .notes import Notes, binding


def prepare() -> None:
    """Do, once TensorFlow is imported, what is the same for all runs."""
    for name in ("get_file", "urlretrieve", "load_data"):
        binding(name)


def install(channel: Channel, folder: Path, *, online: bool) -> None:
    """Put the stand-ins in place; what they write goes below `folder`. Nothing stands in for what can be downloaded."""
    notes = Notes(channel)
    made = weights.install(notes)
    modules.install(notes)
    if not online:
        downloads.install(notes, folder, made)
        images.install(notes)
        builders.install(notes)
    prompts.install(notes)
