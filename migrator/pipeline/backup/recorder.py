"""From download to record: files are collected, written as a batch, and recorded once they are safe on disk.

A download task hands a file over and continues. The recorder writes all files that came meanwhile, with one flush to
disk and one transaction. At most MAX_UNRECORDED + `downloads` finished files are not yet recorded (those in memory are
small). A kill loses those and the downloads in flight, nothing else.
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
from migrator.store import Archive, Catalog, Content, FreeSpace, LargeFile

MAX_IN_MEMORY_BYTES = 256 * 1024
"""A download that is larger is written to a file of its own."""
MAX_UNRECORDED = 64
"""Finished files that may wait to be recorded, besides one for each download."""
BATCH_DELAY_SECONDS = 0.02
"""How long a batch that is not full waits for more files."""


class StoreSink(Sink):
    """Receives a download: in memory while it is small, else in a file of its own."""

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
        self._progress.transferred(len(chunk))
        self._size += len(chunk)
        if self._file is None and self._size > MAX_IN_MEMORY_BYTES:
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
        """Delete what was received."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    async def finish(self) -> tuple[Blob, Content]:
        """The blob and its content for `store_batch`: bytes if it is small, else the name of the file with them.

        A small one is hashed here, because in another thread hashing would release the GIL and wait to get it back.
        """
        if self._file is None:
            body = b"".join(self._parts)
            return Blob(hashlib.sha256(body).hexdigest(), len(body)), body
        stored = await asyncio.to_thread(self._file.finish)
        self._file = None
        return stored


Recorded = Callable[[Attachment, Status], None]


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The outcome of a file, not recorded yet; `body` is its content. `recorded` is called when it is recorded."""

    outcome: Outcome
    body: Content | None
    recorded: Recorded


class Recorder:
    """Collects results and records them in batches. `run` is a task; `flush` is called once, at the end.

    While one batch is recorded, the next is written and a third is collected, so that network, disk and catalog hardly
    wait for each other. No row is written before its bytes are safe.
    """

    def __init__(self, archive: Archive, catalog: Catalog, executor: SerialExecutor, run: int, downloads: int) -> None:
        self._archive, self._catalog, self._executor, self._run = archive, catalog, executor, run
        self._slots = asyncio.Semaphore(MAX_UNRECORDED + downloads)
        self._batch_size = (MAX_UNRECORDED + downloads) * 2 // 5
        self._waiting: list[FetchResult] = []
        self._not_empty, self._batch_full = asyncio.Event(), asyncio.Event()
        self._writer, self._lock = SerialExecutor(), asyncio.Lock()
        self._written: list[FetchResult] = []
        self._disk = FreeSpace(archive.root)

    async def add(self, result: FetchResult) -> None:
        """Hand a result over; waits while too many are not recorded."""
        await self._slots.acquire()
        self._waiting.append(result)
        self._set_events()

    def _set_events(self) -> None:
        for event, count in ((self._not_empty, 1), (self._batch_full, self._batch_size)):
            if len(self._waiting) >= count:
                event.set()
            else:
                event.clear()

    async def run(self) -> None:
        """Record results until cancelled; if they come slowly, collect for a moment.

        `StorageError` when the disk is nearly full: what was recorded before stays.
        """
        while True:
            await self._not_empty.wait()
            if not self._batch_full.is_set():
                with suppress(TimeoutError):  # not wait_for, which may swallow a cancellation
                    async with asyncio.timeout(BATCH_DELAY_SECONDS):
                        await self._batch_full.wait()
            await self._step()
            if not self._waiting:  # no next batch will record the one just written
                await self._step()
            await self._executor.call(self._disk.require, 0)

    async def flush(self) -> None:
        """Record everything that is waiting, and end the thread."""
        try:
            while self._waiting or self._written:
                await self._step()
        finally:
            await self._writer.close()

    async def _step(self) -> None:
        """Write a batch, and record the one written before. If either fails, both wait again, to be repeated."""
        async with self._lock:
            batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
            written, self._written = self._written, batch
            self._set_events()
            try:
                await asyncio.gather(*self._writing(batch), *self._recording(written))
            except BaseException:
                self._waiting, self._written = written + batch + self._waiting, []
                raise
            for result in written:
                self._slots.release()
                result.recorded(result.outcome.attachment, result.outcome.status)

    def _writing(self, batch: list[FetchResult]) -> list[asyncio.Future[None]]:
        bodies = [
            (result.outcome.blob, result.body) for result in batch if result.outcome.blob and result.body is not None
        ]
        return [self._writer.submit(self._archive.store_batch, bodies)] if bodies else []

    def _recording(self, batch: list[FetchResult]) -> list[asyncio.Future[None]]:
        outcomes = [result.outcome for result in batch]
        return [self._executor.submit(self._catalog.crawl.record_outcomes, self._run, outcomes)] if batch else []
