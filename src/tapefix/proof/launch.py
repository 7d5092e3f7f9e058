"""How the user's code is started: as a script, as a module of its package, or by a command that imports it.

Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.machinery
import importlib.util
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NoReturn

from .places import Places


class Launch:
    """One start of the code. `said` is what the code itself gave as the reason for a `sys.exit`."""

    def __init__(self, request: dict[str, Any], places: Places) -> None:
        self._path = Path(request["path"])
        self._script: str = request["script"]
        self._via: list[str] = request["via"]
        self._argv: list[str] = request["argv"]
        self._cwd: str = request["cwd"]
        self._places = places
        self._imported = False
        self.said = ""

    def go(self) -> None:
        """Run it. Whatever it raises comes out."""
        self._keep_usage_error()
        if self._via:
            self._run_command()
        else:
            self._run_script()

    # ------------------------------------------------------------ the script itself

    def _run_script(self) -> None:
        text = Path(self._script).read_bytes()
        sys.argv = [str(self._path), *self._argv]
        main = ModuleType("__main__")
        main.__file__ = str(self._path)
        sys.modules["__main__"] = main
        self._places.namespace = main.__dict__
        folder = self._path.resolve().parent
        package, root = _package_of(folder, text)
        # As `python script.py` has it, or with relative imports `python -m package.script`.
        sys.path.insert(0, str(root if package else folder))
        sys.path += [one for one in (str(root), self._cwd) if one not in sys.path]
        code = compile(text, self._script, "exec", dont_inherit=True)
        if package:
            main.__package__ = package
            importlib.import_module(package)
        exec(code, main.__dict__)

    # ------------------------------------------------------------ a command that imports it

    def _run_command(self) -> None:
        sys.meta_path.insert(0, _Finder(self._path, self._load))  # type: ignore[arg-type, unused-ignore]
        sys.argv = list(self._via)
        what, *arguments = self._via
        sys.path.insert(0, str(Path(what).absolute().parent) if what.endswith(".py") else self._cwd)
        try:
            if what == "pytest":
                self._run_pytest(arguments)
            elif what.endswith(".py"):
                runpy.run_path(what, run_name="__main__")
            else:
                runpy.run_module(what, run_name="__main__", alter_sys=True)
        except SystemExit:
            self._must_be_imported()
            raise
        self._must_be_imported()

    def _must_be_imported(self) -> None:
        if not self._imported and not self.said:
            raise NeverImported(f"{' '.join(self._via)} does not import {self._path.name}") from None

    def _run_pytest(self, words: list[str]) -> NoReturn:
        import pytest

        class Watch:
            """Keeps the first failure for the report."""

            @staticmethod
            def pytest_runtest_logreport(report: Any) -> None:
                if report.failed and not self.said:
                    crash = getattr(report.longrepr, "reprcrash", None)
                    self.said = f"{report.nodeid}: {getattr(crash, 'message', report.longrepr)}"

            pytest_collectreport = pytest_runtest_logreport

        # Assertions as they are written: pytest's own importer would read the text that is not patched.
        sys.exit(int(pytest.main(["--assert=plain", *words], plugins=[Watch()])))

    def _load(self, module: ModuleType) -> None:
        self._imported = True
        self._places.namespace = module.__dict__
        exec(compile(Path(self._script).read_bytes(), self._script, "exec", dont_inherit=True), module.__dict__)

    # ------------------------------------------------------------ why it exits

    def _keep_usage_error(self) -> None:
        original = argparse.ArgumentParser.error

        def error(parser: argparse.ArgumentParser, message: str) -> NoReturn:
            self.said = f"{message} (arguments of the script follow --)"
            original(parser, message)

        argparse.ArgumentParser.error = error  # type: ignore[method-assign, assignment]


class NeverImported(Exception):
    """The command ran, but not the file that it was to prove."""


class _Finder:
    """Finds the file under proof as an importable module, and loads its patched text in its place."""

    def __init__(self, path: Path, load: Callable[[ModuleType], None]) -> None:
        self._path = path.resolve()
        self._load = load

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.origin is None or Path(os.path.realpath(spec.origin)) != self._path:
                    return None
                loader = _Loader(name, spec.origin, self._load)
                return importlib.util.spec_from_file_location(
                    name, spec.origin, loader=loader, submodule_search_locations=spec.submodule_search_locations
                )
        return None


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, load: Callable[[ModuleType], None]) -> None:
        super().__init__(name, path)
        self._load = load

    def exec_module(self, module: ModuleType) -> None:
        self._load(module)

    def get_code(self, fullname: str) -> CodeType | None:
        return None


def _package_of(folder: Path, text: bytes) -> tuple[str, Path]:
    """The package that the script belongs to if it imports relatively, else "", and the folder that holds packages."""
    names: list[str] = []
    root = folder
    while (root / "__init__.py").exists():
        names.insert(0, root.name)
        root = root.parent
    try:
        nodes = ast.walk(ast.parse(text))
    except (SyntaxError, ValueError):  # running it will say so
        return "", root
    level = max((node.level for node in nodes if isinstance(node, ast.ImportFrom)), default=0)
    while len(names) < level if names else level:
        names.insert(0, root.name)
        root = root.parent
    return (".".join(names) if level else ""), root
