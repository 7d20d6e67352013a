"""The interface between a backup and the place where its files are fetched: this process, or fetch workers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from migrator.errors import MigratorError
from migrator.model import Attachment, Blob


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of one download: a blob that is safe on disk, or the error. `warning` is about the blob."""

    attachment_id: str
    blob: Blob | None = None
    error: MigratorError | None = None
    warning: str | None = None


Report = Callable[[Sequence[Fetched]], None]
"""Takes what came of some files of a batch; each file is reported at most once."""


class FetchPlace(Protocol):
    """Where batches are fetched: in this process, or in others."""

    @abstractmethod
    def expect(self, files: int) -> None:
        """That many more files will be fetched; so a place can get ready for them."""

    @abstractmethod
    async def fetch(self, batch: Sequence[Attachment], report: Report) -> None:
        """Fetch these files and report each as soon as it is safe or has failed; may be called concurrently.

        After a stop, files that were not begun are left out. `StorageError` if the disk refuses.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Make everything that is complete safe, and report it. Called after all calls of `fetch` have ended."""

    @abstractmethod
    async def close(self) -> None:
        """End what was started; may be called twice."""
