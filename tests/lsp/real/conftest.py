"""The editors, or the reason why they are not there."""

from __future__ import annotations

import pytest

from .driver import Missing, RealEditor, emacs, neovim


@pytest.fixture(scope="session")
def found() -> dict[str, RealEditor | Missing]:
    """Each editor is looked for, and installed, once."""
    editors: dict[str, RealEditor | Missing] = {}
    for get in (neovim, emacs):
        try:
            editors[get.__name__] = get()
        except Missing as reason:
            editors[get.__name__] = reason
    return editors


@pytest.fixture(params=["neovim", "emacs"])
def editor(request: pytest.FixtureRequest, found: dict[str, RealEditor | Missing]) -> RealEditor:
    """One editor after the other."""
    one = found[request.param]
    if isinstance(one, Missing):
        pytest.skip(str(one))
    return one
