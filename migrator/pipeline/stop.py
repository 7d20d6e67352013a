"""How a run is stopped: one token that requests it, counts what is in flight, and remembers what was left undone.

After a stop nothing new is begun, and what is in flight gets GRACE_SECONDS to finish. A worker that waits before its
next try is not in flight, so a run that is stopped during an outage ends at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

GRACE_SECONDS = 8.0
"""Seconds that work in flight gets to finish after a stop."""


class StopRequestedError(Exception):
    """A stop was requested: raised in a thread, to end a long call."""


class StopToken:
    """The stop of one run. `requested`: begin nothing new. `left_undone`: something was not done because of that."""

    def __init__(self) -> None:
        self.requested = self.left_undone = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._listeners: list[Callable[[], None]] = []

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count what happens inside as in flight: a stop lets it finish, unless that takes over GRACE_SECONDS."""
        before = _AT_WORK.set((self, asyncio.current_task()))
        self._begin()
        try:
            yield
        finally:
            self._end()
            _AT_WORK.reset(before)

    def request(self) -> None:
        """Begin nothing new from now on."""
        self.requested = True
        for listener in self._listeners:
            listener()

    def on_request(self, listener: Callable[[], None]) -> None:
        """Have this called when a stop is requested."""
        self._listeners.append(listener)

    async def finish(self, seconds: float = GRACE_SECONDS) -> None:
        """Wait until nothing is in flight, but no longer than this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    def check(self) -> None:
        """For calls in other threads: `StopRequestedError` after a stop."""
        if self.requested:
            raise StopRequestedError

    async def run(self, work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
        """Run the work; when `stop` is set, let what is in flight finish, then cancel the rest.

        Raises what the work raises. If the work was cancelled, something was left undone.
        """
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.request()
                await self.finish()
        finally:
            stopping.cancel()
            if not task.done():
                task.cancel()
            await asyncio.wait({task})
        if task.cancelled():
            self.left_undone = True
        else:
            task.result()

    @contextmanager
    def _paused(self) -> Iterator[None]:
        self._end()
        try:
            yield
        finally:
            self._begin()

    def _begin(self) -> None:
        self._in_flight += 1
        self._idle.clear()

    def _end(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()


_AT_WORK: ContextVar[tuple[StopToken, asyncio.Task[Any] | None] | None] = ContextVar("at_work", default=None)
"""The token that counts this task as in flight. Tasks that it starts inherit the value, and aren't counted."""


async def back_off(seconds: float) -> None:
    """Sleep before another try. Meanwhile the task is not in flight, so a stop doesn't wait for it."""
    token, task = _AT_WORK.get() or (None, None)
    if token is None or task is not asyncio.current_task():
        await asyncio.sleep(seconds)
        return
    with token._paused():  # noqa: SLF001 - the same module
        await asyncio.sleep(seconds)
