"""Fetch workers that die, in the simulation: two downloaders on one archive, as two processes would have it.

Each has its own view of the archive. When one dies, nothing of it moves any more: its downloads stand still, its files
stay in `incoming/`, what it has not reported is fetched by the other one. The real processes are in
`tests/system/test_fetch_workers.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from typing import Any

from typing_extensions import override

from migrator.layers.forwarding import SourceWrapper
from migrator.model import Attachment
from migrator.pipeline.downloads import Downloader
from migrator.pipeline.fetch_place import Fetched, FetchPlace, Report
from migrator.ports import BodyFacts, Sink, Source
from migrator.store import Archive, IncomingBlob

CHANCE = 0.004
"""That a worker dies at one of its steps."""
MAX_DEATHS = 2


class Life:
    """Whether a worker is alive. Every step of it asks, and stands still for ever once it is dead."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self.died = rng, asyncio.Event()

    async def step(self) -> None:
        """Die, perhaps."""
        if self._rng.random() < CHANCE:
            self.died.set()
        if self.died.is_set():
            await asyncio.get_running_loop().create_future()


class MortalSource(SourceWrapper):
    """A source that stands still once its worker is dead."""

    def __init__(self, inner: Source, life: Life) -> None:
        super().__init__(inner)
        self._life = life

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        await self._life.step()
        await self._inner.download(attachment, MortalSink(sink, self._life))
        await self._life.step()


class MortalSink(Sink):
    """What the source of a mortal worker writes to."""

    def __init__(self, inner: Sink, life: Life) -> None:
        self._inner, self._life = inner, life

    @override
    async def start(self, facts: BodyFacts) -> None:
        await self._inner.start(facts)

    @override
    async def write(self, chunk: bytes) -> None:
        await self._life.step()
        await self._inner.write(chunk)

    @override
    def rewind(self) -> None:
        self._inner.rewind()

    @override
    def warn(self, text: str) -> None:
        self._inner.warn(text)


class MortalDownloader(Downloader):
    """A worker. It may also die between the steps that make files safe."""

    def __init__(self, local: Downloader, life: Life, downloads: int) -> None:
        archive = Archive(local.archive.root)
        archive.untrusted.update(local.archive.untrusted)
        source = MortalSource(local.source, life)
        super().__init__(source, archive, local.stop, local.progress, downloads=downloads)
        self.life = life

    @override
    async def _make_safe(self, incoming: Sequence[IncomingBlob]) -> None:
        await self.life.step()
        await super()._make_safe(incoming)
        await self.life.step()

    async def bury(self) -> None:
        """End the tasks of a dead worker, which stand still."""
        await self._cancel_tasks()


async def ends_before_death(worker: MortalDownloader, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the worker lives until this work has ended, which raises what it raises."""
    working = asyncio.ensure_future(work)
    dying = asyncio.ensure_future(worker.life.died.wait())
    try:
        await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
    finally:
        for task in (working, dying):
            task.cancel()
    return False


def left_of(files: dict[str, Attachment]) -> dict[str, Attachment]:
    """Those of a dead worker's files that have to be fetched again: all that it has not reported."""
    return files


class DyingWorkers(FetchPlace):
    """Two workers, and the run itself once too many have died."""

    def __init__(self, local: Downloader, rng: random.Random) -> None:
        self._local, self._rng = local, rng
        self._workers: list[MortalDownloader] = []
        self._dead: list[MortalDownloader] = []
        self._started = 0

    @override
    def expect(self, files: int) -> None:
        while len(self._workers) < 2 and self._started < 2 + MAX_DEATHS:
            self._started += 1
            self._workers.append(MortalDownloader(self._local, Life(self._rng), max(1, self._local.downloads // 2)))

    @override
    async def fetch(self, batch: Sequence[Attachment], report: Report) -> None:
        left = {attachment.id: attachment for attachment in batch}

        def reported(results: Sequence[Fetched]) -> None:
            for fetched in results:
                left.pop(fetched.attachment_id)
            report(results)

        while left and self._workers and not self._local.stop.requested:
            worker = self._rng.choice(self._workers)
            if await ends_before_death(worker, worker.fetch(list(left.values()), reported)):
                return
            left = left_of(left)
            if worker in self._workers:
                self._workers.remove(worker)
                self._dead.append(worker)
                self.expect(0)
        if left:
            await self._local.fetch(list(left.values()), reported)

    @override
    async def flush(self) -> None:
        for worker in self._workers:
            if not worker.life.died.is_set():
                await ends_before_death(worker, worker.flush())
        await self._local.flush()

    @override
    async def close(self) -> None:
        for worker in self._dead:
            await worker.bury()
        for worker in self._workers:
            await (worker.bury if worker.life.died.is_set() else worker.close)()
        await self._local.close()
