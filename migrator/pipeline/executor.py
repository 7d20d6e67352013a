"""A thread of its own for calls that block: one for the catalog, one for files.

Calls run in the order in which they were made. So rows are written before their checkpoint by construction, and the
event loop never waits for a disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class SerialExecutor:
    """Runs calls one after the other, in the order in which they were made."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disk")

    async def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the call. Cancelling the waiting task doesn't interrupt the call."""
        return await self.submit(call, *args, **kwargs)

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """The same, in order from this moment on; wait for the future when its result is needed."""
        return asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))

    async def close(self) -> None:
        """Wait for what was begun, then let go of the thread."""
        try:
            await self.call(lambda: None)
        finally:
            self._thread.shutdown(wait=True)
