"""What a run and its fetch workers say to each other, over a pipe or through a cluster.

Beware: they carry sessions of the tracker, so they go through pipes and the cluster's connections only: never into
arguments, files, the environment or the graph of a scheduler, which others can read.

The messages are plain dataclasses, because each start makes all of these classes: frozen ones with slots take three
times as long.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import struct
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from typing_extensions import override

from migrator.errors import MigratorError
from migrator.jobs.recipe import SourceRecipe
from migrator.model import Attachment, Blob, EntityRef
from migrator.pipeline.fetch_place import Fetched
from migrator.wire import LentSession, Wait

if TYPE_CHECKING:
    from migrator.store import BucketAddress, Encoding


@dataclass
class Start:
    """To a worker, first: the source, the archive, and the sessions for the API and, if they differ, for files.

    `bucket` is where the blobs go, if not into the archive's folder, and `encoding` how they are encrypted, if they
    are; `environment` has what its cloud left there.
    """

    recipe: SourceRecipe
    api: LentSession
    files: LentSession | None
    archive: Path
    untrusted: frozenset[str]
    log_level: int
    bucket: BucketAddress | None = None
    encoding: Encoding | None = field(default=None, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass
class Ready:
    """From a worker, first: it can fetch."""


@dataclass
class Fetch:
    """To a worker: fetch these files. They go as plain tuples, which is cheaper, and without their JSON."""

    batch: int
    rows: Sequence[tuple[str, str, str, str, int | None, str | None, str, str]]

    @classmethod
    def of(cls, batch: int, attachments: Sequence[Attachment]) -> Self:
        """The message for these files."""
        return cls(
            batch, [(a.id, *a.owner, a.name, a.size, a.comment_id, a.media_type, a.locator) for a in attachments]
        )

    def attachments(self) -> list[Attachment]:
        """The files."""
        return [
            Attachment(id_, EntityRef(kind, entity), name, size, comment_id, media_type, locator=locator)
            for id_, kind, entity, name, size, comment_id, media_type, locator in self.rows
        ]


@dataclass
class Results:
    """From a worker: what came of some files of a batch, as plain tuples."""

    batch: int
    rows: Sequence[tuple[str, str | None, int, MigratorError | None, str | None]]

    @classmethod
    def of(cls, batch: int, results: Sequence[Fetched]) -> Self:
        """The message for these results."""
        rows = [
            (fetched.attachment_id, blob.sha256, blob.size, None, fetched.warning)
            if (blob := fetched.blob) is not None
            else (fetched.attachment_id, None, 0, fetched.error, fetched.warning)
            for fetched in results
        ]
        return cls(batch, rows)

    def fetched(self) -> list[Fetched]:
        """The results."""
        return [
            Fetched(id_, Blob(sha256, size) if sha256 else None, error, warning)
            for id_, sha256, size, error, warning in self.rows
        ]


@dataclass
class Ended:
    """From a worker: no more results of this batch will come; `error` is what the disk refused."""

    batch: int
    error: MigratorError | None = None


@dataclass
class Limit:
    """To a worker: have at most so many files in flight, and begin with so many requests at once."""

    downloads: int
    concurrency: int


@dataclass
class Stop:
    """To a worker: begin nothing new. What is in flight may be finished, unless `at_once`."""

    at_once: bool = False


@dataclass
class Transferred:
    """From a worker: so many more bytes came."""

    size: int


@dataclass
class Waiting:
    """From a worker: it waits before it repeats a request."""

    wait: Wait


@dataclass
class Throttled:
    """Both ways: the tracker asked one process to slow down."""

    retry_after: float | None
    status: int | None


@dataclass
class Ask:
    """From a worker: may a request start (`size` is None), may bytes be counted, or get another session (`lent`)."""

    number: int
    size: int | None = None
    lent: LentSession | None = None
    files: bool = False


@dataclass
class Reply:
    """To a worker: the answer to what it asked."""

    number: int
    lent: LentSession | None = None
    error: MigratorError | None = None


@dataclass
class Logged:
    """From a worker: a record for the log of the run."""

    record: logging.LogRecord


Message = (
    Start | Ready | Fetch | Results | Ended | Limit | Stop | Transferred | Waiting | Throttled | Ask | Reply | Logged
)


class Conversation(Protocol):
    """One end of what a run and a worker say to each other."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Send a message, or drop it if the other end is gone; that shows in `receive`."""

    @abstractmethod
    async def receive(self) -> Message | None:
        """The next message; None once the other end is gone."""


_SIZE = struct.Struct("!Q")


class Channel(Conversation):
    """One end of the pipes between a run and a worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @override
    def send(self, message: Message) -> None:
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        if not self._writer.is_closing():
            self._writer.writelines((_SIZE.pack(len(body)), body))

    @override
    async def receive(self) -> Message | None:
        try:
            (size,) = _SIZE.unpack(await self._reader.readexactly(_SIZE.size))
            message: Message = pickle.loads(await self._reader.readexactly(size))  # noqa: S301 - our own process
        except (asyncio.IncompleteReadError, OSError):
            return None
        return message

    def close(self) -> None:
        """Send nothing more; the other end then ends."""
        self._writer.close()
