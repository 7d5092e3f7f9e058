"""The options of the command line, declared with typer. What they do is in `session`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from tapefix.proof import Isolation
from tapefix.session import Format, Mode, Settings, run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(slots=True)
class _Request:
    """What typer's command leaves behind: the work is done after typer, which turns Ctrl-C into a status of its own."""

    script_arguments: tuple[str, ...]
    action: Callable[[], int] | None = None


def parse(arguments: list[str]) -> Callable[[], int]:
    """The work that the arguments ask for; calling it returns the exit status."""
    # To typer `--` means that only paths follow; here it is the script's arguments that follow.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    request = _Request(tuple(arguments[end + 1 :]))
    status = 0
    try:
        app(arguments[:end], prog_name="tapefix", obj=request)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0
    return request.action or (lambda: status)


@app.command(
    epilog="Exit status: 0 nothing (left) to fix, 1 something to fix, 2 tapefix could not do its work.",
)
def tapefix(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATHS", help="Files, folders, or - for standard input. What follows -- goes to the script."
        ),
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show the repair as a diff; change nothing.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Repair the files in place.")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="Only run and show the gradient of each variable.")] = False,
    unsafe_fixes: Annotated[
        bool, typer.Option("--unsafe-fixes", help="Also repairs that change what is computed or trained.")
    ] = False,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Run the code before and after. On by default with --diff and --write for files that are named.",
            show_default=False,
        ),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The interpreter whose TensorFlow runs the code.", show_default=False),
    ] = None,
    via: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help='Run this Python command in place of the file, which it imports: "pytest tests/test_loss.py".',
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int,
        typer.Option(
            min=1, help="How many gradient computations are measured at least; a quick script runs to its end."
        ),
    ] = 3,
    timeout: Annotated[float, typer.Option(min=0.1, help="How many seconds one run may take.")] = 60.0,
    isolation: Annotated[
        Isolation,
        typer.Option(
            help="Walls between what is run and your files, network and processes: "
            "needed, as far as the machine has them, or none."
        ),
    ] = "best-effort",
    select: Annotated[
        list[str] | None, typer.Option(metavar="CODES", help="Only these rules: TPF101,TPF2.", show_default=False)
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="CODES", help="Not these rules.", show_default=False)
    ] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="CODE", help="Explain a rule, and stop.", show_default=False)
    ] = None,
    list_rules: Annotated[bool, typer.Option("--list-rules", help="List the rules, and stop.")] = False,
    output_format: Annotated[Literal["full", "concise", "json"], typer.Option(help="How to report.")] = "full",
    stdin_filename: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Where the text on standard input belongs.", show_default=False),
    ] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit status 0 where it would be 1.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only findings, one line each, and errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also timing and the interpreter.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version, and stop.")] = False,
) -> None:
    """Repair TensorFlow and Keras code whose gradients do not flow, and prove it by measuring them."""
    if version:
        context.obj.action = _show_version
        return
    if list_rules or explain is not None:
        from tapefix.report import rules

        context.obj.action = rules.show_list if explain is None else partial(rules.explain, explain)
        return
    if not paths:
        raise typer.BadParameter("name a file, a folder, or - for standard input", param_hint="PATHS")
    _refuse_contradictions(paths, diff, write, probe, verify, stdin_filename, quiet, verbose)
    if not math.isfinite(timeout):
        raise typer.BadParameter("it must be a number of seconds", param_hint="--timeout")
    mode: Mode = "diff" if diff else "write" if write else "probe" if probe else "check"
    settings = Settings(
        paths=tuple(paths),
        mode=mode,
        unsafe_fixes=unsafe_fixes,
        verify=verify,
        python=python,
        steps=steps,
        timeout=timeout,
        select=_codes("--select", select),
        ignore=_codes("--ignore", ignore),
        output_format=Format(output_format),
        stdin_filename=stdin_filename,
        exit_zero=exit_zero,
        quiet=quiet,
        verbose=verbose,
        isolation=isolation,
        argv=context.obj.script_arguments,
        via=_command(via, paths, verify if verify is not None else mode != "check", context.obj.script_arguments),
    )
    context.obj.action = partial(run, settings)


def _show_version() -> int:
    from tapefix import __version__

    print(f"tapefix {__version__}")
    return 0


def _refuse_contradictions(
    paths: list[str],
    diff: bool,
    write: bool,
    probe: bool,
    verify: bool | None,
    stdin_filename: str | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Options that exclude each other are an error, not a matter of order."""
    modes = [name for name, given in (("--diff", diff), ("--write", write), ("--probe", probe)) if given]
    if len(modes) > 1:
        raise typer.BadParameter(f"cannot be used with {modes[1]}", param_hint=modes[0])
    if probe and verify is False:
        raise typer.BadParameter("runs the code, so it cannot be used with --no-verify", param_hint="--probe")
    if quiet and verbose:
        raise typer.BadParameter("cannot be used with --verbose", param_hint="--quiet")
    if "-" in paths and len(paths) > 1:
        raise typer.BadParameter("- (standard input) cannot be used with other paths", param_hint="PATHS")
    if stdin_filename is not None and paths != ["-"]:
        raise typer.BadParameter("needs - as the only path", param_hint="--stdin-filename")


def _command(via: str | None, paths: list[str], runs: bool, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The command in words, without the interpreter: it begins with a module or a script."""
    if via is None:
        return ()
    import shlex

    try:
        words = shlex.split(via)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--via") from None
    if words and words[0].rpartition("/")[2].startswith("python"):
        words = words[1:]
    if words[:1] == ["-m"]:
        words = words[1:]
    if not words or words[0].startswith("-"):
        raise typer.BadParameter('give a Python command such as "pytest tests/test_loss.py"', param_hint="--via")
    if not runs:
        raise typer.BadParameter("runs code, so it needs --diff, --write, --probe or --verify", param_hint="--via")
    if len(paths) > 1 or not Path(paths[0]).is_file():
        raise typer.BadParameter("needs one file as the only path", param_hint="--via")
    if arguments:
        raise typer.BadParameter("has its own arguments, so none can follow --", param_hint="--via")
    return tuple(words)


def _codes(option: str, values: list[str] | None) -> tuple[str, ...]:
    """The full codes that a list of codes and prefixes stands for."""
    if not values:
        return ()
    from tapefix.report.rules import all_codes, nearest

    known = all_codes()
    chosen: list[str] = []
    for item in ",".join(values).split(","):
        prefix = item.strip().upper()
        matching = [code for code in known if prefix and code.startswith(prefix)]
        if not matching:
            raise typer.BadParameter(f"there is no rule {item.strip()!r}{nearest(prefix)}", param_hint=option)
        chosen += matching
    return tuple(dict.fromkeys(chosen))
