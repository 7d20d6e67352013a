"""The interface between jobs and trackers: `Source`, which is read, and `Target`, which is written.

An adapter implements them for one tracker. Retries, checks and dry runs are layers: each wraps a `Source` or `Target`
and is one itself.

All of them raise only `migrator.errors`. Adapters never retry, sleep or print. Creating one does no I/O, and `close`
may be called twice. Every method may be called again after it failed, and concurrently with any other.

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

    kinds               every kind that an entity can have, as `EntityRef.kind` spells it; empty if only the tracker
                        knows
    left_out            kinds that this tracker has, but that the options exclude
    left_out_ids        what the ids of files begin with that the options exclude
    streams             names of the listings of a source, read one after the other in this order
    entity_streams      those of them that suffice to get every entity with its JSON; empty: all are needed
    max_connections     how many concurrent requests the tracker is known to withstand
    max_writes          how many concurrent uploads it is known to withstand
    reports_size        every attachment is listed with its size in bytes
    dates_changes       the entities in `Page.ask` may have a `modified_at`, and one that has it gets another one when a
                        file is added to it or removed; renaming a file may change nothing
    sets_description    a target can give an attachment a description
    changes_description     a target can do so also after the upload
    renames_twins       a target gives a file another name if its entity has one of that name already
    keeps_author_and_date   a target can store an author and date other than the account and now; for an unknown author
                        it takes another one, which `upload` returns
    max_name_bytes      the longest file name, in bytes of `name_encoding`
    name_encoding       how names are measured: utf-8, or utf-16-le where the limit is in (Windows) characters
    creates             a target can create entities
    deletes             a target can delete a file
    fetches_alone       a source can download any file without what it learnt when it listed them, so another process
                        can do it as well
    max_attachment_bytes    the largest file that a target accepts; None if that isn't known
    refuses_empty       a target refuses files of 0 bytes
    refused_words       bytes in lower case; a target refuses a file that contains one of them, in either case
    """

    streams: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    left_out_ids: tuple[str, ...] = ()
    entity_streams: tuple[str, ...] = ()
    max_connections: int = 16
    max_writes: int = 4
    reports_size: bool = True
    dates_changes: bool = False
    sets_description: bool = True
    changes_description: bool = True
    renames_twins: bool = False
    keeps_author_and_date: bool = False
    creates: bool = False
    max_name_bytes: int = 255
    name_encoding: str = "utf-8"
    deletes: bool = False
    fetches_alone: bool = True
    max_attachment_bytes: int | None = None
    refuses_empty: bool = False
    refused_words: tuple[bytes, ...] = ()

    def refuses(self, draft: Draft) -> str | None:
        """Why a file is known to exceed a limit of the target; None if it isn't."""
        limit = self.max_attachment_bytes
        if limit is not None and draft.size > limit:
            return f"too large: {draft.size:,} bytes; this target takes at most {limit:,}"
        if self.refuses_empty and not draft.size:
            return "empty: this target takes no file of 0 bytes"
        return None


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """What the response header says about the body that follows. `length` is in bytes, None if it isn't stated.

    `coding` is the declared compression, such as gzip; only the length shows whether the body is compressed.
    `named`: it came with a Content-Disposition, so the server declares it as a file.
    `framed`: the file is embedded in an answer, and the writer checks that the answer is complete; so the file is
    complete, too, whatever its length.
    """

    media_type: str = ""
    length: int | None = None
    named: bool = False
    coding: str = ""
    framed: bool = False


class Sink(Protocol):
    """Where a download goes: `start` once for each try, then `write` any number of times.

    Layers call `rewind`; adapters don't.
    """

    @abstractmethod
    async def start(self, facts: BodyFacts) -> None:
        """Begin the file with these facts."""

    @abstractmethod
    async def write(self, chunk: bytes) -> None:
        """Take the next bytes."""

    @abstractmethod
    def rewind(self) -> None:
        """Discard what was written; the file will be sent again from its first byte."""

    @abstractmethod
    def warn(self, text: str) -> None:
        """Record that something about the file is odd, such as a wrong size in the listing; it is stored anyway."""


