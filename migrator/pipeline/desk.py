"""The one thread that writes small files and the catalog, so that order is what it is called in.

The one idea: bytes before rows, rows before checkpoint holds by construction when one thread does all three, and the
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


class Desk:
    """Runs calls one after the other, in the order in which they were made."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disk")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the call. It is not interrupted when whoever waits for it is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))

    async def close(self) -> None:
        """Wait for what was begun, then let go of the thread."""
        try:
            await self.run(lambda: None)
        finally:
            self._thread.shutdown(wait=True)
