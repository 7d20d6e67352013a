"""The blobs of an archive: files on disk, each named by the SHA-256 of its content.

A blob gets its name only when it is complete and safe on disk; `receiving` has its way there.

Beware: everything here blocks, except reads and writes through aiofiles. A blob must be safe before the catalog
mentions it, so record it after these calls, never before.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import aiofiles.threadpool

from migrator.errors import ArchiveDamagedError
from migrator.model import Blob
from migrator.store import disk
from migrator.store.disk import disk_errors, own_limits
from migrator.store.layout import (
    BLOB_FOLDERS,
    BLOBS,
    INCOMING,
    README,
    README_TEXT,
    blob_name,
    blob_path,
    is_ours,
    new_incoming_name,
)
from migrator.store.receiving import IncomingBlob, Storing

READ_BYTES = 1024 * 1024


class Archive:
    """The folder `root`. `untrusted` are blobs that may be damaged or not yet safe, to be written again: a backup adds
    those that `verify` found damaged, and those that a killed run left without recording them.

    `held` are the descriptors of its lock: a process that inherits them keeps other runs out.
    """

    def __init__(self, root: Path, held: Sequence[int] = ()) -> None:
        self.root, self.held = root, held
        self.blobs, self.incoming = root / BLOBS, root / INCOMING
        self.untrusted: set[str] = set()

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

    def new_incoming(self) -> Path:
        """An unused path in `incoming/`."""
        return self.incoming / new_incoming_name()

    def empty_incoming(self) -> None:
        """Delete what nobody will finish, such as the files of a fetch worker that died. Nobody may be receiving.

        What can't be deleted now, the next run deletes.
        """
        with suppress(OSError):
            for path in self.incoming.iterdir():
                disk.remove(path)

    def has(self, blob: Blob) -> bool:
        """Whether this blob is here already, judged by name and size."""
        if blob.sha256 in self.untrusted:
            return False
        try:
            return self.path_of(blob.sha256).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    @contextmanager
    def storing(self, received: Sequence[IncomingBlob]) -> Iterator[Storing]:
        """Make these files safe blobs; until that has succeeded, they are `untrusted`."""
        storing, hashes = Storing(self, received), {incoming.blob.sha256 for incoming in received}
        self.untrusted.update(hashes)
        yield storing
        self.untrusted.difference_update(hashes)

    def remove(self, hashes: Iterable[str]) -> None:
        """Delete the files of these blobs, safely. The catalog must have forgotten them before. May be repeated."""
        paths = [self.path_of(sha256) for sha256 in hashes]
        with disk_errors(str(self.root)):
            for path in paths:
                disk.remove(path)
            disk.sync_folders({path.parent for path in paths}, self.root)

    def files_in(self, folder: str) -> Iterator[tuple[str, int]]:
        """Name and size of every file in one blob folder."""
        with suppress(FileNotFoundError), os.scandir(self.blobs / folder) as entries:
            for entry in entries:
                yield entry.name, entry.stat(follow_symlinks=False).st_size

    def unknown_files(self) -> list[str]:
        """The files and folders in the archive's folder and in `blobs/` that do not belong to an archive."""
        in_root = sorted(path.name for path in self.root.iterdir() if not is_ours(path.name))
        return in_root + sorted(
            f"{BLOBS}/{path.name}" for path in self.blobs.iterdir() if path.name not in set(BLOB_FOLDERS)
        )

    def body(self, blob: Blob) -> BlobBody | None:
        """The bytes of a blob, for an upload; None if the file is missing or doesn't match its hash. Reads all of it.

        A blob that fits into one chunk stays in memory and is not read again.
        """
        path, content = self.path_of(blob.sha256), None
        try:
            with own_limits(str(path)):
                if blob.size > READ_BYTES:
                    actual = hash_file(path)
                else:
                    with path.open("rb") as file:
                        content = file.read(blob.size + 1)
                    actual = Blob(hashlib.sha256(content).hexdigest(), len(content))
        except OSError:
            return None
        return BlobBody(path, blob, content) if actual == blob else None

    def stream(self, blob: Blob) -> BlobBody | None:
        """The bytes of a blob, checked only while they are read; None if the file is missing or has another size."""
        return BlobBody(self.path_of(blob.sha256), blob) if self._is_whole(blob) else None

    def head(self, blob: Blob, size: int) -> bytes | None:
        """The first bytes of a blob, unchecked; None if the file is missing, can't be read or has another size."""
        try:
            with self.path_of(blob.sha256).open("rb") as file:
                return file.read(size) if self._is_whole(blob) else None
        except OSError:
            return None

    def _is_whole(self, blob: Blob) -> bool:
        with suppress(OSError):
            return self.path_of(blob.sha256).stat().st_size == blob.size
        return False


class BlobBody:
    """The bytes of a blob; each iteration starts again. `ArchiveDamagedError` if they don't match the hash.

    `content` is the whole blob, if it is in memory already.
    """

    def __init__(self, path: Path, blob: Blob, content: bytes | None = None) -> None:
        self._path, self._blob, self._content = path, blob, content
        self.size = blob.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._content is not None:
            if self._content:
                yield self._content
            return
        sha256 = hashlib.sha256()
        try:
            # Opened synchronously, because a task that is cancelled inside aiofiles.open() leaks the file.
            with own_limits(str(self._path)), io.FileIO(self._path) as raw:
                file = aiofiles.threadpool.wrap(raw)
                while chunk := await file.read(READ_BYTES):
                    sha256.update(chunk)
                    yield chunk
        except OSError as error:
            raise ArchiveDamagedError(f"{blob_name(self._blob.sha256)}: {error.strerror}") from error
        if sha256.hexdigest() != self._blob.sha256:
            raise ArchiveDamagedError(f"{blob_name(self._blob.sha256)}: its content is not what its name says")


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
