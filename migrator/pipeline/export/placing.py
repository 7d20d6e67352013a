"""Where the files of an export go: into a folder, as copies or hard links. `in_bucket` sends them to a bucket."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from migrator.filenames import on_disk
from migrator.model import Blob
from migrator.pipeline.export.copies import BlobDamagedError, HashedBlobs, OnBytes, copy_blob

PathOf = Callable[[str], Path]
"""Names the file of a blob, which may be missing."""


@dataclass(frozen=True, slots=True)
class ExportItem:
    """One file of an export, with its path in the tree; `name` is the tracker's own."""

    path: str
    kind: str
    entity_id: str
    attachment_id: str
    name: str
    blob: Blob
    created_at: str = ""
    title: str = ""
    author: str = ""
    description: str = ""
    address: str = ""


class PlacedFiles(Protocol):
    """Where the files of a tree go."""

    @abstractmethod
    def add_all(self, top: Path, items: Sequence[ExportItem], path_of: PathOf) -> Iterator[str]:
        """Place files below `top`, a path in the export; see `ExportFormat.add_all`."""


class LocalFiles(PlacedFiles):
    """Files in a folder: copies, or with `links` hard links into the archive where possible."""

    def __init__(self, root: Path, on_bytes: OnBytes, *, links: bool) -> None:
        self._root, self._on_bytes, self._links = root, on_bytes, links
        self._hashed = HashedBlobs(on_bytes)
        self._folder: Path | None = None

    @override
    def add_all(self, top: Path, items: Sequence[ExportItem], path_of: PathOf) -> Iterator[str]:
        for item in items:
            try:
                self.add(self._root / top / on_disk(item.path), item, path_of(item.blob.sha256))
            except BlobDamagedError as error:
                yield str(error)
            else:
                yield ""

    def add(self, path: Path, item: ExportItem, blob: Path) -> None:
        """Place one file; `BlobDamagedError` if its blob is damaged or missing."""
        if path.parent != self._folder:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder = path.parent
        if not (self._links and self._linked(item.blob, blob, path)):
            copy_blob(item.blob, blob, path, self._on_bytes, item.created_at)

    def _linked(self, wanted: Blob, blob: Path, path: Path) -> bool:
        """Make a hard link; False if that is impossible: another file system, or too many links to one file."""
        self._hashed.require_sound(wanted, blob)
        try:
            os.link(blob, path, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            return False
        return True
