"""The start of the language server: `tapefix-lsp` and `python -m tapefix.lsp`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from tapefix import __version__

USAGE = """\
usage: tapefix-lsp [--version] [--help]

The language server of tapefix. An editor starts it and talks to it on standard input and output.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one editor until it goes; the exit status is 2 where that is not possible."""
    # Some clients name the way of talking, which is the only one there is.
    asked = [word for word in (sys.argv[1:] if arguments is None else arguments) if word != "--stdio"]
    if asked == ["--version"]:
        print(f"tapefix-lsp {__version__}")
        return 0
    if asked:
        helped = asked == ["--help"]
        print(USAGE, end="", file=sys.stdout if helped else sys.stderr)
        return 0 if helped else 2
    # What Python says of the user's code while it parses it is for other tools to say.
    warnings.simplefilter("ignore", SyntaxWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        from tapefix.lsp.server import serve
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in ("pygls", "lsprotocol"):
            raise
        print(f"tapefix-lsp needs {package}: python -m pip install 'tapefix[lsp]'", file=sys.stderr)
        return 2
    serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
