"""Downloads: batches of files are fetched side by side, hashed, written, and made safe on disk.

The same code runs in the program's own process and in its fetch workers. It knows an archive's folder and a source, and
neither the catalog nor what an error means for a run: it says what came of each file, and others judge and record that.

Files become safe in groups: a group of small files is written, flushed, renamed and flushed again, and only then are
they reported. Meanwhile more files arrive, up to MAX_WAITING_BYTES in memory.

Beware: writing and renaming happen on the event loop, on purpose. In a thread, each of these short system calls would
give the interpreter away and wait to get it back, which takes longer than the call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from typing_extensions import override

from migrator.errors import MigratorError
from migrator.model import Attachment
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.fetch_place import Fetched, FetchPlace, Report
from migrator.pipeline.stop import StopToken
from migrator.pipeline.store_sink import StoreSink
from migrator.ports import Source
from migrator.progress import Progress
from migrator.store import Archive, IncomingBlob

FILES_PER_FLUSH = 256
MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Small files that wait in memory to be written; a group that has half as many bytes isn't waited for any longer."""
FLUSH_DELAY_SECONDS = 0.25
"""How long a complete file may wait for more files to be flushed with it."""


@dataclass(eq=False, slots=True)
class _Batch:
    """A batch under way: `left` files are neither reported nor left out. `ended` is set when there are none."""

    report: Report
    left: int
    ended: asyncio.Future[None]
    open: bool = True

    def settle(self, files: int) -> None:
        """So many files were reported, or will not be begun."""
        self.left -= files
        if not self.left:
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        """No more files of it will be begun."""
        self.open = False
        if not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(error)


@dataclass(eq=False, slots=True)
class _Complete:
    """A download that has ended, and is not reported yet."""

    batch: _Batch
    fetched: Fetched
    incoming: IncomingBlob | None

    @property
    def bytes_in_memory(self) -> int:
        """How much memory its content takes."""
        content = self.incoming.content if self.incoming is not None else b""
        return len(content) if isinstance(content, bytes) else 0


