"""Load: read -> map (and create what is missing) -> plan -> upload -> record.

The plan consists of rows in the catalog, one for each attachment and target entity. A run processes those that are not
settled yet, several target entities side by side; `upload.py` has what happens to one entity.

Beware: a plan is only as good as its mapping. What an earlier mapping planned, and no run has sent, is dropped first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from typing_extensions import override

from migrator.model import EntityRef, RunStatus, Upload, UploadStatus
from migrator.pipeline.load.arrivals import fits, is_passing, likeness, resembles
from migrator.pipeline.load.content_check import ContentCheck
from migrator.pipeline.load.left_out import Leftovers
from migrator.pipeline.load.remapped import Remapped, deletable, remapped_uploads
from migrator.pipeline.load.settings import LoadSettings
from migrator.pipeline.load.still_there import GONE_IN_A_DRY_RUN, NO_LONGER_THERE, PresenceCheck
from migrator.pipeline.load.stubs import StubCreator
from migrator.pipeline.load.upload import Uploader
from migrator.pipeline.run import Job, RunContext, run_context
from migrator.pipeline.summary import AlteredUpload, ChangedRow, Failure, LoadSummary, UploadCounts
from migrator.pipeline.vanished import NOT_BELIEVED, VanishedUploads
from migrator.pipeline.workers import run_workers
from migrator.ports import Target
from migrator.progress import Progress, Silent
from migrator.store import Archive, Catalog

__all__ = [
    "LoadSettings",
    "Remapped",
    "deletable",
    "fits",
    "is_passing",
    "likeness",
    "load",
    "load_job",
    "resembles",
]


ENTITIES_PER_UPLOAD = 4
"""Entities that are processed side by side, for each file that may be sent at once: others are being looked at then."""
UNSETTLED = {UploadStatus.PLANNED, UploadStatus.IN_DOUBT, UploadStatus.FAILED}
"""Statuses of uploads that the next run goes on with."""


async def load(
    target: Target,
    archive: Archive,
    catalog: Catalog,
    settings: LoadSettings,
    *,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
) -> LoadSummary:
    """One run: uploads what is mapped and not at the target yet. The caller holds the archive.

    In a dry run nothing is sent, and nothing recorded but the run and its plan. `ConfigError`, and there was no run, if
    no row of the mapping names anything in the archive.
    """
    await asyncio.to_thread(archive.require_readable)
    leftovers = Leftovers(catalog, settings)
    async with run_context(catalog, settings.run_name, leftovers.require_matches) as context:
        job = _load_job(target, archive, settings, context, leftovers, progress or Silent())
        summary = await context.execute(job, stop)
        return await context.executor.call(leftovers.complete, summary)


def load_job(
    target: Target, archive: Archive, settings: LoadSettings, context: RunContext, progress: Progress
) -> Job[LoadSummary]:
    """The work of a load, for a run that has begun."""
    return _load_job(target, archive, settings, context, Leftovers(context.catalog, settings), progress)


def _load_job(
    target: Target,
    archive: Archive,
    settings: LoadSettings,
    context: RunContext,
    leftovers: Leftovers,
    progress: Progress,
) -> _Load:
    uploader = Uploader(target, archive, settings, context, progress)
    return _Load(uploader, target, settings, context, leftovers, progress)


class _Load(Job[LoadSummary]):
    def __init__(
        self,
        uploader: Uploader,
        target: Target,
        settings: LoadSettings,
        context: RunContext,
        leftovers: Leftovers,
        progress: Progress,
    ) -> None:
        self._uploader, self._target, self._settings, self._leftovers = uploader, target, settings, leftovers
        self._progress = progress
        self._catalog, self._executor = context.catalog, context.executor
        self._run, self._stop = context.run, context.stop
        self._stubs: StubCreator | None = None
        if settings.creates:
            self._stubs = StubCreator(target, self._catalog, settings, self._executor, self._stop)
        self._planned = False
        self._unmapped = 0
        self._content: ContentCheck | None = None
        self._vanished = VanishedUploads(self._record_vanished, "load", accepted=settings.accept_gone)
        self._presence = PresenceCheck(target, context, settings, self._vanished, uploader.reader(), progress)
        self._skipped: set[tuple[str, EntityRef]] = set()

    @override
    async def flush(self) -> None:
        await self._uploader.flush()

    def _plan(self) -> tuple[int, int]:
        """Add a row for every upload to come, and count the files of entities without a row in the mapping.

        Returns how many files this run is going to settle, and their bytes.
        """
        mapping = self._settings.mapping
        unmapped = {owner: count for owner, count in self._catalog.entities.owners() if not mapping.get(owner)}
        self._leftovers.unmapped, self._unmapped = list(unmapped), sum(unmapped.values())
        pairs = ((owner, to) for owner, targets in mapping.items() for to in targets)
        self._catalog.uploads.plan(self._run, self._settings.identity, pairs)
        self._planned = True
        if self._settings.selection.partial:
            return self._select()
        return self._catalog.summaries.uploads_to_settle(self._settings.identity)

    def _select(self) -> tuple[int, int]:
        """Apply the selection also to settled uploads, so that a repeated run selects the same entities."""
        sizes = []
        for attachment, to, status in self._catalog.uploads.planned(self._settings.identity):
            selected = self._uploader.selector.select(attachment)
            if status in UNSETTLED and selected:
                sizes.append(attachment.size or 0)
            elif status in UNSETTLED:
                self._skipped.add((attachment.id, to))
        return len(sizes), sum(sizes)

    @override
    def summary(self, _: RunStatus) -> LoadSummary:
        catalog, identity, dry_run = self._catalog, self._settings.identity, self._settings.dry_run
        counts = catalog.summaries.upload_counts(identity, self._run)
        failed = [Failure.of_row(row) for row in catalog.summaries.upload_failures(identity)]
        failed = [failure for failure in failed if (failure.attachment, failure.target) not in self._skipped]
        failures = self._uploader.dry_run.failures if dry_run else failed
        failures = [*failures, *self._presence.unread, *(self._content.unread if self._content else ())]
        failures += [Failure.of_upload(upload, NOT_BELIEVED) for upload in self._vanished.not_believed]
        failures += [*self._vanished.failures, *(self._stubs.failures if self._stubs else ())]
        gone = self._vanished.gone if dry_run else 0  # a dry run leaves them in the catalog as they are
        planned = sum(counts.values()) - counts[UploadStatus.ROLLED_BACK]
        selected = planned - len(self._skipped)
        summary = LoadSummary(
            uploads=UploadCounts(
                planned=planned,
                uploaded=counts[UploadStatus.UPLOADED],
                already_there=counts[UploadStatus.ALREADY_THERE] - gone,
                unmapped=self._unmapped,
                skipped=len(self._skipped),
                failed=len(failed) + gone,
            ),
            dry_run=self._uploader.dry_run.counts() if dry_run else None,
            rehearsal=self._uploader.dry_run.rows if dry_run else None,
            content=self._content.counts() if self._content else None,
            stubs=self._stubs.summary(dry_run=dry_run) if self._stubs else None,
            changed=self._changed() if self._planned else None,
            altered=tuple(AlteredUpload(**row) for row in catalog.summaries.altered_uploads(identity, self._run))
            or None,
            bytes=catalog.summaries.uploaded_bytes(identity, self._run),
            failures=tuple(failures),
        )
        return self._leftovers.add_to(summary, planned=planned, selected=selected)

    def _changed(self) -> tuple[ChangedRow, ...] | None:
        settings, would_arrive = self._settings, self._uploader.dry_run.would_arrive
        return remapped_uploads(self._catalog, settings.identity, settings.mapping, would_arrive) or None

    @override
    async def work(self) -> None:
        if self._stubs:
            await self._stubs.require_creatable()
        if self._stubs and not self._settings.dry_run:
            await self._stubs.create()
        self._progress.known(*await self._executor.call(self._plan))
        settled = await self._settled_before()
        self._progress.all_known()
        await self._uploader.prepare()
        entities = await self._executor.call(self._catalog.uploads.unsettled_entities, self._settings.identity)
        self._uploader.dry_run.arrange([*entities, *settled])
        count = ENTITIES_PER_UPLOAD * self._uploader.writes
        await run_workers(entities, self._uploader.process_entity, count, self._stop)
        checked_all = False
        if self._settings.verify_content and not self._stop.requested:
            checked_all = await self._check_content()
        if not checked_all and not self._stop.requested:
            await self._presence.run(settled, self._uploader.selects, count)
        await self._vanished.judge()

    async def _settled_before(self) -> list[EntityRef]:
        """Target entities with files that earlier runs brought there; a restore looks at none of them."""
        if self._settings.restores:
            return []
        settled = await self._executor.call(self._catalog.uploads.settled_entities, self._settings.identity)
        if not self._settings.selection.partial:  # otherwise they are known once they are selected
            self._progress.known(sum(settled.values()), 0)
        return list(settled)

    async def _record_vanished(self, uploads: Sequence[Upload]) -> None:
        if self._settings.dry_run:
            for upload in uploads:
                self._uploader.dry_run.add(upload, UploadStatus.FAILED, upload.name, GONE_IN_A_DRY_RUN)
            return
        record, identity = self._catalog.uploads.record_content_check, self._settings.identity
        records = [partial(record, identity, upload, NO_LONGER_THERE) for upload in uploads]
        await self._executor.call(self._catalog.uploads.record_together, records)

    async def _check_content(self) -> bool:
        """Read back the files that this run settled; if there were none, all that are recorded as arrived, and True."""
        arrived, identity = self._catalog.uploads.all_arrived, self._settings.identity
        uploads = await self._executor.call(arrived, identity, self._run)
        everything = not uploads
        if everything:
            uploads = await self._executor.call(arrived, identity)
        self._content = ContentCheck(
            self._target, self._catalog, identity, self._executor, self._uploader.reader(), self._stop, self._vanished
        )
        await self._content.run(uploads, self._settings.uploads)
        return everything
