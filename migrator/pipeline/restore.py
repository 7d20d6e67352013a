"""Restore: what the source lost is put back onto its own entities, by the machinery of a load.

The target of this load is the archive's own source, and each entity is mapped to itself. What has to go back is a view
of the catalog (see `migrator.store.catalog.restoring`). A file on an entity that the archive knows by its id is never
mistaken for a lost one.

Beware: the archive knows only what the last backup found. What was renamed, moved or replaced at the source is not
lost, and is not touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from typing_extensions import override

from migrator.filenames import names_at_target
from migrator.model import RunStatus
from migrator.pipeline.load import LoadSettings, load_job
from migrator.pipeline.run import DRY_RUN, Job, run_context
from migrator.pipeline.summary import LoadSummary, RestoreCounts, RestoreSummary
from migrator.ports import Target
from migrator.progress import Progress, Silent
from migrator.selection import EVERYTHING, Selection
from migrator.store import OWN_SOURCE, Archive, Catalog


@dataclass(frozen=True, slots=True)
class RestoreSettings:
    """`identity` names the source; `snapshot` is the run of the one whose files are wanted, None: any that held them.

    The others are those of a load.
    """

    identity: str
    snapshot: int | None = None
    uploads: int = 4
    provenance: bool = True
    dry_run: bool = False
    selection: Selection = EVERYTHING
    look_again: float = 1.0
    second: float | None = None


async def restore(
    target: Target,
    archive: Archive,
    catalog: Catalog,
    settings: RestoreSettings,
    *,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
) -> RestoreSummary:
    """One run, with the source as `target`. The caller holds the archive, and may repeat it at any time.

    In a dry run nothing is sent, and nothing recorded but the run. `ConfigError` if the archive is that of another
    source.
    """
    await asyncio.to_thread(archive.require_readable)
    name = f"restore{DRY_RUN}" if settings.dry_run else "restore"
    async with run_context(catalog, name, lambda: catalog.settings.require_source(settings.identity)) as context:
        if not settings.dry_run:  # the next backup has to list what is put back, also on a tracker that doesn't date it
            await context.executor.call(catalog.unchanged.require_full_crawl)
        can = target.capabilities

        def names(original: str) -> Iterator[str]:
            return names_at_target(original, target.legal_name, can.max_name_bytes, can.name_encoding)

        owners = await context.executor.call(catalog.restoring.view_lost, names, settings.snapshot)
        as_load = LoadSettings(
            OWN_SOURCE,
            {owner: (owner,) for owner in owners},
            settings.uploads,
            provenance=settings.provenance,
            dry_run=settings.dry_run,
            look_again=settings.look_again,
            selection=settings.selection,
            second=settings.second,
            restores=True,
        )
        work = _Restore(load_job(target, archive, as_load, context, progress or Silent()))
        summary = await context.execute(work, stop or asyncio.Event())
        if settings.dry_run or summary.status is not RunStatus.INTERRUPTED:
            await context.executor.call(catalog.restoring.drop_plan)
        return summary


class _Restore(Job[RestoreSummary]):
    """The work of a load, reported as a restore."""

    def __init__(self, load: Job[LoadSummary]) -> None:
        self._load = load

    @override
    async def work(self) -> None:
        await self._load.work()

    @override
    async def flush(self) -> None:
        await self._load.flush()

    @override
    def summary(self, status: RunStatus) -> RestoreSummary:
        done = self._load.summary(status)
        counts = done.uploads
        return RestoreSummary(
            uploads=RestoreCounts(counts.planned, counts.uploaded, counts.already_there, counts.skipped, counts.failed),
            dry_run=done.dry_run,
            rehearsal=done.rehearsal,
            altered=done.altered,
            warnings=done.warnings,
            bytes=done.bytes,
            failures=done.failures,
        )
