"""Each option and each exit status."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import BROKEN, HEALTHY, CannedRepairer, Ran, forward_result, swap_result, without_repair

import tapefix.cli
from tapefix import __version__
from tapefix.__main__ import everyday_settings
from tapefix.errors import TapefixError
from tapefix.outcome import FileResult
from tapefix.session import Settings

Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def scripts() -> None:
    Path("broken.py").write_text(BROKEN)
    Path("healthy.py").write_text(HEALTHY)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["healthy.py"], 0),
        (["--diff", "healthy.py"], 0),
        (["--write", "healthy.py"], 0),
        (["broken.py"], 1),
        (["--diff", "broken.py"], 1),
        (["--write", "broken.py"], 0),
        (["--exit-zero", "broken.py"], 0),
        (["--exit-zero", "--diff", "broken.py"], 0),
        (["--exit-zero", "missing.py"], 2),
        (["broken.py", "missing.py"], 2),
        (["."], 1),
    ],
)
@pytest.mark.parametrize("style", [[], ["--output-format", "concise"], ["--output-format", "json"], ["--quiet"]])
def test_exit_status(
    run: Run, swapping: type[CannedRepairer], arguments: list[str], status: int, style: list[str]
) -> None:
    ran = run(*style, "--no-verify", *arguments)
    assert ran.status == status
    assert Path("broken.py").read_text() == (
        HEALTHY if arguments[0] == "--write" and status == 0 and arguments[1] == "broken.py" else BROKEN
    )


def test_what_remains_after_write_is_1(run: Run, canned: Callable[..., object]) -> None:
    canned(lambda path, text: without_repair(forward_result(path, text), "needs --unsafe-fixes", safe=False))
    ran = run("--write", "broken.py")
    assert (ran.status, Path("broken.py").read_text()) == (1, BROKEN)
    assert "not repaired: needs --unsafe-fixes" in ran.out
    assert run("--write", "--exit-zero", "broken.py").status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a file, a folder, or - for standard input"),
        (["--diff"], "name a file, a folder, or - for standard input"),
        (["--diff", "--write", "x.py"], "Invalid value for --diff: cannot be used with --write"),
        (["--write", "--probe", "x.py"], "Invalid value for --write: cannot be used with --probe"),
        (["--probe", "--no-verify", "x.py"], "cannot be used with --no-verify"),
        (["--quiet", "--verbose", "x.py"], "cannot be used with --verbose"),
        (["-", "x.py"], "cannot be used with other paths"),
        (["--stdin-filename", "a.py", "x.py"], "needs - as the only path"),
        (["--diff", "--via", "", "broken.py"], 'give a Python command such as "pytest tests/test_loss.py"'),
        (["--diff", "--via", "python -c 1", "broken.py"], "give a Python command"),
        (["--diff", "--via", "pytest 'tests", "broken.py"], "No closing quotation"),
        (["--via", "pytest", "broken.py"], "runs code, so it needs --diff, --write, --probe or --verify"),
        (["--diff", "--no-verify", "--via", "pytest", "broken.py"], "runs code"),
        (["--diff", "--via", "pytest", "broken.py", "healthy.py"], "needs one file as the only path"),
        (["--diff", "--via", "pytest", "."], "needs one file as the only path"),
        (["--diff", "--via", "pytest", "-"], "needs one file as the only path"),
        (["--diff", "--via", "pytest", "broken.py", "--", "-x"], "has its own arguments"),
        (["--steps", "0", "x.py"], "--steps"),
        (["--steps", "many", "x.py"], "--steps"),
        (["--timeout", "0", "x.py"], "--timeout"),
        (["--timeout", "inf", "x.py"], "--timeout"),
        (["--timeout", "nan", "x.py"], "--timeout"),
        (["--isolation", "some", "x.py"], "--isolation"),
        (["--output-format", "xml", "x.py"], "--output-format"),
        (["--select", "TPF9999", "x.py"], "there is no rule 'TPF9999'"),
        (["--ignore", "TPF001,", "x.py"], "there is no rule ''"),
        (["--nonsense", "x.py"], "No such option"),
    ],
)
def test_wrong_options(run: Run, arguments: list[str], message: str) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.startswith("Usage: tapefix [OPTIONS] [PATHS]")


def test_options_reach_the_repairer(run: Run, swapping: type[CannedRepairer]) -> None:
    run(
        "--diff", "--unsafe-fixes", "--python", "/opt/python", "--steps", "5", "--timeout", "7.5",
        "--isolation", "require",
        "--select", "tpf406,TPF001", "--ignore", "TPF001", "broken.py", "--", "--epochs", "-", "--write",
    )  # fmt: skip
    (options,) = swapping.options
    assert options._asdict() == {
        "mode": "diff",
        "unsafe_fixes": True,
        "verify": True,
        "python": "/opt/python",
        "steps": 5,
        "timeout": 7.5,
        "select": ("TPF406", "TPF001"),
        "ignore": ("TPF001",),
        "argv": ("--epochs", "-", "--write"),
        "via": (),
        "cwd": None,
        "isolation": "require",
    }


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pytest tests/test_loss.py -k 'a b'", ("pytest", "tests/test_loss.py", "-k", "a b")),
        ("python -m pytest -q", ("pytest", "-q")),
        ("/usr/bin/python3 tools/check.py", ("tools/check.py",)),
    ],
)
def test_via(run: Run, swapping: type[CannedRepairer], command: str, words: tuple[str, ...]) -> None:
    ran = run("--diff", "--via", command, "broken.py")
    assert swapping.options[0].via == words
    assert f"tapefix --write --via {shlex.quote(shlex.join(words))} broken.py" in ran.out


@pytest.mark.parametrize(
    ("arguments", "verified"),
    [
        (["broken.py"], {"broken.py": False}),
        (["--verify", "broken.py"], {"broken.py": True}),
        (["--diff", "broken.py"], {"broken.py": True}),
        (["--diff", "--no-verify", "broken.py"], {"broken.py": False}),
        (["--write", "broken.py"], {"broken.py": True}),
        (["--write", "folder"], {"folder/a.py": False}),
        (["--write", "--verify", "folder"], {"folder/a.py": True}),
        (["--diff", "broken.py", "folder"], {"broken.py": True, "folder/a.py": False}),
    ],
)
def test_which_files_are_run(
    run: Run, swapping: type[CannedRepairer], arguments: list[str], verified: dict[str, bool]
) -> None:
    Path("folder").mkdir()
    Path("folder/a.py").write_text(BROKEN)
    asked: dict[str, bool] = {}

    def file(self: object, path: str, source: Any, verify: bool) -> FileResult:
        asked[path] = verify
        return swap_result(path, source.text)

    swapping.file = file  # type: ignore[method-assign,assignment]
    run(*arguments)
    assert asked == verified
    assert swapping.options[0].verify is any(verified.values())


def test_nothing_is_started_without_tensorflow_code(run: Run, swapping: type[CannedRepairer]) -> None:
    Path("plain.py").write_text("print(1)\n")
    assert run("--write", "plain.py").status == 0
    assert swapping.options == []


def test_stdin_check(run: Run, swapping: type[CannedRepairer]) -> None:
    ran = run("--output-format", "concise", "-", stdin=BROKEN.encode())
    assert (ran.status, ran.out) == (1, "-:9:27: TPF406 The pairs are swapped.\n")
    ran = run("--output-format", "concise", "--stdin-filename", "src/a.py", "-", stdin=BROKEN.encode())
    assert ran.out == "src/a.py:9:27: TPF406 The pairs are swapped.\n"


def test_stdin_write_prints_the_text(run: Run, swapping: type[CannedRepairer]) -> None:
    crlf = BROKEN.replace("\n", "\r\n").encode("utf-8-sig")
    ran = run("--write", "-", stdin=crlf)
    assert (ran.status, ran.raw) == (0, HEALTHY.replace("\n", "\r\n").encode("utf-8-sig"))
    assert "Repaired -: 1 problem, unverified." in ran.err
    ran = run("--write", "--output-format", "json", "-", stdin=BROKEN.encode())
    assert (ran.out, ran.err[0]) == (HEALTHY, "{")
    for unchanged in (HEALTHY.encode(), b"print(1)\r\n", b""):
        assert run("--write", "-", stdin=unchanged).raw == unchanged


def test_stdin_diff_prints_the_diff(run: Run, swapping: type[CannedRepairer]) -> None:
    ran = run("--diff", "--stdin-filename", "train.py", "-", stdin=BROKEN.encode())
    assert ran.status == 1
    assert ran.out.startswith("--- train.py\n+++ train.py, repaired\n@@ ")
    assert "TPF406" in ran.err
    assert "+++" not in ran.err
    json = run("--diff", "--output-format", "json", "-", stdin=BROKEN.encode()).json()
    assert json["files"][0]["diff"].startswith("--- -\n+++ -, repaired\n")


def test_stdin_that_does_not_parse(run: Run, swapping: type[CannedRepairer]) -> None:
    ran = run("--write", "--stdin-filename", "a.py", "-", stdin=b"import keras\n(")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("a.py:2:1: cannot parse: ")


def test_concise(run: Run, canned: Callable[..., object]) -> None:
    canned(forward_result)
    ran = run("--output-format", "concise", "broken.py")
    assert ran.out == (
        "broken.py:3:15: TPF101 model(x) runs before the tape starts recording, so nothing connects the loss to "
        "sequential/dense/kernel and sequential/dense/bias.\n"
    )
    assert ran.err == "1 problem. Repair it with: tapefix --diff broken.py\n"
    assert run("--output-format", "concise", "--write", "broken.py").out.endswith("\nbroken.py: repaired (verified)\n")


def test_quiet(run: Run, swapping: type[CannedRepairer]) -> None:
    ran = run("--quiet", "broken.py")
    assert (ran.out, ran.err) == ("broken.py:9:27: TPF406 The pairs are swapped.\n", "")
    ran = run("-q", "healthy.py", "missing.py")
    assert (ran.out, ran.err) == ("", "missing.py: no such file or folder; check the path\n")


def test_verbose(run: Run, swapping: type[CannedRepairer]) -> None:
    assert re.fullmatch(r"2 files with TensorFlow, \d\.\d\d s\n", run("--verbose", "broken.py", "healthy.py").err)


def test_json(run: Run, canned: Callable[..., object]) -> None:
    canned(forward_result)
    document = run("--diff", "--output-format", "json", "broken.py", "missing.py").json()
    assert document["version"] == __version__
    assert document["errors"] == ["missing.py: no such file or folder; check the path"]
    summary = {key: document["summary"][key] for key in ("files", "problems", "verified", "unverified")}
    assert summary == {"files": 1, "problems": 1, "verified": 1, "unverified": 0}
    (file,) = document["files"]
    assert file["path"] == "broken.py"
    assert file["diff"].startswith("--- broken.py\n")
    (finding,) = file["findings"]
    attempts = finding.pop("attempts")
    assert [attempt["verdict"] for attempt in attempts] == ["refuted", "verified"]
    assert finding.pop("message").startswith("model(x) runs before")
    assert finding == {
        "code": "TPF101",
        "name": "forward-pass-outside-tape",
        "line": 3,
        "column": 15,
        "end_line": 3,
        "end_column": 23,
        "advice": "",
        "safe": True,
        "repair": "move the model call into the tape block",
        "verdict": "verified",
        "reason": "",
    }
    assert file["proof"]["rows"][0] == {
        "name": "sequential/dense/kernel",
        "shape": "(1, 1)",
        "before": "None",
        "after": "7.5e-01 to 1.5e+00",
        "broken_before": True,
        "broken_after": False,
    }


def test_json_without_files(run: Run) -> None:
    ran = run("--output-format", "json", "missing.py")
    assert (ran.status, ran.json()["files"]) == (2, [])


def test_version_and_help(run: Run) -> None:
    assert run("--version").out == f"tapefix {__version__}\n"
    ran = run("--help")
    assert (ran.status, ran.err) == (0, "")
    assert "--unsafe-fixes" in ran.out


def test_list_rules(run: Run) -> None:
    ran = run("--list-rules")
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[0].startswith("TPF001  unused-suppression ")
    assert lines == sorted(lines)
    for line in lines:
        assert re.match(r"TPF\d{3}  [a-z0-9-]+ +(safe|unsafe|advice) +[A-Z`]", line)
        ran = run("--explain", line.split()[0].lower())
        assert ran.status == 0
        for section in ("What it finds:", "Why the gradient stops:", "Example:", "Fix safety:"):
            assert section in ran.out


def test_explain_an_unknown_code(run: Run) -> None:
    ran = run("--explain", "TPF002")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("there is no rule 'TPF002'; did you mean ")
    assert "TPF001" in ran.err
    assert "tapefix --list-rules shows them all" in run("--explain", "gradient").err


def test_errors_of_the_repairer_are_one_line(run: Run, canned: Callable[..., object]) -> None:
    def result(path: str, text: str) -> FileResult:
        if path == "broken.py":
            raise TapefixError("broken.py: cannot be run: no interpreter; name one with --python")
        if path == "defect.py":
            raise ValueError("something\nodd")
        return swap_result(path, text)

    canned(result)
    Path("defect.py").write_text(BROKEN)
    ran = run("--write", "broken.py", "defect.py", "healthy.py")
    assert ran.status == 2
    first, second = ran.err.splitlines()
    assert first == "broken.py: cannot be run: no interpreter; name one with --python"
    assert re.match(
        r"defect\.py: this is a defect of tapefix.* \(ValueError at test_options\.py:\d+: something odd\)", second
    )
    assert Path("defect.py").read_text() == BROKEN


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_everyday_calls_mean_the_same_without_typer(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Whatever options are parsed without typer, typer parses to the same settings."""
    parsed: list[Settings] = []
    monkeypatch.setattr(tapefix.cli, "run", lambda settings: parsed.append(settings) or 0)
    options = ["--diff", "--write", "--unsafe-fixes", "--verify", "--no-verify", "--quiet", "-", "--"]
    for chosen in itertools.permutations(options, count):
        arguments = ["a.py", *chosen, "b.py"]
        settings = everyday_settings(arguments)
        if settings is not None:
            tapefix.cli.parse(arguments)()
            assert parsed.pop() == Settings(**settings)


def test_everyday_calls() -> None:
    assert everyday_settings(["a.py", "--write"]) == {"paths": ("a.py",), "mode": "write"}
    for arguments in ([], ["--diff"], ["--diff", "--write", "a.py"], ["-"], ["a.py", "--", "b"], ["--steps", "3", "a"]):
        assert everyday_settings(arguments) is None
