"""The blobs of an archive in its own folder: files on disk, each named by the SHA-256 of its content.

A blob gets its name only when it is complete and safe on disk; `receiving` has its way there.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from pathlib import Path

import aiofiles.threadpool
from typing_extensions import override

from migrator.model import Blob
from migrator.store import disk
from migrator.store.disk import disk_errors, own_limits
from migrator.store.layout import (
    BLOB_FOLDERS,
    BLOBS,
    INCOMING,
    README,
    README_TEXT,
    blob_path,
    is_blob_name,
    is_ours,
    new_incoming_name,
)
from migrator.store.port import READ_BYTES, BlobStore, IncomingBlob
from migrator.store.receiving import LargeFile, StoringFiles


class FolderBlobs(BlobStore):
    """The blobs in the folder `root`."""

    reads_twice = room = True
    encrypted = False
    readers = 2

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs, self.incoming = root / BLOBS, root / INCOMING
        self._blobs_text, self._incoming_text = str(self.blobs), str(self.incoming)

    @override
    def require_readable(self) -> None:
        pass

    @override
    def prepare(self) -> None:
        """Create the folders, and delete what an earlier run left unfinished.

        When this version first opens an archive of an earlier one, it makes the existing blobs read-only, as new ones
        are.
        """
        with disk_errors(str(self.root)):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.incoming.exists():
                shutil.rmtree(self.incoming)
            for folder in (self.incoming, self.blobs):
                folder.mkdir(mode=0o700, exist_ok=True)
            for name in BLOB_FOLDERS:
                (self.blobs / name).mkdir(mode=0o700, exist_ok=True)
            self._write_readme()
            disk.sync_folders([self.blobs, self.root], self.root)

    def _write_readme(self) -> None:
        """Write README.txt completely or not at all; what it says about the blobs is made true first."""
        path, fresh = self.root / README, self.new_incoming()
        if not path.is_file() or path.read_bytes() != README_TEXT.encode():
            for name in BLOB_FOLDERS:
                disk.seal(self.blobs / name)
            disk.write_file(fresh, README_TEXT.encode())
            disk.rename(fresh, path)

    def path_of(self, sha256: str) -> Path:
        """Where a blob is, or would be."""
        return blob_path(self.root, sha256)

    def new_incoming(self) -> str:
        """An unused path in `incoming/`."""
        return f"{self._incoming_text}/{new_incoming_name()}"

    def path_text(self, sha256: str) -> str:
        """`path_of`, as text."""
        return f"{self._blobs_text}/{sha256[:2]}/{sha256}"

    @override
    def empty_incoming(self) -> None:
        for path in self.incoming.iterdir():
            disk.remove(path)

    @override
    def has(self, sha256: str) -> bool:
        return self.path_of(sha256).exists()

    @override
    def fits(self, blob: Blob) -> bool:
        with suppress(FileNotFoundError):
            return os.stat(self.path_text(blob.sha256)).st_size == blob.size  # noqa: PTH116
        return False

    @override
    def receiving(self) -> LargeFile:
        return LargeFile(Path(self.new_incoming()))

    @override
    def storing(self, received: Sequence[IncomingBlob], untrusted: AbstractSet[str]) -> StoringFiles:
        return StoringFiles(self, received, untrusted)

    @override
    def remove(self, hashes: Iterable[str]) -> None:
        paths = [self.path_of(sha256) for sha256 in hashes]
        with disk_errors(str(self.root)):
            for path in paths:
                disk.remove(path)
            disk.sync_folders({path.parent for path in paths}, self.root)

    @override
    def files_in(
        self, folder: str, known: Mapping[str, Blob], removed: Iterable[str] = ()
    ) -> Iterator[tuple[str, int]]:
        with suppress(FileNotFoundError), os.scandir(self.blobs / folder) as entries:
            for entry in entries:
                yield entry.name, entry.stat(follow_symlinks=False).st_size

    @override
    def path_shown(self, folder: str, name: str) -> str:
        return f"{BLOBS}/{folder}/{name}"

    @override
    def is_blob(self, folder: str, name: str) -> bool:
        return is_blob_name(folder, name)

    @override
    def unknown_files(self) -> list[str]:
        in_root = sorted(path.name for path in self.root.iterdir() if not is_ours(path.name))
        return in_root + sorted(
            f"{BLOBS}/{path.name}" for path in self.blobs.iterdir() if path.name not in set(BLOB_FOLDERS)
        )

    @override
    def read(self, sha256: str, size: int) -> bytes:
        path = self.path_of(sha256)
        with own_limits(str(path)), path.open("rb") as file:
            return file.read(size)

    @override
    async def chunks(self, sha256: str) -> AsyncIterator[bytes]:
        path = self.path_of(sha256)
        # Opened synchronously, because a task that is cancelled inside aiofiles.open() leaks the file.
        with own_limits(str(path)), io.FileIO(path) as raw:
            file = aiofiles.threadpool.wrap(raw)
            while chunk := await file.read(READ_BYTES):
                yield chunk

    @override
    def hash_of(self, folder: str, name: str, read: Callable[[int], None] = lambda _: None) -> Blob | None:
        path = self.blobs / folder / name
        with own_limits(str(path)):
            return hash_file(path, read) if path.is_file() and not path.is_symlink() else None

    @override
    @contextmanager
    def files(self, hashes: Sequence[str]) -> Iterator[Callable[[str], Path]]:
        yield self.path_of


def hash_file(path: Path, read: Callable[[int], None] = lambda _: None) -> Blob:
    """Hash and size of a file. Blocks, but releases the GIL while hashing.

    `read` is called with the size of each chunk, and may raise to stop the loop.
    """
    sha256, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(READ_BYTES):
            sha256.update(chunk)
            size += len(chunk)
            read(len(chunk))
    return Blob(sha256.hexdigest(), size)
