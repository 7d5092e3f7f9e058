"""What editors announce of themselves, as far as it makes a difference to a server."""

from __future__ import annotations

from typing import Any

import pytest

_KINDS = ["quickfix", "refactor", "source", "source.organizeImports"]
_LITERALS = {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": _KINDS}}, "isPreferredSupport": True}

VSCODE: dict[str, Any] = {
    "clientInfo": {"name": "Visual Studio Code", "version": "1.139.0"},
    "capabilities": {
        "general": {"positionEncodings": ["utf-16"]},
        "window": {"workDoneProgress": True, "showDocument": {"support": True}},
        "workspace": {
            "configuration": True,
            "workspaceEdit": {"documentChanges": True, "changeAnnotationSupport": {"groupsOnLabel": True}},
        },
        "textDocument": {
            "codeAction": {**_LITERALS, "disabledSupport": True, "honorsChangeAnnotations": True},
            "hover": {"contentFormat": ["markdown", "plaintext"]},
            "publishDiagnostics": {
                "relatedInformation": True,
                "codeDescriptionSupport": True,
                "tagSupport": {"valueSet": [1, 2]},
            },
        },
        "notebookDocument": {"synchronization": {"dynamicRegistration": True, "executionSummarySupport": True}},
    },
}
NEOVIM: dict[str, Any] = {
    "clientInfo": {"name": "Neovim", "version": "0.12.4"},
    "capabilities": {
        "general": {"positionEncodings": ["utf-8", "utf-16", "utf-32"]},
        "window": {"workDoneProgress": True, "showDocument": {"support": True}},
        "workspace": {"configuration": True, "workspaceEdit": {"resourceOperations": ["rename", "create", "delete"]}},
        "textDocument": {
            "codeAction": _LITERALS,
            "hover": {"contentFormat": ["markdown", "plaintext"]},
            "publishDiagnostics": {"relatedInformation": True, "tagSupport": {"valueSet": [1, 2]}},
        },
    },
}
# Neovim 0.7, and whatever else is as plain: no version in edits, no choice of encodings.
PLAIN: dict[str, Any] = {
    "clientInfo": None,
    "capabilities": {
        "window": {"workDoneProgress": False, "showDocument": {"support": False}},
        "workspace": {"workspaceEdit": {}},
        "textDocument": {"codeAction": _LITERALS, "hover": {"contentFormat": ["plaintext"]}},
    },
}
EMACS: dict[str, Any] = {
    "clientInfo": {"name": "Emacs", "version": "GNU Emacs 30.1"},
    "capabilities": {
        "general": {"positionEncodings": ["utf-32", "utf-8", "utf-16"]},
        "window": {"workDoneProgress": True},
        "workspace": {"configuration": True, "workspaceEdit": {"documentChanges": True}},
        "textDocument": {
            "codeAction": _LITERALS,
            "hover": {"contentFormat": ["markdown", "plaintext"]},
            "publishDiagnostics": {
                "relatedInformation": False,
                "codeDescriptionSupport": False,
                "tagSupport": {"valueSet": [1, 2]},
            },
        },
    },
}

EDITORS = {"vscode": VSCODE, "neovim": NEOVIM, "emacs": EMACS}
in_each_editor = pytest.mark.parametrize("profile", EDITORS.values(), ids=EDITORS)