class Downloader(FetchPlace):
    """Fetches batches in this process, with at most `downloads` files in flight over all of them."""

    def __init__(
        self, source: Source, archive: Archive, stop: StopToken, progress: Progress, *, downloads: int
    ) -> None:
        self.source, self.archive, self.progress, self.stop = source, archive, progress, stop
        self.downloads = downloads
        self.on_free: Callable[[], None] | None = None  # called when a download has ended, and none is left to begin
        self._limit, self.in_flight = downloads, 0
        self._queue: deque[tuple[_Batch, Attachment]] = deque()
        self._complete: list[_Complete] = []
        self._complete_event = asyncio.Event()
        self._waiting_bytes = 0
        self._flushing = asyncio.Lock()
        self._executor: SerialExecutor | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._flusher: asyncio.Task[None] | None = None

    def limit(self, downloads: int) -> None:
        """From now on begin no download while this many are in flight."""
        self._limit = downloads
        self._begin()

    @override
    def expect(self, files: int) -> None:
        pass

    @override
    async def fetch(self, batch: Sequence[Attachment], report: Report) -> None:
        if not batch:
            return
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush_groups())
        under_way = _Batch(report, len(batch), asyncio.get_running_loop().create_future())
        self._queue.extend((under_way, attachment) for attachment in batch)
        self._begin()
        try:
            await under_way.ended
        finally:
            under_way.open = False

    @override
    async def flush(self) -> None:
        await self._end_tasks()
        while self._complete:
            await self._flush_group()

    @override
    async def close(self) -> None:
        await self._end_tasks()
        executor, self._executor = self._executor, None
        if executor is not None:
            await executor.close()

    async def _end_tasks(self) -> None:
        async with self._flushing:  # let a group that is being flushed be reported
            await self._cancel_tasks()

    async def _cancel_tasks(self) -> None:
        tasks = {*self._tasks, *([self._flusher] if self._flusher else [])}
        self._flusher = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self) -> None:
        """Begin as many downloads as there may be; none after `_end_tasks`."""
        while self._queue and self._flusher is not None and self._may_begin():
            batch, attachment = self._queue.popleft()
            if self.stop.requested or not batch.open:
                batch.settle(1)
                continue
            self.in_flight += 1
            task = asyncio.create_task(self._fetch(batch, attachment))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _may_begin(self) -> bool:
        return self.in_flight < self._limit and self._waiting_bytes <= MAX_WAITING_BYTES

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A download has ended."""
        self._tasks.discard(task)
        self.in_flight -= 1
        self._begin()
        if not self._queue and self.on_free is not None:
            self.on_free()
        if self._complete and not self._is_group_worth_waiting():
            self._complete_event.set()

    async def _fetch(self, batch: _Batch, attachment: Attachment) -> None:
        if self.stop.requested or not batch.open:
            batch.settle(1)
            return
        try:
            with self.stop.in_flight():
                self._add(batch, *await self._download(attachment))
        except Exception as error:  # noqa: BLE001 - whoever waits for the batch raises it
            batch.end(error)

    async def _download(self, attachment: Attachment) -> tuple[Fetched, IncomingBlob | None]:
        sink = StoreSink(self.archive, self.progress)
        try:
            await self.source.download(attachment, sink)
            incoming = await sink.finish()
        except MigratorError as error:
            return Fetched(attachment.id, error=error), None
        finally:
            sink.discard()
        return Fetched(attachment.id, incoming.blob, warning=sink.warning), incoming

    def _add(self, batch: _Batch, fetched: Fetched, incoming: IncomingBlob | None) -> None:
        complete = _Complete(batch, fetched, incoming)
        self._complete.append(complete)
        self._waiting_bytes += complete.bytes_in_memory
        if len(self._complete) == 1:
            self._complete_event.set()

    async def _flush_groups(self) -> None:
        """Make complete files safe, in groups, until cancelled."""
        while True:
            await self._complete_event.wait()
            with suppress(TimeoutError):  # not wait_for, which may swallow a cancellation
                async with asyncio.timeout(FLUSH_DELAY_SECONDS):
                    while self._is_group_worth_waiting():
                        self._complete_event.clear()
                        await self._complete_event.wait()
            with self.stop.in_flight():
                await self._flush_group()
            if self._complete:
                self._complete_event.set()
            else:
                self._complete_event.clear()

    def _is_group_worth_waiting(self) -> bool:
        """Whether more files should be flushed together with those that are complete, and are on their way."""
        small = len(self._complete) < FILES_PER_FLUSH and self._waiting_bytes < MAX_WAITING_BYTES // 2
        return small and bool(self._queue or self.in_flight)

    async def _flush_group(self) -> None:
        """Make a group of complete files safe and report them; if the disk refuses, their batches fail."""
        async with self._flushing:
            group, self._complete = self._complete[:FILES_PER_FLUSH], self._complete[FILES_PER_FLUSH:]
            try:
                await self._make_safe([entry.incoming for entry in group if entry.incoming is not None])
            except asyncio.CancelledError:
                self._complete = group + self._complete
                raise
            except Exception as error:  # noqa: BLE001 - whoever waits for the batches raises it
                for entry in group:
                    entry.batch.end(error)
                return
        self._waiting_bytes -= sum(entry.bytes_in_memory for entry in group)
        self._begin()
        reports: dict[_Batch, list[Fetched]] = {}
        for entry in group:
            reports.setdefault(entry.batch, []).append(entry.fetched)
        for batch, results in reports.items():
            batch.report(results)
            batch.settle(len(results))

    async def _make_safe(self, incoming: Sequence[IncomingBlob]) -> None:
        if not incoming:
            return
        if self._executor is None:
            self._executor = SerialExecutor()
        with self.archive.storing(incoming) as storing:
            storing.write_contents()
            await self._executor.call(storing.sync_contents)
            storing.rename()
            await self._executor.call(storing.sync_names)
