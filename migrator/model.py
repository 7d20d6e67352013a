"""The words of the domain as types: what goes from a source to the archive, and from there to a target.

All of them are frozen values. Ids are text, even where a tracker has numbers.

Beware: `Attachment.name` is the tracker's own name, unchanged. It is never a path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

UNLINKED = "Unlinked"
"""The kind of a file that nothing owns; its entity id is empty."""

Cursor = str
"""The position at which reading a stream resumes: text that only the adapter writes and understands."""


class EntityRef(NamedTuple):
    """The name of an entity within its tracker. A tuple, because hundreds of thousands of them are keys."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id}".strip()


NOBODY = EntityRef(UNLINKED, "")
"""Stands for the owner of a file that has none."""


@dataclass(frozen=True, slots=True)
class Entity:
    """Anything that can have attachments. `raw` is the tracker's own JSON, None if only a reference was seen.

    `modified_at` is the tracker's date of its last change (see `Capabilities.dates_changes`), empty if it gives none.
    """

    ref: EntityRef
    title: str = ""
    url: str = ""
    raw: str | None = None
    modified_at: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file on an entity as the tracker lists it, without its bytes.

    `size` is in bytes, None if the tracker doesn't say. `created_at` is ISO 8601 text, without an offset if the tracker
    gives none. `locator` is what the adapter needs to download the file (a path, or nothing).
    """

    id: str
    owner: EntityRef
    name: str
    size: int | None = None
    comment_id: str | None = None
    media_type: str = ""
    description: str = ""
    created_at: str = ""
    created_by: str = ""
    locator: str = ""
    raw: str = "{}"


@dataclass(frozen=True, slots=True)
class Link:
    """The owner, found elsewhere (in a comment, on a message), of a file that is listed without one.

    It applies only while the attachment is `Unlinked`: an owner that the tracker gives always wins.
    """

    attachment_id: str
    owner: EntityRef
    comment_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """An item of a listing, or a listing below it, that could not be read.

    `ref` is the entity that it belongs to, or a kind and the path that was requested.
    """

    ref: EntityRef
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing. `ask` are the entities whose attachments have to be requested for each by itself.

    `next` is None at the end of the stream. `unread` are failures of single items; the rest of the page is good.
    `warnings` are sentences about oddities that lost nothing.
    """

    entities: tuple[Entity, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    links: tuple[Link, ...] = ()
    ask: tuple[Entity, ...] = ()
    next: Cursor | None = None
    unread: tuple[Unread, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Blob:
    """The bytes of an attachment: SHA-256 in lower-case hex, length in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Draft:
    """One attachment to be sent to a target. Author and date are the source's, for targets that can keep them."""

    name: str
    media_type: str
    description: str
    size: int
    created_at: str = ""
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class EntityDraft:
    """A stub of a source entity, to be created at a target. `kind` is the original's, `text` is plain text.

    `mark` is a unique word of letters, digits and hyphens; the created entity must contain it.
    """

    kind: str
    title: str
    text: str
    mark: str

    @property
    def marked(self) -> str:
        """The plain text with the mark below it."""
        return f"{self.text}\n\n{self.mark}"


class Status(StrEnum):
    """The state of an attachment in the archive."""

    PENDING = "pending"
    STORED = "stored"
    FAILED = "failed"
    SKIPPED = "skipped"
    GONE = "gone"


class UploadStatus(StrEnum):
    """The state of an upload."""

    PLANNED = "planned"
    IN_DOUBT = "in_doubt"
    UPLOADED = "uploaded"
    ALREADY_THERE = "already_there"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


class RunStatus(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    INTERRUPTED = "interrupted"
    DAMAGED = "damaged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attachment in a backup: stored with its blob, or a status with its reason.

    `warning` says what is odd about a file that was stored.
    """

    attachment: Attachment
    status: Status
    blob: Blob | None = None
    error: str | None = None
    warning: str | None = None


Altered = dict[str, dict[str, str | int]]
"""What a target changed in a file: `name`, `size` or `content` (the hash of a re-encoded text), each with the value
that was `sent` and the one that was `found` there. Empty if nothing was changed."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One attachment to be sent to one target entity, as recorded in the catalog.

    name       its name at the target, or the name to send; None before the first try
    sent_run   the load that sent it; None if nothing was sent or the file was there already
    seen       ids of the files that were on the entity before it was sent
    differs    it was read back, and its content was not what had been sent
    deleting   a rollback was about to delete it, and no result was recorded
    locator    the locator of the file at the target
    sent_name, sent_at   name and time (ISO 8601, UTC) of the last time it was sent
    accepted   the target accepted it, and no listing has shown it yet
    altered    what the target changed in it
    blob_now   the blob that the source has of it now; `blob` is what was sent, if that is in doubt
    """

    attachment: Attachment
    blob: Blob
    to: EntityRef
    status: UploadStatus
    remote_id: str | None = None
    name: str | None = None
    attempts: int = 0
    sent_run: int | None = None
    seen: frozenset[str] = frozenset()
    differs: bool = False
    deleting: bool = False
    locator: str = ""
    sent_name: str | None = None
    sent_at: str = ""
    accepted: bool = False
    altered: Altered = field(default_factory=dict)
    blob_now: Blob | None = None

    @property
    def size_there(self) -> int:
        """The size in bytes that the target gives for it."""
        return int(self.altered["size"]["found"]) if "size" in self.altered else self.blob.size

    @property
    def sha256_there(self) -> str:
        """The hash of the content at the target."""
        return str(self.altered["content"]["found"]) if "content" in self.altered else self.blob.sha256

    @property
    def hashes(self) -> frozenset[str]:
        """The hashes by which its content is known: of what was sent, and of what the target made of it."""
        return frozenset({self.blob.sha256, self.sha256_there})
