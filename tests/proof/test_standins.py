"""What stands in for what is not on the machine, and that the user is told."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tapefix.proof.client import ForkServer, RunRequest
from tapefix.proof.run import Run

from .helpers import Runner, source, states

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def offline(run: Runner, tmp_path: Path) -> Runner:
    """Run with a cache that has nothing in it."""
    empty = f"import os\nos.environ['KERAS_HOME'] = {str(tmp_path / 'empty')!r}\n"
    return lambda code, **options: run(empty + code, **options)


def notes(run: Run, word: str) -> list[str]:
    return [note for note in run.notes if word in note]


@pytest.mark.parametrize(
    ("name", "train", "test", "labels"),
    [
        ("mnist", (60000, 28, 28), (10000, 28, 28), (60000,)),
        ("fashion_mnist", (60000, 28, 28), (10000, 28, 28), (60000,)),
        ("cifar10", (50000, 32, 32, 3), (10000, 32, 32, 3), (50000, 1)),
        ("cifar100", (50000, 32, 32, 3), (10000, 32, 32, 3), (50000, 1)),
    ],
)
def test_image_sets(offline: Runner, name: str, train: Any, test: Any, labels: Any) -> None:
    result = offline(
        f"""
from tensorflow.keras.datasets import {name}
from keras.datasets import {name} as other
(x, y), (x_test, y_test) = {name}.load_data()
assert (x.shape, x_test.shape, y.shape) == {(train, test, labels)!r}
assert x.dtype == y.dtype == x_test.dtype == np.uint8
assert set(np.unique(y)) == set(range({100 if name == "cifar100" else 10}))
assert other.load_data()[0][0].shape == x.shape
"""
    )
    assert result.end == "finished", result.output
    assert result.notes == (f"{name} is not in the local cache: random images {train[1:]} uint8 stood in",)


def test_image_sets_can_be_learnt(offline: Runner) -> None:
    result = offline(
        """
