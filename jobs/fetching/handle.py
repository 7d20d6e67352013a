"""A fetch worker as its run sees it: the batches that it has, what it says, and its end."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from migrator.errors import MigratorError
from migrator.jobs.fetching.link import Link
from migrator.jobs.fetching.messages import (
    Ask,
    Ended,
    Fetch,
    Limit,
    Logged,
    Message,
    Ready,
    Reply,
    Results,
    Stop,
    Throttled,
    Transferred,
    Waiting,
)
from migrator.model import Attachment
from migrator.pipeline.fetch_place import Fetched, Report
from migrator.wire import HttpClient, Wait

FLUSH_SECONDS = 3.0
"""How long a worker gets at the end of a run that was stopped to make safe what it has."""


class Run(Protocol):
    """What a worker needs of the run."""

    http: HttpClient

    @abstractmethod
    def transferred(self, size: int) -> None:
        """So many more bytes came."""

    @abstractmethod
    def waiting(self, wait: Wait) -> None:
        """A worker waits before it repeats a request."""

    @abstractmethod
    def ready(self) -> None:
        """A worker has become ready."""

    @abstractmethod
    def throttled(self, retry_after: float | None, status: int | None, *, by: WorkerHandle) -> None:
        """The tracker asked one worker to slow down."""


@dataclass(eq=False, slots=True)
class _Handed:
    """A batch that a worker has: the files that it has not reported yet."""

    left: dict[str, Attachment]
    report: Report
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None


class WorkerHandle:
    """A worker. `limit` is how many downloads it may have in flight."""

    def __init__(self, link: Link, run: Run) -> None:
        self._link, self._run = link, run
        self._batches: dict[int, _Handed] = {}
        self._last_batch = self.limit = 0
        self.ready = False
        self._answers: set[asyncio.Task[None]] = set()

    @property
    def load(self) -> int:
        """How many files it has and has not reported."""
        return sum(len(handed.left) for handed in self._batches.values())

    def send(self, message: Message) -> None:
        """Tell it something."""
        self._link.send(message)

    def set_limit(self, limit: int, concurrency: int) -> None:
        """Have at most so many downloads in flight; it begins with as many requests at once as the run has found."""
        if limit != self.limit:
            self.limit = limit
            self.send(Limit(limit, concurrency))

    async def fetch(self, batch: Sequence[Attachment], report: Report) -> Sequence[Attachment]:
        """Have a batch fetched; returns what is left of it because the worker died."""
        self._last_batch += 1
        number, handed = self._last_batch, _Handed({attachment.id: attachment for attachment in batch}, report)
        self._batches[number] = handed
        self.send(Fetch.of(number, batch))
        await handed.ended.wait()  # if this is cancelled, what comes is still taken, until `flush`
        self._batches.pop(number, None)
        if handed.error is not None:
            raise handed.error
        return [] if self.ready else list(handed.left.values())

    async def serve(self) -> None:
        """Take what it says, until it is gone."""
        try:
            while (message := await self._link.receive()) is not None:
                self._take(message)
        except Exception as error:  # noqa: BLE001 - whoever waits for the batches raises it
            self._fail(error)
        self.ready = False
        for handed in self._batches.values():
            handed.ended.set()

    def _fail(self, error: Exception) -> None:
        """A bug: all batches end with it."""
        for handed in self._batches.values():
            handed.error = error
            handed.ended.set()

    def _take(self, message: Message) -> None:
        match message:
            case Results(batch) if batch in self._batches:
                self._report(self._batches[batch], message.fetched())
            case Ended(batch, error) if batch in self._batches:
                self._batches[batch].error = error
                self._batches[batch].ended.set()
            case Transferred() | Waiting() | Throttled():
                self._pass_on(message)
            case Logged(record):
                logging.getLogger(record.name).handle(record)
            case Ready():
                self.ready = True
                self._run.ready()
            case Ask():
                answer = asyncio.create_task(self._answer(message))
                self._answers.add(answer)
                answer.add_done_callback(self._answers.discard)

    def _pass_on(self, message: Transferred | Waiting | Throttled) -> None:
        match message:
            case Transferred(size):
                self._run.transferred(size)
            case Waiting(wait):
                self._run.waiting(wait)
            case Throttled(retry_after, status):
                self._run.throttled(retry_after, status, by=self)

    def _report(self, handed: _Handed, fetched: Sequence[Fetched]) -> None:
        for result in fetched:
            handed.left.pop(result.attachment_id, None)
        handed.report(fetched)

    async def _answer(self, asked: Ask) -> None:
        http, lent, error = self._run.http, None, None
        try:
            if asked.lent is not None:
                lent = await http.renewed(asked.lent, files=asked.files)
            elif asked.size is not None:
                await http.consume(asked.size)
            else:
                await http.acquire()
        except MigratorError as failure:
            error = failure
        except Exception as bug:  # noqa: BLE001 - whoever waits for the batches raises it
            self._fail(bug)
            return
        self.send(Reply(asked.number, lent, error))

    async def flush(self) -> None:
        """Have it make safe and report what is complete, and nothing else."""
        if self.ready and self._batches:
            self.send(Stop(at_once=True))
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    for handed in list(self._batches.values()):
                        await handed.ended.wait()
        self._batches.clear()

    async def close(self) -> None:
        """End it."""
        await self._link.close()
