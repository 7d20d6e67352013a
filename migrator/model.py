"""The domain's words as types: what flows from a source to the archive to a target.

Everything is a frozen value, and ids are text, whatever the tracker makes of them.

Beware: `Attachment.name` is the tracker's own name, unchanged. It is never a path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

UNLINKED = "Unlinked"
"""The kind of a file that nothing owns; its entity id is empty."""

Cursor = str
"""Where a stream goes on: opaque text that the adapter wrote and only the adapter reads."""


class EntityRef(NamedTuple):
    """What names an entity within its tracker. A tuple, as hundreds of thousands of them are keys."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id}".strip()


NOBODY = EntityRef(UNLINKED, "")
"""The owner of files that nothing owns."""


@dataclass(frozen=True, slots=True)
class Entity:
    """What carries attachments. `raw` is the tracker's own JSON, None where only a reference was seen."""

    ref: EntityRef
    title: str = ""
    url: str = ""
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file on an entity, as the tracker tells of it; the bytes are elsewhere.

    `size` is in bytes, None where the tracker tells none. `created_at` is ISO 8601 text; without an offset
    where the tracker doesn't tell one. `locator` is what the adapter needs to download it (a path, or nothing).
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
    """An owner found elsewhere (in a comment's text, on a message) for a file that names none itself.

    It applies only while the attachment is `Unlinked`: an owner told by the tracker always wins.
    """

    attachment_id: str
    owner: EntityRef
    comment_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that a tracker has and that could not be read: an item of a listing, or a listing below it.

    `ref` is the entity it belongs to, or what names the place: a kind and the path that was asked.
    """

    ref: EntityRef
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """One step of a listing. `ask` names the entities whose attachments must be asked for one by one.

    `next` is None at the end of the stream. `unread` are failures, one each, beside which the rest of the page is good;
    `warnings` are sentences on what is odd about it and lost nothing.
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
    """One attachment as it is to arrive at a target.

    Author and date are the source's own words, for targets that can keep them.
    """

    name: str
    media_type: str
    description: str
    size: int
    created_at: str = ""
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class EntityDraft:
    """A stub of a source entity as it is to arrive at a target. `kind` is the original's, `text` is plain text.

    `mark` is one word of letters, digits and hyphens that stands nowhere else; it must be kept in what is created.
    """

    kind: str
    title: str
    text: str
    mark: str

    @property
    def marked(self) -> str:
        """The text with the mark below it, still plain."""
        return f"{self.text}\n\n{self.mark}"


class Status(StrEnum):
    """What became of an attachment of the source."""

    PENDING = "pending"
    STORED = "stored"
    FAILED = "failed"
    SKIPPED = "skipped"
    GONE = "gone"


class UploadStatus(StrEnum):
    """What became of an upload."""

    PLANNED = "planned"
    IN_DOUBT = "in_doubt"
    UPLOADED = "uploaded"
    ALREADY_THERE = "already_there"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


class RunStatus(StrEnum):
    """How a run stands or ended."""

    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    INTERRUPTED = "interrupted"
    DAMAGED = "damaged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attachment fared in a backup: stored with its blob, or a status with its reason.

    `warning` says what was odd about a file that was stored.
    """

    attachment: Attachment
    status: Status
    blob: Blob | None = None
    error: str | None = None
    warning: str | None = None


Altered = dict[str, dict[str, str | int]]
"""What a target altered of a file: `name`, `size`, or `content` (a text that was re-encoded, by its hash), each as it
was `sent` and as it is `found` there. Empty where nothing was."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One attachment to be sent to one target entity, as the catalog has it.

    `name` is what it is called there, or is sent under; None before the first try. `sent_run` is the load that sent
    it, None where nothing was sent or what is there was found. `seen`: ids of the files of others that were on the
    entity before it was sent. `differs`: it was read back, and its content was not what had been sent. `deleting`: a
    rollback was about to delete it, and its end is not recorded. `locator` is that of the file there. `sent_name` and
    `sent_at` (ISO 8601, UTC) are those of the last time it was sent, and `accepted` says that the target then answered
    to have it, and that no list has shown it yet. `altered`: what the target made of it.
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

    @property
    def size_there(self) -> int:
        """How large the target says that it is."""
        return int(self.altered["size"]["found"]) if "size" in self.altered else self.blob.size

    @property
    def sha256_there(self) -> str:
        """The hash of what the target has of it."""
        return str(self.altered["content"]["found"]) if "content" in self.altered else self.blob.sha256
