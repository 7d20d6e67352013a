"""Files on their way into an archive: received in `incoming/`, made safe, and given their names as blobs.

A small file is written in one piece, a large one in a stream, in constant memory. It takes two flushes to make any
number of them safe (`StoringFiles`).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import aiofiles.threadpool
from aiofiles.threadpool.binary import AsyncFileIO
from typing_extensions import override

from migrator.model import Blob
from migrator.store import disk
from migrator.store.disk import disk_errors
from migrator.store.port import IncomingBlob, Receiving, Storing

if TYPE_CHECKING:
    from migrator.store.folder import FolderBlobs

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


class LargeFile(Receiving):
    """One large file that is being received at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with disk_errors(self._path.name):
            self._raw = _Hashing(self._path)
        self._file: AsyncFileIO = aiofiles.threadpool.wrap(self._raw)

    @override
    async def write(self, chunk: bytes) -> None:
        """Append a chunk; hashing and writing take one hop to a thread."""
        with disk_errors(str(self._path)):
            await self._file.write(chunk)

    @override
    def finish(self) -> IncomingBlob:
        with disk_errors(self._path.name):
            self._raw.close()
        return IncomingBlob(Blob(self._raw.sha256.hexdigest(), self._raw.size), self._path.name)

    @override
    def discard(self) -> None:
        self._raw.close()
        disk.remove(self._path)


class StoringFiles(Storing):
    """Some received files on their way to be safe blobs of a folder.

    Beware: a file system makes those wait who create files while it syncs, so write nothing else meanwhile.
    """

    def __init__(self, folder: FolderBlobs, received: Sequence[IncomingBlob], untrusted: AbstractSet[str]) -> None:
        self._folder = folder
        self._hashes = {incoming.blob.sha256 for incoming in received}
        self._needless: list[Path] = []
        self._contents: dict[str, bytes] = {}
        self._paths: dict[str, str] = {}
        for incoming in received:
            sha256, content = incoming.blob.sha256, incoming.content
            is_there = sha256 not in untrusted and folder.fits(incoming.blob)
            needed = sha256 not in self._paths and sha256 not in self._contents and not is_there
            if isinstance(content, bytes):
                if needed:
                    self._contents[sha256] = content
            elif needed and (folder.incoming / content).exists():  # it has got its name before, if this is repeated
                self._paths[sha256] = str(folder.incoming / content)
            else:
                self._needless.append(folder.incoming / content)

    @override
    def write_contents(self) -> None:
        with self._disk_errors():
            for sha256, content in self._contents.items():
                path = self._folder.new_incoming()
                disk.write_file(path, content, disk.SEALED)
                self._paths[sha256] = path
            self._contents.clear()

    @override
    def sync_contents(self) -> None:
        with self._disk_errors():
            disk.sync_files(self._folder.incoming, [*self._paths.values()])

    @override
    def rename(self) -> None:
        with self._disk_errors():
            for sha256, path in self._paths.items():
                disk.rename(path, self._folder.path_text(sha256))
            for needless in self._needless:
                disk.remove(needless)

    @override
    def sync_names(self) -> None:
        """Make the names safe, also those of blobs that were there: another process may just have given them."""
        with self._disk_errors():
            folders = {self._folder.blobs / name for name in {sha256[:2] for sha256 in self._hashes}}
            disk.sync_folders(folders, self._folder.blobs)

    def _disk_errors(self) -> AbstractContextManager[None]:
        return disk_errors(str(self._folder.root))
