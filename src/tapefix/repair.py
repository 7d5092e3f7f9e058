"""From a file's text to its repair: statically, or proved by runs before and after."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple

from tapefix.analysis.module import Module
from tapefix.analysis.versions import keras_of_text
from tapefix.findings import Candidate, Finding
from tapefix.outcome import FileResult, Outcome, Proof, Verdict
from tapefix.proof import Isolation
from tapefix.rules import all_codes, rules_for
from tapefix.rules.base import check_all
from tapefix.text.gate import is_tensorflow_source
from tapefix.text.source import Source, cannot_parse
from tapefix.text.suppress import Suppressions, UnusedSuppression, unused_findings

if TYPE_CHECKING:
    from tapefix.proof.client import ForkServer, Runner
    from tapefix.proof.run import Run

# Repairs can uncover others; no real file has needed more rounds than this.
ROUNDS = 8


class Options(NamedTuple):
    """What the command line asks for, as far as repairing goes."""

    mode: Literal["check", "diff", "write"] = "check"
    unsafe_fixes: bool = False
    verify: bool | None = None
    python: str | None = None
    steps: int = 3
    timeout: float = 60.0
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    via: tuple[str, ...] = ()
    # Where the script is run; None is where tapefix itself runs.
    cwd: Path | None = None
    isolation: Isolation = "best-effort"


class Inspector:
    """The findings of one file, in whichever version of its text: chosen rules only, without the suppressed ones."""

    def __init__(self, path: str, text: str, options: Options) -> None:
        self.path = path
        self.keras: int | None = None  # of the interpreter that runs the code, once it has told
        self.module: Module | None = None  # the one that was looked at last
        self.codes = [code for code in all_codes() if chosen(code, options)]
        self.suppressions = Suppressions(text)
        self._options = options

    def findings(self, text: str, measured: Run | None = None) -> list[Finding]:
        """All findings in `text`, certain or not. Raises TapefixError where it does not parse."""
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            raise cannot_parse(self.path, error) from None
        module = self.module = Module(text, tree, measured, self._keras_version)
        # Suppressions are comments, so they are looked up in the text that they stand in.
        suppressions = self.suppressions if measured is None else Suppressions(text)
        return [f for f in check_all(rules_for(text, self.codes), module) if not suppressions.covers(f.code, f.span)]

    def _keras_version(self, module: Module) -> int:
        """As the running interpreter says; else 2 where it is installed, asked for, or what the text is written for."""
        if self.keras is not None:
            return self.keras
        from tapefix.interpreter import declared_keras, find_interpreter, installed_keras

        installed = installed_keras(find_interpreter(self._options.python, self._options.cwd or Path.cwd()))
        if installed == 2 or declared_keras(Path(self.path).absolute().parent) == 2:
            return 2
        return keras_of_text(module)

    def unused_suppressions(self) -> list[Outcome]:
        options = self._options
        looked_for = None
        if options.select or options.ignore:
            # Nobody knows whether a comment for a rule that was left out is needed.
            looked_for = {UnusedSuppression.code, *self.codes}
        found = unused_findings(self.suppressions, looked_for)
        return [Outcome(f, reason=f.advice) for f in found if chosen(f.code, options)]


def chosen(code: str, options: Options) -> bool:
    return (not options.select or code in options.select) and code not in options.ignore


class Repairer:
    """Repairs files one after the other. A context manager: it may hold a process that runs the user's code."""

    def __init__(self, options: Options, progress: Callable[[str], None]) -> None:
        self.options = options
        self.progress = progress
        self.interpreter: str | None = None
        self._servers: dict[tuple[tuple[str, str], ...], ForkServer] = {}

    def _server(self, text: str) -> ForkServer:
        """A fork server whose TensorFlow was imported with the settings that the script makes."""
        from tapefix.interpreter import find_interpreter
        from tapefix.proof.client import ForkServer
        from tapefix.proof.environment import settings_of

        settings = settings_of(text)
        key = tuple(sorted(settings.items()))
        if key not in self._servers:
            self.interpreter = find_interpreter(self.options.python, Path.cwd())
            self._servers[key] = ForkServer(self.interpreter, settings=settings)
        return self._servers[key]

    def __enter__(self) -> Repairer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in self._servers.values():
            server.close()

    def file(self, path: str, source: Source, verify: bool) -> FileResult:
        """The findings of a file and the text that repairs them. Nothing is written."""
        if not is_tensorflow_source(source.data):
            return FileResult(path, source.text, source.text)
        server = self._server(source.text) if verify else None  # first, as it starts while the text is looked at
        inspector = Inspector(path, source.text, self.options)
        if server is not None:
            return proved_result(server, path, source, inspector, self.options, self.progress)
        return static_result(path, source.text, inspector, self.options)

    def probe(self, path: str, source: Source) -> FileResult:
        """Only run the file and measure its gradients: a table with the column `before`."""
        return probed_result(self._server(source.text), path, source, self.options, self.progress)


