"""Limits the concurrent requests to one tracker to the number at which it is fastest.

The limit starts low and doubles as long as throughput grows, then returns to the last value that helped. Later a
somewhat higher and a somewhat lower limit are tried in turn, and the lowest one that is as fast is kept. The capacity
of a tracker is found within a few rounds, and a slow tracker never sees many requests at once.

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
    """Slots for the requests to one tracker, at most `max_limit`, shared by all callers of one event loop."""

    def __init__(self, max_limit: int) -> None:
        self.max_limit = max_limit
        self.limit = min(INITIAL_LIMIT, max_limit)
        self.under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        # The current round: when it began (-1: never), the requests that ended, the work done, all slots once in use.
        self._began_at, self._ended, self._work, self._was_full = -1.0, 0, 0.0, False
        self._baseline: tuple[int, float] | None = None  # limit and throughput before the trial under way
        self._next_probe_at = 0.0  # 0 during start-up
        self._halved_at = -1.0
        self._probes_upwards = False
        self._startup_retries = STARTUP_RETRIES

    def begin_at(self, limit: int) -> None:
        """Begin with the limit that another process has found, and keep it for a while. No effect after a request."""
        if self._began_at < 0:
            self.limit = min(limit, self.max_limit)
            self._next_probe_at = asyncio.get_running_loop().time() + PROBE_INTERVAL_SECONDS

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
        if self._began_at < 0:
            self._begin_round(now)
        enough = self._ended >= 2 * self.limit and now >= self._began_at + MIN_ROUND_SECONDS
        if enough or now >= self._began_at + MAX_ROUND_SECONDS:
            self._end_round(now)

    def on_overload(self, acquired_at: float) -> None:
        """A request that got its slot at that time was not answered, or asked to slow down."""
        if acquired_at > self._halved_at:
            self._halved_at = asyncio.get_running_loop().time()
            self._keep(max(1, self.limit // 2), self._halved_at)

    def _end_round(self, now: float) -> None:
        """Raise, lower or keep the limit, or return to the one before, by the throughput of the round."""
        throughput, baseline = self._work / (now - self._began_at), self._baseline
        if not self._was_full:  # the limit was not what held the requests back
            self._begin_round(now)
        elif baseline is None:
            self._probe(throughput, now)
        elif throughput < baseline[1] * (MIN_GAIN if self.limit > baseline[0] else MIN_KEPT_SHARE):
            self._return_to(baseline[0], now)
        elif baseline[0] < self.limit < self.max_limit:
            self._try_higher(throughput, now)
        else:
            self._keep(self.limit, now)

    def _probe(self, throughput: float, now: float) -> None:
        """Try another limit, if it is time for that."""
        if now < self._next_probe_at:
            self._begin_round(now)
            return
        lower = max(INITIAL_LIMIT, self.limit * 3 // 4)
        self._probes_upwards = (not self._probes_upwards or lower >= self.limit) and self.limit < self.max_limit
        if self._probes_upwards:
            self._try_higher(throughput, now)
        elif lower < self.limit:
            self._try(lower, throughput, now)
        else:
            self._keep(self.limit, now)

    def _try_higher(self, throughput: float, now: float) -> None:
        step = -(-self.limit // 4) if self._next_probe_at else self.limit
        self._try(min(self.max_limit, self.limit + step), throughput, now)

    def _try(self, limit: int, throughput: float, now: float) -> None:
        self._baseline = (self.limit, throughput)
        self._set_limit(limit, now)

    def _return_to(self, limit: int, now: float) -> None:
        """The trial did not help; during start-up it may only have come at a bad moment."""
        if self._next_probe_at or not self._startup_retries:
            self._keep(limit, now)
            return
        self._startup_retries -= 1
        self._baseline, self._probes_upwards = None, False
        self._set_limit(limit, now)

    def _keep(self, limit: int, now: float) -> None:
        self._baseline, self._next_probe_at = None, now + PROBE_INTERVAL_SECONDS
        self._set_limit(limit, now)

    def _set_limit(self, limit: int, now: float) -> None:
        self.limit = limit
        self._admit()
        self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        self._began_at, self._ended, self._work = now, 0, 0.0
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
