"""One call of tapefix: from paths to results, files, a report and an exit status."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tapefix.errors import TapefixError
from tapefix.outcome import FileResult
from tapefix.proof import Isolation
from tapefix.report.progress import Progress
from tapefix.text.gate import is_tensorflow_source
from tapefix.text.source import Source, cannot_parse, read_bytes
from tapefix.text.walk import Target, targets

if TYPE_CHECKING:
    from tapefix.repair import Repairer
    from tapefix.report.base import Reporter

Mode = Literal["check", "diff", "write", "probe"]


class Format(Enum):
    """How the results are reported."""

    FULL = "full"
    CONCISE = "concise"
    JSON = "json"


class Settings(NamedTuple):
    """What the command line asks for. `verify` is None where the default of each file holds."""

    paths: tuple[str, ...]
    mode: Mode = "check"
    unsafe_fixes: bool = False
    verify: bool | None = None
    python: str | None = None
    steps: int = 3
    timeout: float = 60.0
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    output_format: Format = Format.FULL
    stdin_filename: str | None = None
    exit_zero: bool = False
    quiet: bool = False
    verbose: bool = False
    argv: tuple[str, ...] = ()
    isolation: Isolation = "best-effort"
    via: tuple[str, ...] = ()

    @property
    def reads_stdin(self) -> bool:
        return self.paths == ("-",)

    def verifies(self, target: Target) -> bool:
        """Whether the code of this file is run."""
        if self.mode == "probe":
            return True
        if self.verify is not None:
            return self.verify
        return self.mode != "check" and target.named


def run(settings: Settings) -> int:
    """Do what the settings ask for and return the exit status. Only the streams and the files are touched."""
    for stream in (sys.stdout, sys.stderr):
        # A source line may hold what the terminal's encoding lacks; a question mark is better than no report.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    status = _Session(settings).run()
    return 0 if status == 1 and settings.exit_zero else status


class _Session:
    """The state of one call: its reporter, its repairer once there is something to repair, and its status."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.progress = Progress(sys.stderr, wanted=not settings.quiet)
        self.reporter = _reporter(settings)
        self.failed = False
        self.something_to_fix = False

    def run(self) -> int:
        started = time.perf_counter()
        work = list(self._candidates())
        interpreter = None
        with ExitStack() as stack:
            repairer: Repairer | None = None
            for target, data in work:
                try:
                    source = Source.from_bytes(data, target.path)
                    # A script without the word in it may import what has it: only a probe, which is told to, runs it.
                    if not is_tensorflow_source(data) and self.settings.mode != "probe":
                        # Without TensorFlow there is nothing to repair, but what was named has to be Python.
                        source.parse()
                        self._write(source, source.text)
                        continue
                    if repairer is None:
                        repairer = stack.enter_context(self._repairer([target for target, _ in work]))
                    self._file(repairer, target, source)
                except TapefixError as error:
                    self._error(str(error))
                except SyntaxError as error:
                    self._error(str(cannot_parse(target.path, error)))
                except (KeyboardInterrupt, BrokenPipeError):
                    raise
                except Exception as error:
                    self._error(f"{target.path}: {_defect(error)}")
            interpreter = getattr(repairer, "interpreter", None)
            self.progress.clear()
        self.reporter.finish(time.perf_counter() - started, interpreter)
        return 2 if self.failed else 1 if self.something_to_fix else 0

    def _candidates(self) -> Iterator[tuple[Target, bytes]]:
        """The files to look at with their bytes: those with TensorFlow in them, and all that were named."""
        if self.settings.reads_stdin:
            yield Target(self.settings.stdin_filename or "-", named=True), sys.stdin.buffer.read()
            return
        seen: set[str] = set()
        for path in self.settings.paths:
            for target in targets(path, self._error):
                real = os.path.realpath(target.path)
                if real in seen:
                    continue
                seen.add(real)
                data = self._read(target)
                if data is not None:
                    yield target, data

    def _read(self, target: Target) -> bytes | None:
        try:
            data = read_bytes(target.path)
        except TapefixError as error:
            self._error(str(error))
            return None
        return data if target.named or is_tensorflow_source(data) else None

    def _repairer(self, work: list[Target]) -> Repairer:
        from tapefix.repair import Options, Repairer

        settings = self.settings
        options = Options(
            mode="check" if settings.mode == "probe" else settings.mode,
            unsafe_fixes=settings.unsafe_fixes,
            verify=any(settings.verifies(target) for target in work),
            python=settings.python,
            steps=settings.steps,
            timeout=settings.timeout,
            select=settings.select,
            ignore=settings.ignore,
            argv=settings.argv,
            isolation=settings.isolation,
            via=settings.via,
        )
        return Repairer(options, self.progress)

    def _file(self, repairer: Repairer, target: Target, source: Source) -> None:
        mode = self.settings.mode
        if mode == "probe":
            result = repairer.probe(target.path, source)
        else:
            result = repairer.file(target.path, source, self.settings.verifies(target))
        self.progress.clear()
        if result.error is not None:
            self._error(result.error)
        # Before the report: what is reported as repaired is repaired, whatever becomes of the reader.
        self._write(source, result.repaired)
        if self.settings.reads_stdin and mode == "diff" and self.settings.output_format is not Format.JSON:
            from tapefix.report.diff import unified

            sys.stdout.write(unified(result))
        self.reporter.file(result)
        self.something_to_fix = self.something_to_fix or _to_fix(mode, result)
        if mode == "probe" and not (result.proof and result.proof.rows):
            self.failed = True

    def _write(self, source: Source, text: str) -> None:
        if self.settings.mode != "write":
            return
        if self.settings.reads_stdin:
            sys.stdout.buffer.write(source.encode(text))
            sys.stdout.buffer.flush()
        elif text != source.text:
            source.write(text)

    def _error(self, message: str) -> None:
        self.failed = True
        self.progress.clear()
        self.reporter.error(message)


def _to_fix(mode: Mode, result: FileResult) -> bool:
    if mode == "probe":
        return result.proof is not None and any(row.broken_before for row in result.proof.rows)
    if mode == "write":
        return bool(result.remaining)
    return bool(result.outcomes) or result.changed


def _reporter(settings: Settings) -> Reporter:
    # Standard output belongs to the repaired text, or to the diff, of what came in on standard input.
    json = settings.output_format is Format.JSON
    text_on_stdout = settings.reads_stdin and (settings.mode == "write" or (settings.mode == "diff" and not json))
    stream = sys.stderr if text_on_stdout else sys.stdout
    if json:
        from tapefix.report.json import JsonReporter

        return JsonReporter(settings, stream)
    if settings.output_format is Format.CONCISE or settings.quiet:
        from tapefix.report.concise import ConciseReporter

        return ConciseReporter(settings, stream)
    from tapefix.report.full import FullReporter

    return FullReporter(settings, stream)


def _defect(error: Exception) -> str:
    """One line about a defect of tapefix itself, with the place, for a report of it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    text = " ".join(str(error).split())[:200]
    return f"this is a defect of tapefix, please report it ({type(error).__name__}{place}: {text}); left as it was"
