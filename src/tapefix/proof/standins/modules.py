"""Stand-ins for modules that only log, plot or show progress, where they are not installed.

They take every call and do nothing, so a run is not held up by them. All other modules that are missing stay an
ImportError: what they compute would matter.
Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from .inert import Inert
from .notes import Notes

QUIET = {
    "matplotlib": "nothing is drawn", "seaborn": "nothing is drawn", "plotly": "nothing is drawn",
    "mpl_toolkits": "nothing is drawn", "bokeh": "nothing is drawn", "visdom": "nothing is drawn",
    "livelossplot": "nothing is drawn", "IPython": "nothing is shown", "tensorflow_docs": "nothing is shown",
    "tqdm": "no progress is shown", "progressbar": "no progress is shown", "alive_progress": "no progress is shown",
    "wandb": "nothing is logged", "tensorboard": "nothing is logged", "tensorboardX": "nothing is logged",
    "tensorboard_logger": "nothing is logged",
    "mlflow": "nothing is logged", "neptune": "nothing is logged", "comet_ml": "nothing is logged",
    "clearml": "nothing is logged", "loguru": "nothing is logged", "coloredlogs": "nothing is logged",
    "termcolor": "text has no colour", "colorama": "text has no colour",
}  # fmt: skip


def install(notes: Notes) -> None:
    """Find stand-ins for what nothing else finds."""
    sys.meta_path.append(_Finder(notes))


class _Finder:
    """Comes last, so it is asked only for what is not installed."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        top = name.partition(".")[0]
        if top not in QUIET or not isinstance(sys.modules.get(top, _Quiet(top)), _Quiet):
            return None  # also where it is installed, and only a part of it is missing
        if top not in sys.modules and top != "tensorboard" and _a_library_asks():
            return None  # which can do without, or else is not to be deceived
        self._notes.say(f"{top} is not installed: {QUIET[top]}")
        return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> ModuleType:
        return _Quiet(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__path__ = []


def _a_library_asks() -> bool:
    frame = sys._getframe(2)
    while frame.f_back is not None and "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    return any(folder in frame.f_code.co_filename for folder in ("site-packages", "dist-packages"))


class _Quiet(ModuleType):
    """A module with everything in it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _special(self.__name__, name)


def _special(module: str, name: str) -> Any:
    top = module.partition(".")[0]
    if name in ("tqdm", "trange", "tqdm_notebook", "ProgressBar", "progressbar", "alive_it"):
        return _trange if name == "trange" else Progress
    if top == "wandb" and name in ("init", "config", "run"):
        return {"init": _init, "config": _config, "run": Inert("run")}[name]
    if top == "termcolor" and name == "colored":
        return lambda text, *_, **__: str(text)
    if name.endswith("Callback") or name.startswith("Wandb") or name in ("EpochDots", "PlotLossesKeras"):
        return _callback()
    return getattr(Inert(module), name)


class Progress:
    """Hands out the items that it is given."""

    def __init__(self, iterable: Iterable[Any] = (), *_: Any, **__: Any) -> None:
        self._iterable = iterable

    def __iter__(self) -> Any:
        return iter(self._iterable)

    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]

    def __call__(self, iterable: Iterable[Any] = ()) -> Any:
        return iterable

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Inert(name)

    @staticmethod
    def write(text: Any = "", *_: Any, **__: Any) -> None:
        print(text)


def _trange(*args: int, **_: Any) -> Progress:
    return Progress(range(*args))


class _Config(dict[str, Any]):
    """The settings of a logged run: what was put in comes out, as an item and as an attribute."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name.startswith("__"):
            raise AttributeError(name)
        return Inert(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def update(self, *args: Any, **kwargs: Any) -> None:
        for given in args:
            super().update(given if isinstance(given, dict) else vars(given))  # also what argparse has parsed
        super().update(kwargs)


_config = _Config()


def _init(*_: Any, config: Any = None, **__: Any) -> Any:
    if config is not None:
        _config.update(config)
    run = Inert("run")
    run.config = _config
    return run


def _callback() -> Any:
    import tensorflow as tf

    class QuietCallback(tf.keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
        def __init__(self, *_: Any, **__: Any) -> None:
            super().__init__()

    return QuietCallback
