"""The start of the program: `tapefix` and `python -m tapefix`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

# As shells show a program that a signal ended: 128 and the number of SIGINT, of SIGPIPE.
INTERRUPTED = 130
READER_GONE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run tapefix on the arguments of the command line and return its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Python warns of odd escapes in the code that is parsed; that code belongs to the user, the terminal to tapefix.
    warnings.simplefilter("ignore", SyntaxWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        # Without a single option there is nothing for typer to parse, and its start costs more than the check.
        if arguments and not any(argument.startswith("-") for argument in arguments):
            from tapefix.session import Settings, run

            status = run(Settings(paths=tuple(arguments)))
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


if __name__ == "__main__":
    sys.exit(main())
