"""Blobs on disk, named by their SHA-256: `incoming/` -> hash -> safe on disk -> rename -> folder safe on disk.

The one idea: small files are gathered and written by one call (`store_batch`), with one flush to disk for all of
them; large ones stream through a writer of their own in constant memory. A blob gets its name only when it is whole.
The one trap: everything here blocks, except reading and writing through aiofiles; the pipelines call the rest on
the disk thread. A blob file must be safe before the catalog says so: callers record after these calls, never before.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

import aiofiles.threadpool
from aiofiles.threadpool.binary import AsyncFileIO

from migrator.errors import ArchiveDamaged, DiskRefused
from migrator.model import Blob

READ_CHUNK = 1024 * 1024
FOLDERS = [f"{number:02x}" for number in range(256)]

_README = """This folder is an archive of the attachments of one issue tracker, written by `migrator` (format 1).

catalog.db   an SQLite database: what each file is (tables entities, attachments, blobs, runs, uploads)
blobs/       the files, each named by the SHA-256 of its content, in a folder named by its first two digits
incoming/    files on their way; empty when no run is under way
lock         who is at work here

To read it without the program:
    find blobs -type f | sed 's|.*/\\(.*\\)|\\1  &|' | sha256sum --check --quiet
    sqlite3 catalog.db "SELECT kind, entity_id, name, 'blobs/' || substr(sha256, 1, 2) || '/' || sha256
                        FROM attachments WHERE status = 'stored'"
"""


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """A disk that refuses, as ours."""
    try:
        yield
    except OSError as error:
        message = (
            f"{what}: {error.strerror or error}; nothing is lost, run the same command again once it can be written"
        )
        raise DiskRefused(message) from error


class _Hashing(io.FileIO):
    """A file that hashes what is written to it, in the thread that writes it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> int:  # type: ignore[override]
        self.sha256.update(chunk)
        self.size += len(chunk)
        view = memoryview(chunk)
        while view:
            view = view[super().write(view) or 0 :]
        return len(chunk)


class LargeFile:
    """One large file on its way in. `write` is for the event loop; `finish` and `discard` block."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._path = archive.new_incoming()
        with disk_errors(self._path.name):
            self._raw = _Hashing(self._path)
        self._file: AsyncFileIO = aiofiles.threadpool.wrap(self._raw)

    async def write(self, chunk: bytes) -> None:
        """Append; hashed and written in one hop to a thread."""
        with disk_errors("a large file"):
            await self._file.write(chunk)

    def finish(self) -> Blob:
        """Make it a blob: safe on disk when this returns."""
        blob = Blob(self._raw.sha256.hexdigest(), self._raw.size)
        with disk_errors(blob.sha256):
            os.fsync(self._raw.fileno())
            self._raw.close()
            self._archive.give_name(self._path, blob)
            _sync_folder(self._archive.path_of(blob.sha256).parent)
        return blob

    def discard(self) -> None:
        """Throw it away; may be called after `finish`, too."""
        self._raw.close()
        with suppress(FileNotFoundError):
            self._path.unlink()


class Archive:
    """The folder `root`. `suspects` are blobs known to be damaged: they are written anew instead of trusted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs"
        self.incoming = root / "incoming"
        self.suspects: set[str] = set()

    def prepare(self) -> None:
        """Make the folders, and sweep away what an earlier run left half-done."""
        with disk_errors(str(self.root)):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.incoming.exists():
                shutil.rmtree(self.incoming)
            for folder in (self.incoming, self.blobs):
                folder.mkdir(mode=0o700, exist_ok=True)
            _write_private(self.root / "README.txt", _README.encode())
            for name in FOLDERS:
                (self.blobs / name).mkdir(mode=0o700, exist_ok=True)
            _sync_folder(self.blobs)
            _sync_folder(self.root)

    def path_of(self, sha256: str) -> Path:
        """Where a blob is, or would be."""
        return self.blobs / sha256[:2] / sha256

    def new_incoming(self) -> Path:
        """A fresh name for a file on its way."""
        return self.incoming / token_hex(8)

    def holds(self, blob: Blob) -> bool:
        """Whether this blob is here already, by name and length."""
        if blob.sha256 in self.suspects:
            return False
        with suppress(FileNotFoundError):
            return self.path_of(blob.sha256).stat().st_size == blob.size
        return False

    def store_batch(self, bodies: Sequence[bytes]) -> list[Blob]:
        """Store small files, in order; all are safe on disk when this returns. Known contents are not written."""
        blobs = [Blob(hashlib.sha256(body).hexdigest(), len(body)) for body in bodies]
        fresh = {blob.sha256: (blob, body) for blob, body in zip(blobs, bodies, strict=True) if not self.holds(blob)}
        if fresh:
            with disk_errors("the archive"):
                self._write_fresh(list(fresh.values()))
        return blobs

    def _write_fresh(self, fresh: Sequence[tuple[Blob, bytes]]) -> None:
        written = [self.new_incoming() for _ in fresh]
        for path, (_, body) in zip(written, fresh, strict=True):
            _write_private(path, body)
        _sync_files(self.incoming, written)
        for path, (blob, _) in zip(written, fresh, strict=True):
            self.give_name(path, blob)
        _sync_folders({self.path_of(blob.sha256).parent for blob, _ in fresh}, self.blobs)

    def give_name(self, path: Path, blob: Blob) -> None:
        """Rename a file that is safe on disk to its blob's name."""
        path.replace(self.path_of(blob.sha256))
        self.suspects.discard(blob.sha256)

    def missing(self, folder: str, blobs: Iterable[Blob]) -> list[str]:
        """Those of these blobs (of one folder) that are not there, or have another length."""
        sizes = dict(self.files_in(folder))
        return [blob.sha256 for blob in blobs if sizes.get(blob.sha256) != blob.size]

    def files_in(self, folder: str) -> Iterator[tuple[str, int]]:
        """Name and length of every file in one folder of blobs."""
        with suppress(FileNotFoundError), os.scandir(self.blobs / folder) as entries:
            for entry in entries:
                yield entry.name, entry.stat(follow_symlinks=False).st_size

    def strangers(self) -> list[str]:
        """What stands in the folder of blobs, or beside it, and belongs to no archive."""
        ours = {"README.txt", "lock", "incoming", "blobs", "catalog.db", "catalog.db-wal", "catalog.db-shm"}
        beside = sorted(path.name for path in self.root.iterdir() if path.name not in ours)
        return beside + sorted(f"blobs/{path.name}" for path in self.blobs.iterdir() if path.name not in set(FOLDERS))

    def is_damaged(self, blob: Blob) -> bool:
        """Whether this blob's file is missing or not what its name says. Reads all of it."""
        try:
            return hash_file(self.path_of(blob.sha256)) != blob
        except OSError:
            return True

    def body(self, blob: Blob) -> BlobBody:
        """The bytes of a blob, for an upload."""
        return BlobBody(self.path_of(blob.sha256), blob)


