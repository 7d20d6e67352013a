"""What a sandbox tracker holds: the world's records, and what was uploaded or changed since.

An uploaded file becomes a `WorldAttachment` like the others, so that a tracker lists and serves one kind of thing.

Beware: trackers may share a world, so it never changes. Deletions, new names and new descriptions are kept here.
"""

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from migrator.sandbox.uploads import ReceivedFile, StoredContent
from migrator.sandbox.world import World, WorldAttachment, WorldEntity


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the tracker, from the world or uploaded."""

    id: int
    name: str
    media_type: str
    description: str | None
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Upload:
    attachment: WorldAttachment
    sha256: str
    content: StoredContent


@dataclass(frozen=True, slots=True)
class CommentRow:
    """A comment, with the entity that it belongs to."""

    id: int
    entity_id: int
    text: str


class TrackerState:
    """The records of one tracker: a world, and the changes to it."""

    def __init__(self, world: World, user: str) -> None:
        self.world = world
        self.uploads: dict[int, WorldAttachment] = {}
        """Uploaded files by their id, including those deleted since."""
        self.created: dict[int, WorldEntity] = {}
        self.deleted: set[int] = set()
        self._stored: dict[int, _Upload] = {}
        self._descriptions: dict[int, str | None] = {}
        self._names: dict[int, str] = {}
        self._checksums: dict[int, str] = {}
        self._uploads_by_owner: dict[int, list[int]] = defaultdict(list)
        self._owners: dict[int, list[int]] = defaultdict(list)
        self._taken_off: set[tuple[int, int]] = set()
        self.comments = [
            CommentRow(comment.id, entity.id, comment.text) for entity in world.entities for comment in entity.comments
        ]
        self.dates_files = True
        """Whether adding or deleting a file changes the date of its entity."""
        self._changed_at: dict[int, datetime] = {}
        self.clock: Callable[[], datetime] = _now
        """The time at which something is changed."""
        self.changes = 0
        """Increases with each change to the attachments."""
        self._listed = (0, list(world.attachments))
        self._user = user
        self._next_id = max((file.id for file in world.attachments), default=0) + 1

    def entity(self, entity_id: int) -> WorldEntity | None:
        """An entity of the world, or one that was created."""
        return self.world.entity(entity_id) or self.created.get(entity_id)

    def existing_entity(self, entity_id: int) -> WorldEntity:
        """The same; `KeyError` if there is none."""
        entity = self.entity(entity_id)
        if entity is None:
            raise KeyError(entity_id)
        return entity

    def entities(self) -> list[WorldEntity]:
        """All entities, by id."""
        return sorted((*self.world.entities, *self.created.values()), key=lambda entity: entity.id)

    def create_entity(self, kind: str, title: str, text: str) -> WorldEntity:
        """Add an entity under the next free id."""
        number = max((entity.id for entity in self.entities()), default=100) + 1
        self.created[number] = WorldEntity(number, kind, title, text)
        return self.created[number]

    def attachment(self, attachment_id: int) -> WorldAttachment | None:
        """An attachment that is not deleted, with its present name and description."""
        file = self.world.attachment(attachment_id) or self.uploads.get(attachment_id)
        if file is None or attachment_id in self.deleted:
            return None
        if attachment_id in self._descriptions:
            file = replace(file, description=self._descriptions[attachment_id])
        if attachment_id in self._names:
            file = replace(file, name=self._names[attachment_id])
        return file

    def attachments(self) -> list[WorldAttachment]:
        """All attachments that are not deleted, by id. The list is cached, and an upload is appended to it."""
        if self._listed[0] != self.changes:
            ids = (*(file.id for file in self.world.attachments), *sorted(self.uploads))
            self._listed = (self.changes, [file for file in map(self.attachment, ids) if file is not None])
        return self._listed[1]

    def attachments_of(self, entity_id: int) -> list[WorldAttachment]:
        """The attachments that belong to an entity, including those of its comments and messages, by id."""
        ids = [file.id for file in self.world.attachments_of(entity_id)] + sorted(self._uploads_by_owner[entity_id])
        kept = (number for number in ids if (number, entity_id) not in self._taken_off)
        return [file for file in map(self.attachment, kept) if file is not None]

    def owners_of(self, attachment_id: int) -> list[int]:
        """The entities that an attachment belongs to: of most trackers one or none."""
        file = self.attachment(attachment_id)
        first = self.world.owner_of(file) if file and self.world.attachment(attachment_id) else None
        owners = [*([] if first is None else [first]), *self._owners[attachment_id]]
        return [owner for owner in owners if (attachment_id, owner) not in self._taken_off] if file else []

    def link(self, attachment_id: int, entity_id: int) -> None:
        """Put an attachment on an entity, for a tracker whose files may be on several or on none."""
        if entity_id in self.owners_of(attachment_id):
            return
        if (attachment_id, entity_id) in self._taken_off:
            self._taken_off.discard((attachment_id, entity_id))
        else:
            self._uploads_by_owner[entity_id].append(attachment_id)
            self._owners[attachment_id].append(entity_id)
        self._note_change(entity_id)

    def unlink(self, attachment_id: int, entity_id: int) -> None:
        """Take an attachment off an entity; it stays where else it is."""
        self._taken_off.add((attachment_id, entity_id))
        self._note_change(entity_id)

    def files_of(self, entity_id: int) -> list[StoredFile]:
        """The attachments of an entity with their checksums: for tests, and to check a load."""
        return [
            StoredFile(file.id, file.name, file.media_type, file.description, file.size, self.sha256_of(file))
            for file in self.attachments_of(entity_id)
        ]

    def sha256_of(self, attachment: WorldAttachment) -> str:
        """The SHA-256 of an attachment's content, in hex."""
        if attachment.id in self._stored:
            return self._stored[attachment.id].sha256
        if attachment.id not in self._checksums:
            digest = hashlib.sha256()
            for chunk in self.world.chunks(attachment):
                digest.update(chunk)
            self._checksums[attachment.id] = digest.hexdigest()
        return self._checksums[attachment.id]

    def changed_at(self, entity_id: int) -> datetime | None:
        """When an entity was last changed, to the second; None if it never was. A new name of a file is no change."""
        dates = [file.created_at for file in self.world.attachments_of(entity_id)]
        if entity_id in self._changed_at:
            dates.append(self._changed_at[entity_id])
        return max(dates, default=None)

    def _note_change(self, entity_id: int | None) -> None:
        if entity_id is not None and self.dates_files:
            self._changed_at[entity_id] = self.clock()

    def describe(self, attachment_id: int, description: str | None) -> None:
        """Change the description of an attachment."""
        self._descriptions[attachment_id] = description
        self.changes += 1

    def rename(self, attachment_id: int, name: str) -> None:
        """Change the name of an attachment."""
        self._names[attachment_id] = name
        self.changes += 1

    def delete(self, attachment_id: int) -> None:
        """Delete an attachment."""
        if file := self.attachment(attachment_id):
            self._note_change(self.world.owner_of(file))
        self.deleted.add(attachment_id)
        self.changes += 1

    def reserve(self) -> int:
        """The next free id, which no other file gets."""
        self._next_id += 1
        return self._next_id - 1

    def keep(
        self, file: ReceivedFile, entity_id: int | None, description: str | None, reserved: int | None = None
    ) -> WorldAttachment:
        """Store a received file as a new attachment of an entity, or an unlinked one for None.

        `reserved` is its id, for a tracker that told it before.
        """
        number = self.reserve() if reserved is None else reserved
        attachment = WorldAttachment(
            id=number,
            entity_id=entity_id,
            comment_id=None,
            name=file.name,
            media_type=file.media_type,
            description=description,
            created_at=self.clock(),
            author=self._user,
            size=file.size,
            content_seed=-number,  # unlike any in the world; the content itself is in `_stored`
        )
        listed = self.attachments()
        self.uploads[number] = attachment
        self.changes += 1
        if reserved is None:
            listed.append(attachment)
            self._listed = (self.changes, listed)
        self._stored[number] = _Upload(attachment, file.sha256, file.content)
        if entity_id is not None:
            self.link(number, entity_id)
        return attachment

    def add_comment(self, entity_id: int, text: str) -> CommentRow:
        """Add a comment under the next free id."""
        number = max((comment.id for comment in self.comments), default=500) + 1
        self.comments.append(CommentRow(number, entity_id, text))
        return self.comments[-1]

    async def chunks_of(self, attachment: WorldAttachment) -> AsyncIterator[bytes]:
        """The content of an attachment, in chunks."""
        if attachment.id in self._stored:
            async for chunk in self._stored[attachment.id].content.chunks():
                yield chunk
        else:
            for chunk in self.world.chunks(attachment):
                yield chunk


def _now() -> datetime:
    """To the second."""
    return datetime.now(UTC).replace(microsecond=0)