class Body(Protocol):
    """The bytes of an upload, `size` of them; iterating it again starts again."""

    size: int

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Tracker(Protocol):
    """What sources and targets share."""

    capabilities: Capabilities

    @abstractmethod
    async def check(self) -> str:
        """Log in; returns a few words on the account and the tracker. `AuthError` or `TrackerUnreachableError`."""

    @abstractmethod
    async def oddities(self) -> tuple[str, ...]:
        """Sentences on oddities of this tracker, and what each means for a backup or load. Only reads.

        Called after `check`, and raises the same errors.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""


class Source(Tracker, Protocol):
    """A tracker to read from."""

    @abstractmethod
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """One page of a stream, in a stable order; the cursor None starts it.

        A stored cursor resumes it, even days later, without missing anything; repeats are allowed.
        """

    @abstractmethod
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """All attachments of one entity, for the entities in `Page.ask`. `GoneError` if it no longer exists.

        It is a call of its own, so that a retry repeats an entity and not a page.
        """

    @abstractmethod
    async def still_lists(self, attachment: Attachment) -> bool:
        """Whether the tracker still has the record of a file whose download was answered with "gone".

        It is asked anew by the route that listed the file: the list of its entity, or the file's own record.
        `GoneError` if that route itself is missing, which proves nothing about the file.
        """

    @abstractmethod
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """Write the whole file to the sink, once and in constant memory.

        Of the attachment, a fetch worker gets what tells it apart and describes its bytes: id, owner, comment, name,
        size, media type and locator.
        """


class Target(Tracker, Protocol):
    """A tracker to write to."""

    @abstractmethod
    def legal_name(self, name: str) -> str:
        """The nearest name that this tracker keeps unchanged; the same one if it is legal. Does no I/O.

        It doesn't look at the length (see `Capabilities.max_name_bytes`), nor at the other names on the entity.
        """

    @abstractmethod
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        """Why this target is known to refuse this upload; None if it isn't. Only reads.

        `upload` then refuses it, too, so that a dry run promises only what the load can do.
        """

    @abstractmethod
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """All files that are on an entity now; several may have the same name and size.

        `GoneError` if there is no such entity.
        """

    @abstractmethod
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """Send one file to one entity, once; returns the new file as the answer describes it.

        It has the id that the tracker gave it, and the name and size if the answer states them; it may not be listed
        yet. None: the file was accepted, but the answer doesn't say which one it is. `OutcomeUnknownError`: it was
        sent, but no answer came, and it must not be sent again blindly.
        """

    @abstractmethod
    async def describe(self, remote: Attachment, description: str) -> None:
        """Set the description of an existing file; may be repeated."""

    @abstractmethod
    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """Download a file of the target, to compare it with the original."""

    @abstractmethod
    async def delete(self, remote: Attachment) -> None:
        """Remove one file; may be repeated. `GoneError` if it no longer exists, `RejectedError` if the API can't."""

    @abstractmethod
    async def require_creating(self) -> None:
        """`ConfigError` if an option that `create_entity` needs is missing or wrong. Only reads."""

    @abstractmethod
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """Create one entity that contains the mark, once. `ConfigError` as for `require_creating`.

        `OutcomeUnknownError`: it was sent, but no answer came, and it must not be sent again blindly.
        """

    @abstractmethod
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        """The entity with the mark of this draft, whichever run created it; None if there certainly is none."""


class CreatesNothing:
    """The methods that create entities, for a target that can't."""

    async def require_creating(self) -> None:
        """Always `ConfigError`."""
        raise ConfigError("[mapping] create_missing: entities of this target can't be created from here")

    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """Always `RejectedError`."""
        raise RejectedError(f"{draft.kind}: this tracker takes no new entities from here; create it there and map it")

    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:  # noqa: ARG002
        """Always None: nothing was ever created."""
        return None
