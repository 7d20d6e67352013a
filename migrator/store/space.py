"""Free disk space: whether the expected files can fit, before they are fetched, and whether enough is left.

A run is refused only if the files certainly don't fit. Files of unknown size count as nothing, and files of equal size
count once, because they may have the same bytes, which are stored once.

Beware: on a disk that is full to the last byte even the catalog can't commit, so a run stops while RESERVE_BYTES are
still free.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from migrator.errors import StorageError
from migrator.store import disk
from migrator.store.disk import disk_errors
from migrator.units import human_size

if TYPE_CHECKING:
    from migrator.store.catalog import Catalog

RESERVE_BYTES = 16 * 1024 * 1024
"""Kept free for the catalog."""


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """The file system of `folder`, which exists. Every method blocks until the disk answers.

    Without `for_blobs` only the reserve is needed there, because blobs lie elsewhere.
    """

    folder: Path
    for_blobs: bool = True

    def require(self, size: int) -> None:
        """`StorageError`, with figures, if the reserve and `size` more bytes don't fit."""
        size = size if self.for_blobs else 0
        with disk_errors(str(self.folder)):
            free = disk.free_bytes(self.folder)
        if free is not None and size + RESERVE_BYTES > free:
            need = f"at least {human_size(size)} are still to come, and " if size else ""
            state = "has not enough room" if size else "is full"
            raise StorageError(
                f"the disk of {self.folder} {state}: {need}{human_size(free)} are free, of which "
                f"{human_size(RESERVE_BYTES)} are reserved for the catalog; "
                "nothing is lost, run the same command again once there is room"
            )

    def largest(self) -> int:
        """The largest size that a file here can have. A larger listed size is a mistake, and must not stop a run."""
        with disk_errors(str(self.folder)):
            return disk.total_bytes(self.folder) or sys.maxsize

    def require_for_files(self, sizes: Iterable[int | None], catalog: Catalog) -> None:
        """`StorageError` if files of these sizes don't fit, not counting sizes that some stored blob has."""
        largest = self.largest()
        expected = {size for size in sizes if size and size <= largest}
        try:
            self.require(sum(expected))
        except StorageError:
            if expected := expected - catalog.blobs.sizes_stored(expected):
                self.require(sum(expected))
