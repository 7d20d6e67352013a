"""How many requests one tracker gets at once: as many as make it faster, and no more.

The one idea: start with few, double them while that brings more in the same time, and go back to the last number that
did. Later a few more and a few less are tried in turn: more that bring nothing are given up, and so is what is not
needed. What a tracker can do at once is found out within a few rounds, and a tracker that is slow never sees many.
The one trap: a complaint (429, 503, silence) halves the number at once, but once for all requests that were under way
together: sixteen complaints about the same moment are one.
"""

from __future__ import annotations

import asyncio
from collections import deque

FIRST = 4
ROUND = 0.1
"""Seconds that a round takes at least; and each of the allowed requests comes twice in it, or it takes LONG."""
LONG = 10.0
BETTER = 1.15
"""A round with more requests at once must bring so many times as much as the one before, or it was no use."""
AS_GOOD = 0.95
"""A round with fewer at once that brings so much of what the one before did is as good."""
HOLD = 5.0
"""Seconds between two such trials."""
CHANCES = 2
"""So many doublings at the beginning may bring nothing, and are tried anew at once: a moment's silence is chance."""
REQUEST = 32 * 1024
"""Bytes that are as much work as a request."""


class AdaptiveLimiter:
    """Places for requests under way; `most` is the cap. Of one event loop, shared by all who ask one tracker."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = min(FIRST, most)
        self.under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._began, self._until, self._ended, self._work = -1.0, 0.0, 0, 0.0
        self._was_full = False
        self._before: tuple[int, float] | None = None
        self._cut_at = -1.0
        self._upwards = False
        self._chances = CHANCES

    async def enter(self) -> float:
        """Wait for a place; gives the moment, which `complaint` wants. Each entry is followed by one `leave`."""
        loop = asyncio.get_running_loop()
        if self.under_way < self.limit and not self._waiting:
            self._take()
            return loop.time()
        turn = loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place came together with the cancellation
                self._free()
            raise
        return loop.time()

    def leave(self) -> None:
        """The request is over, however it ended."""
        self._ended += 1
        self._free()
        self.moved(REQUEST)

    def moved(self, size: int) -> None:
        """So many bytes came or went."""
        self._work += size
        now = asyncio.get_running_loop().time()
        if self._began < 0:
            self._begin(now)
        enough = self._ended >= 2 * self.limit and now >= self._began + ROUND
        if enough or now >= self._began + LONG:
            self._judge(now)

    def complaint(self, entered: float) -> None:
        """The tracker said 'slow down', or nothing at all, to a request that entered at that moment."""
        if entered > self._cut_at:
            self._cut_at = asyncio.get_running_loop().time()
            self._hold(max(1, self.limit // 2), self._cut_at)

    def _judge(self, now: float) -> None:
        """A round is over: more, fewer, as before, or back."""
        rate, before = self._work / (now - self._began), self._before
        if not self._was_full:
            self._begin(now)
        elif before is None:
            self._try(rate, now)
        elif rate < before[1] * (BETTER if self.limit > before[0] else AS_GOOD):
            self._back(before[0], now)
        elif before[0] < self.limit < self.most:
            self._more(rate, now)
        else:
            self._hold(self.limit, now)

    def _try(self, rate: float, now: float) -> None:
        """Another number, if it is time for that."""
        if now < self._until:
            self._begin(now)
            return
        fewer = max(FIRST, self.limit * 3 // 4)
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
        """The trial was no use, or, at the beginning, may have come at a bad moment."""
        if self._until or not self._chances:
            self._hold(limit, now)
            return
        self._chances -= 1
        self._before, self._upwards = None, False
        self._allow(limit, now)

    def _hold(self, limit: int, now: float) -> None:
        self._before, self._until = None, now + HOLD
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
            turn = self._waiting.popleft()
            if not turn.done():
                self._take()
                turn.set_result(None)
