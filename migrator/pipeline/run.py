"""The frame of a run: begun in the catalog, worked on until it ends or is stopped, ended with its summary.

Backup, load and rollback say what they do (`Job`). How a run ends, and which of several errors is reported, is
decided here alone.

Beware: what was finished has to be recorded in whatever way the work ended, also when it ended badly.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from migrator.errors import FatalError, MigratorError, StorageError
from migrator.model import RunStatus
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.stop import StopToken
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


class Job(Protocol):
    """What one kind of run does."""

    async def work(self) -> None:
        """All of it, or until the run's `StopToken` asks to end; cancelled if that takes too long."""

    async def flush(self) -> None:
        """Record what is finished and not recorded yet, in whatever way the work ended."""

    def summary(self, status: RunStatus) -> dict[str, Any]:
        """What the run has to tell, with its `failures`; blocks, on the executor. `status` is how the work ended.

        `incomplete` in it makes a complete run incomplete, as failures do, and is not told.
        """


@dataclass(frozen=True, slots=True)
class RunContext:
    """A run that has begun. `executor` is the one thread that uses the catalog."""

    command: str
    run: int
    catalog: Catalog
    executor: SerialExecutor
    stop: StopToken = field(default_factory=StopToken)

    async def execute(self, job: Job, stop: asyncio.Event) -> dict[str, Any]:
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
        return summary

    async def _end(self, job: Job, status: RunStatus, began: float) -> dict[str, Any]:
        try:
            await job.flush()
            return await self.executor.call(self._record, job, status, began)
        except StorageError:
            if status is not RunStatus.FAILED:
                raise
            return {}  # why it failed is being raised, and the disk that can't take that note says the same

    def _record(self, job: Job, status: RunStatus, began: float) -> dict[str, Any]:
        told = job.summary(status)
        failures, incomplete = told.pop("failures"), told.pop("incomplete", False)
        if status is RunStatus.COMPLETE and (failures or incomplete):
            status = RunStatus.INCOMPLETE
        summary = {"command": self.command, "run": self.run, "status": str(status), **told}
        summary |= {"seconds": round(time.monotonic() - began, 2), "failures": failures}
        self.catalog.end_run(self.run, status, summary)
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
        await executor.call(catalog.keep_manifest)
        yield RunContext(command, await executor.call(catalog.begin_run, command), catalog, executor)
    finally:
        await executor.close()
