"""Backup: crawl -> fetch -> store -> record, all at the same time, with checkpoints in order; then rechecks.

Each page of a listing is a task. It records what it lists, has the workers fetch the missing files, waits until these
are recorded and the page before it is done, and then commits its cursor. So listing continues while files stream, and
a checkpoint never claims more than is on disk.

A listing that can't be read is one failure, and the others are still read; the tracker is unreachable only if none can
be. Fatal errors (credentials refused, nobody answers, disk full) stop everything, after recording what was finished.

Beware: nothing is called gone unless the whole source was seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from typing_extensions import override

from migrator.model import RunStatus, Status
from migrator.pipeline.backup.crawl import Crawler
from migrator.pipeline.backup.fetch import Fetcher
from migrator.pipeline.backup.findings import Findings
from migrator.pipeline.backup.recheck import Rechecker
from migrator.pipeline.backup.recorder import Recorder
from migrator.pipeline.backup.relocation import relocate
from migrator.pipeline.backup.unchanged import UnchangedEntities, plan_crawl
from migrator.pipeline.downloads import Downloader
from migrator.pipeline.fetch_place import FetchPlace
from migrator.pipeline.run import Job, RunContext, run_context
from migrator.pipeline.summary import BackupSummary, Failure
from migrator.ports import Source
from migrator.progress import Progress, Silent
from migrator.selection import EVERYTHING, Selection, Selector
from migrator.store import Archive, Catalog, Crawl, Vanished, scan_blobs
from migrator.units import counted

__all__ = ["BackupSettings", "backup", "relocate"]


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """The settings of a backup. `identity` names the source; empty `kinds` means all.

    A partial `selection` has a crawl of its own, with its own checkpoints. `max_gone` is the share of the held files (0
    to 1) that may vanish from the source at once; None: all. `recheck` is the share of the stored files (0 to 1) that
    is fetched again and compared. `full_every`, in seconds, is how often all entities are asked for their files, and
    not only those that were changed; None: each time.
    """

    identity: str
    kinds: tuple[str, ...] = ()
    downloads: int = 16
    allow_forbidden: bool = False
    selection: Selection = EVERYTHING
    max_gone: float | None = 0.2
    recheck: float = 0.0
    full_every: float | None = None


async def backup(
    source: Source,
    archive: Archive,
    catalog: Catalog,
    settings: BackupSettings,
    *,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
    place: Callable[[Downloader], FetchPlace] = lambda downloader: downloader,
) -> BackupSummary:
    """One run: resumes the crawl under way, or starts one. The caller holds the archive.

    `place` makes the place where files are fetched out of the one that fetches them in this process.
    """
    async with run_context(catalog, "backup", lambda: catalog.settings.claim_source(settings.identity)) as context:
        job = _Backup(source, archive, settings, context, progress or Silent(), place)
        await context.executor.call(job.begin)
        return await context.execute(job, stop)


class _Backup(Job[BackupSummary]):
    def __init__(
        self,
        source: Source,
        archive: Archive,
        settings: BackupSettings,
        context: RunContext,
        progress: Progress,
        place: Callable[[Downloader], FetchPlace],
    ) -> None:
        self._source, self._archive, self._settings, self._progress = source, archive, settings, progress
        self._catalog, self._executor, self._run = context.catalog, context.executor, context.run
        self._recorder = Recorder(archive, context.catalog, context.executor, context.run)
        self._place = place(Downloader(source, archive, context.stop, progress, downloads=settings.downloads))
        self._fetcher = Fetcher(
            source,
            self._place,
            self._recorder,
            context.stop,
            progress,
            allow_forbidden=settings.allow_forbidden,
            witness=lambda: context.executor.call(context.catalog.files.stored_of_unlisted_size),
        )
        self._findings = Findings(progress)
        self._space = archive.space
        self._crawl, self._context = Crawl(context.run, {}), context
        self._unchanged: UnchangedEntities | None = None
        self._partial = settings.selection.partial
        self._selector = Selector(settings.selection, frozenset(settings.kinds))
        self._crawler = Crawler(
            source,
            self._fetcher,
            self._findings,
            self._selector,
            self._space,
            context,
            progress,
            downloads=settings.downloads,
            allow_forbidden=settings.allow_forbidden,
        )
        self._rechecker = Rechecker(
            self._fetcher,
            self._recorder,
            context,
            progress,
            share=settings.recheck,
            downloads=settings.downloads,
            wants=self._selector.select if self._partial else lambda _: True,
        )

    def begin(self) -> None:
        """Resume the crawl under way, or start one."""
        kinds, selection = sorted(self._settings.kinds), self._settings.selection
        scope = repr((kinds, selection.key)) if self._partial else repr(kinds)
        plan = None
        if self._source.capabilities.dates_changes and not self._partial:
            left_out, full_every = self._source.capabilities.left_out, self._settings.full_every
            plan = plan_crawl(self._catalog.unchanged, scope, left_out, full_every)
            scope = plan.scope
        left_out_ids = self._source.capabilities.left_out_ids
        self._crawl = self._catalog.crawl.begin(
            self._run, scope, kinds, partial=self._partial, left_out_ids=left_out_ids
        )
        self._selector.selected.update(self._catalog.crawl.selected_entities(self._crawl))
        if plan is not None:
            self._unchanged = UnchangedEntities(self._context, plan, self._crawl)
        self._crawler.resume(
            self._crawl,
            self._catalog.crawl.failed_entities(self._crawl),
            partial=self._partial,
            unchanged=self._unchanged,
        )
        self._catalog.runs.count_changes(self._run)

    @override
    async def flush(self) -> None:
        try:
            await self._place.flush()
            await self._recorder.flush()
        finally:
            await self._place.close()
            self._archive.empty_incoming()

    @override
    def summary(self, status: RunStatus) -> BackupSummary:
        """If the work came to its end, so did the crawl, even if some of it could not be read."""
        catalog, start, findings = self._catalog, self._crawl.start, self._findings
        vanished = Vanished()
        if status is RunStatus.COMPLETE:
            vanished = catalog.crawl.end(
                self._crawl,
                self._settings.kinds,
                left_out=self._source.capabilities.left_out,
                left_out_ids=self._source.capabilities.left_out_ids,
                whole=not findings.unread,
                max_gone=self._settings.max_gone,
                full_crawl=self._unchanged.full_crawl(catalog.runs.started_at(start)) if self._unchanged else None,
            )
            findings.judge(catalog, self._crawl, self._settings.selection, self._settings.kinds, vanished)
            findings.warn(*self._fetcher.warnings)
        catalog.crawl.record_general_failures(findings.failures)
        if status is RunStatus.COMPLETE:
            catalog.accepted.end_settled()
        failures, accepted = catalog.accepted.all().split(catalog.summaries.failures(start))
        if status is RunStatus.COMPLETE and not failures and not self._partial:
            catalog.snapshots.take(self._run, start, self._settings.kinds, self._source.capabilities.left_out)
        gone = vanished.files if vanished.believed else 0
        return BackupSummary(
            partial=self._partial or None,
            entities=catalog.entities.count(start),
            attachments=catalog.summaries.backup_counts(
                start, self._run, gone, accepted=sum(row["status"] == Status.FAILED for row in accepted)
            ),
            changes=catalog.runs.changes(),
            taken=None if self._settings.selection.limit is None else len(self._selector.selected),
            rechecked=self._rechecker.counts,
            not_asked=self._unchanged.not_asked(self._settings.full_every) if self._unchanged else None,
            bytes=catalog.summaries.stored_bytes(self._run),
            warnings=tuple(findings.warnings),
            failures=tuple(map(Failure.of_row, failures)),
            accepted=tuple(map(Failure.of_row, accepted)) or None,
        )

    @override
    async def work(self) -> None:
        await self._requeue_lost_blobs()
        if not self._partial:
            await self._executor.call(self._require_space)
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._recorder.run())]
            helpers += [group.create_task(self._fetcher.work())]
            await self._crawler.read_all()
            await self._crawler.complete()
            await self._crawler.retry_unfinished()
            await self._rechecker.work(self._crawl)
            for task in helpers:
                task.cancel()
        self._fetcher.require_some()

    async def _requeue_lost_blobs(self) -> None:
        """Queue files again whose blob is missing, or was found damaged by verify."""
        damaged = await self._executor.call(self._catalog.blobs.damaged)
        scan = await self._executor.call(scan_blobs, self._archive, self._catalog)
        self._archive.untrusted.update(damaged, scan.missing, scan.unrecorded)
        lost = list({*damaged, *scan.missing})
        if lost and (count := await self._executor.call(self._catalog.crawl.requeue, lost)):
            blobs, files = counted(len(lost), "blob is", "blobs are"), counted(count, "file is", "files are")
            self._findings.warn(
                f"{blobs} damaged or missing in the archive; {files} fetched again. Is the disk, or the store, failing?"
            )

    def _require_space(self) -> None:
        """Files that an earlier run listed need space; check that before any request."""
        if size := self._catalog.files.bytes_to_come(self._crawl.start, self._space.largest()):
            self._space.require(size)
