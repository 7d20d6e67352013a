"""Fetch workers: processes that fetch batches of files for a backup, on this machine or on a Dask cluster.

Beware: a worker imports this package while its run waits for it, so what only the run needs is imported when used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migrator.config import Configuration
    from migrator.jobs.fetching.cluster import Cluster, ClusterLostError
    from migrator.jobs.fetching.on_cluster import build
    from migrator.jobs.wiring import WiredSource
    from migrator.pipeline.downloads import Downloader
    from migrator.pipeline.fetch_place import FetchPlace

__all__ = ["Cluster", "ClusterLostError", "build", "cluster_at", "fetch_place"]

_HOMES = {"Cluster": "cluster", "ClusterLostError": "cluster", "build": "on_cluster"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(import_module(f"migrator.jobs.fetching.{_HOMES[name]}"), name)


@asynccontextmanager
async def cluster_at(where: str, stop: asyncio.Event) -> AsyncIterator[Cluster]:
    """The Dask cluster there. `ConfigError` if it can't be used; `CancelledError` if a stop comes first."""
    from migrator.jobs.fetching.cluster import Cluster
    from migrator.jobs.runtime import cancel_on_stop

    cluster = Cluster(where)
    try:
        await cancel_on_stop(cluster.open(), stop)
        yield cluster
    finally:
        await cluster.close()


@asynccontextmanager
async def fetch_place(
    source: WiredSource, configuration: Configuration, stop: asyncio.Event
) -> AsyncIterator[Callable[[Downloader], FetchPlace]]:
    """Makes the place where a backup of this source fetches: this process, or workers as well.

    `ConfigError` if the cluster that [workers] names can't be used.
    """
    from migrator.jobs.fetching.pool import WorkerPool, workers_for
    from migrator.jobs.fetching.processes import ProcessCrew

    where = configuration.dask
    if where is not None and source.tracker.capabilities.fetches_alone:
        from migrator.jobs.fetching.crew import DaskCrew

        async with cluster_at(where, stop) as cluster:
            crew = DaskCrew(cluster, f"fetch files of {source.identity}", source.recipe.downloads)
            yield lambda local: WorkerPool(source, local, crew)
        return
    count = workers_for(source)
    yield (
        lambda local: (
            WorkerPool(source, local, ProcessCrew(min(count, local.downloads), local.archive.held)) if count else local
        )
    )
