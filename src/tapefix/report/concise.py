"""The concise report: one line per finding, for editors and for `grep`."""

from __future__ import annotations

import sys

from tapefix.outcome import FileResult, Verdict
from tapefix.report.base import Reporter, summary
from tapefix.report.terminal import printable


class ConciseReporter(Reporter):
    """Standard output holds the lines and the diffs only; notices and the summary go to standard error."""

    def file(self, result: FileResult) -> None:
        super().file(result)
        path = printable(result.path)
        for outcome in result.outcomes:
            finding = outcome.finding
            message = printable(" ".join(finding.message.split()))
            place = f"{path}:{finding.span.line}:{finding.span.column + 1}"
            print(f"{place}: {finding.code} {message}", file=self.stream)
        settings = self.settings
        if settings.mode == "write" and result.changed:
            print(f"{path}: repaired ({_verdict(result)})", file=self.stream)
        elif settings.mode == "diff" and result.changed and not settings.reads_stdin:
            from tapefix.report.diff import unified

            self.stream.write(unified(result))
        elif settings.mode == "probe" and result.proof is not None:
            for row in result.proof.rows:
                print(f"{path}: {printable(row.name)} {row.shape} {row.before}", file=self.stream)
        if not settings.quiet:
            for notice in result.notices:
                if notice not in self.noticed:
                    self.noticed.add(notice)
                    print(printable(f"{result.path}: {notice}"), file=sys.stderr)

    def finish(self, seconds: float, interpreter: str | None) -> None:
        if not self.settings.quiet:
            self.stream.flush()
            line = summary(self.settings, self.tally)
            if line:
                print(line, file=sys.stderr)
        super().finish(seconds, interpreter)


def _verdict(result: FileResult) -> str:
    applied = [outcome for outcome in result.outcomes if outcome.applied is not None]
    verified = bool(applied) and all(outcome.verdict is Verdict.VERIFIED for outcome in applied)
    return Verdict.VERIFIED.value if verified else Verdict.UNVERIFIED.value
