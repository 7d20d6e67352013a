"""Fetch workers: processes that fetch batches, beside the run or, while there are few files, in its stead.

A run begins to fetch by itself. Once it expects enough files, it starts workers, and hands them all further batches as
soon as they are ready. A worker that dies costs its batches, which are fetched again here or by another one.

Limits hold over all processes together: `downloads` is divided among them, the rate is counted by the run, a pause that
the tracker asks for is passed on to all, and only the run logs in.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import override

from migrator.errors import MigratorError
from migrator.jobs.fetching.messages import (
    Ask,
    Channel,
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
)
from migrator.jobs.wiring import WiredSource
from migrator.model import Attachment
from migrator.pipeline.downloads import Downloader, Fetched, FetchPlace, Report

MIN_FILES_TO_START = 200
"""With fewer files, a worker would not have started before they are fetched."""
MIN_CONNECTIONS, MAX_WORKERS = 16, 4
"""For "auto": how many requests at once the tracker must withstand, and how many workers there are at most."""
MAX_DEATHS = 3
"""After so many workers have died, the run fetches by itself."""
FLUSH_SECONDS = 3.0
"""How long workers get at the end of a run that was stopped to make safe what they have."""
CLOSE_SECONDS = 5.0
"""How long a worker gets to end; then it is killed."""
MAX_MESSAGE_BYTES = 2**20
ENVIRONMENT = re.compile("PATH|HOME|TZ|TMPDIR|LANG|LC_.*|SSL_CERT_(FILE|DIR)|(DY)?LD_LIBRARY_PATH|PYTHON(?!PATH).*")
"""What a worker gets of the environment: nothing that may be a secret."""

_PACKAGES = str(Path(__file__).absolute().parents[3])

_log = logging.getLogger("migrator.workers")


@dataclass(eq=False, slots=True)
class _Handed:
    """A batch that a worker has: the files that it has not reported yet."""

    left: dict[str, Attachment]
    report: Report
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    error: MigratorError | None = None


class _Worker:
    """One worker. `limit` is how many downloads it may have in flight."""

    def __init__(self, process: asyncio.subprocess.Process, pool: WorkerPool) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - pipes
        self._process, self._pool = process, pool
        self._channel = Channel(process.stdout, process.stdin)
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
        self._channel.send(message)

    def set_limit(self, limit: int) -> None:
        """Have at most so many downloads in flight."""
        if limit != self.limit:
            self.limit = limit
            self.send(Limit(limit))

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
        while (message := await self._channel.receive()) is not None:
            self._take(message)
        self.ready = False
        for handed in self._batches.values():
            handed.ended.set()

    def _take(self, message: Message) -> None:
        match message:
            case Results(batch) if batch in self._batches:
                self._report(self._batches[batch], message.fetched())
            case Ended(batch, error) if batch in self._batches:
                self._batches[batch].error = error
                self._batches[batch].ended.set()
            case Transferred(size):
                self._pool.local.progress.transferred(size)
            case Throttled(retry_after, status):
                self._pool.throttled(retry_after, status, by=self)
            case Logged(record):
                logging.getLogger(record.name).handle(record)
            case Ready():
                self.ready = True
                self._pool.divide()
            case Ask():
                answer = asyncio.create_task(self._answer(message))
                self._answers.add(answer)
                answer.add_done_callback(self._answers.discard)

    def _report(self, handed: _Handed, fetched: Sequence[Fetched]) -> None:
        for result in fetched:
            handed.left.pop(result.attachment_id, None)
        handed.report(fetched)

    async def _answer(self, asked: Ask) -> None:
        http, lent, error = self._pool.http, None, None
        try:
            if asked.lent is not None:
                lent = await http.renewed(asked.lent, files=asked.files)
            elif asked.size is not None:
                await http.consume(asked.size)
            else:
                await http.acquire()
        except MigratorError as failure:
            error = failure
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
        self._channel.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._process.wait()
                return
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class WorkerPool(FetchPlace):
    """Fetches by `count` workers, and by `local` while there are none."""

    def __init__(self, source: WiredSource, local: Downloader, count: int) -> None:
        self.local, self.http, self._source = local, source.http, source
        self._count = min(count, local.downloads)
        self._workers: list[_Worker] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._expected = self._deaths = self._local_batches = 0
        self._throttled_by: _Worker | None = None
        self._closed = False
        local.stop.on_request(self._pass_on_stop)
        self.http.on_throttled(self._pass_on_pause)

    @override
    def expect(self, files: int) -> None:
        self._expected += files
        if self._expected >= MIN_FILES_TO_START and not self._tasks:
            self._tasks = [asyncio.create_task(self._run_worker()) for _ in range(self._count)]

    @override
    async def fetch(self, batch: Sequence[Attachment], report: Report) -> None:
        left = batch
        while left and (worker := self._least_loaded()) is not None:
            with self.local.stop.in_flight():
                left = await worker.fetch(left, report)
        if left and not self.local.stop.requested:
            self._local_batches += 1
            try:
                await self.local.fetch(left, report)
            finally:
                self._local_batches -= 1
                self.divide()

    @override
    async def flush(self) -> None:
        await asyncio.gather(*(worker.flush() for worker in self._workers), self.local.flush())

    @override
    async def close(self) -> None:
        self._closed = True
        try:
            for worker in list(self._workers):
                await worker.close()
        finally:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            await self.local.close()

    def divide(self) -> None:
        """Divide the downloads among the workers that are ready; what this process has in flight counts, too."""
        ready = [worker for worker in self._workers if worker.ready]
        if not ready:
            self.local.limit(self.local.downloads)
            return
        mine = self.local.in_flight if self._local_batches else 0
        self.local.limit(mine)
        share, more = divmod(self.local.downloads - mine, len(ready))
        for place, worker in enumerate(ready):
            worker.set_limit(share + (place < more))

    def throttled(self, retry_after: float | None, status: int | None, *, by: _Worker) -> None:
        """The tracker asked one worker to slow down: the client of this process has to as well, and all others."""
        self._throttled_by = by
        self.http.throttled(retry_after, status)
        self._throttled_by = None

    def _pass_on_pause(self, retry_after: float | None, status: int | None) -> None:
        for worker in self._workers:
            if worker is not self._throttled_by:
                worker.send(Throttled(retry_after, status))

    def _pass_on_stop(self) -> None:
        for worker in self._workers:
            worker.send(Stop())

    def _least_loaded(self) -> _Worker | None:
        ready = [worker for worker in self._workers if worker.ready]
        return min(ready, key=lambda worker: worker.load) if ready else None

    async def _run_worker(self) -> None:
        """Start a worker and serve it until it is gone, and then another one, unless too many have died."""
        while self._deaths < MAX_DEATHS and not self._closed and not self.local.stop.requested:
            try:
                worker = _Worker(await self._start_process(), self)
            except OSError as error:
                _log.warning("a fetch worker can't be started (%s); files are fetched without it", error)
                return
            self._workers.append(worker)
            worker.send(self._start_message())
            await worker.serve()
            if self._closed:
                return
            self._workers.remove(worker)
            self._deaths += 1
            self.divide()
            await worker.close()
            _log.warning("a fetch worker ended by itself; what it had is fetched again")

    async def _start_process(self) -> asyncio.subprocess.Process:
        """Start a worker in a session of its own, so that Ctrl-C doesn't reach it."""
        environment = {name: value for name, value in os.environ.items() if ENVIRONMENT.fullmatch(name)}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "migrator.jobs.fetching.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=self.local.archive.held,
            start_new_session=True,
            limit=MAX_MESSAGE_BYTES,
            env={**environment, "PYTHONPATH": _PACKAGES},
        )

    def _start_message(self) -> Start:
        archive, files = self.local.archive, None
        if self._source.own_files:
            files = self.http.lend(files=True)
        return Start(
            self._source.recipe,
            self.http.lend(),
            files,
            archive.root.absolute(),
            frozenset(archive.untrusted),
            logging.getLogger("migrator").getEffectiveLevel(),
        )


def workers_for(source: WiredSource) -> int:
    """How many workers a backup of this source may have, by [limits] workers.

    "auto": half of the processors, but at most four. None where a worker would not be faster: with one processor, where
    the rate is limited, or if the tracker withstands few requests at once, as then it is what takes the time.
    """
    capabilities = source.tracker.capabilities
    if not capabilities.fetches_alone:
        return 0
    if source.workers != "auto":
        return source.workers
    if source.recipe.reach.limited or capabilities.max_connections < MIN_CONNECTIONS:
        return 0
    return min(MAX_WORKERS, len(os.sched_getaffinity(0)) // 2)
