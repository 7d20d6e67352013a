"""Uploads of a load: one target entity at a time, exactly once in effect.

The files on the entity are listed first. Each upload is either found among those that no other upload accounts for, or
sent (see `sending.py`). In the end all of them are compared with what is listed then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from migrator import errors
from migrator.model import Draft, EntityRef, Upload, UploadStatus
from migrator.pipeline.load.arrivals import Recognised, recognise
from migrator.pipeline.load.confirming import Confirmer
from migrator.pipeline.load.drafts import Drafts
from migrator.pipeline.load.dry_run import DryRunReport
from migrator.pipeline.load.finding import Finder
from migrator.pipeline.load.outcomes import CatalogOutcomes, DryRunOutcomes, Outcomes
from migrator.pipeline.load.sending import Sender
from migrator.pipeline.load.settings import LoadSettings
from migrator.pipeline.load.target_state import TargetState, TargetView
from migrator.pipeline.reading import Reader
from migrator.pipeline.run import RunContext
from migrator.ports import Target
from migrator.progress import Progress
from migrator.selection import Selector
from migrator.store import Archive


class Uploader:
    """Processes the uploads of one run. `writes` is how many files are sent at once."""

    def __init__(
        self, target: Target, archive: Archive, settings: LoadSettings, context: RunContext, progress: Progress
    ) -> None:
        self._target, self._archive, self._settings, self._progress = target, archive, settings, progress
        self._catalog, self._executor, self._run = context.catalog, context.executor, context.run
        self._stop = context.stop
        self.dry_run = DryRunReport()
        self.selector = Selector(settings.selection)
        self._outcomes: Outcomes = (
            DryRunOutcomes(self.dry_run)
            if settings.dry_run
            else CatalogOutcomes(self._catalog, self._executor, self._run, settings.identity)
        )
        self.writes = min(settings.uploads, target.capabilities.max_writes)
        slots = asyncio.Semaphore(self.writes)
        self._drafts = Drafts(target, settings)
        self._view = TargetView(target, archive, self._catalog, self._executor, settings, self._outcomes)
        self._finder = Finder(self._view, self._drafts, settings, self._outcomes, self._run, progress)
        self._confirmer = Confirmer(target, self._view, self._finder, self._outcomes, slots, progress)
        self._sender = Sender(
            target,
            archive,
            context,
            self._outcomes,
            self._finder,
            self._confirmer,
            slots,
            progress,
            dry_run=settings.dry_run,
        )

    def reader(self) -> Reader:
        """A reader for files of the target."""
        return self._view.reader()

    async def flush(self) -> None:
        """Record the outcomes that are not recorded yet."""
        await self._outcomes.flush()

    async def prepare(self) -> None:
        """Before the first entity: read what earlier runs learned about this target's lists."""
        verdict = await self._executor.call(self._catalog.settings.get, self._finder.setting) or ""
        self._finder.learned(verdict)
        self._confirmer.learned(verdict)

    async def process_entity(self, to: EntityRef) -> None:
        """Process all uploads to one target entity, one after the other, then compare with what arrived."""
        uploads = await self._executor.call(self._catalog.uploads.unsettled, self._settings.identity, to)
        uploads = [upload for upload in uploads if self.selects(upload)]
        if uploads:
            self.dry_run.arrange_files(uploads)
            self._progress.entities(1)
            await self._settle_all(to, uploads)
            await self._outcomes.flush()

    def selects(self, upload: Upload) -> bool:
        """Whether the selection of this run has it."""
        return self.selector.select(replace(upload.attachment, size=upload.blob.size))

    async def _settle_all(self, to: EntityRef, uploads: list[Upload]) -> None:
        try:
            state = await self._view.look(to)
            doubtful = [up for up in uploads if up.status is UploadStatus.IN_DOUBT and up.remote_id is None]
            recognised = await recognise(doubtful, state.free, state.reader)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.ItemFailedError as error:
            await self._fail_all(uploads, to, error)
            return
        state.names.update(upload.attachment.name for upload in uploads)
        state.open.update({upload.attachment.id: upload for upload in doubtful if not recognised.has(upload)})
        outgoing = []
        for upload in uploads:
            if self._stop.requested:
                self._stop.left_undone = True
                break
            draft = self._drafts.draft_of(upload, state.names)
            step = self._still_to_send(upload, draft, state, recognised)
            if to_send := await self._confirmer.handled(upload, draft, state, step):
                state.names.add(to_send[1].name)
                outgoing.append(to_send)
        await self._sender.send_all(outgoing, state)
        if state.waiting and not self._settings.dry_run:
            await self._confirmer.read_back(state)

    async def _fail_all(self, uploads: Sequence[Upload], to: EntityRef, error: errors.MigratorError) -> None:
        for upload in uploads:
            unwanted = upload.blob_now is None or self._is_remapped(upload)
            if unwanted and isinstance(error, errors.GoneError):
                await self._drop(upload)
            else:
                await self._confirmer.fail(upload, f"{to} at the {self._settings.side}: {error}")

    async def _still_to_send(
        self, upload: Upload, draft: Draft, state: TargetState, recognised: Recognised
    ) -> tuple[Upload, Draft] | None:
        """What has to be sent. None if it is found, or isn't wanted there any more; that is recorded."""
        remote = await self._finder.find(upload, draft, state, recognised)
        if remote := remote or await self._finder.find_late(upload, state, recognised):
            await self._confirmer.accept(upload, draft, remote, UploadStatus.ALREADY_THERE, state)
            self._progress.done(not_transferred=upload.blob.size)
            return None
        if upload.blob_now is None or self._is_remapped(upload):
            await self._drop(upload)
            return None
        if upload.blob_now != upload.blob:
            upload = replace(upload, blob=upload.blob_now)
            draft = self._drafts.draft_of(upload, state.names)
        return upload, draft

    def _is_remapped(self, upload: Upload) -> bool:
        """Whether the mapping no longer sends the file to this entity."""
        return upload.to not in self._settings.mapping.get(upload.attachment.owner, ())

    async def _drop(self, upload: Upload) -> None:
        """Record an upload that is not there and no longer wanted there."""
        lost = "the source no longer has it" if upload.blob_now is None else "its row in the mapping is gone"
        reason = f"not there, and {lost}"
        await self._outcomes.record(upload, UploadStatus.ROLLED_BACK, error=reason)
        self._progress.done(not_transferred=upload.blob.size)
