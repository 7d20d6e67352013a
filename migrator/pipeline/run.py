"""The frame of a run: begun in the catalog, worked on until it ends or is stopped, ended with its summary.

Backup, load and rollback say what they do (`Job`). How a run ends, and which of several errors is reported, is
decided here alone.

Beware: what was finished has to be recorded in whatever way the work ended, also when it ended badly.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from migrator.errors import FatalError, MigratorError, StorageError
from migrator.model import RunStatus
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.stop import StopToken
from migrator.pipeline.summary import RunSummary
from migrator.store import Catalog


def first_fatal(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that says most about why everything stopped: a fatal one before others of ours before bugs."""
    flat = list(_flatten(group))
    for kind in (FatalError, MigratorError):
        for error in flat:
            if isinstance(error, kind):
                return error
    return flat[0]


def _flatten(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _flatten(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


S = TypeVar("S", bound=RunSummary)
S_co = TypeVar("S_co", bound=RunSummary, covariant=True)


class Job(Protocol[S_co]):
    """What one kind of run does."""

    @abstractmethod
    async def work(self) -> None:
        """All of it, or until the run's `StopToken` asks to end; cancelled if that takes too long."""

    @abstractmethod
    async def flush(self) -> None:
        """Record what is finished and not recorded yet, in whatever way the work ended."""

    @abstractmethod
    def summary(self, status: RunStatus) -> S_co:
        """What the run has to report; blocks, on the executor. `status` is how the work ended.

        Status, number and seconds of the run are filled in afterwards.
        """


@dataclass(frozen=True, slots=True)
class RunContext:
    """A run that has begun. `executor` is the one thread that uses the catalog."""

    command: str
    run: int
    catalog: Catalog
    executor: SerialExecutor
    stop: StopToken = field(default_factory=StopToken)

    async def execute(self, job: Job[S], stop: asyncio.Event) -> S:
        """Work until it ends, fails or is stopped; record the run and give its summary. Once for each context.

        Raises what is fatal, with the run recorded as `failed` and all that was finished kept.
        """
        began, status = time.monotonic(), RunStatus.FAILED
        try:
            await self.stop.run(job.work(), stop)
            status = RunStatus.INTERRUPTED if self.stop.left_undone else RunStatus.COMPLETE
        except asyncio.CancelledError:
            status = RunStatus.INTERRUPTED
            raise
        except BaseExceptionGroup as group:
            raise first_fatal(group) from None
        finally:
            summary = await self._end(job, status, began)
        assert summary is not None  # noqa: S101 - it is only where an error is being raised
        return summary

    async def _end(self, job: Job[S], status: RunStatus, began: float) -> S | None:
        try:
            await job.flush()
            return await self.executor.call(self._record, job, status, began)
        except StorageError:
            if status is not RunStatus.FAILED:
                raise
            return None  # why it failed is being raised, and the disk that can't take that note says the same

    def _record(self, job: Job[S], status: RunStatus, began: float) -> S:
        summary = job.summary(status)
        if status is RunStatus.COMPLETE and (summary.failures or summary.incomplete):
            status = RunStatus.INCOMPLETE
        summary = replace(summary, status=status, run=self.run, seconds=time.monotonic() - began)
        self.catalog.runs.end(self.run, status, summary.as_json())
        return summary


@asynccontextmanager
async def run_context(
    catalog: Catalog, command: str, first: Callable[[], object] = lambda: None
) -> AsyncIterator[RunContext]:
    """Begin a run; the caller holds the archive. The executor is closed at the end.

    `first` is asked on the executor whether it may begin; where that raises, there was no run.
    """
    executor = SerialExecutor()
    try:
        await executor.call(first)
        await executor.call(catalog.ensure_journal)
        yield RunContext(command, await executor.call(catalog.runs.begin, command), catalog, executor)
    finally:
        await executor.close()