class BlobBody:
    """The bytes of a blob; iterating again starts again. `ArchiveDamaged` if it is not what its name says."""

    def __init__(self, path: Path, blob: Blob) -> None:
        self._path = path
        self._blob = blob
        self.size = blob.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        sha256 = hashlib.sha256()
        try:
            # Opened and closed here and now: a task that is cancelled inside of aiofiles.open() leaks the file.
            with io.FileIO(self._path) as raw:
                file = aiofiles.threadpool.wrap(raw)
                while chunk := await file.read(READ_CHUNK):
                    sha256.update(chunk)
                    yield chunk
        except OSError as error:
            raise ArchiveDamaged(f"blobs/{self._blob.sha256[:2]}/{self._blob.sha256}: {error.strerror}") from error
        if sha256.hexdigest() != self._blob.sha256:
            raise ArchiveDamaged(
                f"blobs/{self._blob.sha256[:2]}/{self._blob.sha256}: its content is not what its name says"
            )


def hash_file(path: Path) -> Blob:
    """Hash and length of a file. Blocks, but releases the interpreter while it hashes."""
    sha256, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(READ_CHUNK):
            sha256.update(chunk)
            size += len(chunk)
    return Blob(sha256.hexdigest(), size)


def _write_private(path: Path, body: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _find_syncfs() -> ctypes._NamedFuncPointer | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


_syncfs = _find_syncfs()


def _sync_filesystem(folder: Path) -> bool:
    """One flush for everything on this file system, where the kernel offers it; False if it doesn't."""
    if _syncfs is None:
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        if _syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(handle)
    return True


def _sync_files(folder: Path, files: Sequence[Path]) -> None:
    """One `fsync` costs a factor of four on small files; one `syncfs` for many of them 15 %."""
    if len(files) > 2 and _sync_filesystem(folder):
        return
    for path in files:
        handle = os.open(path, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_folders(folders: set[Path], blobs: Path) -> None:
    if len(folders) > 2 and _sync_filesystem(blobs):
        return
    for folder in folders:
        _sync_folder(folder)


def flush(folder: Path) -> None:
    """Everything that was written to the file system of this folder is safe on disk when this returns."""
    if not _sync_filesystem(folder):
        os.sync()
