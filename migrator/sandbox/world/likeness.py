"""A world in the likeness of a real tracker: as many entities and files, as large, named as oddly, in other words.

Kept are which file is on which entity or comment, sizes, media types, which files have the same content, and the shape
of names, titles and descriptions (see `words`). Everything else is made up: ids, dates, people, contents.
"""

import random
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

from migrator.sandbox.world.model import World, WorldAttachment, WorldComment, WorldEntity, random_date
from migrator.sandbox.world.samples import KINDS, PEOPLE
from migrator.sandbox.world.words import Words


@dataclass(frozen=True, slots=True)
class RealEntity:
    """An entity of the real tracker; `key` tells it apart."""

    key: Hashable
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class RealFile:
    """A file of the real tracker. `owner` is the key of its entity, None for a file that nothing owns.

    Files with the same `content` have the same bytes; None: nothing is known of its bytes. A file whose `size` is None
    gets that of another one.
    """

    owner: Hashable | None
    in_comment: bool
    name: str
    size: int | None
    media_type: str
    description: str
    content: str | None


def world_like(entities: Iterable[RealEntity], files: Iterable[RealFile], seed: int) -> World:
    """The world that `migrator sandbox --like` serves. The most frequent kinds become the kinds of a world, in turn."""
    rng, originals, copied = random.Random(seed), list(entities), list(files)
    words, kinds = Words(rng), Counter(entity.kind for entity in originals)
    kind_of = {kind: KINDS[rank % len(KINDS)] for rank, (kind, _) in enumerate(kinds.most_common())}
    made = {
        entity.key: WorldEntity(101 + 3 * number, kind_of[entity.kind], words.replaced(entity.title) or "untitled")
        for number, entity in enumerate(originals)
    }
    sizes = [file.size for file in copied if file.size is not None] or [0]
    contents: dict[str, int] = {}
    attachments = []
    for number, file in enumerate(copied, 1):
        owner = made.get(file.owner)
        attachment = WorldAttachment(
            id=number,
            entity_id=owner.id if owner else None,
            comment_id=None,
            name=words.replaced_name(file.name),
            media_type=file.media_type or "application/octet-stream",
            description=words.replaced(file.description) or None,
            created_at=random_date(rng),
            author=rng.choice(PEOPLE),
            size=rng.choice(sizes) if file.size is None else file.size,
            content_seed=contents.setdefault(file.content, number) if file.content else number,
        )
        if owner and file.in_comment:
            text = f'<p>See <img src="~/Attachment.aspx?AttachmentID={number}"/></p>'
            comment = WorldComment(500 + number, text)
            made[file.owner] = replace(owner, comments=(*owner.comments, comment))
            attachment = replace(attachment, entity_id=None, comment_id=comment.id)
        attachments.append(attachment)
    return World(seed, tuple(made.values()), tuple(attachments))
