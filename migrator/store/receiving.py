"""Files on their way into an archive: received in `incoming/`, made safe, and given their names as blobs.

A small file is written in one piece, a large one in a stream, in constant memory. It takes two flushes to make any
number of them safe (`Storing`).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiofiles.threadpool
from aiofiles.threadpool.binary import AsyncFileIO
from typing_extensions import override

from migrator.model import Blob
from migrator.store import disk
from migrator.store.disk import disk_errors

if TYPE_CHECKING:
    from migrator.store.blobs import Archive

WRITEBACK_BYTES = 8 * 1024 * 1024
"""Writeback of a large file is started each time this many more bytes were written."""


class _Hashing(io.FileIO):
    """A file that hashes what is written to it, in the thread that writes it."""

    def __init__(self, path: Path) -> None:
        super().__init__(disk.create(path, disk.SEALED), "wb")
        self.sha256 = hashlib.sha256()
        self.size = self._written_back = 0

    @override
    def write(self, chunk: bytes) -> int:  # type: ignore[override]
        self.sha256.update(chunk)
        disk.write_all(self.fileno(), chunk)
        self.size += len(chunk)
        if self.size - self._written_back >= WRITEBACK_BYTES:
            disk.start_writeback(self.fileno(), self._written_back, self.size - self._written_back)
            self._written_back = self.size
        return len(chunk)


@dataclass(frozen=True, slots=True)
class IncomingBlob:
    """A complete file that is not safe on disk yet: its bytes, or its name in `incoming/`."""

    blob: Blob
    content: bytes | str


class LargeFile:
    """One large file that is being received. `write` is for the event loop; `finish` and `discard` block."""

    def __init__(self, archive: Archive) -> None:
        self._path = archive.new_incoming()
        with disk_errors(self._path.name):
            self._raw = _Hashing(self._path)
        self._file: AsyncFileIO = aiofiles.threadpool.wrap(self._raw)

    async def write(self, chunk: bytes) -> None:
        """Append a chunk; hashing and writing take one hop to a thread."""
        with disk_errors(str(self._path)):
            await self._file.write(chunk)

    def finish(self) -> IncomingBlob:
        """The whole file."""
        with disk_errors(self._path.name):
            self._raw.close()
        return IncomingBlob(Blob(self._raw.sha256.hexdigest(), self._raw.size), self._path.name)

    def discard(self) -> None:
        """Delete the unfinished file."""
        self._raw.close()
        disk.remove(self._path)


class Storing:
    """Some received files on their way to be safe blobs of an archive: call the four methods in order.

    Those that sync are slow and may run in a thread. `StorageError`; then the files may be stored anew.

    Beware: a file system makes those wait who create files while it syncs, so write nothing else meanwhile.
    """

    def __init__(self, archive: Archive, received: Sequence[IncomingBlob]) -> None:
        self._archive = archive
        self._hashes = {incoming.blob.sha256 for incoming in received}
        self._needless: list[Path] = []
        self._contents: dict[str, bytes] = {}
        self._paths: dict[str, Path] = {}
        for incoming in received:
            sha256, content = incoming.blob.sha256, incoming.content
            needed = sha256 not in self._paths and sha256 not in self._contents and not archive.has(incoming.blob)
            if isinstance(content, bytes):
                if needed:
                    self._contents[sha256] = content
            elif needed and (archive.incoming / content).exists():  # it has got its name before, if this is repeated
                self._paths[sha256] = archive.incoming / content
            else:
                self._needless.append(archive.incoming / content)

    def write_contents(self) -> None:
        """Write what is in memory to `incoming/`."""
        with self._disk_errors():
            for sha256, content in self._contents.items():
                path = self._archive.new_incoming()
                disk.write_file(path, content, disk.SEALED)
                self._paths[sha256] = path
            self._contents.clear()

    def sync_contents(self) -> None:
        """Make the contents safe."""
        with self._disk_errors():
            disk.sync_files(self._archive.incoming, [*self._paths.values()])

    def rename(self) -> None:
        """Give each its name, and delete those whose blob was there already."""
        with self._disk_errors():
            for sha256, path in self._paths.items():
                disk.rename(path, self._archive.path_of(sha256))
            for path in self._needless:
                disk.remove(path)

    def sync_names(self) -> None:
        """Make the names safe, also those of blobs that were there: another process may just have given them."""
        with self._disk_errors():
            folders = {self._archive.blobs / name for name in {sha256[:2] for sha256 in self._hashes}}
            disk.sync_folders(folders, self._archive.blobs)

    def _disk_errors(self) -> AbstractContextManager[None]:
        return disk_errors(str(self._archive.root))
