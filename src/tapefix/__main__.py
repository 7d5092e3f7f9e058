"""The start of the program: `tapefix` and `python -m tapefix`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

# As shells show a program that a signal ended: 128 and the number of SIGINT, of SIGPIPE.
INTERRUPTED = 130
READER_GONE = 141

# The options of everyday calls, as settings. Typer's parser costs 130 ms of CPU, twice as much as a whole check, so
# calls with paths and these options only do without it. All others, and all that is wrong, go to `cli`.
_EVERYDAY: dict[str, tuple[str, Any]] = {
    "--diff": ("mode", "diff"),
    "--write": ("mode", "write"),
    "--unsafe-fixes": ("unsafe_fixes", True),
    "--verify": ("verify", True),
    "--no-verify": ("verify", False),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run tapefix on the arguments of the command line and return its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Python warns of odd escapes in the code that is parsed; that code belongs to the user, the terminal to tapefix.
    warnings.simplefilter("ignore", SyntaxWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        settings = everyday_settings(arguments)
        if settings is not None:
            from tapefix.session import Settings, run

            status = run(Settings(**settings))
        else:
            from tapefix.cli import parse

            status = parse(arguments)()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("tapefix: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has gone. Without this, Python fails once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    return status


def everyday_settings(arguments: list[str]) -> dict[str, Any] | None:
    """The settings of a call with paths and everyday options only; None for any other call."""
    paths = tuple(argument for argument in arguments if not argument.startswith("-"))
    options = [argument for argument in arguments if argument.startswith("-")]
    if not paths or not all(option in _EVERYDAY for option in options):
        return None
    settings = dict(_EVERYDAY[option] for option in options)
    # Two options for one setting: whether that is an error, and which one counts, is for `cli` to say.
    return {"paths": paths, **settings} if len(settings) == len(options) else None


if __name__ == "__main__":
    sys.exit(main())
