"""A pool of workers: the one way in which jobs handle items side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from migrator.pipeline.stop import StopToken

T = TypeVar("T")


async def run_workers(items: Iterable[T], handle: Callable[[T], Awaitable[None]], count: int, stop: StopToken) -> None:
    """Handle each item, `count` of them side by side, begun in their order.

    After a stop nothing new is begun; `stop.left_undone` is set if items are left. The first error that `handle` raises
    cancels the others and is raised in an `ExceptionGroup`, so `handle` catches what concerns only its item.
    """
    todo = deque(items)

    async def worker() -> None:
        while todo and not stop.requested:
            item = todo.popleft()
            with stop.in_flight():
                await handle(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(count, max(1, len(todo)))):
            group.create_task(worker())
    stop.left_undone |= bool(todo)
