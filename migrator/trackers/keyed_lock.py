"""Taking turns: work on the same thing goes one after the other, work on different things side by side.

The one trap: the locks must vanish with their last user, or a load of a million entities keeps a million of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class KeyedLock:
    """For servers that refuse two changes of one thing at the same moment."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def at(self, thing: Hashable) -> AsyncIterator[None]:
        """Wait until nobody else is at this thing, and keep others out meanwhile."""
        lock = self._locks.setdefault(thing, asyncio.Lock())
        async with lock:
            yield
