"""Room on the disk: whether what is known to come can fit, before it is fetched, and whether enough is left.

The one idea: only what surely doesn't fit is refused. Files without a known size count nothing, and files of equal
size count once: they may be the same bytes, which are stored once.
The one trap: a disk that is full to the last byte can't even be told so, the catalog needs some to commit. So a run
ends while RESERVE is still free.
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

RESERVE = 16 * 1024 * 1024
"""Bytes that stay free for the catalog."""


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """The file system of `folder`, which exists. Everything here blocks for as long as the disk takes to answer."""

    folder: Path

    def expect(self, size: int) -> None:
        """`StorageError`, with figures, if so many more bytes don't fit beside the reserve; 0 asks for that alone."""
        with disk_errors(str(self.folder)):
            free = disk.free_bytes(self.folder)
        if free is not None and size + RESERVE > free:
            need = f"{human_size(size)} at the least are still to come, and " if size else ""
            state = "has not enough room" if size else "is full"
            raise StorageError(
                f"the disk of {self.folder} {state}: {need}{human_size(free)} are free, of which "
                f"{human_size(RESERVE)} are left to the catalog; "
                "nothing is lost, run the same command again once there is room"
            )

    def largest(self) -> int:
        """The most bytes that a file here can have; a listed size beyond it is a mistake, and stops nobody."""
        with disk_errors(str(self.folder)):
            return disk.total_bytes(self.folder) or sys.maxsize

    def expect_files(self, sizes: Iterable[int | None], catalog: Catalog) -> None:
        """The same for files to be stored; the catalog is asked for equal ones only where the sum would not fit."""
        largest = self.largest()
        wanted = {size for size in sizes if size and size <= largest}
        try:
            self.expect(sum(wanted))
        except StorageError:
            if wanted := wanted - catalog.sizes_stored(wanted):
                self.expect(sum(wanted))
