"""The frame of a run: begun in the catalog, worked on until it ends or is stopped, ended with its summary.

The one idea: backup, load and rollback say what they do (`Work`); when that is stopped, what becomes of it and which
of many errors is told is decided here, once.
The one trap: what was finished has to be recorded in whatever way the work ended, also when it ended badly.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from migrator.errors import FatalError, MigratorError, StorageError
from migrator.model import RunStatus
from migrator.pipeline.executor import SerialExecutor
from migrator.store import Catalog

GRACE = 8.0
"""Seconds that work in flight gets to finish after a stop."""


async def until_stopped(
    work: Coroutine[Any, Any, bool], stop: asyncio.Event, drain: Callable[[], None], quiet: asyncio.Event
) -> bool:
    """Run the work; when `stop` is set, `drain`, wait for `quiet` (at most GRACE seconds) and cancel the rest.

    What the work gives; False if it was cancelled. Raises what the work raises.
    """
    task = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            drain()
            with suppress(TimeoutError):
                await asyncio.wait_for(quiet.wait(), GRACE)
    finally:
        stopping.cancel()
        if not task.done():
            task.cancel()
        await asyncio.wait({task})
    if task.cancelled():
        return False
    return await task


class InFlight:
    """Counts work in flight; `quiet` is set while there is none."""

    def __init__(self) -> None:
        self._count = 0
        self.quiet = asyncio.Event()
        self.quiet.set()

    def __enter__(self) -> None:
        _AT_WORK.set((self, asyncio.current_task()))
        self._begin()

    def __exit__(self, *_: object) -> None:
        _AT_WORK.set(None)
        self._end()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is in here waits for nothing but time: a stop need not wait for it."""
        self._end()
        try:
            yield
        finally:
            self._begin()

    def _begin(self) -> None:
        self._count += 1
        self.quiet.clear()

    def _end(self) -> None:
        self._count -= 1
        if not self._count:
            self.quiet.set()


_AT_WORK: ContextVar[tuple[InFlight, asyncio.Task[Any] | None] | None] = ContextVar("at_work", default=None)
"""What this task counts as in flight. Tasks that it starts inherit it, and don't count."""


async def back_off(seconds: float) -> None:
    """Sleep before another try. Nothing is in flight meanwhile, so a run that is stopped ends at once."""
    at_work = _AT_WORK.get()
    if at_work is None or at_work[1] is not asyncio.current_task():
        await asyncio.sleep(seconds)
        return
    with at_work[0].paused():
        await asyncio.sleep(seconds)


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


class Work(Protocol):
    """What one kind of run does."""

    async def work(self) -> bool:
        """All of it. False if something was left out because of a stop; cancelled if that takes too long."""

    def drain(self) -> None:
        """A stop: begin nothing new."""

    async def flush(self) -> None:
        """Record what is finished and not recorded yet, in whatever way the work ended."""

    def summary(self, status: RunStatus) -> dict[str, Any]:
        """What the run has to tell, with its `failures`; blocks, on the desk. `status` is how the work ended.

        `incomplete` in it makes a complete run incomplete, as failures do, and is not told.
        """


@dataclass(frozen=True, slots=True)
class RunContext:
    """A run that has begun. `desk` is the thread that writes, `in_flight` what a stop waits for."""

    command: str
    run: int
    catalog: Catalog
    desk: SerialExecutor
    in_flight: InFlight = field(default_factory=InFlight)

    async def carry_out(self, work: Work, stop: asyncio.Event) -> dict[str, Any]:
        """Work until it ends, fails or is stopped; record the run and give its summary. Once for each frame.

        Raises what is fatal, with the run recorded as `failed` and all that was finished kept.
        """
        began, status = time.monotonic(), RunStatus.FAILED
        try:
            whole = await until_stopped(work.work(), stop, work.drain, self.in_flight.quiet)
            status = RunStatus.COMPLETE if whole else RunStatus.INTERRUPTED
        except asyncio.CancelledError:
            status = RunStatus.INTERRUPTED
            raise
        except BaseExceptionGroup as group:
            raise first_fatal(group) from None
        finally:
            summary = await self._end(work, status, began)
        return summary

    async def _end(self, work: Work, status: RunStatus, began: float) -> dict[str, Any]:
        try:
            await work.flush()
            return await self.desk.run(self._record, work, status, began)
        except StorageError:
            if status is not RunStatus.FAILED:
                raise
            return {}  # why it failed is being raised, and the disk that can't take that note says the same

    def _record(self, work: Work, status: RunStatus, began: float) -> dict[str, Any]:
        told = work.summary(status)
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
    """Begin a run; whoever calls holds the archive. The desk is closed at the end.

    `first` is asked on the desk whether it may begin; where that raises, there was no run.
    """
    desk = SerialExecutor()
    try:
        await desk.run(first)
        await desk.run(catalog.ensure_journal)
        yield RunContext(command, await desk.run(catalog.begin_run, command), catalog, desk)
    finally:
        await desk.close()
