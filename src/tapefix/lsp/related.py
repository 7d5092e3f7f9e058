"""The places that a finding has to do with: the tape that records, and the call that asks it for gradients."""

from __future__ import annotations

from typing import NamedTuple

from tapefix.analysis.module import Module
from tapefix.findings import Finding, Note, Span


class Recording(NamedTuple):
    """A tape's `with`, the lines of its block, and a call that asks the tape for gradients."""

    tape: Span
    lines: range
    call: Span


def recordings(module: Module) -> tuple[Recording, ...]:
    """All of a module, in the order of the calls."""
    found = []
    for gradient in module.tapes.gradients:
        if gradient.tape is not None:
            block, item = gradient.tape.block, gradient.tape.item.context_expr
            lines = range(block.lineno, (block.end_lineno or block.lineno) + 1)
            found.append(Recording(module.span(item), lines, module.span(gradient.call)))
    return tuple(found)


def related(finding: Finding, known: tuple[Recording, ...]) -> list[Note]:
    """The finding's own notes, then the tape and the call that it has to do with, where it is clear which they are."""
    notes = list(finding.notes)
    spans = [finding.span, *(note.span for note in notes)]
    near = [one for one in known if any(span.line in one.lines or span.line == one.call.line for span in spans)]
    for one in near[:1] or (known if len(known) == 1 else ()):
        for place, label in ((one.tape, "recorded here"), (one.call, "the gradients are asked for here")):
            if all(place.line != span.line for span in spans):
                notes.append(Note(place, label))
    return notes
