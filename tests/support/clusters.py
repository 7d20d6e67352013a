"""A real Dask cluster on the loopback interface: a scheduler and workers as processes, as a user would start them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.program import until

ROOT = Path(__file__).parents[2]
SCHEDULER = "from distributed.cli.dask_scheduler import main; main()"
WORKER = "from distributed.cli.dask_worker import main; main()"


@dataclass
class DaskCluster:
    """A scheduler and its workers. `folder` is where they may write."""

    folder: Path
    port: int
    scheduler: asyncio.subprocess.Process | None = None
    workers: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def address(self) -> str:
        """What [workers] dask says."""
        return f"tcp://127.0.0.1:{self.port}"

    async def start_scheduler(self) -> None:
        """Start the scheduler, and wait until it listens."""
        words = ("--host", "127.0.0.1", "--port", f"{self.port}", "--no-dashboard", "--no-show")
        self.scheduler = await self._start(SCHEDULER, *words, env={})
        await until(lambda: _listens(self.port), within=30)

    async def start_worker(self, *, packages: Path = ROOT, **env: str) -> asyncio.subprocess.Process:
        """Start a worker whose `migrator` is that of `packages`."""
        words = (self.address, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard")
        words += ("--death-timeout", "30")  # one that a cancelled test has just started ends by itself
        process = await self._start(WORKER, *words, env={"PYTHONPATH": str(packages), **env})
        self.workers.append(process)
        return process

    async def joined(self, count: int) -> None:
        """Wait until the scheduler has so many workers."""
        from distributed import Client

        async with Client(self.address, asynchronous=True, set_as_default=False) as client:
            client: Any
            async with asyncio.timeout(60):
                while len((await client.scheduler.identity())["workers"]) != count:
                    await asyncio.sleep(0.05)

    async def titles(self) -> list[str]:
        """The names under which the dashboard shows what each worker has to do."""
        from distributed import Client

        async with Client(self.address, asynchronous=True, set_as_default=False) as client:
            client: Any
            return [key[0] for keys in (await client.processing()).values() for key in keys]

    async def fetching(self) -> int:
        """How many fetch workers are at work, by what the Dask workers say themselves."""
        from distributed import Client

        async with Client(self.address, asynchronous=True, set_as_default=False) as client:
            client: Any
            return sum((await client.run(_fetching)).values())

    async def kill_scheduler(self) -> None:
        """Kill the scheduler."""
        assert self.scheduler is not None
        await killed(self.scheduler)
        self.scheduler = None

    async def _start(self, code: str, *words: str, env: Mapping[str, str]) -> asyncio.subprocess.Process:
        log = (self.folder / "dask.log").open("ab")
        with log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", code, *words),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **env, "DASK_TEMPORARY_DIRECTORY": str(self.folder)},
            )


def _fetching() -> int:
    from migrator.jobs.fetching import on_cluster

    return len(on_cluster._mailboxes)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def killed(process: asyncio.subprocess.Process) -> None:
    """Kill a process, if it still runs."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()


@asynccontextmanager
async def dask_cluster(folder: Path, workers: int) -> AsyncIterator[DaskCluster]:
    """A cluster with so many workers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    cluster = DaskCluster(folder, port)
    try:
        await cluster.start_scheduler()
        for _ in range(workers):
            await cluster.start_worker()
        if workers:
            await cluster.joined(workers)
        yield cluster
    finally:
        for process in [*cluster.workers, *filter(None, [cluster.scheduler])]:
            await killed(process)
