"""Export: the files of an archive under their own names, as a folder, a bag or a ZIP file.

Everything is built under another name and becomes DEST in one step when it is whole. So what a kill leaves behind is
never mistaken for an export; the next export of this archive to the same place removes it.

Only files that are `stored` are exported, as by a load; files `gone` from the source only on request.

Beware: a hard link is the archive's own file, so files are copied unless links were requested.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from migrator.errors import ConfigError
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
from migrator.pipeline.export.formats import FORMATS, INDEX, ExportItem, ExportStoppedError
from migrator.pipeline.summary import ExportSummary, Failure, Problem
from migrator.progress import Progress, Silent
from migrator.store import README, Archive, Catalog, FreeSpace, blob_name, disk_errors, sync_filesystem

__all__ = ["ExportSettings", "export"]

TOGETHER = 64
"""Files placed in one hop to a thread."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """`shape` is tree, bagit or zip; `links`: hard links into the archive in place of copies, where there can be some;
    `gone` takes files that the source no longer has.
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
    """One run; the caller holds the archive. `ConfigError` if there is something at the destination already.

    A damaged or missing blob is named, and everything else exported: the status is `damaged` then.
    """
    place = Destination(archive.root, settings.destination, file=settings.shape == "zip")
    run = await asyncio.to_thread(catalog.runs.begin, "export")
    work = _Export(archive, catalog, settings, place, run, progress or Silent(), stop or asyncio.Event())
    return await work.run()


