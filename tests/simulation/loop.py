"""An event loop with virtual time and without threads, so that a seed gives the same run each time.

With nothing ready, the clock jumps to the next timer, so backoffs cost nothing; and what would run in a thread runs a
little later in the loop, in an order that the seed decides.

Beware: a `Killed` leaves the loop at once, and nothing of the program runs after it, not even its cleanup.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

LATENCY = 0.002
"""Simulated seconds that a call in a thread takes at most."""
DEADLOCK_SECONDS = 20.0
"""Real seconds without an event, a timer or a socket that is ready, until the run counts as stuck."""


class Killed(SystemExit):
    """The process is gone. It is a `SystemExit`, because that leaves a loop at once."""


class ViolationError(AssertionError):
    """A rule that must always hold was broken."""


class _Instant(selectors.DefaultSelector):
    """Looks at sockets without waiting; the clock moves when nothing is ready."""

    clock = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(DEADLOCK_SECONDS)
            if not ready:
                raise ViolationError("everything waits, and nothing will ever come")
            return ready
        self.clock += max(timeout, 1e-9)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop with its own clock. Calls on one executor run in their order, those on different ones in any order."""

    def __init__(self, rng: random.Random) -> None:
        self._instant = _Instant()
        super().__init__(self._instant)
        self._rng = rng
        self._busy_until: dict[object, float] = {}
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._instant.clock

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> Any:
        future = self.create_future()
        when = self.time() + self._rng.random() * LATENCY
        if executor is not None:  # one thread: in the order of the calls
            when = max(when, self._busy_until.get(executor, 0.0) + 1e-6)
            self._busy_until[executor] = when
        self.call_at(when, _call, future, func, args)
        return future


def _call(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.cancelled():  # a thread never got to it
        return
    try:
        result = func(*args)
    except Killed:
        raise
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
        future.set_exception(error)
    else:
        future.set_result(result)


def run(coroutine: Coroutine[Any, Any, Any], rng: random.Random) -> Any:
    """Run to the end, or until `Killed`, which is raised; tasks that are left then never run again."""
    loop = SimulatedLoop(rng)
    try:
        return loop.run_until_complete(coroutine)
    except Killed:
        loop.set_exception_handler(lambda *_: None)
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False
            with suppress(BaseException):  # errors in its cleanup don't count, and what that does has no effect
                task.get_coro().close()
        raise
    finally:
        loop.close()
