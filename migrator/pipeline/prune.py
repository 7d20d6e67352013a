"""Prune: forget snapshots by rules, and delete the blobs that nothing needs any more.

The rules are those of restic's `forget`: a snapshot stays if any rule keeps it. Days, weeks, months and years are those
of the local calendar, and of each the newest snapshot counts.

Beware: the newest snapshot always stays, and without any rule everything does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from typing_extensions import override

from migrator.model import RunStatus
from migrator.pipeline.run import Job, RunContext, run_context
from migrator.pipeline.summary import PruneSummary
from migrator.progress import Progress, Silent
from migrator.store import Archive, Catalog, Snapshot

_PERIODS: dict[str, Callable[[datetime], object]] = {
    "daily": lambda at: at.date(),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: at.year,
}


@dataclass(frozen=True, slots=True)
class Retention:
    """Which snapshots stay: the `last` ones, those `within` so many seconds before the newest, and the newest of each
    of the last days, weeks, months and years that have one.
    """

    last: int = 0
    within: float = 0.0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def kept(self, snapshots: Sequence[Snapshot]) -> set[int]:
        """The runs of the snapshots that stay, of all there are, the oldest first."""
        if self == KEEP_ALL or not snapshots:
            return {each.run for each in snapshots}
        newest_first = [(each.run, datetime.fromisoformat(each.at).astimezone()) for each in reversed(snapshots)]
        run, newest = newest_first[0]
        kept = {run, *(run for run, _ in newest_first[: self.last])}
        if self.within:
            since = newest - timedelta(seconds=self.within)
            kept |= {run for run, at in newest_first if at >= since}
        for name, period in _PERIODS.items():
            kept |= _newest_of_each(newest_first, period, getattr(self, name))
        return kept


KEEP_ALL = Retention()


def _newest_of_each(
    newest_first: Sequence[tuple[int, datetime]], period: Callable[[datetime], object], count: int
) -> set[int]:
    newest: dict[object, int] = {}
    for run, at in newest_first:
        if len(newest) < count or period(at) in newest:
            newest.setdefault(period(at), run)
    return set(newest.values())


async def prune(
    archive: Archive,
    catalog: Catalog,
    retention: Retention,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
) -> PruneSummary:
    """One run; the caller holds the archive. May be repeated, and goes on where one was killed or stopped.

    A dry run says what a run would do, and changes nothing.
    """
    if dry_run:
        return await asyncio.to_thread(lambda: _plan(catalog, retention)[1])
    async with run_context(catalog, "prune") as context:
        return await context.execute(_Prune(archive, retention, context, progress or Silent()), stop)


class _Prune(Job[PruneSummary]):
    def __init__(self, archive: Archive, retention: Retention, context: RunContext, progress: Progress) -> None:
        self._archive, self._retention, self._context, self._progress = archive, retention, context, progress
        self._summary = PruneSummary(snapshots={"kept": [], "removed": []}, blobs={"kept": 0, "removed": 0}, bytes=0)

    @override
    async def work(self) -> None:
        call, pruning = self._context.executor.call, self._context.catalog.pruning
        keep, planned = await call(_plan, self._context.catalog, self._retention)
        self._summary = replace(planned, dry_run=None)
        if self._retention != KEEP_ALL:
            await call(pruning.forget, keep)
        while hashes := await call(pruning.removed_blobs):
            if self._context.stop.requested:
                self._context.stop.left_undone = True
                return
            self._progress.known(len(hashes), 0)
            with self._context.stop.in_flight():
                await call(self._archive.remove, hashes)
                await call(pruning.record_deleted, hashes)
            for _ in hashes:
                self._progress.done()

    @override
    async def flush(self) -> None:
        """Each batch of files is recorded as soon as it is deleted."""

    @override
    def summary(self, status: RunStatus) -> PruneSummary:
        return self._summary


def freed_by(catalog: Catalog, retention: Retention) -> tuple[int, int]:
    """How many blobs a prune by these rules would free, and their bytes. Reads only."""
    return (0, 0) if retention == KEEP_ALL else catalog.pruning.freed(retention.kept(catalog.snapshots.all()))


def _plan(catalog: Catalog, retention: Retention) -> tuple[set[int], PruneSummary]:
    """The snapshots that stay, and the summary of a dry run."""
    snapshots = catalog.snapshots.all()
    keep = retention.kept(snapshots)
    plan = catalog.pruning.plan(keep)
    if retention == KEEP_ALL:
        plan = replace(plan, kept=plan.kept + plan.removed, removed=0, bytes=0)
    return keep, PruneSummary(
        dry_run=True,
        snapshots={"kept": sorted(keep), "removed": sorted({each.run for each in snapshots} - keep)},
        blobs={"kept": plan.kept, "removed": plan.removed},
        bytes=plan.bytes,
    )
