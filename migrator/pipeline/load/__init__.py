"""Load: read -> map (and create what is missing) -> plan -> upload -> record.

The plan is rows in the catalog, one for each attachment and target entity. A run processes those that are not settled
yet, several target entities side by side; see `upload.py` for one entity.

Beware: a plan is only as good as the mapping it was made from. What an earlier mapping planned and nobody sent is
dropped first.
"""

from __future__ import annotations

import asyncio

from typing_extensions import override

from migrator.model import EntityRef, RunStatus, UploadStatus
from migrator.pipeline.load.arrivals import fits, is_passing, likeness, resembles
from migrator.pipeline.load.content_check import ContentCheck
from migrator.pipeline.load.left_out import Left
from migrator.pipeline.load.remapped import Remapped, former, to_delete
from migrator.pipeline.load.settings import LoadSettings
from migrator.pipeline.load.stubs import StubCreator
from migrator.pipeline.load.upload import Uploader
from migrator.pipeline.run import Job, RunContext, run_context
from migrator.pipeline.summary import Failure, LoadSummary, UploadCounts
from migrator.pipeline.workers import run_workers
from migrator.ports import Target
from migrator.progress import Progress, Silent
from migrator.store import Archive, Catalog

__all__ = ["LoadSettings", "Remapped", "fits", "is_passing", "likeness", "load", "resembles", "to_delete"]


UNSETTLED = {UploadStatus.PLANNED, UploadStatus.IN_DOUBT, UploadStatus.FAILED}


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

    Gives the summary of `contract.md`. In a dry run nothing is sent, and nothing recorded but the run and its plan.
    `ConfigError`, and there was no run, where no row of the mapping names anything in the archive.
    """
    left = Left(catalog, settings)
    async with run_context(catalog, "load", left.expect_something) as context:
        uploader = Uploader(target, archive, settings, context, progress or Silent())
        work = _Load(uploader, target, settings, context, left)
        return left.whole(await context.execute(work, stop or asyncio.Event()))


class _Load(Job[LoadSummary]):
    def __init__(
        self, uploader: Uploader, target: Target, settings: LoadSettings, context: RunContext, left: Left
    ) -> None:
        self._uploader, self._target, self._settings, self._left = uploader, target, settings, left
        self._catalog, self._executor, self._run, self._stop = (
            context.catalog,
            context.executor,
            context.run,
            context.stop,
        )
        self._stubs = self._may_create() if settings.create_missing else None
        self._planned = False
        self._unmapped = 0
        self._content: ContentCheck | None = None
        self._skipped: set[tuple[str, EntityRef]] = set()

    def _may_create(self) -> StubCreator:
        return StubCreator(self._target, self._catalog, self._settings, self._executor, self._stop)

    @override
    async def flush(self) -> None:
        """Every upload is recorded as soon as it is settled."""

    def _plan(self) -> None:
        """A row for every upload to come; files of entities without a row in the mapping are counted."""
        mapping = self._settings.mapping
        without = {owner: count for owner, count in self._catalog.entities.owners() if not mapping.get(owner)}
        self._left.without, self._unmapped = list(without), sum(without.values())
        pairs = ((owner, to) for owner, targets in mapping.items() for to in targets)
        self._catalog.uploads.plan(self._run, self._settings.identity, pairs)
        self._planned = True
        if self._settings.selection.partial:
            self._pick()

    def _pick(self) -> None:
        """Take what the selection wants, settled or not, so that a repeated run takes the same entities."""
        for attachment, to, status in self._catalog.uploads.planned(self._settings.identity):
            if not self._uploader.choice.select(attachment) and status in UNSETTLED:
                self._skipped.add((attachment.id, to))

    @override
    def summary(self, _: RunStatus) -> LoadSummary:
        catalog, identity, dry_run = self._catalog, self._settings.identity, self._settings.dry_run
        counts = catalog.summaries.upload_counts(identity, self._run)
        failed = [Failure.of_row(row) for row in catalog.summaries.upload_failures(identity)]
        failed = [failure for failure in failed if (failure.attachment, failure.target) not in self._skipped]
        failures = self._uploader.dry_run.failures if dry_run else failed
        failures = [*failures, *(self._content.unread if self._content else ())]
        failures += self._stubs.failures if self._stubs else []
        planned = sum(counts.values()) - counts[UploadStatus.ROLLED_BACK]
        asked_for = planned - len(self._skipped) if self._settings.selection.partial else planned
        summary = LoadSummary(
            uploads=UploadCounts(
                planned=planned,
                uploaded=counts[UploadStatus.UPLOADED],
                already_there=counts[UploadStatus.ALREADY_THERE],
                unmapped=self._unmapped,
                skipped=len(self._skipped),
                failed=len(failed),
            ),
            dry_run=self._uploader.dry_run.counts() if dry_run else None,
            rehearsal=self._uploader.dry_run.rows if dry_run else None,
            content=self._content.counts() if self._content else None,
            stubs=self._stubs.summary(dry_run=dry_run) if self._stubs else None,
            changed=(former(catalog, identity, self._settings.mapping) or None) if self._planned else None,
            altered=tuple(catalog.summaries.altered_uploads(identity, self._run)) or None,
            bytes=catalog.summaries.uploaded_bytes(identity, self._run),
            failures=tuple(failures),
        )
        return self._left.added_to(summary, asked_for, planned=planned)

    @override
    async def work(self) -> None:
        if self._stubs:
            await self._stubs.expect()
        if self._stubs and not self._settings.dry_run:
            await self._stubs.create()
        await self._executor.call(self._plan)
        await self._uploader.prepare()
        entities = await self._executor.call(self._catalog.uploads.unsettled_entities, self._settings.identity)
        count = min(self._settings.uploads, self._target.capabilities.max_writes)
        await run_workers(entities, self._uploader.process_entity, count, self._stop)
        if self._settings.verify_content and not self._stop.requested:
            await self._check_content()

    async def _check_content(self) -> None:
        """Read back what this run settled; all that is recorded as there, if it had nothing to settle."""
        arrived, identity = self._catalog.uploads.all_arrived, self._settings.identity
        wanted = await self._executor.call(arrived, identity, self._run) or await self._executor.call(arrived, identity)
        self._content = ContentCheck(
            self._target, self._catalog, identity, self._executor, self._uploader.reader(), self._stop
        )
        await self._content.run(wanted, self._settings.uploads)
