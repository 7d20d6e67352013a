"""Export: the files of an archive under their own names, as a folder, a bag or a ZIP file, on a disk or in a bucket.

On a disk everything is built under another name and renamed to DEST when it is complete. So what a kill leaves behind
is never mistaken for an export; the next export of this archive to the same place removes it. `in_bucket` says how that
is in a bucket.

Only files that are `stored` are exported, as by a load; files `gone` from the source only on request. Of these, a
selection may take some. What the archive lacks of it is named, and makes the export incomplete.

Beware: a hard link is the archive's own file, so files are copied unless links were requested.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from typing_extensions import override

from migrator.errors import StorageError
from migrator.filenames import UNSAFE_IN_A_BAG
from migrator.model import EntityRef, RunStatus
from migrator.pipeline.export.copies import BlobDamagedError, can_clone, copy_blob, name_new_file
from migrator.pipeline.export.destination import Destination
from migrator.pipeline.export.in_bucket import BucketDestination, InBucket
from migrator.pipeline.export.paths import items_with_paths
from migrator.pipeline.export.placing import ExportItem
from migrator.pipeline.export.selecting import SelectedFiles
from migrator.pipeline.lacking import lacking
from migrator.pipeline.run import Job, RunContext, run_context
from migrator.pipeline.stop import StopRequestedError
from migrator.pipeline.summary import ExportSummary, Failure, Problem
from migrator.progress import Progress, Silent
from migrator.selection import EVERYTHING, Selection
from migrator.store import README, Archive, Catalog, FreeSpace, blob_name, disk_errors

__all__ = ["BlobDamagedError", "ExportSettings", "InBucket", "copy_blob", "export", "name_new_file"]

FILES_PER_CALL = 64
"""Files placed by one call on the executor."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """The settings of an export. `shape` is tree, bagit or zip.

    `links`: hard links into the archive instead of copies, where possible. `gone` includes files that the source no
    longer has. `selection` names the files that are wanted.
    """

    destination: Path | InBucket
    shape: str = "tree"
    links: bool = False
    gone: bool = False
    selection: Selection = EVERYTHING


async def export(
    archive: Archive,
    catalog: Catalog,
    settings: ExportSettings,
    *,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
) -> ExportSummary:
    """One run; the caller holds the archive. `ConfigError` if the destination is in use, or if nothing is selected.

    If a blob is damaged or missing, everything else is exported, and the status is `damaged`. It is `incomplete` if the
    archive lacks files of the source, such as those that failed, or that a backup has still to fetch.
    """
    await asyncio.to_thread(archive.require_readable)
    destination = await asyncio.to_thread(_destination, archive, settings)
    _selected(catalog, settings).require_any()
    async with run_context(catalog, "export", mends_journal=False) as context:
        return await context.execute(_Export(archive, settings, destination, context, progress or Silent()), stop)


def _destination(archive: Archive, settings: ExportSettings) -> Destination | BucketDestination:
    if isinstance(settings.destination, InBucket):
        return BucketDestination(archive, settings.destination)
    return Destination(archive.root, settings.destination, file=settings.shape == "zip")


def _selected(catalog: Catalog, settings: ExportSettings) -> SelectedFiles:
    return SelectedFiles(catalog, settings.selection, gone=settings.gone)


class _Export(Job[ExportSummary]):
    """One export. Everything that blocks runs on the executor, so files are placed one after the other."""

    def __init__(
        self,
        archive: Archive,
        settings: ExportSettings,
        destination: Destination | BucketDestination,
        context: RunContext,
        progress: Progress,
    ) -> None:
        self._archive, self._settings, self._destination = archive, settings, destination
        self._selected = _selected(context.catalog, settings)
        self._catalog, self._executor, self._stop = context.catalog, context.executor, context.stop
        self._progress, self._loop = progress, asyncio.get_running_loop()
        self._format = destination.format(settings.shape, self._on_bytes, links=settings.links)
        self._files = self._bytes = self._read = 0
        self._finished = False
        self._problems: dict[str, Problem] = {}
        self._failures: list[Failure] = []

    @override
    async def work(self) -> None:
        call = self._executor.call
        with disk_errors(str(self._destination.path)), suppress(StopRequestedError):
            await call(self._begin)
            self._progress.known(*await call(self._selected.totals))
            self._progress.all_known()
            items = await call(self._items)
            while batch := await call(lambda: list(islice(items, FILES_PER_CALL))):
                failed = await call(self._place, batch)
                self._count_unread()
                for number in range(len(batch)):
                    self._progress.done(failed=number < failed)
            with self._stop.in_flight():
                await call(self._finish)
        self._stop.left_undone |= not self._finished

    @override
    async def flush(self) -> None:
        """Remove an unfinished export."""
        if not self._finished:
            await self._executor.call(self._discard)

    @override
    def summary(self, status: RunStatus) -> ExportSummary:
        self._catalog.blobs.record_problems(
            {sha256: problem.problem for sha256, problem in self._problems.items()}, whole=False
        )
        return ExportSummary(
            format=self._settings.shape,
            destination=self._destination.shown,
            files=self._files if self._finished else 0,
            bytes=self._bytes if self._finished else 0,
            problems=tuple(self._problems.values()),
            failures=(*self._failures, *lacking(self._catalog, self._settings.selection.wants_named)),
        )

    def _on_bytes(self, size: int) -> None:
        """The format calls this for each chunk, on the executor."""
        self._read += size
        self._loop.call_soon_threadsafe(self._progress.transferred, size)
        self._stop.check()

    def _count_unread(self) -> None:
        """Report the bytes of files whose blob was read before, for another file."""
        unread = self._bytes - self._read
        if unread > 0:
            self._read += unread
            self._progress.transferred(unread)

    def _begin(self) -> None:
        size = self._selected.totals()[1]
        self._destination.prepare(size)
        if isinstance(self._destination, Destination):
            self._require_space(self._destination.partial, size)
        self._format.begin()

    def _require_space(self, partial: Path, size: int) -> None:
        """Copies need as much space as the files, clones none; how much a ZIP file needs isn't known beforehand."""
        folder, settings = partial.parent, self._settings
        linked = settings.links and folder.stat().st_dev == self._archive.root.stat().st_dev
        if settings.shape != "zip" and not linked and not can_clone(self._archive.root / README, partial):
            FreeSpace(folder).require(size)

    def _items(self) -> Iterator[ExportItem]:
        avoid = UNSAFE_IN_A_BAG if self._settings.shape == "bagit" else ""
        return items_with_paths(self._selected.rows(), avoid)

    def _place(self, items: list[ExportItem]) -> int:
        """Place files; returns how many of them could not be."""
        before = len(self._failures)
        with self._archive.files([item.blob.sha256 for item in items]) as path_of:
            for item, problem in zip(items, self._format.add_all(items, path_of), strict=True):
                if problem:
                    self._note_damage(item, problem)
                else:
                    self._files, self._bytes = self._files + 1, self._bytes + item.blob.size
        return len(self._failures) - before

    def _note_damage(self, item: ExportItem, problem: str) -> None:
        sha256, code = item.blob.sha256, "E02" if problem == "missing" else "E01"
        path = blob_name(sha256)
        self._problems[sha256] = Problem(code, problem, sha256, path)
        owner, reason = EntityRef(item.kind, item.entity_id), f"its blob is {problem}: {path}"
        self._failures.append(Failure(owner, item.attachment_id, item.name, reason))

    def _finish(self) -> None:
        self._stop.check()
        self._format.end(self._catalog.settings.get("source") or "")
        self._destination.finish()
        self._finished = True

    def _discard(self) -> None:
        with suppress(OSError, StorageError):
            self._format.discard()
            self._destination.sweep()
