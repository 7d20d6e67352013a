"""The connection to a Dask cluster: calls of its workers, and tasks, in those that have the same code as this run.

Everything goes through the scheduler, so the run needs to reach no other machine.

Beware: sessions and keys travel through the cluster, so it must be a private one, or speak TLS (`tls://`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from migrator.errors import ConfigError
from migrator.jobs.fetching import on_cluster

T = TypeVar("T")
CONNECT_SECONDS = 10.0

_log = logging.getLogger("migrator.workers")


class NoSchedulerError(OSError):
    """There is no connection to the scheduler at the moment."""


class ClusterLostError(Exception):
    """A task was lost: with the scheduler, or with too many workers one after the other."""


class Cluster:
    """The connection to a Dask cluster, made again whenever it breaks. `where`: address, file, or "local"."""

    def __init__(self, where: str) -> None:
        self._where, self._address = where, where
        self._client: Any = None
        self._local: Any = None
        self._known: dict[str, str] = {}
        self._is_lost = False
        self._tasks: dict[str, Any] = {}

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
        if not workers:
            _log.warning("no worker has joined the Dask cluster at %s yet", self._where)

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
            raise NoSchedulerError
        async with asyncio.timeout(on_cluster.LEASE_SECONDS):
            results: dict[str, T] = await self._client.run(function, *arguments, workers=[worker])
        return results[worker]

    def begin(self, worker: str, title: str, name: str) -> Any:
        """Begin the task of a fetch worker; returns its future. `title` is what the dashboard shows."""
        if self._client is None:
            raise NoSchedulerError
        return self._client.submit(
            on_cluster.fetch_files, name, key=(title, name), workers=[worker], pure=False, allow_other_workers=False
        )

    async def perform(self, function: Callable[..., Awaitable[T]], name: str, *arguments: object, title: str) -> T:
        """Do this in some worker that has our program, as a task: again in another one, if it dies.

        The function is called with the name of the task and the arguments. `ClusterLostError` if it can't be done.
        """
        try:
            fit = await self.workers()
            some = {"workers": fit} if fit and len(fit) < len(self._known) else {}
            self._tasks[name] = self._client.submit(
                function, name, *arguments, key=(title, name), pure=False, allow_other_workers=False, **some
            )
            result: T = await self._tasks[name]
        except BaseException as error:  # many kinds, a `CancelledError` among them
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ClusterLostError(f"{type(error).__name__}: {error}".partition("\n")[0]) from error
        finally:
            if name in self._tasks:
                self._tasks.pop(name).release()
        return result

    async def tell_all(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Call a function in all workers, as far as that is possible."""
        with suppress(Exception):
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._client.run(function, *arguments, on_error="ignore")

    async def forget(self, names: Iterable[str]) -> None:
        """Give up the tasks of these names."""
        with suppress(Exception):
            await self._client.cancel([self._tasks[name] for name in names if name in self._tasks], force=True)

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
