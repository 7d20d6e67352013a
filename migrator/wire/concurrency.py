"""How many requests one tracker gets at once: as many as make it faster, and no more.

It starts with a few and doubles them as long as throughput grows, then returns to the last number that helped. Later
it tries a few more and a few fewer in turn, and keeps the lowest number that is as fast. The capacity of a tracker is
found within a few rounds, and a slow tracker never sees many requests at once.

Beware: an overload (429, 503, silence) halves the limit, but only once for all requests that were under way together.
Sixteen refusals at the same moment count as one.
"""

from __future__ import annotations

import asyncio
from collections import deque

INITIAL_LIMIT = 4
MIN_ROUND_SECONDS = 0.1
"""Minimum length of a measuring round, which ends once every slot was used twice, or after MAX_ROUND_SECONDS."""
MAX_ROUND_SECONDS = 10.0
MIN_GAIN = 1.15
"""A higher limit is kept only if throughput grew by this factor."""
MIN_KEPT_SHARE = 0.95
"""A lower limit is kept if throughput stayed above this share of what it was."""
PROBE_INTERVAL_SECONDS = 5.0
"""Seconds between two trials of another limit."""
STARTUP_RETRIES = 2
"""During start-up this many doublings may fail and are retried immediately; one quiet moment proves nothing."""
BYTES_PER_REQUEST = 32 * 1024
"""Bytes that count as much work as one request."""


class AdaptiveLimiter:
    """Slots for the requests to one tracker, at most `most`, shared by all callers of one event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = min(INITIAL_LIMIT, most)
        self.under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._began, self._until, self._ended, self._work = -1.0, 0.0, 0, 0.0
        self._was_full = False
        self._before: tuple[int, float] | None = None
        self._cut_at = -1.0
        self._upwards = False
        self._startup_retries = STARTUP_RETRIES

    async def acquire(self) -> float:
        """Wait for a slot and return the time, which `on_overload` needs. One `release` must follow."""
        loop = asyncio.get_running_loop()
        if self.under_way < self.limit and not self._waiting:
            self._take()
            return loop.time()
        waiter = loop.create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # the slot was granted at the moment of the cancellation
                self._free()
            raise
        return loop.time()

    def release(self) -> None:
        """The request is over, however it ended."""
        self._ended += 1
        self._free()
        self.on_bytes(BYTES_PER_REQUEST)

    def on_bytes(self, size: int) -> None:
        """This many bytes were sent or received."""
        self._work += size
        now = asyncio.get_running_loop().time()
        if self._began < 0:
            self._begin(now)
        enough = self._ended >= 2 * self.limit and now >= self._began + MIN_ROUND_SECONDS
        if enough or now >= self._began + MAX_ROUND_SECONDS:
            self._judge(now)

    def on_overload(self, acquired_at: float) -> None:
        """A request that got its slot at that time was not answered, or asked to slow down."""
        if acquired_at > self._cut_at:
            self._cut_at = asyncio.get_running_loop().time()
            self._hold(max(1, self.limit // 2), self._cut_at)

    def _judge(self, now: float) -> None:
        """End a round: raise, lower or keep the limit, or return to the one before."""
        rate, before = self._work / (now - self._began), self._before
        if not self._was_full:
            self._begin(now)
        elif before is None:
            self._try(rate, now)
        elif rate < before[1] * (MIN_GAIN if self.limit > before[0] else MIN_KEPT_SHARE):
            self._back(before[0], now)
        elif before[0] < self.limit < self.most:
            self._more(rate, now)
        else:
            self._hold(self.limit, now)

    def _try(self, rate: float, now: float) -> None:
        """Try another limit, if it is time for that."""
        if now < self._until:
            self._begin(now)
            return
        fewer = max(INITIAL_LIMIT, self.limit * 3 // 4)
        self._upwards = (not self._upwards or fewer >= self.limit) and self.limit < self.most
        if self._upwards:
            self._more(rate, now)
        elif fewer < self.limit:
            self._before = (self.limit, rate)
            self._allow(fewer, now)
        else:
            self._hold(self.limit, now)

    def _more(self, rate: float, now: float) -> None:
        step = -(-self.limit // 4) if self._until else self.limit
        self._before = (self.limit, rate)
        self._allow(min(self.most, self.limit + step), now)

    def _back(self, limit: int, now: float) -> None:
        """The trial did not help; during start-up it may only have come at a bad moment."""
        if self._until or not self._startup_retries:
            self._hold(limit, now)
            return
        self._startup_retries -= 1
        self._before, self._upwards = None, False
        self._allow(limit, now)

    def _hold(self, limit: int, now: float) -> None:
        self._before, self._until = None, now + PROBE_INTERVAL_SECONDS
        self._allow(limit, now)

    def _allow(self, limit: int, now: float) -> None:
        self.limit = limit
        self._admit()
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._began, self._ended, self._work = now, 0, 0.0
        self._was_full = self.under_way >= self.limit

    def _take(self) -> None:
        self.under_way += 1
        self._was_full = self._was_full or self.under_way >= self.limit

    def _free(self) -> None:
        self.under_way -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.under_way < self.limit:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._take()
                waiter.set_result(None)
