"""Export: the files of an archive under their own names, as a folder, a bag or a ZIP file.

Everything is built under another name and renamed to DEST when it is complete. So what a kill leaves behind is never
mistaken for an export; the next export of this archive to the same place removes it.

Only files that are `stored` are exported, as by a load; files `gone` from the source only on request.

Beware: a hard link is the archive's own file, so files are copied unless links were requested.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from typing_extensions import override

from migrator.filenames import (
    MAX_FOLDER_CHARACTERS,
    MAX_KIND_CHARACTERS,
    MAX_PATH_CHARACTERS,
    UNSAFE_IN_A_BAG,
    fold,
    legal,
    length_on_windows,
    readable,
    unique,
)
from migrator.model import Blob, EntityRef, RunStatus
from migrator.pipeline.export.copies import BlobDamagedError, can_clone
from migrator.pipeline.export.destination import Destination
from migrator.pipeline.export.formats import FORMATS, INDEX, ExportItem
from migrator.pipeline.run import Job, RunContext, run_context
from migrator.pipeline.stop import StopRequestedError
from migrator.pipeline.summary import ExportSummary, Failure, Problem
from migrator.progress import Progress, Silent
from migrator.store import README, Archive, Catalog, FreeSpace, blob_name, disk_errors

__all__ = ["ExportSettings", "export"]

FILES_PER_CALL = 64
"""Files placed by one call on the executor."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """The settings of an export. `shape` is tree, bagit or zip.

    `links`: hard links into the archive instead of copies, where possible. `gone` includes files that the source no
    longer has.
    """

    destination: Path
    shape: str = "tree"
    links: bool = False
    gone: bool = False


async def export(
    archive: Archive,
    catalog: Catalog,
    settings: ExportSettings,
    *,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
) -> ExportSummary:
    """One run; the caller holds the archive. `ConfigError` if the destination is in use.

    If a blob is damaged or missing, everything else is exported, and the status is `damaged`.
    """
    destination = Destination(archive.root, settings.destination, file=settings.shape == "zip")
    async with run_context(catalog, "export", mends_journal=False) as context:
        return await context.execute(_Export(archive, settings, destination, context, progress or Silent()), stop)


class _Export(Job[ExportSummary]):
    """One export. Everything that blocks runs on the executor, so files are placed one after the other."""

    def __init__(
        self,
        archive: Archive,
        settings: ExportSettings,
        destination: Destination,
        context: RunContext,
        progress: Progress,
    ) -> None:
        self._archive, self._settings, self._destination = archive, settings, destination
        self._catalog, self._executor, self._stop = context.catalog, context.executor, context.stop
        self._progress, self._loop = progress, asyncio.get_running_loop()
        self._format = FORMATS[settings.shape](destination.partial, self._on_bytes, links=settings.links)
        self._files = self._bytes = self._read = 0
        self._finished = False
        self._problems: dict[str, Problem] = {}
        self._failures: list[Failure] = []

    @override
    async def work(self) -> None:
        call = self._executor.call
        with disk_errors(str(self._destination.path)), suppress(StopRequestedError):
            await call(self._begin)
            self._progress.known(*await call(self._catalog.exports.size, gone=self._settings.gone))
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
            destination=readable(self._settings.destination),
            files=self._files if self._finished else 0,
            bytes=self._bytes if self._finished else 0,
            problems=tuple(self._problems.values()),
            failures=tuple(self._failures),
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
        self._destination.prepare()
        self._require_space()
        self._format.begin()

    def _require_space(self) -> None:
        """Copies need as much space as the files, clones none; how much a ZIP file needs isn't known beforehand."""
        folder, settings = self._destination.partial.parent, self._settings
        linked = settings.links and folder.stat().st_dev == self._archive.blobs.stat().st_dev
        if settings.shape != "zip" and not linked and not self._clones():
            FreeSpace(folder).require(self._catalog.exports.size(gone=settings.gone)[1])

    def _clones(self) -> bool:
        return can_clone(self._archive.root / README, self._destination.partial)

    def _items(self) -> Iterator[ExportItem]:
        avoid = UNSAFE_IN_A_BAG if self._settings.shape == "bagit" else ""
        return items_with_paths(self._catalog.exports.files(gone=self._settings.gone), avoid)

    def _place(self, items: list[ExportItem]) -> int:
        """Place files; returns how many of them could not be."""
        before = len(self._failures)
        for item in items:
            try:
                self._format.add(item, self._archive.path_of(item.blob.sha256))
                self._files, self._bytes = self._files + 1, self._bytes + item.blob.size
            except BlobDamagedError as error:
                self._note_damage(item, str(error))
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
        with suppress(OSError):
            self._format.discard()
            self._destination.sweep()


def items_with_paths(rows: Iterator[dict[str, Any]], avoid: str = "") -> Iterator[ExportItem]:
    """Each row (ordered by kind and entity) with its path in the tree, different from all others on any file system.

    `avoid`: characters that must not be in a path although they are legal.
    """
    kinds, folders, names = {fold(INDEX)}, set[str](), set[str]()
    kind = folder = ""
    last_kind: str | None = None
    last_entity: str | None = None
    for row in rows:
        if row["kind"] != last_kind:
            last_kind, last_entity, folders = row["kind"], None, set()
            kind = unique(
                legal(row["kind"], MAX_KIND_CHARACTERS, avoid=avoid), kinds, MAX_KIND_CHARACTERS, extension=False
            )
        if row["entity_id"] != last_entity:
            last_entity, names = row["entity_id"], set()
            title = f"{row['entity_id']} {row['title']}".strip()
            folder = unique(
                legal(title, MAX_FOLDER_CHARACTERS, "no entity", avoid=avoid),
                folders,
                MAX_FOLDER_CHARACTERS,
                extension=False,
            )
        room = MAX_PATH_CHARACTERS - length_on_windows(kind) - length_on_windows(folder) - 2
        name = unique(legal(row["name"], room, avoid=avoid), names, room)
        yield ExportItem(
            f"{kind}/{folder}/{name}",
            row["kind"],
            row["entity_id"],
            row["attachment_id"],
            row["name"],
            Blob(row["sha256"], row["size"]),
            row["created_at"],
        )
