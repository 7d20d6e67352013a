"""Fetch workers: processes that fetch batches of files for a backup.

Beware: a worker imports this package while its run waits for it, so what only the run needs is imported when used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrator.jobs.wiring import WiredSource
    from migrator.pipeline.downloads import Downloader
    from migrator.pipeline.fetch_place import FetchPlace

__all__ = ["fetch_place"]


def fetch_place(source: WiredSource) -> Callable[[Downloader], FetchPlace]:
    """Makes the place where a backup of this source fetches: this process, or workers as well."""
    from migrator.jobs.fetching.pool import WorkerPool, workers_for

    count = workers_for(source)
    return lambda local: WorkerPool(source, local, count) if count else local
