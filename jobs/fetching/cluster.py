"""Fetch workers on a Dask cluster: one in each Dask worker that has the same code as this run.

Everything goes through the scheduler, so the run needs to reach no other machine. A run works while the cluster comes
and goes: whoever joins gets files, and what a worker had that is gone is fetched again; without any worker, or without
a scheduler, the run fetches by itself.

Beware: sessions and keys travel through the cluster, so it must be a private one, or speak TLS (`tls://`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from typing_extensions import override

from migrator.errors import ConfigError
from migrator.jobs.fetching import on_cluster
from migrator.jobs.fetching.link import Crew, Employ, Link
from migrator.jobs.fetching.messages import Message

T = TypeVar("T")
CONNECT_SECONDS = 10.0
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


class _LostError(OSError):
    """There is no connection to the scheduler at the moment."""


class Cluster:
    """The connection to a Dask cluster, made again whenever it breaks. `where`: address, file, or "local"."""

    def __init__(self, where: str) -> None:
        self._where, self._address = where, where
        self._client: Any = None
        self._local: Any = None
        self._known: dict[str, str] = {}
        self._is_lost = False

    async def open(self) -> None:
        """Connect; "local" starts a cluster on this machine. `ConfigError` if that fails, or if no worker fits."""
        try:
            import distributed
        except ImportError:
            raise ConfigError(
                "[workers] dask needs the extra `cluster`: pip install 'tracker-migrator[cluster]'"
            ) from None
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is lost shows here, once
        if self._where == "local":
            self._local = distributed.LocalCluster(
                n_workers=max(2, (os.cpu_count() or 1) // 2),
                threads_per_worker=1,
                dashboard_address=None,
                asynchronous=True,
            )
            await self._local
            self._address = self._local.scheduler_address
        elif "://" not in self._where and not Path(self._where).is_file():  # noqa: ASYNC240 - once, before the run
            raise ConfigError(f"[workers] dask: there is no scheduler file {self._where}")
        try:
            await self._connect()
            workers = await self.workers()
        except (OSError, TimeoutError, ValueError) as error:
            reason = f": {error}" if str(error) else ""
            raise ConfigError(f"[workers] dask: no scheduler answers at {self._where}{reason}") from None
        if self._known and not workers:
            raise ConfigError(f"[workers] dask: no worker has this program, {on_cluster.build()}: {self._refused()}")

    async def close(self) -> None:
        """Disconnect, and end a cluster that was started here."""
        await self._disconnect()
        if self._local is not None:
            with suppress(Exception):
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._local.close()

    async def workers(self) -> list[str]:
        """The addresses of the workers that have this program."""
        async with asyncio.timeout(CONNECT_SECONDS):
            addresses = list((await self._client.scheduler.identity())["workers"])
        new = [address for address in addresses if address not in self._known]
        for address, build in zip(new, await asyncio.gather(*map(self._build_of, new)), strict=True):
            if build is not None:
                self._known[address] = build
                if build != on_cluster.build():
                    _log.warning(
                        "the Dask worker %s gets no files: it has %s, this run %s", address, build, on_cluster.build()
                    )
        return [address for address in addresses if self._known.get(address) == on_cluster.build()]

    async def workers_or_none(self) -> list[str]:
        """The same; none, with a warning, while the scheduler is gone."""
        try:
            if self._is_lost:
                await self._connect()
            workers = await self.workers()
        except Exception as error:  # noqa: BLE001 - many kinds, and none may end the run
            if not self._is_lost:
                _log.warning("the Dask scheduler is gone; files are fetched without it (%s)", error)
            self._is_lost = True
            await self._disconnect()
            return []
        if self._is_lost:
            _log.warning("the Dask scheduler is back")
            self._is_lost = False
        return workers

    async def call(self, worker: str, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Call a function in a Dask worker. It isn't a task."""
        if self._client is None:
            raise _LostError
        async with asyncio.timeout(on_cluster.LEASE_SECONDS):
            results: dict[str, T] = await self._client.run(function, *arguments, workers=[worker])
        return results[worker]

    def begin(self, worker: str, title: str, name: str) -> Any:
        """Begin the task of a fetch worker; returns its future. `title` is what the dashboard shows."""
        if self._client is None:
            raise _LostError
        return self._client.submit(
            on_cluster.fetch_files, name, key=(title, name), workers=[worker], pure=False, allow_other_workers=False
        )

    async def _build_of(self, worker: str) -> str | None:
        """The program that a worker has; None if it is gone again."""
        try:
            return await self.call(worker, _build)
        except (OSError, TimeoutError, KeyError):
            return None
        except Exception as error:  # noqa: BLE001 - whatever its lack of our code comes to
            return f"no such program ({type(error).__name__}: {error})"

    def _refused(self) -> str:
        return "; ".join(f"{worker} has {build}" for worker, build in self._known.items())

    async def _connect(self) -> None:
        import distributed

        given = {"address": self._address} if "://" in self._address else {"scheduler_file": self._address}
        client: Any = distributed.Client(
            **given, asynchronous=True, set_as_default=False, timeout=CONNECT_SECONDS, name="migrator"
        )
        try:
            await client
            await self._require_program(client)
        except BaseException:
            await _closed(client)
            raise
        self._client, self._known = client, {}

    async def _require_program(self, client: Any) -> None:
        """A scheduler reads which function a task calls, so it must be able to import ours, of whatever version."""
        try:
            await client.run_on_scheduler(_build)
        except ImportError as error:
            raise ConfigError(
                f"[workers] dask: the scheduler at {self._where} has no `migrator` ({error}); "
                "scheduler and workers want the same environment"
            ) from None

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await _closed(client)


async def _closed(client: Any) -> None:
    with suppress(Exception):
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.close()


async def _build() -> str:
    return on_cluster.build()


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
            with suppress(_LostError):
                if await employ(DaskLink(self._cluster, worker, self._title)):
                    self._ends[worker] += 1
                    _log.warning("the Dask worker %s is gone; what it had is fetched again", worker)
        finally:
            del self._at_work[worker]
