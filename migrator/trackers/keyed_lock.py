"""A lock for each key: work on the same thing is done one after the other, work on different things concurrently.

A lock vanishes with its last user; otherwise a load of a million entities would keep a million locks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class KeyedLock:
    """For servers that refuse two concurrent changes of the same thing."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, thing: Hashable) -> AsyncIterator[None]:
        """Hold the lock of this thing, waiting for it first."""
        lock = self._locks.setdefault(thing, asyncio.Lock())
        async with lock:
            yield
