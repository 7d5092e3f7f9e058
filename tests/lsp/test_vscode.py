"""The VS Code extension: its manifest fits the server and the release, and it finds and starts the right server."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapefix import __version__
from tapefix.lsp.actions import MEASURE, PROVE
from tapefix.lsp.settings import Settings, updated

EXTENSION = Path(__file__).parents[2] / "editors" / "vscode"
MANIFEST: dict[str, Any] = json.loads((EXTENSION / "package.json").read_text())
PROPERTIES: dict[str, dict[str, Any]] = MANIFEST["contributes"]["configuration"]["properties"]
# What only the extension looks at: where the server is.
OWN = {"tapefix.path"}
OTHER = {"string": "x", "number": 7, "integer": 7, "boolean": True, "array": ["TPF1"]}


def test_its_version_is_that_of_tapefix() -> None:
    assert MANIFEST["version"] == __version__


def test_its_defaults_are_those_of_the_server() -> None:
    chosen = {name.removeprefix("tapefix."): one["default"] for name, one in PROPERTIES.items()}
    assert updated(Settings(), {"tapefix": chosen}) == Settings()


@pytest.mark.parametrize("name", sorted(PROPERTIES.keys() - OWN))
def test_the_server_knows_its_settings(name: str) -> None:
    values = PROPERTIES[name].get("enum") or [PROPERTIES[name]["default"], OTHER[PROPERTIES[name]["type"]]]
    assert len({updated(Settings(), {name.removeprefix("tapefix."): value}) for value in values}) == len(values)


def test_its_commands_are_not_those_that_the_server_registers_itself() -> None:
    commands = {command["command"] for command in MANIFEST["contributes"]["commands"]}
    assert commands
    assert not commands & {PROVE, MEASURE}


@pytest.fixture
def happens(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs the extension while things happen: which servers it starts, and what they and the user are told."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    for folder in ("on_path", "chosen"):
        server = tmp_path / folder / "tapefix-lsp"
        server.parent.mkdir()
        server.touch()

    def run(*story: dict[str, Any], path: str = "on_path") -> dict[str, Any]:
        ran = subprocess.run(
            [
                node,
                str(Path(__file__).with_name("extension_host.js")),
                str(EXTENSION / "extension.js"),
                json.dumps(story),
            ],
            env={"PATH": str(tmp_path / path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        seen: dict[str, Any] = json.loads(ran.stdout)
        return seen

    return run


def test_the_server_beside_the_chosen_interpreter_is_started_once_the_workspace_is_trusted(
    happens: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """An untrusted workspace may name any program, and its Python extension may come with the trust only."""
    python = str(tmp_path / "chosen" / "python")
    for granted in (
        [{"event": "trust", "trusted": True, "python": python}],
        [{"event": "trust", "trusted": True}, {"event": "extensions", "python": python}],
    ):
        seen = happens({"event": "activate", "trusted": False, "python": None}, *granted)
        assert seen["started"] == [
            {"command": "on_path", "trusted": False, "interpreter": ""},
            {"command": "chosen", "trusted": True, "interpreter": python},
        ]
    seen = happens({"event": "activate", "trusted": False, "python": python})
    assert [one["command"] for one in seen["started"]] == ["on_path"]


def test_another_interpreter_with_the_same_server_is_told(
    happens: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    python = str(tmp_path / "elsewhere" / "python")
    seen = happens({"event": "activate"}, {"event": "extensions", "python": python}, {"event": "environment"})
    assert [one["command"] for one in seen["started"]] == ["on_path"]
    assert seen["told"] == [{"trusted": True, "interpreter": python}] * 2


def test_where_there_is_no_server_the_user_is_told_how_to_get_it(happens: Callable[..., dict[str, Any]]) -> None:
    seen = happens({"event": "activate"}, path="nowhere")
    assert not seen["started"]
    assert "pip install" in seen["shown"][0]
    seen = happens({"event": "activate", "settings": {"path": "/nowhere/tapefix-lsp", "interpreter": ""}})
    assert not seen["started"]
    assert "/nowhere/tapefix-lsp" in seen["shown"][0]
