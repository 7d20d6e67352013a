"""What every run shares: being stopped by a person, and which of many errors to tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from migrator.errors import Fatal, MigratorError

GRACE = 8.0
"""Seconds that work in flight gets to finish after a stop."""


async def until_stopped(
    work: Coroutine[Any, Any, None], stop: asyncio.Event, drain: Callable[[], None], quiet: asyncio.Event
) -> bool:
    """Run the work; when `stop` is set, `drain`, wait for `quiet` (at most GRACE seconds) and cancel the rest.

    True if the work came to its end. Raises what the work raises.
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
    await task
    return True


class InFlight:
    """Counts work in flight; `quiet` is set while there is none."""

    def __init__(self) -> None:
        self._count = 0
        self.quiet = asyncio.Event()
        self.quiet.set()

    def __enter__(self) -> None:
        self._count += 1
        self.quiet.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self.quiet.set()


def first_fatal(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that says most about why everything stopped: a fatal one before others of ours before bugs."""
    flat = list(_flatten(group))
    for kind in (Fatal, MigratorError):
        for error in flat:
            if isinstance(error, kind):
                return error
    return flat[0]


def _flatten(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _flatten(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
