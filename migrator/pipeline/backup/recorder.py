"""From download to record: bodies are collected, written as a batch, and recorded once they are safe on disk.

A worker hands a file over and continues; one flusher writes everything that came meanwhile, with one flush to disk and
one transaction. At most HANDED_OVER + `downloads` finished files are not yet recorded (those in memory are small). A
kill loses those and the downloads in flight, nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from typing_extensions import override

from migrator.model import Attachment, Blob, Outcome, Status
from migrator.pipeline.executor import SerialExecutor
from migrator.ports import BodyFacts, Sink
from migrator.progress import Progress
from migrator.store import BLOB_FOLDERS, Archive, Catalog, Content, FreeSpace, LargeFile

SMALL = 256 * 1024
HANDED_OVER = 64
GATHER = 0.02


class StoreSink(Sink):
    """Takes a download: in memory while it is small, else into a file of its own."""

    def __init__(self, archive: Archive, progress: Progress) -> None:
        self._archive, self._progress = archive, progress
        self._parts: list[bytes] = []
        self._size = 0
        self._file: LargeFile | None = None
        self.warning: str | None = None

    @override
    async def start(self, facts: BodyFacts) -> None:
        pass

    @override
    async def write(self, chunk: bytes) -> None:
        self._progress.moved(len(chunk))
        self._size += len(chunk)
        if self._file is None and self._size > SMALL:
            self._file = LargeFile(self._archive)
            for part in self._parts:
                await self._file.write(part)
            self._parts.clear()
        if self._file is not None:
            await self._file.write(chunk)
        else:
            self._parts.append(chunk)

    @override
    def rewind(self) -> None:
        self.discard()
        self._parts, self._size, self.warning = [], 0, None

    @override
    def warn(self, text: str) -> None:
        self.warning = text if self.warning is None else f"{self.warning}; {text}"

    def discard(self) -> None:
        """Throw away what came."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    async def finish(self) -> tuple[Blob, Content]:
        """What came, for `store_batch`: its bytes if it is small, else the name of the file that holds them.

        A small one is hashed here: on the disk thread, hashing gives the interpreter away and waits to get it back.
        """
        if self._file is None:
            body = b"".join(self._parts)
            return Blob(hashlib.sha256(body).hexdigest(), len(body)), body
        found = await asyncio.to_thread(self._file.finish)
        self._file = None
        return found


Recorded = Callable[[Attachment, Status], None]


@dataclass(frozen=True, slots=True)
class FetchResult:
    """A file whose fate is known and not recorded yet. `body` is what has yet to be written of it.

    `recorded` is called when it is.
    """

    outcome: Outcome
    body: Content | None
    recorded: Recorded


class Recorder:
    """Gathers settled files and records them in batches. `run` is a task; `flush` empties it, once, at the end.

    While one batch is recorded the next one is written, and one more is gathered: the wire, the disk and the catalog
    wait for each other as little as can be. No rows are written before the bytes that they speak of are safe.
    """

    def __init__(self, archive: Archive, catalog: Catalog, executor: SerialExecutor, run: int, downloads: int) -> None:
        self._archive, self._catalog, self._executor, self._run = archive, catalog, executor, run
        self._room = asyncio.Semaphore(HANDED_OVER + downloads)
        self._batch = (HANDED_OVER + downloads) * 2 // 5
        self._waiting: list[FetchResult] = []
        self._awake, self._enough = asyncio.Event(), asyncio.Event()
        self._writer, self._turn = SerialExecutor(), asyncio.Lock()
        self._written: list[FetchResult] = []
        self._disk = FreeSpace(archive.root)

    async def put(self, settled: FetchResult) -> None:
        """Hand a file over; waits while too many are waiting."""
        await self._room.acquire()
        self._waiting.append(settled)
        self._tell()

    def _tell(self) -> None:
        """Wake who waits for any, and who waits for enough."""
        for event, wanted in ((self._awake, 1), (self._enough, self._batch)):
            if len(self._waiting) >= wanted:
                event.set()
            else:
                event.clear()

    async def run(self) -> None:
        """Record what comes, until cancelled; what comes slowly is gathered for a moment.

        `StorageError` when the disk is all but full: what was recorded before stays.
        """
        while True:
            await self._awake.wait()
            if not self._enough.is_set():
                with suppress(TimeoutError):  # wait_for may swallow a cancellation
                    async with asyncio.timeout(GATHER):
                        await self._enough.wait()
            await self._step()
            if not self._waiting:
                await self._step()
            await self._executor.call(self._disk.require, 0)

    async def flush(self) -> None:
        """Record all that is waiting now, and let go of the thread."""
        try:
            while self._waiting or self._written:
                await self._step()
        finally:
            await self._writer.close()

    async def _step(self) -> None:
        """Write a batch while the one that was written before it is recorded. What fails waits again: both may be
        repeated.
        """
        async with self._turn:
            batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
            written, self._written = self._written, batch
            self._tell()
            try:
                await asyncio.gather(*await self._writing(batch), *self._recording(written))
            except BaseException:
                self._waiting, self._written = written + batch + self._waiting, []
                raise
            for settled in written:
                self._room.release()
                settled.recorded(settled.outcome.attachment, settled.outcome.status)

    async def _writing(self, batch: list[FetchResult]) -> list[asyncio.Future[None]]:
        bodies = [(s.outcome.blob, s.body) for s in batch if s.outcome.blob is not None and s.body is not None]
        if not bodies:
            return []
        known = await self._executor.call(self._catalog.blobs.known, [blob.sha256 for blob, _ in bodies])
        return [self._writer.submit(self._archive.store_batch, bodies, known)]

    def _recording(self, batch: list[FetchResult]) -> list[asyncio.Future[None]]:
        outcomes = [settled.outcome for settled in batch]
        return [self._executor.submit(self._catalog.crawl.record_outcomes, self._run, outcomes)] if batch else []


def missing_blobs(archive: Archive, catalog: Catalog) -> list[str]:
    """Blobs whose files are not there, or which only an attachment knows of."""
    return [
        *catalog.blobs.dangling(),
        *(
            sha256
            for folder in BLOB_FOLDERS
            if (known := catalog.blobs.in_folder(folder))
            for sha256 in archive.missing(folder, known.values())
        ),
    ]
