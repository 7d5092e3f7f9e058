"""How scripts, modules of packages and commands that import the file are started."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tapefix.ladder import Ladder
from tapefix.outcome import FileResult, Verdict
from tapefix.proof.client import ForkServer, RunRequest
from tapefix.proof.verdict import failed
from tapefix.repair import Inspector, Options, Repairer
from tapefix.text.source import Source

from .helpers import Runner, line_of, source, states

pytestmark = pytest.mark.tensorflow

STEP = """
w = tf.Variable(2.0, name="w")
with tf.GradientTape() as tape:
    loss = scale(w)
tape.gradient(loss, w)
"""


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("words", ["from .tools import scale", "from ..shared import scale", "from . import tools"])
def test_relative_imports(fork_server: ForkServer, tmp_path: Path, marked: bool, words: str) -> None:
    package = tmp_path / "project" / "models"
    package.mkdir(parents=True)
    (tmp_path / "project" / "shared.py").write_text("def scale(x):\n    return x * 3.0\n")
    (package / "tools.py").write_text("def scale(x):\n    return x * 3.0\n")
    if marked:
        (package.parent / "__init__.py").touch()
        (package / "__init__.py").touch()
    script = package / "train.py"
    text = source(f"{words}\nscale = globals().get('scale') or tools.scale\nassert __name__ == '__main__'{STEP}")
    result = fork_server.run(RunRequest(script, text, cwd=tmp_path))
    assert result.end == "finished", result.output
    assert states(result) == {"w": "ok"}


def test_imports_from_beside_the_script_and_from_where_it_is_started(fork_server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "library.py").write_text("def scale(x):\n    return x * 3.0\n")
    (tmp_path / "tools" / "beside.py").write_text("from library import scale\n")
    text = source(f"from beside import scale{STEP}")
    result = fork_server.run(RunRequest(tmp_path / "tools" / "train.py", text, cwd=tmp_path))
    assert result.end == "finished", result.output


def test_arguments_that_are_missing_are_named(run: Runner) -> None:
    code = """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--data", required=True)
        print(parser.parse_args().data)  # here
        """
    result = run(code)
    assert (result.end, result.failure and result.failure.line) == ("exit", line_of(source(code), "# here"))
    assert result.failure is not None
    assert result.failure.message.startswith("the following arguments are required: --data")
    assert run(code, argv=("--data", "x")).output == "x\n"


def test_a_long_fit_is_left_so_that_the_next_one_is_seen(run: Runner) -> None:
    code = """
        x, y = np.ones((64, 2)), np.ones((64, 1))
        def model(name):
            made = tf.keras.Sequential([tf.keras.layers.Dense(1, name=name)])
            made.compile("sgd", "mse")
            return made
        history = model("first").fit(x, y, epochs=100000, batch_size=4, verbose=0)
        assert history.history["loss"]
        model("second").fit(x, y, epochs=100000, batch_size=4, verbose=0)
        """
    result = run(code, patience=4, timeout=40)
    assert result.end == "stopped"
    assert {source.name.split("/")[-2] for g in result.gradients for source in g.sources} == {"first", "second"}


LOSS = """\
import tensorflow as tf


def loss(y, p):
    return tf.reduce_mean({expression})
"""
TEST = """\
import tensorflow as tf
from losses import loss


def test_gradient():
    w = tf.Variable([0.2, 0.8], name="w")
    with tf.GradientTape() as tape:
        value = loss(tf.constant([0.0, 1.0]), w)
    gradient = tape.gradient(value, w)
    assert gradient is not None, "no gradient"
