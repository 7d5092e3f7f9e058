"""The full report: for people, one file after the other."""

from __future__ import annotations

from typing import TextIO

from tapefix.outcome import Attempt, FileResult, Outcome, Proof, Verdict
from tapefix.report.base import Reporter, summary
from tapefix.report.terminal import Terminal, plural, printable
from tapefix.session import Settings
from tapefix.text.source import split_lines

_WIDEST_TEXT = 100
_VERDICTS = {Verdict.VERIFIED: "green", Verdict.UNVERIFIED: "yellow", Verdict.REFUTED: "red"}


class FullReporter(Reporter):
    """Per finding the cause and the place, per file the diff and the measured table, at the end a summary."""

    def __init__(self, settings: Settings, stream: TextIO) -> None:
        super().__init__(settings, stream)
        self.terminal = Terminal.of(stream)

    def file(self, result: FileResult) -> None:
        super().file(result)
        blocks = []
        if result.outcomes:
            lines = split_lines(result.original)
            blocks += [self._finding(result.path, outcome, lines) for outcome in result.outcomes]
        if result.changed and not self._diff_is_elsewhere():
            blocks.append(self._diff(result))
        if result.proof is not None:
            blocks.append(self._proof(result, result.proof))
        # What holds for every file, such as a missing TensorFlow, is said once.
        said = result.proof.reason if result.proof else ""
        notices = [notice for notice in result.notices if notice not in self.noticed and notice != said]
        self.noticed.update(notices)
        blocks += [self._text(f"note: {notice}", "") for notice in notices]
        for block in blocks:
            print("\n".join(block), end="\n\n", file=self.stream)

    def finish(self, seconds: float, interpreter: str | None) -> None:
        line = summary(self.settings, self.tally)
        if line:
            # A command that is to be copied must not be broken by a line end.
            print(self.terminal.paint(line, "bold"), file=self.stream)
        super().finish(seconds, interpreter)

    def _finding(self, path: str, outcome: Outcome, lines: list[str]) -> list[str]:
        from tapefix.report.frame import code_frame

        finding = outcome.finding
        place = f"{printable(path)}:{finding.span.line}:{finding.span.column + 1}"
        block = [f"{self.terminal.paint(place, 'bold')} {self.terminal.paint(finding.code, 'red')} {finding.name}"]
        block += self._text(finding.message, "  ")
        frame = code_frame(lines, finding, self.terminal)
        if frame:
            block += ["", *frame, ""]
        block += [line for attempt in outcome.attempts for line in self._attempt(attempt, outcome)]
        if finding.advice and outcome.applied is None:
            block += self._text(f"advice: {finding.advice}", "  ")
        if outcome.applied is not None:
            unsafe = "" if outcome.applied.safe else " (unsafe: changes what is computed or trained)"
            block += self._text(f"repair: {outcome.applied.title}{unsafe}", "  ")
        elif outcome.reason and outcome.reason != finding.advice:
            block += self._text(f"not repaired: {outcome.reason}", "  ")
        return block

    def _attempt(self, attempt: Attempt, outcome: Outcome) -> list[str]:
        if attempt.candidate == outcome.applied:
            return []
        return self._text(f"tried: {attempt.candidate.title}: {attempt.verdict.value}, {attempt.reason}", "  ")

    def _diff(self, result: FileResult) -> list[str]:
        from tapefix.report.diff import unified

        styles = {"---": "bold", "+++": "bold", "@@": "cyan", "-": "red", "+": "green"}
        block = []
        for line in unified(result).rstrip("\n").split("\n"):
            style = next((style for start, style in styles.items() if line.startswith(start)), None)
            text = printable(line.rstrip("\r"))
            block.append("  " + (self.terminal.paint(text, style) if style else text))
        return block

    def _proof(self, result: FileResult, proof: Proof) -> list[str]:
        probe = self.settings.mode == "probe"
        word = "gradients" if probe else proof.verdict.value if proof.verdict else "measured"
        amounts = [plural(proof.steps, "step"), plural(proof.seeds, "seed"), f"{proof.seconds:.1f} s"]
        said = ", ".join(amounts) if proof.rows else "" if proof.reason else "none was measured"
        title = f"{printable(result.path)}: " if probe else ""
        title += ": ".join(part for part in (word, proof.reason, said) if part)
        if not proof.rows:
            block = self._text(title, "  ")
        elif len(title) > self.terminal.width - 2:
            block = [*self._text(title, "  "), *self._table("", proof)]
        else:
            block = self._table(title, proof)
        block += [line for said in proof.exercised for line in self._text(f"exercised {said}", "    ")]
        if proof.verdict is not None:
            block[0] = block[0].replace(word, self.terminal.paint(word, _VERDICTS[proof.verdict]), 1)
        return block

    def _table(self, title: str, proof: Proof) -> list[str]:
        from tapefix.report.table import gradient_table

        return [f"  {line}" for line in gradient_table(title, proof.rows, self.terminal)]

    def _text(self, text: str, indent: str) -> list[str]:
        import textwrap

        width = min(self.terminal.width, _WIDEST_TEXT)
        return textwrap.wrap(
            printable(" ".join(text.split())),
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def _diff_is_elsewhere(self) -> bool:
        return self.settings.reads_stdin and self.settings.mode == "diff"
