"""Copy: an archive becomes another one, anywhere: from a disk into a bucket, back, or from one region to another.

First the blobs, each hashed on its way, then catalog and journal. So a copy that was killed is continued by the next
one, and is no archive before it is whole; a later copy brings only what is new.

Beware: what the source has forgotten since an earlier copy is deleted in the copy, too. Nothing is deleted where no
catalog shows that it is such a copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from migrator.errors import ArchiveDamagedError
from migrator.model import Blob, RunStatus
from migrator.pipeline.summary import CopySummary, Problem
from migrator.pipeline.verify import problem_of, with_files
from migrator.progress import Progress, Silent
from migrator.store import (
    BLOB_FOLDERS,
    Archive,
    Catalog,
    IncomingBlob,
    blob_name,
    damaged_in_copy,
    take_catalog,
)

MAX_IN_MEMORY_BYTES = 1024 * 1024
"""A larger blob is streamed."""
BLOBS_AT_ONCE = 64
"""Small blobs that are made safe together."""


async def copy(
    source: Archive,
    catalog: Catalog,
    target: Archive,
    *,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
) -> CopySummary:
    """Copy one archive to another; the caller holds both. `ConfigError` if the other one is no earlier copy, and
    `ArchiveDamagedError` if its catalog is lost, so that nobody can tell.

    A blob that is damaged is named and left out, and the status is `damaged`. Killed or stopped, it may be repeated.
    """
    await asyncio.to_thread(source.require_readable)
    damaged = await asyncio.to_thread(damaged_in_copy, target, catalog)
    target.untrusted |= damaged or set()
    work = _Copy(source, catalog, target, progress or Silent(), stop or asyncio.Event(), again=damaged is not None)
    return await work.run()


class _Copy:
    """One copy. `again`: the other archive is an earlier copy, so that what the source has forgotten is deleted."""

    def __init__(
        self,
        source: Archive,
        catalog: Catalog,
        target: Archive,
        progress: Progress,
        stop: asyncio.Event,
        *,
        again: bool,
    ) -> None:
        self._source, self._catalog, self._target, self._again = source, catalog, target, again
        self._progress, self._stop = progress, stop
        self._copied = self._there = self._removed = self._bytes = 0
        self._problems: list[Problem] = []

    async def run(self) -> CopySummary:
        with ThreadPoolExecutor(self._source.store.readers, "reader") as readers:
            for folder in BLOB_FOLDERS:
                missing = iter(await asyncio.to_thread(self._missing_in, folder))
                while not self._stop.is_set() and (batch := [*islice(missing, BLOBS_AT_ONCE)]):
                    await self._copy(batch, readers)
        if not self._stop.is_set():
            await asyncio.to_thread(self._finish)
        return self._summary()

    def _missing_in(self, folder: str) -> list[Blob]:
        known = self._catalog.blobs.in_folder(folder)
        sizes = dict(self._target.files_in(folder, known))
        damaged = self._target.untrusted
        missing = [blob for blob in known.values() if sizes.get(blob.sha256) != blob.size or blob.sha256 in damaged]
        self._there += len(known) - len(missing)
        damaged.update(blob.sha256 for blob in missing if blob.sha256 in sizes)
        return missing

    async def _copy(self, batch: list[Blob], readers: ThreadPoolExecutor) -> None:
        self._progress.known(len(batch), sum(blob.size for blob in batch))
        loop, received = asyncio.get_running_loop(), list[IncomingBlob]()
        small = [blob for blob in batch if blob.size <= MAX_IN_MEMORY_BYTES]
        contents = await asyncio.gather(*(loop.run_in_executor(readers, self._read, blob) for blob in small))
        received += [each for each in contents if each is not None]
        for blob in batch:
            if blob.size > MAX_IN_MEMORY_BYTES and (each := await self._stream(blob)) is not None:
                received.append(each)
        await asyncio.to_thread(self._store, received)
        found = {each.blob.sha256 for each in received}
        for blob in batch:
            self._progress.transferred(blob.size if blob.sha256 in found else 0)
            self._progress.done(failed=blob.sha256 not in found)
        self._copied += len(received)
        self._bytes += sum(each.blob.size for each in received)

    def _read(self, blob: Blob) -> IncomingBlob | None:
        body = self._source.body(blob)
        if body is None or body.content is None:
            self._note_damage(blob)
            return None
        return IncomingBlob(blob, body.content)

    async def _stream(self, blob: Blob) -> IncomingBlob | None:
        body, receiving = await asyncio.to_thread(self._source.stream, blob), self._target.receiving()
        try:
            if body is not None:
                async for chunk in body:
                    await receiving.write(chunk)
                received = await asyncio.to_thread(receiving.finish)
                if received.blob == blob:
                    return received
        except ArchiveDamagedError:
            pass
        receiving.discard()
        await asyncio.to_thread(self._note_damage, blob)
        return None

    def _note_damage(self, blob: Blob) -> None:
        there = self._source.store.has(blob.sha256)
        self._problems.append(problem_of("E01" if there else "E02", blob.sha256, blob_name(blob.sha256)))

    def _store(self, received: list[IncomingBlob]) -> None:
        if received:
            with self._target.storing(received) as storing:
                storing.write_contents()
                storing.sync_contents()
                storing.rename()
                storing.sync_names()

    def _finish(self) -> None:
        take_catalog(self._target.root, self._source.root)
        for folder in BLOB_FOLDERS if self._again else ():
            forgotten = [*self._forgotten_in(folder)]
            if forgotten:
                self._target.remove(forgotten)
                self._removed += len(forgotten)

    def _forgotten_in(self, folder: str) -> Iterator[str]:
        known = self._catalog.blobs.in_folder(folder)
        for name, _ in self._target.files_in(folder, known):
            if name not in known and self._target.store.is_blob(folder, name):
                yield name

    def _summary(self) -> CopySummary:
        problems = tuple(with_files(self._catalog, self._problems))
        status = RunStatus.DAMAGED if problems else RunStatus.COMPLETE
        return CopySummary(
            status=RunStatus.INTERRUPTED if self._stop.is_set() else status,
            blobs={"copied": self._copied, "already_there": self._there, "removed": self._removed},
            bytes=self._bytes,
            problems=problems,
        )
