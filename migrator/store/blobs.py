"""An archive's blobs as the rest of the program sees them, wherever they lie.

Beware: everything here blocks, except the reading of a `BlobBody`. A blob must be safe before the catalog mentions it,
so record it after these calls, never before.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from migrator.errors import ArchiveDamagedError
from migrator.model import Blob
from migrator.store.folder import FolderBlobs
from migrator.store.layout import blob_name
from migrator.store.port import READ_BYTES, BlobStore, IncomingBlob, Receiving, Storing
from migrator.store.space import FreeSpace

if TYPE_CHECKING:
    from migrator.store.objects import BucketAddress, Encoding


class Archive:
    """The folder `root` with catalog and journal, and where the blobs lie: in the same folder, unless `store` is given.

    `untrusted` are blobs that may be damaged or not yet safe, to be written again: a backup adds those that `verify`
    found damaged, and those that a killed run left without recording them.

    `held` are the descriptors of its lock: a process that inherits them keeps other runs out. `address` is that of the
    bucket, if there is one, and `encoding` says how the archive lies there.
    """

    def __init__(
        self,
        root: Path,
        held: Sequence[int] = (),
        store: BlobStore | None = None,
        address: BucketAddress | None = None,
        encoding: Encoding | None = None,
    ) -> None:
        self.root, self.held, self.address, self.encoding = root, held, address, encoding
        self.store = FolderBlobs(root) if store is None else store
        self.untrusted: set[str] = set()

    def require_readable(self) -> None:
        """`ConfigError` if blobs can be read only with a private key that is missing; ask before a run that reads."""
        self.store.require_readable()

    def prepare(self) -> None:
        """Make what must exist, and delete what an earlier run left unfinished."""
        self.store.prepare()

    @property
    def space(self) -> FreeSpace:
        """The room for what is to come."""
        return FreeSpace(self.root, for_blobs=self.store.room)

    def empty_incoming(self) -> None:
        """Delete what nobody will finish, such as the files of a fetch worker that died. Nobody may be receiving.

        What can't be deleted now, the next run deletes.
        """
        with suppress(OSError):
            self.store.empty_incoming()

    def receiving(self) -> Receiving:
        """A new large file."""
        return self.store.receiving()

    @contextmanager
    def storing(self, received: Sequence[IncomingBlob]) -> Iterator[Storing]:
        """Make these files safe blobs; until that has succeeded, they are `untrusted`."""
        storing = self.store.storing(received, self.untrusted)
        hashes = {incoming.blob.sha256 for incoming in received}
        self.untrusted.update(hashes)
        yield storing
        self.untrusted.difference_update(hashes)

    def remove(self, hashes: Iterable[str]) -> None:
        """Delete these blobs, safely. The catalog must have forgotten them before. May be repeated."""
        self.store.remove(hashes)

    def files_in(
        self, folder: str, known: Mapping[str, Blob], removed: Iterable[str] = ()
    ) -> Iterator[tuple[str, int]]:
        """Name and size of every file in one blob folder; see `BlobStore.files_in`."""
        return self.store.files_in(folder, known, removed)

    def unknown_files(self) -> list[str]:
        """The files and folders in the archive and in `blobs/` that do not belong to an archive."""
        return self.store.unknown_files()

    def hash_of(self, folder: str, name: str, read: Callable[[int], None] = lambda _: None) -> Blob | None:
        """What a file in a blob folder really holds; see `BlobStore.hash_of`."""
        return self.store.hash_of(folder, name, read)

    def files(self, hashes: Sequence[str]) -> AbstractContextManager[Callable[[str], Path]]:
        """These blobs as files on this machine; see `BlobStore.files`."""
        return self.store.files(hashes)

    def body(self, blob: Blob) -> BlobBody | None:
        """The bytes of a blob, for an upload; None if the file is missing or doesn't match its hash. Reads all of it.

        A blob that fits into one chunk stays in memory and is not read again. A larger one is not read beforehand if
        reading costs much; then it is checked while it is read, before its last bytes are given away.
        """
        content: bytes | None = None
        actual: Blob | None
        try:
            if blob.size <= READ_BYTES:
                content = self.store.read(blob.sha256, blob.size + 1)
                actual = Blob(hashlib.sha256(content).hexdigest(), len(content))
            elif self.store.reads_twice:
                actual = self.store.hash_of(blob.sha256[:2], blob.sha256)
            else:
                return self.stream(blob)
        except OSError:
            return None
        return BlobBody(self.store, blob, content) if actual == blob else None

    def stream(self, blob: Blob) -> BlobBody | None:
        """The bytes of a blob, checked only while they are read; None if the file is missing or has another size."""
        return BlobBody(self.store, blob) if self._is_whole(blob) else None

    def head(self, blob: Blob, size: int) -> bytes | None:
        """The first bytes of a blob, unchecked; None if the file is missing, can't be read or has another size."""
        try:
            return self.store.read(blob.sha256, size) if self._is_whole(blob) else None
        except OSError:
            return None

    def _is_whole(self, blob: Blob) -> bool:
        with suppress(OSError):
            return self.store.fits(blob)
        return False


class BlobBody:
    """The bytes of a blob; each iteration starts again. `ArchiveDamagedError` if they don't match the hash, raised
    before the last bytes are given away.

    `content` is the whole blob, if it is in memory already. `is_damaged`: an iteration has found that it is.
    """

    is_damaged = False

    def __init__(self, store: BlobStore, blob: Blob, content: bytes | None = None) -> None:
        self._store, self._blob, self.content = store, blob, content
        self.size = blob.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.content is not None:
            if self.content:
                yield self.content
            return
        sha256, last = hashlib.sha256(), b""
        try:
            async for chunk in self._store.chunks(self._blob.sha256):
                sha256.update(chunk)
                if last:
                    yield last
                last = chunk
        except OSError as error:
            raise ArchiveDamagedError(f"{blob_name(self._blob.sha256)}: {error.strerror or error}") from error
        if sha256.hexdigest() != self._blob.sha256:
            self.is_damaged = True
            raise ArchiveDamagedError(f"{blob_name(self._blob.sha256)}: its content is not what its name says")
        if last:
            yield last
