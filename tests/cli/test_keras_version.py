"""What is wrong under Keras 3 only is reported where Keras 3 is what the code is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Ran

Run = Callable[..., Ran]

LAYER = """\
import tensorflow as tf


class Scale(tf.keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.factor = tf.Variable(1.0)

    def call(self, inputs):
        return self.factor * inputs
"""


def environment(folder: Path, *packages: str) -> str:
    """A virtual environment with these packages, as far as their metadata goes, and its interpreter."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(0o755)
    for package in packages:
        (folder / "lib" / "python3.11" / "site-packages" / f"{package}.dist-info").mkdir(parents=True)
    return str(python)


@pytest.fixture(autouse=True)
def layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    Path("layer.py").write_text(LAYER)


@pytest.mark.parametrize(
    ("packages", "status"),
    [
        (("keras-3.4.1", "tensorflow-2.17.0"), 1),
        (("keras-2.15.0", "tensorflow-2.15.1"), 0),
        (("Keras-2.3.1", "tensorflow-2.1.0"), 0),
        (("tensorflow-2.4.0",), 0),
        (("numpy-1.26.4", "keras_tuner-1.4.7"), 1),
        ((), 1),
    ],
)
def test_of_the_interpreter(run: Run, tmp_path: Path, packages: tuple[str, ...], status: int) -> None:
    python = environment(tmp_path / "environment", *packages)
    ran = run("--python", python, "--no-verify", "--output-format", "concise", "layer.py")
    assert ran.status == status
    assert ("TPF504" in ran.out) == bool(status)


def test_of_the_projects_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    environment(Path(".venv"), "keras-2.15.0")
    assert run("layer.py").status == 0


def test_of_the_shell(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = environment(tmp_path / "environment", "keras-3.4.1")
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    assert run("--python", python, "--no-verify", "layer.py").status == 0


def test_of_the_text(run: Run, tmp_path: Path) -> None:
    python = environment(tmp_path / "environment", "keras-3.4.1")
    Path("layer.py").write_text(LAYER + "\n\noptimizer = tf.keras.optimizers.Adam(lr=0.1)\n")
    assert run("--python", python, "--no-verify", "layer.py").status == 0


@pytest.mark.parametrize(
    ("name", "text", "status"),
    [
        ("requirements.txt", "numpy\ntensorflow==2.4.1\n", 0),
        ("requirements-dev.txt", "tensorflow-gpu>=2.3, <2.16\n", 0),
        ("requirements/tensorflow/env.cpu.yml", "- tensorflow<2.16\n", 0),
        ("environment.yml", "dependencies:\n  - tensorflow=1.15\n", 0),
        ("pyproject.toml", '[tool.poetry.dependencies]\ntensorflow = "2.8.0"\n', 0),
        ("setup.py", 'setup(install_requires=["tensorflow[and-cuda]~=2.15"])\n', 0),
        ("requirements.txt", "tensorflow\n", 1),
        ("requirements.txt", "tensorflow>=2.4\n", 1),
        ("requirements.txt", "tensorflow==2.17.0\n", 1),
        ("requirements.txt", "tensorflow-datasets==2.1.0\n", 1),
        ("pyproject.toml", 'dependencies = ["tensorflow>=2.16,<2.20"]\n', 1),
    ],
)
def test_of_the_project(run: Run, tmp_path: Path, name: str, text: str, status: int) -> None:
    python = environment(tmp_path / "environment", "keras-3.4.1")
    package = Path("project") / "src" / "package"
    package.mkdir(parents=True)
    declared = Path("project", name)
    declared.parent.mkdir(parents=True, exist_ok=True)
    declared.write_text(text)
    (package / "layer.py").write_text(LAYER)
    assert run("--python", python, "--no-verify", str(package)).status == status


def test_the_nearest_project_decides(run: Run, tmp_path: Path) -> None:
    python = environment(tmp_path / "environment", "keras-3.4.1")
    Path("requirements.txt").write_text("tensorflow==2.4.1\n")
    Path("inner").mkdir()
    Path("inner", "requirements.txt").write_text("tensorflow>=2.16\n")
    Path("inner", "layer.py").write_text(LAYER)
    assert run("--python", python, "--no-verify", "inner").status == 1
    assert run("--python", python, "--no-verify", "layer.py").status == 0
