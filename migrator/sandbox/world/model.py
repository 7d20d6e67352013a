"""The data that all sandbox trackers present: entities, comments and attachments, generated from a seed.

Contents are computed whenever they are read, so a hundred thousand attachments, or one of 2 GB, need no memory and no
disk.

Beware: an attachment of a comment or of an e-mail names only that; `World.owner_of` finds the entity.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Self

from migrator.sandbox.world.samples import KINDS, LOGIN_LIKE_HTML, THINGS, VERBS, WHEN

BLOCK_BYTES = 64 * 1024
"""The size of a chunk. Longer contents repeat one random block, each time with a counter in front."""

_MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "application/pdf": b"%PDF-1.7\n", "text/html": LOGIN_LIKE_HTML}


@dataclass(frozen=True, slots=True)
class WorldComment:
    """A comment on an entity; `text` is HTML."""

    id: int
    text: str


@dataclass(frozen=True, slots=True)
class WorldEntity:
    """Something that carries attachments. Each tracker has its own word for its `kind`, like `story`."""

    id: int
    kind: str
    title: str
    text: str = ""
    comments: tuple[WorldComment, ...] = ()


@dataclass(frozen=True, slots=True)
class WorldMessage:
    """An e-mail that became part of an entity and may have attachments."""

    id: int
    entity_id: int
    subject: str


@dataclass(frozen=True, slots=True)
class WorldAttachment:
    """An attachment of an entity, a comment or a message; if all three are None, it is unlinked.

    Two attachments have the same content exactly if `content_seed`, `size` and `media_type` are the same.
    """

    id: int
    entity_id: int | None
    comment_id: int | None
    name: str
    media_type: str
    description: str | None
    created_at: datetime
    author: str
    size: int
    content_seed: int
    message_id: int | None = None


@dataclass(frozen=True)
class World:
    """Everything a tracker holds at first. It never changes, so any number of sandboxes can share it."""

    seed: int
    entities: tuple[WorldEntity, ...]
    attachments: tuple[WorldAttachment, ...] = ()
    messages: tuple[WorldMessage, ...] = ()

    @classmethod
    def generate(
        cls,
        entities: int = 300,
        seed: int = 1,
        *,
        median_bytes: int = 80_000,
        large_bytes: int = 32 * 1024 * 1024,
        mean_attachments: float = 2.0,
        attachments: int | None = None,
    ) -> Self:
        """Make a world with exactly this many `attachments`, or else `mean_attachments` times `entities`.

        One attachment has `large_bytes` (0: none does); the other sizes are log-normal around the median. The odd
        attachments come first, so a world with few attachments has only some of them.
        """
        from migrator.sandbox.world.generate import generate  # which imports this module

        total = round(entities * mean_attachments) if attachments is None else attachments
        bare = tuple(_entity(random.Random(f"{seed}|{number}"), number) for number in range(entities))
        return cls(seed, *generate(bare, total, random.Random(seed), median_bytes, large_bytes))

    def without_attachments(self) -> "World":
        """The same entities without texts, comments, messages and attachments: a target to load into."""
        return World(self.seed, tuple(replace(entity, text="", comments=()) for entity in self.entities))

    def entity(self, entity_id: int) -> WorldEntity | None:
        """An entity by its id."""
        return self._entities.get(entity_id)

    def attachment(self, attachment_id: int) -> WorldAttachment | None:
        """An attachment by its id."""
        return self._attachments.get(attachment_id)

    def owner_of(self, attachment: WorldAttachment) -> int | None:
        """The entity that an attachment belongs to, perhaps through a comment or message; None if it is unlinked."""
        if attachment.comment_id is not None:
            return self._comment_owners[attachment.comment_id]
        if attachment.message_id is not None:
            return self._message_owners[attachment.message_id]
        return attachment.entity_id

    def attachments_of(self, entity_id: int) -> tuple[WorldAttachment, ...]:
        """All attachments of an entity, including those of its comments and messages, by id."""
        return tuple(self._by_owner.get(entity_id, ()))

    def content(self, attachment: WorldAttachment) -> bytes:
        """The whole content; for a large one use `chunks`."""
        return b"".join(self.chunks(attachment))

    def chunks(self, attachment: WorldAttachment) -> Iterator[bytes]:
        """The content in chunks of at most `BLOCK_BYTES` bytes; the same bytes each time."""
        block = random.Random(f"{self.seed}|{attachment.content_seed}").randbytes(min(attachment.size, BLOCK_BYTES))
        head = _MAGIC.get(attachment.media_type, b"")
        first = head + block[len(head) :] if attachment.size >= len(head) + 16 else block
        for start in range(0, attachment.size, BLOCK_BYTES):
            chunk = first if start == 0 else start.to_bytes(8, "big") + block[8:]
            yield chunk[: attachment.size - start]

    @cached_property
    def _entities(self) -> dict[int, WorldEntity]:
        return {entity.id: entity for entity in self.entities}

    @cached_property
    def _attachments(self) -> dict[int, WorldAttachment]:
        return {attachment.id: attachment for attachment in self.attachments}

    @cached_property
    def _comment_owners(self) -> dict[int, int]:
        return {comment.id: entity.id for entity in self.entities for comment in entity.comments}

    @cached_property
    def _message_owners(self) -> dict[int, int]:
        return {message.id: message.entity_id for message in self.messages}

    @cached_property
    def _by_owner(self) -> dict[int, list[WorldAttachment]]:
        return _grouped((self.owner_of(attachment), attachment) for attachment in self.attachments)


def _grouped(pairs: Iterable[tuple[int | None, WorldAttachment]]) -> dict[int, list[WorldAttachment]]:
    groups: dict[int, list[WorldAttachment]] = defaultdict(list)
    for owner, attachment in pairs:
        if owner is not None:
            groups[owner].append(attachment)
    return groups


def _entity(rng: random.Random, number: int) -> WorldEntity:
    title = f"{rng.choice(VERBS)} {rng.choice(THINGS)} {rng.choice(WHEN)} ({number + 1})"
    text = f"<div>What happens when we {title.lower()}?</div>"
    return WorldEntity(101 + 3 * number, KINDS[number % len(KINDS)], title, text)


def random_date(rng: random.Random) -> datetime:
    """A random time in the years 2015 to 2025, to the second, in UTC."""
    return datetime.fromtimestamp(rng.randrange(1_420_070_400, 1_766_000_000), UTC)
