"""Fetch workers on a Dask cluster: one in each Dask worker that has the same code as this run.

A run works while the cluster comes and goes: whoever joins gets files, and what a worker had that is gone is fetched
again; without any worker, or without a scheduler, the run fetches by itself.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar
from uuid import uuid4

from typing_extensions import override

from migrator.jobs.fetching import on_cluster
from migrator.jobs.fetching.cluster import Cluster, NoSchedulerError
from migrator.jobs.fetching.link import Crew, Employ, Link
from migrator.jobs.fetching.messages import Message

T = TypeVar("T")
LOOK_SECONDS = 1.0
"""How often to look for Dask workers that have joined."""
COLLECT_SECONDS = 5.0
"""How long a worker may keep a call waiting for its next message."""
BEGIN_SECONDS = 0.1
"""How long to wait before trying again whether a task has begun: its Dask worker may be busy with others."""
END_SECONDS = 2.0
MAX_ENDS = 3
"""A Dask worker in which a fetch worker has ended so often by itself gets no other one."""

_ENDED = {"error", "cancelled", "lost", "finished"}
"""What Dask says of a task that will not begin any more."""

_log = logging.getLogger("migrator.workers")


class DaskLink(Link):
    """A fetch worker in a Dask worker."""

    def __init__(self, cluster: Cluster, worker: str, title: str) -> None:
        self._cluster, self._worker, self._name = cluster, worker, uuid4().hex
        self._outgoing: list[bytes] = []
        self._has_outgoing, self._begun = asyncio.Event(), asyncio.Event()
        self._received: deque[bytes] = deque()
        self._is_gone = False
        self._task = cluster.begin(worker, title, self._name)
        self._sending = asyncio.create_task(self._send_all())

    @override
    def send(self, message: Message) -> None:
        self._outgoing.append(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        self._has_outgoing.set()

    @override
    async def receive(self) -> Message | None:
        await self._begun.wait()
        while not self._received and not self._is_gone:
            bodies = await self._call(on_cluster.collect, self._name, COLLECT_SECONDS)
            self._received.extend(bodies or ())
            self._is_gone = self._is_gone or bodies is None
        return pickle.loads(self._received.popleft()) if self._received else None  # noqa: S301 - our own worker

    @override
    async def close(self) -> None:
        self._sending.cancel()
        if not self._is_gone:
            self._is_gone = True
            with suppress(Exception):
                async with asyncio.timeout(END_SECONDS):
                    await self._cluster.call(self._worker, on_cluster.end, self._name)
        self._begun.set()
        self._task.release()

    async def _send_all(self) -> None:
        while not self._is_gone:
            await self._has_outgoing.wait()
            self._has_outgoing.clear()
            bodies, self._outgoing = self._outgoing, []
            while not await self._call(on_cluster.deliver, self._name, bodies) and not self._is_gone:
                self._is_gone = self._begun.is_set() or self._task.status in _ENDED
                await asyncio.sleep(BEGIN_SECONDS)
            self._begun.set()

    async def _call(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T | None:
        """Call the worker; from the first call that fails on, it is gone: what was said may be lost."""
        try:
            return await self._cluster.call(self._worker, function, *arguments)
        except Exception as error:  # noqa: BLE001 - many kinds, and all mean this
            _log.debug("the Dask worker %s does not answer: %r", self._worker, error)
            self._is_gone = True
            return None


class DaskCrew(Crew):
    """A fetch worker in each Dask worker, at most `most`. Keys of the store are not taken from the environment here."""

    def __init__(self, cluster: Cluster, title: str, most: int) -> None:
        self._cluster, self._title, self._most = cluster, title, most
        self._ends: Counter[str] = Counter()
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self.environment: dict[str, str] = {}

    @override
    async def work(self, employ: Employ) -> None:
        try:
            while True:
                for worker in await self._cluster.workers_or_none():
                    is_free = worker not in self._at_work and self._ends[worker] < MAX_ENDS
                    if is_free and len(self._at_work) < self._most:
                        self._at_work[worker] = asyncio.create_task(self._employ(worker, employ))
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            tasks = list(self._at_work.values())
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _employ(self, worker: str, employ: Employ) -> None:
        try:
            with suppress(NoSchedulerError):
                if await employ(DaskLink(self._cluster, worker, self._title)):
                    self._ends[worker] += 1
                    _log.warning("the Dask worker %s is gone; what it had is fetched again", worker)
        finally:
            del self._at_work[worker]