class Destination:
    """Where an export is built, and how it gets its name. Building one refuses a destination that is in use."""

    def __init__(self, root: Path, destination: Path, *, file: bool) -> None:
        self.path, self._file = Path(os.path.realpath(destination)), file
        if self.path.is_relative_to(os.path.realpath(root)):
            raise ConfigError(f"{readable(destination)} is inside of the archive")
        exists = os.path.lexists(self.path)
        key = hashlib.sha256(os.fsencode(f"{os.path.realpath(root)}\0{self.path}")).hexdigest()[:12]
        # An empty folder that is a mount point, or stands where we may not write, can't be replaced: it is filled.
        self._inside = exists and (self.path.is_mount() or not os.access(self.path.parent, os.W_OK))
        self.partial = (self.path if self._inside else self.path.parent) / f".export-{key}.partial"
        if exists and (
            file or not self.path.is_dir() or {part.name for part in self.path.iterdir()} - {self.partial.name}
        ):
            raise ConfigError(f"{readable(destination)} exists{'' if file else ' and is no empty folder'}")

    def prepare(self) -> None:
        """Sweep away what an earlier export left half-done."""
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Nothing of it is left."""
        if self.partial.is_dir():
            shutil.rmtree(self.partial)
        else:
            self.partial.unlink(missing_ok=True)

    def finish(self) -> None:
        """It is whole and safe on disk: give it its name. Never takes the place of anything but an empty folder."""
        sync_filesystem(self.partial.parent)
        if self._file:
            self._name_file()
        elif self._inside:
            for part in sorted(self.partial.iterdir(), key=lambda part: part.name in {INDEX, "bagit.txt"}):
                part.rename(self.path / part.name)
            self.partial.rmdir()
        else:
            self.partial.rename(self.path)
        sync_filesystem(self.path.parent)

    def _name_file(self) -> None:
        """A link refuses a name in use; where there are no links, looking has to do."""
        try:
            self.path.hardlink_to(self.partial)
        except FileExistsError:
            raise
        except OSError:
            if self.path.exists():
                raise
            self.partial.rename(self.path)
        self.partial.unlink(missing_ok=True)


@dataclass(slots=True)
class _Tally:
    files: int = 0
    size: int = 0
    problems: dict[str, Problem] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


class _Export:
    def __init__(
        self,
        archive: Archive,
        catalog: Catalog,
        settings: ExportSettings,
        place: Destination,
        run: int,
        progress: Progress,
        stop: asyncio.Event,
    ) -> None:
        self._archive, self._catalog, self._settings, self._place = archive, catalog, settings, place
        self._run, self._progress, self._stop = run, progress, stop
        self._loop = asyncio.get_running_loop()
        self._tally = _Tally()
        self._shape = FORMATS[settings.shape](place.partial, self._moved, links=settings.links)

    async def run(self) -> ExportSummary:
        began, status = time.monotonic(), RunStatus.FAILED
        try:
            with disk_errors(str(self._place.path)):
                await asyncio.to_thread(self._begin)
                await self._all()
                status = await asyncio.to_thread(self._end)
        finally:
            if status in {RunStatus.FAILED, RunStatus.INTERRUPTED}:
                with suppress(OSError):
                    self._shape.abandon()
                    await asyncio.to_thread(self._place.sweep)
            summary = self._summary(status, time.monotonic() - began)
            await asyncio.to_thread(self._record, status, summary)
        return summary

    def _moved(self, size: int) -> None:
        """From a thread: tell the progress, and end the work at hand if the run is being stopped."""
        self._loop.call_soon_threadsafe(self._progress.moved, size)
        if self._stop.is_set():
            raise ExportStoppedError

    def _begin(self) -> None:
        self._place.prepare()
        self._expect_room()
        self._shape.begin()

    def _expect_room(self) -> None:
        """Copies need as much as the files, clones nothing; how far a ZIP file shrinks isn't known beforehand."""
        to, settings = self._place.partial.parent, self._settings
        linked = settings.links and to.stat().st_dev == self._archive.blobs.stat().st_dev
        if settings.shape != "zip" and not linked and not self._clones():
            FreeSpace(to).require(self._catalog.exports.size(gone=settings.gone)[1])

    def _clones(self) -> bool:
        return can_clone(self._archive.root / README, self._place.partial)

    async def _all(self) -> None:
        count, size = await asyncio.to_thread(self._catalog.exports.size, gone=self._settings.gone)
        self._progress.known(count, size)
        avoid = UNSAFE_IN_A_BAG if self._settings.shape == "bagit" else ""
        items = named(self._catalog.exports.files(gone=self._settings.gone), avoid)
        while not self._stop.is_set() and (some := await asyncio.to_thread(lambda: list(islice(items, TOGETHER)))):
            with suppress(ExportStoppedError):
                failed = await asyncio.to_thread(self._place_some, some)
                for number in range(len(some)):
                    self._progress.done(failed=number < failed)

    def _place_some(self, items: list[ExportItem]) -> int:
        """Place files; gives how many of them could not be."""
        before = len(self._tally.failures)
        for item in items:
            try:
                self._shape.add(item, self._archive.path_of(item.blob.sha256))
                self._tally.files, self._tally.size = self._tally.files + 1, self._tally.size + item.blob.size
            except BlobDamagedError as error:
                self._damaged(item, str(error))
        return len(self._tally.failures) - before

    def _damaged(self, item: ExportItem, problem: str) -> None:
        sha256, code = item.blob.sha256, "E02" if problem == "missing" else "E01"
        path = blob_name(sha256)
        self._tally.problems[sha256] = Problem(code, problem, sha256, path)
        owner, reason = EntityRef(item.kind, item.entity_id), f"its blob is {problem}: {path}"
        self._tally.failures.append(Failure(owner, item.attachment_id, item.name, reason))

    def _end(self) -> RunStatus:
        if self._stop.is_set():
            return RunStatus.INTERRUPTED
        self._shape.end(self._catalog.settings.get("source") or "")
        self._place.finish()
        return RunStatus.DAMAGED if self._tally.problems else RunStatus.COMPLETE

    def _summary(self, status: RunStatus, seconds: float) -> ExportSummary:
        kept = status in {RunStatus.COMPLETE, RunStatus.DAMAGED}
        return ExportSummary(
            run=self._run,
            status=status,
            format=self._settings.shape,
            destination=readable(self._settings.destination),
            files=self._tally.files if kept else 0,
            bytes=self._tally.size if kept else 0,
            seconds=seconds,
            problems=tuple(self._tally.problems.values()),
            failures=tuple(self._tally.failures),
        )

    def _record(self, status: RunStatus, summary: ExportSummary) -> None:
        problems = {sha256: problem.problem for sha256, problem in self._tally.problems.items()}
        self._catalog.blobs.record_problems(problems, whole=False)
        self._catalog.runs.end(self._run, status, summary.as_json())


def named(rows: Iterator[dict[str, Any]], avoid: str = "") -> Iterator[ExportItem]:
    """Each file (in the order of kinds and entities) with its path in the tree; no two are the same anywhere.

    `avoid`: characters that no path has, though they are legal.
    """
    kinds, folders, names = {fold(INDEX)}, set[str](), set[str]()
    kind = folder = ""
    at_kind: str | None = None
    at_entity: str | None = None
    for row in rows:
        if row["kind"] != at_kind:
            at_kind, at_entity, folders = row["kind"], None, set()
            kind = unique(
                legal(row["kind"], MAX_KIND_CHARACTERS, avoid=avoid), kinds, MAX_KIND_CHARACTERS, extension=False
            )
        if row["entity_id"] != at_entity:
            at_entity, names = row["entity_id"], set()
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
