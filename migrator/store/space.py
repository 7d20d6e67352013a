"""Free disk space: whether the expected files can fit, before they are fetched, and whether enough is left.

Only what certainly doesn't fit is refused. Files of unknown size count as nothing, and files of equal size count once,
because they may be the same bytes, which are stored once.

Beware: on a disk that is full to the last byte even the catalog can't commit, so a run stops
while RESERVE_BYTES are free.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from migrator.errors import StorageError
from migrator.store import disk
from migrator.store.catalog import Catalog
from migrator.store.disk import disk_errors
from migrator.units import human_size

RESERVE_BYTES = 16 * 1024 * 1024
"""Bytes that stay free for the catalog."""


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """The file system of `folder`, which exists. Every method blocks until the disk answers."""

    folder: Path

    def require(self, size: int) -> None:
        """`StorageError`, with figures, if `size` more bytes don't fit beside the reserve; 0 checks only that."""
        with disk_errors(str(self.folder)):
            free = disk.free_bytes(self.folder)
        if free is not None and size + RESERVE_BYTES > free:
            need = f"{human_size(size)} at the least are still to come, and " if size else ""
            state = "has not enough room" if size else "is full"
            raise StorageError(
                f"the disk of {self.folder} {state}: {need}{human_size(free)} are free, of which "
                f"{human_size(RESERVE_BYTES)} are left to the catalog; "
                "nothing is lost, run the same command again once there is room"
            )

    def largest(self) -> int:
        """The largest size a file here can have. A listed size beyond it is a mistake, and must not stop a run."""
        with disk_errors(str(self.folder)):
            return disk.total_bytes(self.folder) or sys.maxsize

    def require_for_files(self, sizes: Iterable[int | None], catalog: Catalog) -> None:
        """The same for files to be stored. The catalog is asked for equal sizes only if the plain sum doesn't fit."""
        largest = self.largest()
        wanted = {size for size in sizes if size and size <= largest}
        try:
            self.require(sum(wanted))
        except StorageError:
            if wanted := wanted - catalog.blobs.sizes_stored(wanted):
                self.require(sum(wanted))
