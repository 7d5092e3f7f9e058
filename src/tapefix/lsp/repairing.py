"""What the user commands: prove and apply, or measure. What is run is the text in the editor, saved or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from tapefix.errors import TapefixError
from tapefix.lsp import tables
from tapefix.lsp.actions import workspace_edit
from tapefix.lsp.documents import Open
from tapefix.lsp.progress import Progress
from tapefix.lsp.proofs import applied, evidence, is_verified, was_run
from tapefix.lsp.settings import in_editor
from tapefix.lsp.snapshot import Snapshot
from tapefix.outcome import FileResult
from tapefix.report.terminal import plural

if TYPE_CHECKING:
    from tapefix.lsp.server import TapefixServer

# How often a proof is begun anew because the text was changed while it ran.
TRIES = 3
# A text that changes is proved again after a pause of this many seconds.
_QUIET = 0.5
# How often, and after how many seconds each, the applied edit is looked for in the text.
_PATIENCE, _LOOK = 60, 0.05


class Repairing:
    """The work that runs code. Each command is a task of its own; the same proof is never run twice at a time."""

    def __init__(self, server: TapefixServer) -> None:
        self._server = server
        self._under_way: dict[tuple[str, str], asyncio.Task[FileResult | None]] = {}
        self._on_save: dict[str, asyncio.Task[FileResult | None]] = {}

    async def prove_and_apply(self, document: Open) -> None:
        """Apply what a run has verified, to the version that it was verified for."""
        self._allow()
        for number in range(TRIES):
            snapshot = await self._settled(document) if number else document.snapshot
            self._on_save.pop(document.uri, None)  # what is commanded now is not for a save to break off
            result = await self._proved(document, snapshot, number)
            if result is None or self._server.documents.get(document.uri) is not document:
                return
            if document.snapshot is not snapshot:
                continue
            if not is_verified(result):
                self._explain(result)
                return
            edits = snapshot.edits(result.repaired)
            if not edits:
                raise TapefixError("the repair goes across cells of the notebook, so it is not applied")
            answer = await self._server.workspace_apply_edit_async(
                types.ApplyWorkspaceEditParams(
                    workspace_edit(edits, self._server.client), label="tapefix: verified repair"
                )
            )
            if answer.applied and await self._arrived(document, snapshot, result.repaired):
                shown = evidence(result)
                done = plural(len(applied(result)), "verified repair")
                self._server.say(f"{done} applied{f': {shown}' if shown else ''}")
                return
            if document.snapshot is snapshot:
                reason = answer.failure_reason or "no reason given"
                raise TapefixError(f"the repair is verified, but the editor did not apply it: {reason}")
        raise TapefixError(f"the text was changed during {TRIES} proofs, so nothing was applied; try again")

    async def prove_only(self, document: Open) -> None:
        """Prove without applying, so that diagnostics, titles and hovers tell what is measured."""
        snapshot = document.snapshot
        task = self._under_way.get((document.uri, snapshot.text))
        before = self._on_save.get(document.uri)
        if before is not None and before is not task:
            # Saved again: nobody waits for what the older text does, and proofs would pile up.
            before.cancel()
            del self._on_save[document.uri]
        if task is None and document.proofs.of(snapshot.text) is None:
            self._on_save[document.uri] = self._begin(document, snapshot, 0)
            await self._proved(document, snapshot, 0)

    async def measure(self, document: Open) -> None:
        """Show the gradients of the code as it stands."""
        self._allow()
        server, snapshot = self._server, document.snapshot
        name = Path(document.path).name

        async def run(folder: Path, report: Progress) -> FileResult:
            return await server.prover.measure(snapshot, server.settings, folder, report)

        result = await self._work(f"tapefix: measuring {name}", run, snapshot)
        if result is None:
            return
        document.proofs.add_measured(result)
        if not was_run(result):
            raise TapefixError(f"{name} was run, but: {tables.table(result)}")
        if server.client.shows_documents:
            uri = server.pages.show(f"gradients of {name}.txt", tables.page(result, name))
            await server.window_show_document_async(types.ShowDocumentParams(uri, take_focus=False))
        else:
            server.say(tables.table(result))

    # -------------------------------------------------------------- runs

    async def _proved(self, document: Open, snapshot: Snapshot, number: int) -> FileResult | None:
        """The result for a snapshot, remembered and published; None where the user cancelled."""
        server = self._server
        result = await asyncio.shield(self._begin(document, snapshot, number))
        if result is not None:
            edits = snapshot.edits(result.repaired)
            if edits:
                result = result._replace(repaired=snapshot.after(edits))
            document.proofs.add(result)
            analysis = server.checker.known(document)
            if analysis is not None and analysis.snapshot is snapshot:
                server.publish(document, analysis)
        return result

    def _begin(self, document: Open, snapshot: Snapshot, number: int) -> asyncio.Task[FileResult | None]:
        """The proof of a snapshot, begun now or under way."""
        server = self._server
        key = (document.uri, snapshot.text)
        task = self._under_way.get(key)
        if task is None:
            title = f"tapefix: proving {Path(document.path).name}"
            if number:
                title += f" again, as it was changed ({number + 1} of {TRIES})"

            async def run(folder: Path, report: Progress) -> FileResult:
                return await server.prover.prove(snapshot, server.settings, folder, report)

            task = asyncio.get_running_loop().create_task(self._work(title, run, snapshot))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task

    async def _work(
        self, title: str, run: Callable[[Path, Progress], Coroutine[Any, Any, FileResult]], snapshot: Snapshot
    ) -> FileResult | None:
        """Run code with progress; None where the user cancelled."""
        server = self._server
        progress = Progress(server, title, server.client.progress)
        task = asyncio.get_running_loop().create_task(run(server.folder_of(snapshot.path), progress))
        progress.begin(task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            return None
        except TapefixError as error:
            raise TapefixError(in_editor(str(error))) from None
        finally:
            progress.end()

    async def _arrived(self, document: Open, snapshot: Snapshot, text: str) -> bool:
        """Whether the repaired text comes back: Neovim says that it applied an edit also where it refused it."""
        for _ in range(_PATIENCE):
            if document.snapshot.text == text:
                return True
            if document.snapshot is not snapshot:
                return False
            await asyncio.sleep(_LOOK)
        return False

    async def _settled(self, document: Open) -> Snapshot:
        """The text once nobody types."""
        while True:
            snapshot = document.snapshot
            await asyncio.sleep(_QUIET)
            if document.snapshot is snapshot:
                return snapshot

    def _allow(self) -> None:
        settings = self._server.settings
        if not settings.trusted:
            raise TapefixError("code is not run in a workspace that is not trusted")
        if not settings.may_run:
            raise TapefixError("the setting tapefix.verify is never, so code is not run")

    def _explain(self, result: FileResult) -> None:
        """Why nothing was applied."""
        server, proof = self._server, result.proof
        reason = in_editor(proof.reason) if proof else ""
        if not was_run(result):
            server.say(f"nothing could be proved, so nothing was applied: {reason}", types.MessageType.Warning)
        elif not result.outcomes and not reason:
            server.say("the gradients are measured healthy, so nothing was applied")
        else:
            reasons = [reason] if reason else [outcome.reason for outcome in result.outcomes if outcome.reason]
            why = f": {reasons[0]}" if reasons else ""
            server.say(f"no repair was verified, so nothing was applied{why}", types.MessageType.Warning)