"""


@pytest.fixture
def project(fork_server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FileResult]:
    """`project(expression, *via)`: the proof of a loss with that expression through a command."""

    def prove(expression: str, *via: str) -> FileResult:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "tests").mkdir()
        (tmp_path / "tests" / "test_losses.py").write_text(TEST)
        (tmp_path / "tests" / "conftest.py").write_text("")
        (tmp_path / "check.py").write_text(TEST + "\n\ntest_gradient()\n")
        (tmp_path / "losses.py").write_text(LOSS.format(expression=expression))
        options = Options(mode="write", verify=True, via=via)
        text = Source.read("losses.py")
        inspector = Inspector("losses.py", text.text, options)
        return Ladder(fork_server, "losses.py", text, inspector, options, lambda _: None).climb()

    return prove


BROKEN = "tf.cast(tf.abs(y - p) > 0.5, tf.float32)"


@pytest.mark.parametrize(
    "via", [("pytest", "tests/test_losses.py"), ("pytest", "-q"), ("check.py",), ("check",)], ids=" ".join
)
def test_via_proves_a_module_through_a_command(project: Callable[..., FileResult], via: tuple[str, ...]) -> None:
    result = project(BROKEN, *via)
    assert result.proof is not None
    assert result.proof.verdict is Verdict.VERIFIED, result
    assert result.changed
    (row,) = [row for row in result.proof.rows if row.shape]
    assert (row.name, row.before) == ("w", "None")
    assert Path("losses.py").read_text() == LOSS.format(expression=BROKEN)


def test_via_tells_which_test_fails(project: Callable[..., FileResult], fork_server: ForkServer) -> None:
    project(BROKEN, "pytest", "tests/test_losses.py")
    path = Path("losses.py")
    run = fork_server.run(RunRequest(path, path.read_bytes(), via=("pytest", "tests")))
    assert str(failed(run)).startswith("SystemExit: tests/test_losses.py::test_gradient: AssertionError: no gradient")


def test_via_of_healthy_code(project: Callable[..., FileResult]) -> None:
    result = project("tf.square(y - p)", "pytest", "tests/test_losses.py")
    assert result.outcomes == ()
    assert result.proof is not None
    assert [row.broken_before for row in result.proof.rows] == [False, False]


@pytest.mark.parametrize(
    ("via", "reason"),
    [
        (("pytest", "tests/conftest.py"), "pytest tests/conftest.py does not import losses.py"),
        (("json.tool", "--help"), "json.tool --help does not import losses.py"),
        (("no_such_module",), "No module named no_such_module"),
        (("tests/no_such_file.py",), "no_such_file.py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_via_that_proves_nothing(project: Callable[..., FileResult], via: tuple[str, ...], reason: str) -> None:
    result = project(BROKEN, *via)
    assert result.proof is not None
    assert result.proof.verdict is Verdict.UNVERIFIED
    assert reason in result.proof.reason
    assert not result.changed


def test_settings_before_the_import_get_a_process_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    code = "import os\nos.environ['KERAS_BACKEND'] = 'no_such_backend'\n" + source(STEP).decode()
    with Repairer(Options(verify=True), lambda _: None) as repairer:
        path = tmp_path / "train.py"
        path.write_text(code)
        refused = repairer.file(str(path), Source.read(str(path)), True)
        assert refused.proof is not None
        assert refused.proof.verdict is Verdict.UNVERIFIED
        assert "no_such_backend" in refused.proof.reason
        path.write_text(code.replace("no_such_backend", "tensorflow").replace("scale(w)", "w * w"))
        measured = repairer.probe(str(path), Source.read(str(path)))
        assert measured.proof is not None
        assert [row.name for row in measured.proof.rows] == ["w", "loss at the first step"]


@pytest.mark.skipif(importlib.util.find_spec("tf_keras") is None, reason="needs tf_keras")
def test_legacy_keras(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(
        "import os\nos.environ['TF_USE_LEGACY_KERAS'] = '1'\nimport tensorflow as tf\n"
        "assert tf.keras.__name__.startswith('tf_keras'), tf.keras.__name__\n"
        "model = tf.keras.Sequential([tf.keras.layers.Dense(1)])\nmodel.compile('sgd', 'mse')\n"
        "model.fit(tf.ones((8, 2)), tf.ones((8, 1)), verbose=0)\n"
    )
    with Repairer(Options(verify=True), lambda _: None) as repairer:
        result = repairer.probe(str(path), Source.read(str(path)))
    assert result.proof is not None
    assert result.proof.reason == ""
    assert len(result.proof.rows) == 3
