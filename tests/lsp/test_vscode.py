"""The manifest of the VS Code extension fits the server and the release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tapefix import __version__
from tapefix.lsp.actions import MEASURE, PROVE
from tapefix.lsp.settings import Settings, updated

MANIFEST: dict[str, Any] = json.loads((Path(__file__).parents[2] / "editors/vscode/package.json").read_text())
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
