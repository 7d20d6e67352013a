"""The contract between the pipelines and the trackers. Every adapter and every layer keeps it.

A tracker is a few verbs as a source and a few as a target. Behaviour (retries, checks, dry run) is a layer that wraps
a `Source` or `Target` and is one itself.

All of them promise: they raise only `migrator.errors`; they never retry, sleep or print; creating one does no I/O;
`close` may be called twice. Every method may be called again after it failed, and concurrently with any other.

Beware: a listing may repeat items but must never miss one that existed during the whole crawl.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from migrator.errors import ConfigError, RejectedError
from migrator.model import Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Page


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Facts about a tracker, not options. Each has a contract test in both directions.

    kinds               every kind that an entity can have, as `EntityRef.kind` spells it; empty where only the tracker
                        itself can tell
    left_out            kinds that this tracker has and that options leave out of this source: it says nothing of them
    streams             names of the listings of a source, read one after the other in this order
    entity_streams      those of them that alone tell of every entity with its JSON; empty: it takes all of them
    max_connections     how many requests at once the tracker is known to bear
    max_writes          how many uploads at once it is known to bear
    reports_size        every attachment is listed with its size in bytes
    sets_description    a target can give an attachment a description
    keeps_author_and_date   a target can store another author and date than the account's and now; where it doesn't
                        know the author it takes another, and what `upload` returns names that one
    max_name_bytes      the longest file name, in bytes of `name_encoding`
    name_encoding       how names are measured: utf-8, or utf-16-le where the limit is in (Windows) characters
    creates             a target can create entities
    deletes             a target can delete a file
    max_attachment_bytes    the largest file a target takes, None where that isn't known
    """

    streams: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    entity_streams: tuple[str, ...] = ()
    max_connections: int = 16
    max_writes: int = 4
    reports_size: bool = True
    sets_description: bool = True
    keeps_author_and_date: bool = False
    creates: bool = False
    max_name_bytes: int = 255
    name_encoding: str = "utf-8"
    deletes: bool = False
    max_attachment_bytes: int | None = None

    def refuses(self, draft: Draft) -> str | None:
        """Why a file is known to be over the limits of a target; None if it isn't."""
        limit = self.max_attachment_bytes
        if limit is not None and draft.size > limit:
            return f"too large: {draft.size} bytes; this target takes at most {limit}"
        return None


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """What the response header says about the body that follows. `length` is in bytes, None if it isn't stated.

    `coding` is what the body is said to be packed with, such as gzip; whether it is, its length has to tell.
    `framed`: the file is inside of something that has an end of its own, and whoever writes to the sink makes sure
    that it came, and with the length that is told there: then all of the file came, as long as it may be.
    """

    media_type: str = ""
    length: int | None = None
    named: bool = False  # a Content-Disposition came with it: the server means it as a file
    coding: str = ""
    framed: bool = False


class Sink(Protocol):
    """Where a download goes. `start` once for each try, then `write` any number of times.

    Only a layer calls `rewind`, which forgets all that was written, and no adapter.
    """

    @abstractmethod
    async def start(self, facts: BodyFacts) -> None:
        """Say what follows."""

    @abstractmethod
    async def write(self, chunk: bytes) -> None:
        """Take the next bytes."""

    @abstractmethod
    def rewind(self) -> None:
        """Forget all that was written; the file is about to come once more from its first byte."""

    @abstractmethod
    def warn(self, text: str) -> None:
        """Keep with the file that something about it is odd, such as a wrong size in the listing; it is stored."""


class Body(Protocol):
    """The bytes of an upload: `size` of them, from the start each time it is iterated."""

    size: int

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Tracker(Protocol):
    """What sources and targets share."""

    capabilities: Capabilities

    @abstractmethod
    async def check(self) -> str:
        """Log in, and say in a few words as whom and to what. Raises `AuthError` or `TrackerUnreachableError`."""

    @abstractmethod
    async def oddities(self) -> tuple[str, ...]:
        """Sentences on what is odd about this tracker and what that means for a backup or load; reads only.

        For `check`, after the login. Raises what `check` raises.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections."""


class Source(Tracker, Protocol):
    """A tracker that is read."""

    @abstractmethod
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """One page of a stream in a stable order; None starts it.

        A stored cursor resumes, even days later, with nothing missed; repeats are allowed.
        """

    @abstractmethod
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """All attachments of one entity: for those that a page names in `ask`.

        One small call, so that a retry repeats an entity and not a page. `GoneError` if the entity is no more.
        """

    @abstractmethod
    async def still_lists(self, attachment: Attachment) -> bool:
        """Whether the tracker, asked anew, still has the record of a file whose download answered that it is gone.

        By the list of its entity, or the file's own record: whichever route told of it. `GoneError` where that route
        itself answers so, which proves nothing: what is not there may be the route.
        """

    @abstractmethod
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """Write the whole file into the sink, once, in constant memory."""


class Target(Tracker, Protocol):
    """A tracker that is written."""

    @abstractmethod
    def legal_name(self, name: str) -> str:
        """The nearest name that this tracker keeps unchanged: the same one, if it is legal. Pure.

        Length is not its business (see `Capabilities.max_name_bytes`), nor is being unique on the entity.
        """

    @abstractmethod
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        """Why this target is known to refuse this upload, None where nothing is known against it. Reads only.

        What it names `upload` refuses; so a rehearsal promises no more than the load can keep.
        """

    @abstractmethod
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """All files that are on an entity now; one entity may carry the same name and size more than once.

        `GoneError` if there is no such entity.
        """

    @abstractmethod
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """Send one file to one entity, once, and say what the tracker made of it.

        What is returned is what the answer told: it has the id that the tracker gave the file, and the name and size
        it has there as far as the answer says; that it is listed already is not promised. None: it was accepted, but
        the answer doesn't tell which file it is; look. `OutcomeUnknownError`: sent, but no answer seen. Never repeated
        blindly by anybody.
        """

    @abstractmethod
    async def describe(self, remote: Attachment, description: str) -> None:
        """Set the description of a file that is there; may be repeated."""

    @abstractmethod
    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """Download a file of the target, to compare it."""

    @abstractmethod
    async def delete(self, remote: Attachment) -> None:
        """Remove one file; `GoneError` if it no longer exists, so it may be repeated.

        `RejectedError` where the API can't delete.
        """

    @abstractmethod
    async def expect_creating(self) -> None:
        """`ConfigError` where the options lack what `create_entity` needs, or name what isn't there. Reads only."""

    @abstractmethod
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """Create one entity, once; the mark is kept in it. `ConfigError` as for `expect_creating`.

        `OutcomeUnknownError`: sent, but no answer seen. Never repeated blindly by anybody.
        """

    @abstractmethod
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        """The entity that was created with the mark of this draft, by whichever run; None if surely none was."""


class CreatesNothing:
    """The verbs of a target that can't create entities."""

    async def expect_creating(self) -> None:
        """Always `ConfigError`."""
        raise ConfigError("[mapping] create_missing: entities of this target can't be created from here")

    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """Always `RejectedError`."""
        raise RejectedError(f"{draft.kind}: this tracker takes no new entities from here; create it there and map it")

    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:  # noqa: ARG002
        """None was ever created."""
        return None
