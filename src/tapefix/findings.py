"""What a rule says: findings, and the candidate fixes that the proof climbs like a ladder.

Named tuples rather than dataclasses: they are made when tapefix starts, and cost a tenth to define.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tapefix.codemods.edits import Edit


class Span(NamedTuple):
    """A stretch of source text: lines from 1, columns from 0, counted in characters; the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


class Note(NamedTuple):
    """A second place that explains a finding, shown in the code frame (`recording starts here`)."""

    span: Span
    label: str


class Candidate(NamedTuple):
    """One possible repair of a finding.

    `safe` repairs compute what the author meant; the others change the meaning on purpose.
    `keeps_value` promises that the loss of the first step is the same as before; it is checked. None: safe ones
    do, unless they train more.
    `trains_more` promises that variables are trained which were not trained before; it is checked.
    `needs_proof` candidates are applied only where a run has verified them (rungs that are often wrong).
    """

    title: str
    edits: tuple[Edit, ...]
    safe: bool = True
    keeps_value: bool | None = None
    trains_more: bool = False
    needs_proof: bool = False


class Finding(NamedTuple):
    """One cause of gradients that do not flow, at one place, with its candidate fixes from mild to strong.

    `certain` findings are defects that the text alone shows and are reported without a run; the others are
    suspicions that count only where a run measures a broken gradient.
    `silent` findings starve a term or a variable without any gradient being None, NaN or zero, so a run whose
    gradients are healthy does not clear them.
    `advice` says what the author can do where no candidate is right; shown when no repair was applied.
    `latent` findings break every run that comes to them, so a healthy run has not: they stay, and their safe repair
    is written unverified.
    `numeric` findings show for some random numbers only, so a healthy run with one seed does not clear them.
    """

    code: str
    name: str
    span: Span
    label: str
    message: str
    candidates: tuple[Candidate, ...] = ()
    notes: tuple[Note, ...] = ()
    certain: bool = True
    silent: bool = False
    latent: bool = False
    numeric: bool = False
    advice: str = ""