(x, y), (x_test, y_test) = tf.keras.datasets.mnist.load_data()
model = tf.keras.Sequential([tf.keras.layers.Flatten(), tf.keras.layers.Dense(10, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x[:2000] / 255.0, y[:2000], epochs=2, verbose=0)
assert model.evaluate(x_test[:500] / 255.0, y_test[:500], verbose=0)[1] > 0.9
""",
        timeout=40,
    )
    assert result.end in ("finished", "stopped"), result.output


def test_data_in_the_cache_is_used(fork_server: ForkServer, tmp_path: Path) -> None:
    import numpy as np

    cache = tmp_path / "keras" / "datasets"
    cache.mkdir(parents=True)
    (cache / "notes.txt").write_text("theirs")
    np.savez(cache / "own.npz", x=np.ones(3))
    code = f"""
import os
os.environ["KERAS_HOME"] = {str(cache.parent)!r}
path = tf.keras.utils.get_file("notes.txt", "http://192.0.2.1/notes.txt")
assert open(path).read() == "theirs"
assert np.load(tf.keras.utils.get_file("own.npz", "http://192.0.2.1/own.npz"))["x"].sum() == 3
"""
    result = fork_server.run(RunRequest(tmp_path / "train.py", source(code), cwd=tmp_path))
    assert result.end == "finished", result.output
    assert result.notes == ()


def test_sequences_and_tables(offline: Runner) -> None:
    result = offline(
        """
from tensorflow.keras.datasets import boston_housing, imdb, reuters
(x, y), (x_test, y_test) = imdb.load_data(num_words=500)
assert len(x) == len(x_test) == 25000 and max(max(one) for one in x) < 500 and set(y) == {0, 1}
assert all(isinstance(word, str) for word in imdb.get_word_index())
(x, y), _ = reuters.load_data(num_words=500)
assert set(y) == set(range(46))
(x, y), (x_test, _) = boston_housing.load_data()
assert x.shape == (404, 13) and x_test.shape == (102, 13) and y.dtype == np.float64
"""
    )
    assert result.end == "finished", result.output
    assert notes(result, "imdb.npz") == [
        "imdb.npz is not in the local cache: made-up sequences of word numbers stood in"
    ]


def test_downloaded_files(offline: Runner) -> None:
    result = offline(
        """
import os, pathlib
site = "http://storage.googleapis.com/download.tensorflow.org/"
text = open(tf.keras.utils.get_file("shakespeare.txt", site + "data/shakespeare.txt")).read()
assert len(text) > 100000 and "First Citizen:" in text
archive = pathlib.Path(tf.keras.utils.get_file("spa-eng.zip", site + "data/spa-eng.zip", extract=True))
lines = next(archive.parent.rglob("spa.txt")).read_text().splitlines()
assert all(line.count("\\t") == 1 for line in lines)
photos = tf.keras.utils.get_file("flower_photos", site + "example_images/flower_photos.tgz", untar=True)
pictures = sorted(pathlib.Path(photos).rglob("*/daisy/*.jpg")) or sorted(pathlib.Path(photos).rglob("daisy/*.jpg"))
assert tf.io.decode_jpeg(tf.io.read_file(str(pictures[0])), channels=3).shape[-1] == 3
"""
    )
    assert result.end == "finished", result.output
    assert len(result.notes) == 3


def test_a_download_without_stand_in_is_the_reason(offline: Runner) -> None:
    result = offline("tf.keras.utils.get_file('measurements.csv', 'http://192.0.2.1/measurements.csv')")
    assert result.end == "exception"
    assert result.failure is not None
    assert "http://192.0.2.1/measurements.csv" in result.failure.message
    assert result.notes == ()


def test_weights_that_are_not_there(offline: Runner) -> None:
    result = offline(
        """
base = tf.keras.applications.MobileNetV2(weights="imagenet", input_shape=(32, 32, 3), include_top=False, alpha=0.35)
model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
model.build((None, 2))
model.load_weights("nothing.weights.h5")
""",
        timeout=40,
    )
    assert result.end == "finished", result.output
    assert len(notes(result, "random weights stood in")) == 1
    assert notes(result, "nothing") == ["nothing.weights.h5 is not there: the model keeps its random weights"]


def test_weights_that_are_there_are_loaded(run: Runner) -> None:
    result = run(
        """
        model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
        model.build((None, 2))
        model.save_weights("own.weights.h5")
        kept = model.get_weights()[0]
        model.set_weights([np.zeros((2, 1)), np.zeros(1)])
        model.load_weights("own.weights.h5")
        assert (model.get_weights()[0] == kept).all() and kept.any()
        open("bad.weights.h5", "w").write("no weights")
        model.load_weights("bad.weights.h5")
        """
    )
    assert result.end == "exception"
    assert result.failure is not None
    assert result.failure.type == "OSError"
    assert result.notes == ()


def test_loggers_plots_and_progress(run: Runner) -> None:
    result = run(
        """
        import wandb
        from tqdm import tqdm, trange
        from tqdm.auto import tqdm as auto
        import matplotlib.pyplot as plt
        from matplotlib import cm
        import IPython
        assert not IPython.version_info[:2] >= (8, 24)  # what matplotlib, if it is there, asks
        wandb.init(project="p", config={"rate": 0.5})
        fig, axes = plt.subplots(2, 2)
        axes[0, 1].plot([1], [2], label="x")
        counts, edges, _ = plt.hist([1, 2])
        for axis in axes.flat:
            axis.imshow([[0]])
        plt.show()
        w = tf.Variable(1.0, name="w")
        with tqdm(total=3) as bar:
            for step in trange(3):
                with tf.GradientTape() as tape:
                    loss = w * wandb.config.rate
                tape.gradient(loss, w)
                bar.set_postfix(loss=float(loss))
                bar.update(1)
        with tf.summary.create_file_writer("logs").as_default():
            tf.summary.scalar("loss", 0.5, step=1)
        plt.savefig("plot.png")
        assert tf.io.decode_png(tf.io.read_file("plot.png")).shape[-1] >= 3
        assert [i for i in tqdm([1, 2])] == [1, 2] and list(auto(range(2), desc="x")) == [0, 1]
        """
    )
    assert result.end == "finished", result.output
    assert [states(result, n) for n in range(3)] == [{"w": "ok"}] * 3
    missing = [
        name
        for name in ("IPython", "matplotlib", "tensorboard", "tqdm", "wandb")
        if importlib.util.find_spec(name) is None
    ]
    assert sorted(note.split()[0] for note in result.notes) == missing


def test_callbacks_of_loggers(run: Runner) -> None:
    result = run(
        """
        import wandb
        from wandb.keras import WandbCallback
        model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 2)), np.ones((8, 1)), callbacks=[WandbCallback(save_model=False)], verbose=0)
        """
    )
    assert result.end == "finished", result.output
    assert set(states(result).values()) == {"ok"}


def test_what_computes_is_not_stood_in_for(run: Runner) -> None:
    result = run("import a_package_that_is_not_installed")
    assert result.failure is not None
    assert result.failure.type == "ModuleNotFoundError"
    assert result.notes == ()


def test_libraries_do_without_what_is_optional(run: Runner, tmp_path: Path) -> None:
    library = tmp_path / "site-packages" / "library.py"
    library.parent.mkdir()
    library.write_text(
        "try:\n    import tensorboard_logger\nexcept ImportError:\n    print('without')\nelse:\n    print('with')\n"
    )
    code = "import sys\nsys.path.append('site-packages')\nimport library"
    assert (run(code).output, run(code).notes) == ("without\n", ())
    assert run(f"import tensorboard_logger\n{code}").output == "with\n"


def test_input_is_answered(run: Runner) -> None:
    result = run("assert int(input('epochs? ')) == 1")
    assert result.end == "finished", result.output
    assert result.notes == ("input() was answered with 1",)
