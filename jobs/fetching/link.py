"""A link to a fetch worker, wherever it runs, and what makes such workers."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

from typing_extensions import override

from migrator.jobs.fetching.messages import Channel, Conversation, Message

CLOSE_SECONDS = 5.0
"""How long a worker gets to end; then it is killed."""


class Link(Conversation, Protocol):
    """The connection to one worker, seen from the run."""

    @abstractmethod
    async def close(self) -> None:
        """End the worker; may be called twice."""


Employ = Callable[[Link], Awaitable[bool]]
"""Has a worker fetch until it is gone; False if the run needs no other one."""


class Crew(Protocol):
    """Makes workers. `environment` is what each gets of the variables that lead to the store."""

    environment: Mapping[str, str]

    @abstractmethod
    async def work(self, employ: Employ) -> None:
        """Make workers and employ each, until cancelled, or no other one is needed."""


class ProcessLink(Link):
    """A worker that is a process of this machine, at the other end of two pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - pipes
        self._process = process
        self._channel = Channel(process.stdout, process.stdin)

    @override
    def send(self, message: Message) -> None:
        self._channel.send(message)

    @override
    async def receive(self) -> Message | None:
        return await self._channel.receive()

    @override
    async def close(self) -> None:
        self._channel.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._process.wait()
                return
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
