"""Records what came of files, in batches: one transaction for all that came while the one before was written.

A file's bytes are safe on disk before it gets here (see `downloads`), so no row is ever written before its bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from migrator.model import Attachment, Outcome, Status
from migrator.pipeline.executor import SerialExecutor
from migrator.store import Archive, Catalog

Recorded = Callable[[Attachment, Status], None]


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The outcome of a file, not recorded yet. `recorded` is called when it is recorded."""

    outcome: Outcome
    recorded: Recorded


class Recorder:
    """Collects results and records them. `run` is a task; `flush` is called once, at the end."""

    def __init__(self, archive: Archive, catalog: Catalog, executor: SerialExecutor, run: int) -> None:
        self._catalog, self._executor, self._run = catalog, executor, run
        self._waiting: list[FetchResult] = []
        self._not_empty, self._lock = asyncio.Event(), asyncio.Lock()
        self._disk = archive.space

    def add(self, result: FetchResult) -> None:
        """Hand a result over; it is recorded soon."""
        self._waiting.append(result)
        self._not_empty.set()

    async def run(self) -> None:
        """Record results until cancelled.

        `StorageError` when the disk is nearly full: what was recorded before stays.
        """
        while True:
            await self._not_empty.wait()
            await self._record()
            await self._executor.call(self._disk.require, 0)

    async def flush(self) -> None:
        """Record everything that is waiting."""
        while self._waiting:
            await self._record()

    async def _record(self) -> None:
        """Record what is waiting. If that fails, it waits again, to be repeated."""
        async with self._lock:
            batch, self._waiting = self._waiting, []
            self._not_empty.clear()
            outcomes = [result.outcome for result in batch]
            try:
                await self._executor.call(self._catalog.crawl.record_outcomes, self._run, outcomes)
            except BaseException:
                self._waiting = batch + self._waiting
                raise
            for result in batch:
                result.recorded(result.outcome.attachment, result.outcome.status)