def proved_result(
    server: Runner,
    path: str,
    source: Source,
    inspector: Inspector,
    options: Options,
    progress: Callable[[str], None],
) -> FileResult:
    """The result with runs before and after; without them, and with the reason, where no code can be run."""
    from tapefix.ladder import Ladder
    from tapefix.proof.client import ProofUnavailable

    try:
        return Ladder(server, path, source, inspector, options, progress).climb()
    except ProofUnavailable as missing:
        return static_result(path, source.text, inspector, options, unproved=str(missing))


def probed_result(
    server: Runner, path: str, source: Source, options: Options, progress: Callable[[str], None]
) -> FileResult:
    """What one run of the file as it stands measures."""
    from tapefix.proof.client import run_request
    from tapefix.proof.diagnosis import Diagnosed
    from tapefix.proof.table import rows
    from tapefix.proof.verdict import failed, unmeasurable

    server.wait_ready()
    progress("running the script")
    run = Diagnosed(server, run_request(Path(path), source.data, options)).shown()
    steps = max((gradient.step for gradient in run.gradients), default=0)
    failure = failed(run)
    reason = unmeasurable(run) or (f"line {failure.line}: {failure}" if failure else "")
    proof = Proof(rows([run], ()), steps, 1, run.seconds, None, reason, run)
    return FileResult(path, source.text, source.text, (), proof, run.notices)


def may_apply(candidate: Candidate, options: Options) -> bool:
    """Is a candidate one that is applied without having been run?"""
    return (candidate.safe or options.unsafe_fixes) and not candidate.needs_proof


def static_result(path: str, text: str, inspector: Inspector, options: Options, unproved: str = "") -> FileResult:
    """The result without a run: certain findings, and their repairs that need no proof."""
    findings = [f for f in inspector.findings(text) if f.certain]
    outcomes = [_static_outcome(f, options, unproved) for f in findings]
    repaired = static_text(text, findings, inspector, options)
    proof = Proof(verdict=Verdict.UNVERIFIED, reason=unproved) if unproved else None
    return FileResult(path, text, repaired, (*outcomes, *inspector.unused_suppressions()), proof)


def _static_outcome(finding: Finding, options: Options, unproved: str) -> Outcome:
    candidate = next((c for c in finding.candidates if may_apply(c, options)), None)
    if candidate is None:
        return Outcome(finding, reason=why_not(finding, options))
    return Outcome(finding, applied=candidate, verdict=Verdict.UNVERIFIED, reason=unproved or "not run")


def why_not(finding: Finding, options: Options) -> str:
    """Why nothing was applied for a finding, when it was not tried."""
    if not finding.candidates:
        return finding.advice
    if not options.unsafe_fixes and any(not c.safe for c in finding.candidates):
        return "it would change what is computed or trained, so it needs --unsafe-fixes"
    return "its repair is applied only where a run proves it"


def static_text(text: str, findings: list[Finding], inspector: Inspector, options: Options) -> str:
    """The text with all repairs that need no proof."""
    for _ in range(ROUNDS):
        choices = [
            (f, candidate)
            for f in findings
            if f.certain and (candidate := next((c for c in f.candidates if may_apply(c, options)), None)) is not None
        ]
        if not choices:
            break
        from tapefix.codemods.compose import compose

        composed = compose(text, choices)
        if composed.text == text:
            break
        text = composed.text
        findings = inspector.findings(text)
    return text
