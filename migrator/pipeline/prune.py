"""Prune: forget snapshots by rules, and delete the blobs that nothing needs any more.

The rules are those of restic's `forget`: a snapshot stays if any rule keeps it. Days, weeks, months and years are those
of the local calendar, and of each the newest snapshot counts.

Beware: the newest snapshot always stays, and without any rule everything does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from migrator.model import RunStatus
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
        if self == Retention() or not snapshots:
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
    snapshots = catalog.snapshots.all()
    keep = retention.kept(snapshots)
    summary = _planned(catalog, [each.run for each in snapshots], keep, nothing=retention == Retention())
    if dry_run:
        return summary(RunStatus.COMPLETE, None)
    catalog.ensure_journal()
    run = catalog.runs.begin("prune")
    if retention != Retention():
        catalog.pruning.forget(keep)
    stopped = await _sweep(archive, catalog, progress or Silent(), stop or asyncio.Event())
    done = summary(RunStatus.INTERRUPTED if stopped else RunStatus.COMPLETE, run)
    catalog.runs.end(run, done.status, done.as_json())
    return done


def _planned(
    catalog: Catalog, runs: Sequence[int], keep: set[int], *, nothing: bool
) -> Callable[[RunStatus, int | None], PruneSummary]:
    """Makes the summary, from what is there now."""
    plan = catalog.pruning.plan(keep)
    kept, removed, size = (plan.kept + plan.removed, 0, 0) if nothing else (plan.kept, plan.removed, plan.bytes)

    def summary(status: RunStatus, run: int | None) -> PruneSummary:
        return PruneSummary(
            status=status,
            run=run,
            dry_run=True if run is None else None,
            snapshots={"kept": sorted(keep), "removed": sorted({*runs} - keep)},
            blobs={"kept": kept, "removed": removed},
            bytes=size,
        )

    return summary


async def _sweep(archive: Archive, catalog: Catalog, progress: Progress, stop: asyncio.Event) -> bool:
    """Delete the files of forgotten blobs; whether a stop came first."""
    while hashes := catalog.pruning.removed_blobs():
        if stop.is_set():
            return True
        progress.known(len(hashes), 0)
        await asyncio.to_thread(archive.remove, hashes)
        catalog.pruning.record_deleted(hashes)
        for _ in hashes:
            progress.done()
    return False
