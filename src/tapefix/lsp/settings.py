"""The settings that an editor sends: at the start, and whenever they change."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from tapefix.repair import Options

ON_COMMAND, ON_SAVE, NEVER = "onCommand", "onSave", "never"


class Settings(NamedTuple):
    """What the user chose in the editor. `trusted` is what the editor says of the workspace."""

    interpreter: str | None = None
    verify: str = ON_COMMAND
    verify_timeout: float = 60.0
    steps: int = 3
    unsafe_fixes: bool = False
    fix_all: str = "verified"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    trusted: bool = True

    @property
    def may_run(self) -> bool:
        """Whether the user's code may be run at all."""
        return self.trusted and self.verify != NEVER

    def options(self, cwd: Path) -> Options:
        """The same choices, as the rest of tapefix takes them."""
        return Options(
            mode="write",
            unsafe_fixes=self.unsafe_fixes,
            verify=True,
            # One that is not there is an error where code is run, and none while typing.
            python=self.interpreter
            if self.interpreter and shutil.which(str(Path(self.interpreter).expanduser()))
            else None,
            steps=self.steps,
            timeout=self.verify_timeout,
            select=_codes(self.select),
            ignore=_codes(self.ignore),
            argv=self.arguments,
            cwd=cwd,
        )


def updated(settings: Settings, data: Any) -> Settings:
    """The settings with what `data` names, as JSON: plainly, or under `tapefix` or `settings` as some editors do."""
    if not isinstance(data, dict):
        return settings
    for wrapper in ("settings", "tapefix"):
        if isinstance(data.get(wrapper), dict):
            return updated(settings, data[wrapper])
    chosen: dict[str, Any] = {}
    texts = {
        "verify": ("verify", (ON_COMMAND, ON_SAVE, NEVER)),
        "fixAll": ("fix_all", ("verified", "safe")),
    }
    for key, (field, values) in texts.items():
        if data.get(key) in values:
            chosen[field] = data[key]
    for key, field in (("unsafeFixes", "unsafe_fixes"), ("trusted", "trusted")):
        if isinstance(data.get(key), bool):
            chosen[field] = data[key]
    for key in ("select", "ignore", "arguments"):
        if isinstance(data.get(key), list) and all(isinstance(item, str) for item in data[key]):
            chosen[key] = tuple(data[key])
    if _number(data.get("verifyTimeout")) and data["verifyTimeout"] > 0:
        chosen["verify_timeout"] = float(data["verifyTimeout"])
    if _number(data.get("steps")) and data["steps"] >= 1:
        chosen["steps"] = int(data["steps"])
    if "interpreter" in data and isinstance(data["interpreter"], str | None):
        chosen["interpreter"] = data["interpreter"] or None
    return settings._replace(**chosen)


def in_editor(text: str) -> str:
    """The same advice, in the words of an editor's settings."""
    for option, setting in (("--python", "interpreter"), ("--unsafe-fixes", "unsafeFixes")):
        text = text.replace(option, f"the setting tapefix.{setting}")
    return text


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _codes(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """The full codes that codes and prefixes stand for; one that stands for none stays, so that it chooses nothing."""
    from tapefix.report.rules import all_codes

    known = all_codes()
    chosen: list[str] = []
    for prefix in prefixes:
        wanted = prefix.strip().upper()
        chosen += [code for code in known if wanted and code.startswith(wanted)] or [wanted]
    return tuple(dict.fromkeys(chosen))
