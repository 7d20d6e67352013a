"""A thread for calls that block: a run has one for the catalog, a backup one more for files.

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
    """Runs calls one after the other in a thread of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disk")

    async def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the call. Cancelling the task that waits for it doesn't interrupt the call."""
        return await self.submit(call, *args, **kwargs)

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Put the call in line now; its result is in the future."""
        return asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))

    async def close(self) -> None:
        """Wait for all calls, then end the thread."""
        try:
            await self.call(lambda: None)
        finally:
            self._thread.shutdown(wait=True)
