"""How a run goes: it begins in the catalog, works until it ends or is stopped, and ends with its summary.

Each command that is a run says what it does (`Job`). This module alone decides how a run ends and which of several
errors is reported.

Beware: what was finished has to be recorded however the work ended, also when it failed.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from migrator.errors import FatalError, ItemFailedError, MigratorError, StorageError, TrackerUnreachableError
from migrator.model import RunStatus
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.stop import StopToken
from migrator.pipeline.summary import RunSummary
from migrator.store import Catalog

RUN_AGAIN = "run the same command again"
"""What to do after a run that broke off."""


def first_fatal(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that says most about why everything stopped: a fatal one, else another of ours, else a bug."""
    flat = list(_flatten(group))
    for kind in (FatalError, MigratorError):
        for error in flat:
            if isinstance(error, kind):
                return error
    return flat[0]


def _flatten(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    flat: list[BaseException] = []
    for error in group.exceptions:
        flat += _flatten(error) if isinstance(error, BaseExceptionGroup) else [error]
    return flat


def error_record(error: BaseException) -> dict[str, Any]:
    """An error as the catalog keeps it, with its exit status. The text of a bug is left out: it may hold anything."""
    if isinstance(error, ItemFailedError):
        error = TrackerUnreachableError(str(error))
    if isinstance(error, MigratorError):
        return {"code": error.exit_code, "message": str(error)}
    return {"code": 1, "message": f"unexpected error: {type(error).__name__}"}


S = TypeVar("S", bound=RunSummary)
S_co = TypeVar("S_co", bound=RunSummary, covariant=True)


class Job(Protocol[S_co]):
    """What one kind of run does."""

    @abstractmethod
    async def work(self) -> None:
        """Do the whole job, or end early once the run's `StopToken` requests it.

        A stop cancels what is not in flight at once, and the rest after GRACE_SECONDS.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Record what is finished and not recorded yet. Called however the work ended."""

    @abstractmethod
    def summary(self, status: RunStatus) -> S_co:
        """The summary of a run whose work ended with `status`; blocks, on the executor.

        Its status, number and seconds are filled in afterwards.
        """


@dataclass(frozen=True, slots=True)
class RunContext:
    """A run that has begun, at `began` on the monotonic clock. `executor` is the one thread that uses the catalog."""

    run: int
    catalog: Catalog
    executor: SerialExecutor
    began: float
    stop: StopToken = field(default_factory=StopToken)

    async def execute(self, job: Job[S], stop: asyncio.Event | None = None) -> S:
        """Work until the job ends, fails or is stopped; record the run and return its summary. Call it once.

        Raises what is fatal, with the run recorded as `failed` and everything finished kept; a note says how much that
        is.
        """
        status, failure = RunStatus.FAILED, None
        try:
            await self.stop.run(job.work(), stop or asyncio.Event())
            status = RunStatus.INTERRUPTED if self.stop.left_undone else RunStatus.COMPLETE
        except asyncio.CancelledError:
            status = RunStatus.INTERRUPTED
            raise
        except BaseExceptionGroup as group:
            failure = first_fatal(group)
            raise failure from None
        except Exception as error:
            failure = error
            raise
        finally:
            summary = await self._end(job, status, failure)
        assert summary is not None  # noqa: S101 - it is None only where an error is being raised
        return summary

    async def _end(self, job: Job[S], status: RunStatus, failure: BaseException | None) -> S | None:
        try:
            await job.flush()
            return await self.executor.call(self._record, job, status, failure)
        except StorageError:
            if status is not RunStatus.FAILED:
                raise
            return None  # the error being raised says more than the disk that can't record it

    def _record(self, job: Job[S], status: RunStatus, failure: BaseException | None) -> S:
        summary = job.summary(status)
        seconds = time.monotonic() - self.began
        summary = replace(summary, status=summary.status_after(status), run=self.run, seconds=seconds)
        record = summary.as_record() | ({"error": error_record(failure)} if failure else {})
        self.catalog.runs.end(self.run, summary.status, record)
        if isinstance(failure, MigratorError) and (kept := summary.kept()):
            failure.add_note(f"{kept}; {RUN_AGAIN}")
        return summary


DRY_RUN = " --dry-run"
"""Behind the command in the name of a run that only rehearses it."""


@asynccontextmanager
async def run_context(
    catalog: Catalog,
    command: str,
    prepare: Callable[[], object] = lambda: None,
    *,
    mends_journal: bool = True,
    began: float | None = None,
) -> AsyncIterator[RunContext]:
    """Begin a run; the caller holds the archive. The executor is closed at the end.

    `prepare` runs first, on the executor; if it raises, there was no run. `mends_journal`: a damaged journal is
    rewritten before anything is recorded. `began` is when the command began, if that was earlier.
    """
    began = time.monotonic() if began is None else began
    executor = SerialExecutor()
    try:
        await executor.call(prepare)
        if mends_journal:
            await executor.call(catalog.ensure_journal)
        yield RunContext(await executor.call(catalog.runs.begin, command), catalog, executor, began)
    finally:
        await executor.close()
