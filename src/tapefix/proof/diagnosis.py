"""The run of a text as it stands: measured in the mode that the user runs it in, and diagnosed beside that.

A diagnosis runs functions eagerly, which hides what fails in a graph only, and fails where only a graph will do. Where
it has done so, another run says how healthy the code is.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

from tapefix.proof.client import Runner, RunRequest
from tapefix.proof.run import Run

# Text that mostly comes to compiled functions: both runs are started at once.
_COMPILES = (b"tf.function", b".fit(", b".compile(", b"train_on_batch")


class Diagnosed:
    """Both runs of one request, as far as they are needed."""

    def __init__(self, server: Runner, request: RunRequest) -> None:
        self._server = server
        self._request = request
        self._diagnosis = server.submit(replace(request, diagnose=True))
        compiles = any(word in request.text for word in _COMPILES)
        self._plain: Future[Run] | None = server.submit(request) if compiles else None

    def result(self) -> Run:
        """What was measured, with the places that the diagnosis found."""
        diagnosis = self._diagnosis.result()
        if not diagnosis.eager:
            if self._plain is not None:
                self._plain.cancel()
            return diagnosis
        if self._plain is None:
            self._plain = self._server.submit(self._request)
        return replace(self._plain.result(), breaks=diagnosis.breaks)

    def shown(self) -> Run:
        """The same for rules and reports: where no graph could be built, with the gradients of the diagnosis."""
        run = self.result()
        if run.gradients or run.losses:
            return run
        diagnosis = self._diagnosis.result()
        return replace(run, gradients=diagnosis.gradients, variables=diagnosis.variables)
