"""How much of what breaks healthy code tapefix repairs without a run.

    python benchmarks/mutants.py FOLDER [--kind KIND] [--show N] [--most N]

FOLDER holds TensorFlow code that works, best one folder per project. One bug at a time is put into it (mutate.py has
the kinds), and the file is repaired as `tapefix --write --no-verify` does: certain findings, safe repairs, no run.

    repaired    the bug is gone
    two lines   repaired, and at most two lines differ from the original
    wrong       changed, and the bug is still there (or what came out does not parse)
    unchanged   nothing was repaired
    others      mutants with findings about something else than the bug

Files in which tapefix repairs something before a bug is put in are left out. The same code is taken once, however
often it was copied; of the mutants of one kind at most N (200) are judged, from as many projects as there are.
--show N prints the first N that are not repaired within two lines, as diffs.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import warnings
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

from mutate import KINDS, Mutant, mutants

from tapefix.findings import Finding
from tapefix.repair import Inspector, Options, static_text

OPTIONS = Options(mode="write", verify=False)


class Found(NamedTuple):
    """A mutant and where it was put."""

    path: Path
    original: str
    mutant: Mutant


class Judged(NamedTuple):
    verdict: str
    others: list[Finding]
    repaired: str


def project(folder: Path, path: Path) -> str:
    return path.relative_to(folder).parts[0]


def collected(folder: Path, kind: str | None, most: int) -> dict[str, list[Found]]:
    """The mutants by kind, project by project in turn."""
    by_kind: dict[str, dict[str, list[Found]]] = defaultdict(lambda: defaultdict(list))
    seen: set[tuple[str, str]] = set()
    for path in sorted(folder.rglob("*.py")):
        try:
            text = path.read_text()
            if "tensorflow" not in text:
                continue
            made = list(mutants(text))
        except (SyntaxError, ValueError, OSError, RecursionError):
            continue
        for mutant in made:
            if kind in (None, mutant.kind) and (mutant.kind, mutant.around) not in seen:
                seen.add((mutant.kind, mutant.around))
                by_kind[mutant.kind][project(folder, path)].append(Found(path, text, mutant))
    return {kind: [f for f in chain(*zip_longest(*found.values())) if f is not None] for kind, found in by_kind.items()}


def certain(path: Path, text: str) -> list[Finding]:
    return [f for f in Inspector(str(path), text, OPTIONS).findings(text) if f.certain]


def judge(found: Found) -> Judged | None:
    """What becomes of a mutant; None where the original is not healthy, or the mutant is no Python."""
    mutant = found.mutant
    try:
        if ast.dump(ast.parse(mutant.text)) == ast.dump(ast.parse(found.original)):
            return None
    except SyntaxError:
        return None
    before = certain(found.path, found.original)
    if before:
        return None
    inspector = Inspector(str(found.path), mutant.text, OPTIONS)
    findings = [f for f in inspector.findings(mutant.text) if f.certain]
    repaired = static_text(mutant.text, findings, inspector, OPTIONS)
    others = findings[1:]
    try:
        tree = ast.parse(repaired)
    except SyntaxError:
        return Judged("wrong", others, repaired)
    others += certain(found.path, repaired)
    if repaired == mutant.text:
        return Judged("unchanged", others, repaired)
    if not mutant.is_gone(tree):
        return Judged("wrong", others, repaired)
    near = ast.dump(tree) == ast.dump(ast.parse(found.original)) or changed_lines(found.original, repaired) <= 2
    return Judged("two lines" if near else "repaired", others, repaired)


def changed_lines(one: str, two: str) -> int:
    matcher = difflib.SequenceMatcher(None, one.splitlines(), two.splitlines(), autojunk=False)
    return sum(max(b - a, d - c) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal")


def diff(one: str, two: str) -> str:
    lines = difflib.unified_diff(one.splitlines(), two.splitlines(), lineterm="", n=2)
    return "\n".join(f"    {line}" for line in lines if not line.startswith(("---", "+++")))


def shown(found: Found, judged: Judged) -> Iterator[str]:
    yield f"\n{found.path}:{found.mutant.line}: {found.mutant.kind}: {judged.verdict}"
    yield diff(found.original, found.mutant.text)
    for finding in judged.others:
        yield f"    other: line {finding.span.line}: {finding.code} {finding.message}"
    if judged.verdict != "unchanged":
        yield "  became"
        yield diff(found.mutant.text, judged.repaired)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--show", type=int, default=0, metavar="N")
    parser.add_argument("--most", type=int, default=200, metavar="N")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    by_kind = collected(asked.folder, asked.kind, asked.most)
    print(
        f"{'kind':<22}{'mutants':>9}{'repaired':>10}{'two lines':>11}{'wrong':>7}{'unchanged':>11}"
        f"{'others':>8}{'projects':>10}"
    )
    for kind in KINDS:
        results: list[tuple[Found, Judged]] = []
        for found in by_kind.get(kind, ()):
            if len(results) < asked.most and (judged := judge(found)) is not None:
                results.append((found, judged))
        if not results:
            continue
        verdicts = [judged.verdict for _, judged in results]
        near, wrong, same = (verdicts.count(v) for v in ("two lines", "wrong", "unchanged"))
        gone, others = len(results) - wrong - same, sum(bool(judged.others) for _, judged in results)
        projects = len({project(asked.folder, found.path) for found, _ in results})
        print(
            f"{kind:<22}{len(results):>9}{gone:>10}{near:>11}{wrong:>7}{same:>11}{others:>8}{projects:>10}", flush=True
        )
        failed = [(f, j) for f, j in results if j.verdict != "two lines" or j.others]
        for found, judged in failed[: asked.show]:
            print("\n".join(shown(found, judged)))


if __name__ == "__main__":
    main()
