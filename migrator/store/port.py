"""The port between an archive and the place where its blobs lie: its own folder, or an object store.

A blob gets its name only when it is complete, and is reported as stored only when it is safe. Both places promise that;
how they keep it differs.

Beware: everything here blocks, except `write` and `chunks`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from migrator.model import Blob

READ_BYTES = 1024 * 1024
"""How much of a blob is read at once."""


@dataclass(frozen=True, slots=True)
class IncomingBlob:
    """A complete file that is not safe yet: its bytes, or the name under which it was received."""

    blob: Blob
    content: bytes | str


class Receiving(Protocol):
    """One large file that is being received. `write` is for the event loop; `finish` and `discard` block."""

    @abstractmethod
    async def write(self, chunk: bytes) -> None:
        """Append a chunk."""

    @abstractmethod
    def finish(self) -> IncomingBlob:
        """The whole file."""

    @abstractmethod
    def discard(self) -> None:
        """Delete the unfinished file."""


class Storing(Protocol):
    """Some received files on their way to be safe blobs: call the four methods in order.

    Those that sync are slow and may run in a thread. `StorageError`; then the files may be stored anew.
    """

    @abstractmethod
    def write_contents(self) -> None:
        """Write what is in memory."""

    @abstractmethod
    def sync_contents(self) -> None:
        """Make the contents safe."""

    @abstractmethod
    def rename(self) -> None:
        """Give each its name, and delete those whose blob was there already."""

    @abstractmethod
    def sync_names(self) -> None:
        """Make the names safe."""


class BlobStore(Protocol):
    """Where blobs lie, each under the name `blobs/ab/ab12..`. Reading raises `OSError` if a blob can't be read."""

    reads_twice: bool
    """Whether a blob may be read twice, because that costs little."""
    readers: int
    """How many blobs may be read at once."""
    room: bool
    """Whether the blobs need room on the disk of the archive's folder."""

    @abstractmethod
    def require_readable(self) -> None:
        """`ConfigError` if a private key is needed to read blobs, and is missing or the wrong one."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what must exist before the first blob, and delete what an earlier run left unfinished."""

    @abstractmethod
    def empty_incoming(self) -> None:
        """Delete what nobody will finish, if that takes no time; else `prepare` does it later. May raise `OSError`."""

    encrypted: bool
    """Whether the content of a blob can be read only with a private key."""

    @abstractmethod
    def has(self, sha256: str) -> bool:
        """Whether there is a blob of this name."""

    @abstractmethod
    def fits(self, blob: Blob) -> bool:
        """Whether there is a blob of this name, whose size may be this one."""

    @abstractmethod
    def receiving(self) -> Receiving:
        """A new large file."""

    @abstractmethod
    def storing(self, received: Sequence[IncomingBlob], untrusted: AbstractSet[str]) -> Storing:
        """These files, to be made safe blobs. Those that are `untrusted` are written although they are there."""

    @abstractmethod
    def remove(self, hashes: Iterable[str]) -> None:
        """Delete these blobs, safely. May be repeated."""

    @abstractmethod
    def files_in(
        self, folder: str, known: Mapping[str, Blob], removed: Iterable[str] = ()
    ) -> Iterator[tuple[str, int]]:
        """Name and size of every file in one blob folder. `known` and `removed` are the blobs that may be there.

        In an encrypted place only those come under their hash, with their size if that may be it, else with -1. Others
        come under the name that they have there.
        """

    @abstractmethod
    def path_shown(self, folder: str, name: str) -> str:
        """Where a file of a blob folder lies, for people: `blobs/ab/ab12..`, or its path in an encrypted place."""

    @abstractmethod
    def is_blob(self, folder: str, name: str) -> bool:
        """Whether a file of this name in a blob folder is a blob, known or not."""

    @abstractmethod
    def unknown_files(self) -> list[str]:
        """The files and folders that do not belong to an archive."""

    @abstractmethod
    def read(self, sha256: str, size: int) -> bytes:
        """At most the first `size` bytes of a blob."""

    @abstractmethod
    def chunks(self, sha256: str) -> AsyncIterator[bytes]:
        """All bytes of a blob, in order."""

    @abstractmethod
    def hash_of(self, folder: str, name: str, read: Callable[[int], None] = lambda _: None) -> Blob | None:
        """What a file in a blob folder really holds; None if it is no regular file.

        `read` is called with the size of each chunk, and may raise to stop.
        """

    @abstractmethod
    def files(self, hashes: Sequence[str]) -> AbstractContextManager[Callable[[str], Path]]:
        """These blobs as files on this machine: a function that names the file of each, which may be missing."""
