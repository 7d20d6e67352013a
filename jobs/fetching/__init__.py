"""Fetch workers: processes that fetch batches of files for a backup, on this machine or on a Dask cluster.

Beware: a worker imports this package while its run waits for it, so what only the run needs is imported when used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrator.config import Configuration
    from migrator.jobs.wiring import WiredSource
    from migrator.pipeline.downloads import Downloader
    from migrator.pipeline.fetch_place import FetchPlace

__all__ = ["fetch_place"]


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
        from migrator.jobs.fetching.cluster import Cluster, DaskCrew
        from migrator.jobs.runtime import cancel_on_stop

        cluster = Cluster(where)
        try:
            await cancel_on_stop(cluster.open(), stop)
            crew = DaskCrew(cluster, f"fetch files of {source.identity}", source.recipe.downloads)
            yield lambda local: WorkerPool(source, local, crew)
        finally:
            await cluster.close()
        return
    count = workers_for(source)
    yield (
        lambda local: (
            WorkerPool(source, local, ProcessCrew(min(count, local.downloads), local.archive.held)) if count else local
        )
    )
