"""Fetches by workers: processes, here or on a cluster, that a crew makes.

A run begins to fetch by itself. Once it expects enough files, it starts workers, and hands them all further batches as
soon as they are ready. A worker that dies costs its batches, which are fetched again here or by another one.

Limits hold over all processes together: `downloads` is divided among them, the rate is counted by the run, a pause that
the tracker asks for is passed on to all, and only the run logs in.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence

from typing_extensions import override

from migrator.jobs.fetching.handle import Run, WorkerHandle
from migrator.jobs.fetching.link import Crew, Link
from migrator.jobs.fetching.messages import Start, Stop, Throttled
from migrator.jobs.wiring import WiredSource
from migrator.model import Attachment
from migrator.pipeline.downloads import Downloader
from migrator.pipeline.fetch_place import FetchPlace, Report
from migrator.wire import Wait

MIN_FILES_TO_START = 200
"""With fewer files, a worker would not have started before they are fetched."""
MIN_CONNECTIONS, MAX_WORKERS = 16, 4
"""For "auto": how many requests at once the tracker must withstand, and how many workers there are at most."""
MAX_TRIES = 4
"""A batch whose workers have died so often is fetched by the run itself."""


class WorkerPool(FetchPlace, Run):
    """Fetches by the workers of a crew, and by `local` while there are none."""

    def __init__(self, source: WiredSource, local: Downloader, crew: Crew) -> None:
        self.local, self.http, self._source, self._crew = local, source.http, source, crew
        self._workers: list[WorkerHandle] = []
        self._working: asyncio.Task[None] | None = None
        self._expected = self._local_batches = 0
        self._throttled_by: WorkerHandle | None = None
        self._closed = False
        local.on_free = self.divide
        local.stop.on_request(self._pass_on_stop)
        self.http.on_throttled(self._pass_on_pause)

    @override
    def expect(self, files: int) -> None:
        self._expected += files
        if self._expected >= MIN_FILES_TO_START and self._working is None:
            self._working = asyncio.create_task(self._crew.work(self._employ))

    @override
    async def fetch(self, batch: Sequence[Attachment], report: Report) -> None:
        left, tries = batch, 0
        while left and tries < MAX_TRIES and (worker := self._least_loaded()) is not None:
            tries += 1
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
            await asyncio.gather(*(worker.close() for worker in self._workers))
        finally:
            if self._working is not None:
                self._working.cancel()
                await asyncio.wait([self._working])
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
            worker.set_limit(share + (place < more), -(-self.http.concurrency // len(ready)))

    @override
    def transferred(self, size: int) -> None:
        self.local.progress.transferred(size)

    @override
    def waiting(self, wait: Wait) -> None:
        self._source.waits.begun(wait)

    @override
    def ready(self) -> None:
        self.divide()

    @override
    def throttled(self, retry_after: float | None, status: int | None, *, by: WorkerHandle) -> None:
        """The client of this process has to slow down as well, and so do all other workers."""
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

    def _least_loaded(self) -> WorkerHandle | None:
        ready = [worker for worker in self._workers if worker.ready]
        return min(ready, key=lambda worker: worker.load) if ready else None

    async def _employ(self, link: Link) -> bool:
        """Have a worker fetch until it is gone."""
        worker = WorkerHandle(link, self)
        self._workers.append(worker)
        worker.send(self._start_message())
        await worker.serve()
        if self._closed:
            return False
        self.divide()
        await worker.close()
        self._workers.remove(worker)  # not before: `close` would leave its process running
        return not self._closed and not self.local.stop.requested

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
            archive.address,
            archive.encoding.for_worker() if archive.encoding else None,
            self._crew.environment if archive.address else {},
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
    return min(MAX_WORKERS, _processors() // 2)


def _processors() -> int:
    """How many processors this process may use; only some systems tell that from how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
