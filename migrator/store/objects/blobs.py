"""The blobs of an archive in a bucket, under the same names as in a folder: `blobs/ab/ab12..`.

Any S3 tool can read them, and `sha256sum` can check them, unless they are encrypted; `encoding` has the names then.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from typing_extensions import override

from migrator.errors import ConfigError, StorageError
from migrator.model import Blob
from migrator.store import disk
from migrator.store.disk import disk_errors
from migrator.store.layout import (
    BLOB_FOLDERS,
    BLOBS,
    BUCKET_README,
    INCOMING,
    LOCK_PROBE,
    README,
    is_blob_name,
    is_in_bucket,
)
from migrator.store.objects.age import UndecryptableError
from migrator.store.objects.bucket import Bucket
from migrator.store.objects.encoding import PLAIN, Encoding
from migrator.store.objects.receiving import LargeObject, StoringObjects
from migrator.store.port import BlobStore, IncomingBlob

REQUESTS_AT_ONCE = 32
"""A store answers each request after tens of milliseconds, however small it is, but many at once."""
FOLDERS_AHEAD = 16
"""How many folders are listed before they are asked for."""
REMOVED_AT_ONCE = 1000


class ObjectBlobs(BlobStore):
    """The blobs in a bucket; `local` is a folder for copies that are needed as files.

    `guard` raises if this run may not write any more, because another one has taken over its lock. `forgotten` brings
    what the catalog has forgotten into the bucket; it is called once, before anything is removed.
    """

    reads_twice = room = False
    readers = 16

    def __init__(
        self,
        bucket: Bucket,
        local: Path,
        guard: Callable[[], None] = lambda: None,
        encoding: Encoding = PLAIN,
        forgotten: Callable[[], object] = lambda: None,
    ) -> None:
        self.bucket, self.guard, self._local, self.encoding = bucket, guard, local, encoding
        self._forgotten: Callable[[], object] | None = forgotten
        self.encrypted = encoding.encrypted
        self.pool = ThreadPoolExecutor(REQUESTS_AT_ONCE, "bucket")
        self._listings: dict[str, Future[list[tuple[str, int]]]] = {}

    @override
    def require_readable(self) -> None:
        self.encoding.require_readable()

    @override
    def prepare(self) -> None:
        found = self.bucket.read(README)
        if found is None or found[0] != self.encoding.readme.encode():
            self.bucket.put(README, self.encoding.readme.encode())
        left_there = [path for path, _ in self.bucket.objects(INCOMING)]
        if self.bucket.size(LOCK_PROBE) is not None:
            left_there.append(LOCK_PROBE)
        self.bucket.remove(left_there)
        with disk_errors(str(self._local)):
            for left in self._local.glob(f"{INCOMING}*"):  # copies for an export that was killed, decrypted ones too
                shutil.rmtree(left)

    @override
    def empty_incoming(self) -> None:
        """A store may hang, and another run may have taken over: this is for the next run."""

    def require_free(self) -> None:
        """`ConfigError` if there are objects of others: nothing of theirs may be overwritten or swept."""
        folders, objects = self.bucket.look()
        names = sorted(name for name in (*folders, *objects) if not is_in_bucket(name))
        found = self.bucket.read(README)
        if names or (found and not found[0].startswith(BUCKET_README.encode().splitlines()[0])):
            raise ConfigError(
                f"{self.bucket.name} has other things in it ({(names or [README])[0]}): name a folder of its own"
            )

    def path_of(self, sha256: str) -> str:
        """Where a blob is, or would be."""
        return f"{BLOBS}/{self.encoding.there(sha256[:2], sha256)}"

    @override
    def has(self, sha256: str) -> bool:
        return self.bucket.size(self.path_of(sha256)) is not None

    @override
    def fits(self, blob: Blob) -> bool:
        return self.holds(self.path_of(blob.sha256), blob.size)

    def holds(self, path: str, size: int) -> bool:
        """Whether there is an object whose content may have this size."""
        there = self.bucket.size(path)
        return there is not None and self.encoding.fits(there, size)

    @override
    def receiving(self) -> LargeObject:
        return LargeObject(self.bucket, self.encoding)

    @override
    def storing(self, received: Sequence[IncomingBlob], untrusted: AbstractSet[str]) -> StoringObjects:
        return StoringObjects(self, received, untrusted)

    @override
    def remove(self, hashes: Iterable[str]) -> None:
        """Another machine goes on from the journal in the bucket, which must not need them any more."""
        self.guard()
        if self._forgotten is not None:
            self._forgotten()
            self._forgotten = None
        paths = [self.path_of(sha256) for sha256 in hashes]
        for start in range(0, len(paths), REMOVED_AT_ONCE):
            self.bucket.remove(paths[start : start + REMOVED_AT_ONCE])

    @override
    def files_in(
        self, folder: str, known: Mapping[str, Blob], removed: Iterable[str] = ()
    ) -> Iterator[tuple[str, int]]:
        """Folders are asked for in their order, so those that come next are listed meanwhile."""
        at = BLOB_FOLDERS.index(folder)
        if at == 0:
            self._listings.clear()
        for name in BLOB_FOLDERS[at : at + FOLDERS_AHEAD]:
            if name not in self._listings:
                self._listings[name] = self.pool.submit(self._listed, name)
        found = self._listings.pop(folder).result()
        if not self.encrypted:
            yield from found
            return
        hashes = {self.encoding.there(folder, sha256): sha256 for sha256 in {*known, *removed}}
        for name, size in found:
            there = f"{self.encoding.folder(folder)}/{name}"
            blob = known.get(sha256 := hashes.get(there, there))
            yield sha256, size if blob is None else blob.size if self.encoding.fits(size, blob.size) else -1

    def _listed(self, folder: str) -> list[tuple[str, int]]:
        there = f"{BLOBS}/{self.encoding.folder(folder)}"
        return [(path.removeprefix(f"{there}/"), size) for path, size in self.bucket.objects(there)]

    @override
    def path_shown(self, folder: str, name: str) -> str:
        return f"{BLOBS}/{self.encoding.there(folder, name)}"

    @override
    def is_blob(self, folder: str, name: str) -> bool:
        if self.encrypted:
            folder, _, name = name.removesuffix(self.encoding.suffix).partition("/")
            return is_blob_name("", name)
        return is_blob_name(folder, name)

    @override
    def unknown_files(self) -> list[str]:
        folders, objects = self.bucket.look()
        in_root = sorted(name for name in (*folders, *objects) if not is_in_bucket(name))
        folders, objects = self.bucket.look(BLOBS)
        return in_root + sorted(f"{BLOBS}/{name}" for name in {*folders, *objects} - {*BLOB_FOLDERS})

    @override
    def read(self, sha256: str, size: int) -> bytes:
        parts, left = [], size
        for chunk in self._content(self.path_of(sha256)):
            parts.append(chunk[:left])
            if (left := left - len(parts[-1])) == 0:
                break
        return b"".join(parts)

    @override
    async def chunks(self, sha256: str) -> AsyncIterator[bytes]:
        chunks = self._content(self.path_of(sha256))
        while (chunk := await asyncio.to_thread(next, chunks, b"")) != b"":
            yield chunk

    @override
    def hash_of(self, folder: str, name: str, read: Callable[[int], None] = lambda _: None) -> Blob | None:
        sha256, size = hashlib.sha256(), 0
        for chunk in self._content(self.path_shown(folder, name)):
            sha256.update(chunk)
            size += len(chunk)
            read(len(chunk))
        return Blob(sha256.hexdigest(), size)

    @override
    @contextmanager
    def files(self, hashes: Sequence[str]) -> Iterator[Callable[[str], Path]]:
        with disk_errors(str(self._local)), TemporaryDirectory(dir=self._local, prefix=INCOMING) as folder:
            paths = {sha256: Path(folder, sha256) for sha256 in hashes}
            for copying in [self.pool.submit(self._copy, *each) for each in paths.items()]:
                copying.result()
            yield paths.__getitem__

    def _content(self, path: str) -> Iterator[bytes]:
        """The content of an object. `OSError` if it can't be read although the store answers: others may be fine."""
        try:
            yield from self.encoding.decoded(self.bucket.chunks(path))
        except StorageError as error:
            self.bucket.version(README)  # which raises, if it is the store that can't be used
            raise OSError(errno.EIO, str(error)) from error

    def _copy(self, sha256: str, path: Path) -> None:
        with suppress(FileNotFoundError):
            chunks = _sound_part(self._content(self.path_of(sha256)))
            first = next(chunks, b"")
            handle = disk.create(path)
            try:
                disk.write_all(handle, first)
                for chunk in chunks:
                    disk.write_all(handle, chunk)
            finally:
                disk.close(handle)


def _sound_part(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """A content up to where it was changed or can't be read; whoever hashes it finds that it ends too early."""
    try:
        yield from chunks
    except FileNotFoundError:
        raise
    except (UndecryptableError, OSError):
        return
