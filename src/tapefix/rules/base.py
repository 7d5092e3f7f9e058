"""What a rule is. One rule is one file of this package: a subclass of `Rule` with everything about it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from tapefix.findings import Candidate, Finding, Note

if TYPE_CHECKING:
    from tapefix.analysis.module import Module


class Rule:
    """Base of all rules.

    The docstring of a rule is its documentation: a first line, then the sections `What it finds`, `Why the gradient
    stops`, `Example` (a script that the rule finds and repairs) and `Fix safety`.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    safety: ClassVar[Literal["safe", "unsafe", "advice"]]
    # The rule is tried only on files whose text holds one of these; () means on every TensorFlow file.
    tokens: ClassVar[tuple[str, ...]] = ()

    def check(self, module: Module) -> Iterable[Finding]:
        """The findings of this rule in one module. Must not change the module."""
        raise NotImplementedError

    def finding(
        self,
        module: Module,
        node: ast.AST,
        message: str,
        *,
        label: str = "",
        candidates: Iterable[Candidate] = (),
        notes: Iterable[tuple[ast.AST, str]] = (),
        certain: bool = True,
        silent: bool = False,
        latent: bool = False,
        numeric: bool = False,
        advice: str = "",
    ) -> Finding:
        """A finding of this rule at `node`; `label` stands under its line in the code frame."""
        return Finding(
            code=self.code,
            name=self.name,
            span=module.span(node),
            label=label,
            message=message,
            candidates=tuple(candidates),
            notes=tuple(Note(module.span(place), text) for place, text in notes),
            certain=certain,
            silent=silent,
            latent=latent,
            numeric=numeric,
            advice=advice,
        )


def occur(tokens: tuple[str, ...], text: str) -> bool:
    """Is one of a rule's tokens in the text? A rule without tokens may find something in any."""
    # One token after the other: a generator for each rule costs more than the searches.
    return not tokens or True in [token in text for token in tokens]


def check_all(rules: Iterable[Rule], module: Module) -> Iterator[Finding]:
    """The findings of all rules whose tokens occur in the text, in the order of the file."""
    text = module.text
    found = [finding for rule in rules if occur(rule.tokens, text) for finding in rule.check(module)]
    yield from sorted(found, key=lambda finding: (finding.span, finding.code))
