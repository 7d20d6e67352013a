"""Limits the number and the bandwidth of requests to one tracker, and slows them all down when it asks for that.

All requests to one tracker share one `RateLimiter`, so a single 429 slows every worker, and each success makes them a
little faster again. Each request acquires it, and not each verb of the port, because one verb may need several
requests.

Beware: no timeout may run while a request waits here, because it is not the tracker that is slow.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from migrator.wire.waits import DEFAULT_MAX_WAIT_SECONDS, Waits


@dataclass(slots=True)
class TokenBucket:
    """A token bucket: `rate` units a second, with a burst of one second's worth. Rate 0 means no limit."""

    rate: float
    _level: float = 0.0
    _updated_at: float = 0.0

    def take(self, amount: float, now: float) -> float:
        """Take this amount; returns the seconds to wait before going on."""
        if not self.rate:
            return 0.0
        if not self._updated_at:
            self._level, self._updated_at = self.rate, now
        self._level = min(self.rate, self._level + (now - self._updated_at) * self.rate) - amount
        self._updated_at = now
        return max(0.0, -self._level / self.rate)


class RateLimiter:
    """Limits the requests to one tracker, in requests and bytes a second; 0 means no limit.

    `max_wait` is how many seconds a tracker may make all requests wait; `waits` logs the long waits.
    """

    FIRST_SPACING_SECONDS = 0.05
    MAX_SPACING_SECONDS = 5.0
    SLOWED_SECONDS = 1.0  # refusals within this time are answers to requests that were sent before the first of them
    DEFAULT_PAUSE_SECONDS = 1.0

    def __init__(
        self,
        requests_per_second: float = 0,
        bytes_per_second: float = 0,
        *,
        max_wait: float = DEFAULT_MAX_WAIT_SECONDS,
        waits: Waits | None = None,
    ) -> None:
        self.max_wait, self._waits = max_wait, waits or Waits()
        self._requests = TokenBucket(requests_per_second)
        self._bytes = TokenBucket(bytes_per_second)
        self._spacing = 0.0
        self._next_start = 0.0
        self._slowed_at = -math.inf
        self._listeners: list[Callable[[float | None, int | None], None]] = []

    def on_throttled(self, listener: Callable[[float | None, int | None], None]) -> None:
        """Have this called, with the arguments of `throttled`, each time the tracker asks to slow down."""
        self._listeners.append(listener)

    async def acquire(self) -> None:
        """Wait until this request may start."""
        now = time.monotonic()
        wait = self._requests.take(1, now)
        if self._next_start > now or self._spacing:
            start = max(now, self._next_start)
            self._next_start = start + self._spacing
            wait = max(wait, start - now)
        if wait > 0:
            await asyncio.sleep(wait)

    async def consume(self, size: int) -> None:
        """Count bytes sent or received, and wait if they exceed the limit."""
        if self._bytes.rate and (wait := self._bytes.take(size, time.monotonic())) > 0:
            await asyncio.sleep(wait)

    def throttled(self, retry_after: float | None, status: int | None = None) -> None:
        """The tracker asked to slow down: no request starts during the pause, and later ones start further apart."""
        pause = self.DEFAULT_PAUSE_SECONDS if retry_after is None else min(retry_after, self.max_wait)
        self._waits.asked(pause, status)
        now = time.monotonic()
        if now >= self._slowed_at + max(self.SLOWED_SECONDS, self._spacing):
            self._spacing = min(self.MAX_SPACING_SECONDS, max(self.FIRST_SPACING_SECONDS, self._spacing * 2))
            self._slowed_at = now
        self._next_start = max(self._next_start, now + pause)
        for listener in self._listeners:
            listener(retry_after, status)

    def on_success(self) -> None:
        """A request succeeded: go a little faster."""
        if self._spacing:
            self._spacing = self._spacing * 0.9 if self._spacing > self.FIRST_SPACING_SECONDS / 10 else 0.0
