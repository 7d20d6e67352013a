"""A fetch worker: a process that fetches batches for a run, with the same code as the run itself (`Downloader`).

It keeps nothing: it gets a session from the run, asks it for another one, and reports what is safe on disk. It ends
when its run closes the pipe or dies, at once and wherever it is. A download that it leaves half done lies in
`incoming/`, which its run empties at the end, or else the next one.

Beware: it may outlive a killed run for a moment. It inherits the descriptors that hold the archive's lock, so no other
run can use the archive until it has ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO

from typing_extensions import override

from migrator.errors import MigratorError
from migrator.jobs.event_loop import event_loop
from migrator.jobs.fetching.messages import (
    Ask,
    Channel,
    Conversation,
    Ended,
    Fetch,
    Limit,
    Logged,
    Message,
    Ready,
    Reply,
    Results,
    Start,
    Stop,
    Throttled,
    Transferred,
    Waiting,
)
from migrator.jobs.interpreter import tune_interpreter
from migrator.model import Attachment
from migrator.pipeline.downloads import Downloader
from migrator.pipeline.fetch_place import Fetched
from migrator.pipeline.stop import GRACE_SECONDS, StopToken
from migrator.progress import Silent
from migrator.store import Archive, BlobStore
from migrator.wire import BorrowingSigner, Lender, LentSession, SharedRateLimiter, Wait, Waits

PROGRESS_SECONDS = 0.25
MAX_MESSAGE_BYTES = 2**20


class _LenderOverChannel(Lender):
    """The run that started this worker, as the lender of its session and rate."""

    def __init__(self, channel: Conversation) -> None:
        self._channel = channel
        self._asked: dict[int, asyncio.Future[Reply]] = {}
        self._number = 0

    @override
    async def renewed(self, lent: LentSession, *, files: bool) -> LentSession | None:
        return (await self._ask(lent=lent, files=files)).lent

    @override
    async def acquire(self) -> None:
        await self._ask()

    @override
    async def consume(self, size: int) -> None:
        await self._ask(size=size)

    @override
    def throttled(self, retry_after: float | None, status: int | None) -> None:
        self._channel.send(Throttled(retry_after, status))

    def answer(self, reply: Reply) -> None:
        """The run has answered."""
        if (asked := self._asked.pop(reply.number, None)) is not None and not asked.done():
            asked.set_result(reply)

    async def _ask(self, *, size: int | None = None, lent: LentSession | None = None, files: bool = False) -> Reply:
        self._number += 1
        number = self._number
        self._asked[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Ask(number, size, lent, files))
        reply = await self._asked[number]
        if reply.error is not None:
            raise reply.error
        return reply


class _CountedProgress(Silent):
    """Counts the bytes that came."""

    size = 0

    @override
    def transferred(self, size: int) -> None:
        self.size += size

    def take(self) -> int:
        """The bytes since the last call."""
        size, self.size = self.size, 0
        return size


class _SharedWaits(Waits):
    """Tells the run of each wait. The run itself logs how long the tracker makes all of us wait, once."""

    def __init__(self, channel: Conversation) -> None:
        super().__init__()
        self._channel = channel

    @override
    def asked(self, seconds: float, status: int | None = None) -> None:
        pass

    @override
    def begun(self, wait: Wait) -> None:
        self._channel.send(Waiting(wait))


class LogOverChannel(logging.Handler):
    """Hands what is logged to the run."""

    def __init__(self, channel: Conversation) -> None:
        super().__init__()
        self._channel = channel

    @override
    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self._channel.send(Logged(record))


class Worker:
    """Serves one run over a channel. `broken` ends it after a bug: the run fetches the files again, and meets it."""

    def __init__(self, channel: Conversation, start: Start, broken: Callable[[], None]) -> None:
        self._channel, self._broken = channel, broken
        self._lender = _LenderOverChannel(channel)
        waits, reach = _SharedWaits(channel), start.recipe.reach
        recipe = replace(start.recipe, policy=replace(start.recipe.policy, waits=waits))
        self._rate = SharedRateLimiter(self._lender, limited=reach.limited, max_wait=reach.max_wait, waits=waits)
        api = BorrowingSigner(start.api, self._lender)
        files = BorrowingSigner(start.files, self._lender, files=True) if start.files else None
        self._http = reach.client(api, files, self._rate)
        self._source = recipe.build(self._http, answered=True)
        archive = Archive(start.archive, store=_store(start))
        archive.untrusted.update(start.untrusted)
        self._stop, self._progress = StopToken(), _CountedProgress()
        self._downloader = Downloader(self._source, archive, self._stop, self._progress, downloads=recipe.downloads)
        self._downloader.limit(0)
        self._batches: dict[int, asyncio.Task[None]] = {}
        self._stopping: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Do what the run says until it is gone."""
        progress = asyncio.create_task(self._report_progress())
        self._channel.send(Ready())
        try:
            while (message := await self._channel.receive()) is not None:
                self._take(message)
        finally:
            progress.cancel()

    async def close(self) -> None:
        """Drop what is under way. A process that ends needs no such thing."""
        under_way = [*self._batches.values(), *([self._stopping] if self._stopping else [])]
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)
        await self._downloader.close()
        await self._source.close()

    def _take(self, message: Message) -> None:
        match message:
            case Fetch(batch):
                self._batches[batch] = asyncio.create_task(self._fetch(batch, message.attachments()))
            case Limit(downloads, concurrency):
                self._http.begin_at(concurrency)
                self._downloader.limit(downloads)
            case Stop(at_once):
                self._stop.request()
                self._stopping = asyncio.create_task(self._end(0.0 if at_once else GRACE_SECONDS))
            case Reply():
                self._lender.answer(message)
            case Throttled(retry_after, status):
                self._rate.others_throttled(retry_after, status)

    async def _fetch(self, batch: int, attachments: Sequence[Attachment]) -> None:
        def report(fetched: Sequence[Fetched]) -> None:
            self._channel.send(Results.of(batch, fetched))

        error = None
        try:
            await self._downloader.fetch(attachments, report)
        except asyncio.CancelledError:
            pass  # a stop: what is complete was reported before
        except MigratorError as failure:
            error = failure
        except Exception:  # noqa: BLE001 - a bug
            traceback.print_exc()
            self._broken()
            return
        del self._batches[batch]
        self._channel.send(Ended(batch, error))

    async def _end(self, grace: float) -> None:
        """Finish what is in flight, within `grace` seconds, report it, and end all batches."""
        await self._stop.finish(grace)
        await self._downloader.flush()
        for task in self._batches.values():
            task.cancel()

    async def _report_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            if size := self._progress.take():
                self._channel.send(Transferred(size))


def _store(start: Start) -> BlobStore | None:
    """Where the blobs go, if not into the archive's folder. The run holds the lock."""
    if start.bucket is None:
        return None
    from migrator.store import PLAIN, Bucket, ObjectBlobs

    os.environ.update(start.environment)
    return ObjectBlobs(Bucket.at(start.bucket), start.archive, encoding=start.encoding or PLAIN)


async def run(source: BinaryIO, sink: BinaryIO) -> None:
    """Serve the run at the other end of these pipes until it is gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(MAX_MESSAGE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sink)
    channel = Channel(reader, asyncio.StreamWriter(transport, protocol, None, loop))
    start = await channel.receive()
    if isinstance(start, Start):
        log = logging.getLogger("migrator")
        log.setLevel(start.log_level)
        log.addHandler(LogOverChannel(channel))
        await Worker(channel, start, lambda: os._exit(1)).serve()


def main() -> None:
    """The process. It has no cleanup: whatever it leaves half done, it may leave at any moment anyway."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with suppress(ValueError, OSError):
            signal.signal(number, signal.SIG_IGN)
    sink = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what anything prints must not get between the messages
    tune_interpreter()
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(run(sys.stdin.buffer, sink))
        os._exit(0)


if __name__ == "__main__":
    main()
