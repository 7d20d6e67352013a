"""Attaches files to the bare entities of a world: first the odd ones, then a crowd on one entity, then ordinary ones.

They are planned first, then shuffled and numbered, so that ids reveal nothing about owners.

Beware: texts quote attachment ids, so entities and comments get their texts only after the numbering.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from migrator.sandbox.world.model import WorldAttachment, WorldComment, WorldEntity, WorldMessage, random_date
from migrator.sandbox.world.samples import DESCRIPTIONS, LOGIN_LIKE_HTML, ODD, ORDINARY, PEOPLE

_SIGMA = 1.2  # of the log-normal sizes: two of three are within a factor of 3.3 of the median
_MIN_BYTES = 32
_MAIN_TYPES = {".txt": "text/plain", ".png": "image/png", ".pdf": "application/pdf", ".html": "text/html"}


@dataclass(slots=True)
class _Plan:
    """A planned attachment."""

    owner: int | None  # the position of its entity; None for an unlinked one
    name: str
    media_type: str = ""
    size: int | None = None
    content: str = ""  # plans with the same word here get the same bytes; empty: bytes of their own
    via: str = "entity"  # or comment, message
    description: str | None = None


def generate(
    entities: tuple[WorldEntity, ...], total: int, rng: random.Random, median: int, large: int
) -> tuple[tuple[WorldEntity, ...], tuple[WorldAttachment, ...], tuple[WorldMessage, ...]]:
    """Attach exactly `total` files to the entities, and mention some in the texts; none if there are no entities."""
    plans = _plans(len(entities), total, rng, large) if entities else []
    rng.shuffle(plans)
    messages: list[WorldMessage] = []
    quotes: dict[int, list[WorldAttachment]] = {}
    attachments = []
    contents: dict[str, tuple[int, int]] = {}
    for number, plan in enumerate(plans, start=1):
        attachment = _attachment(plan, number, entities, rng, _size(plan, rng, median))
        attachment = _share(attachment, plan.content, contents)
        attachments.append(_attach(attachment, plan, entities, messages, quotes))
    commented = [_with_comments(entity, position, quotes) for position, entity in enumerate(entities)]
    return _with_images(commented, attachments), tuple(attachments), tuple(messages)


def _plans(entities: int, total: int, rng: random.Random, large: int) -> list[_Plan]:
    plans = list(_odd(entities, large))[:total]
    crowd = min(130, (total - len(plans)) // 3)
    plans += [_ordinary(entities - 1, rng) for _ in range(crowd)]
    busy = range(0, max(1, entities - 1), 2)
    weights = [rng.paretovariate(1.1) for _ in busy]
    owners = rng.choices(busy, weights, k=total - len(plans))
    return plans + [_ordinary(owner, rng) for owner in owners]


def _odd(entities: int, large: int) -> Iterator[_Plan]:
    """The attachments that reveal the most mistakes; a small world has only the first of them."""
    owners = [position % entities for position in (0, 2, 4, 6, 8, 10, 12, 14, 16, 18)]
    yield _Plan(owners[0], "log.txt")
    yield _Plan(owners[0], "log.txt")
    yield _Plan(owners[1], "twin.txt", content="twin")
    yield _Plan(owners[1], "twin.txt", content="twin")
    yield _Plan(owners[2], "empty.txt", size=0)
    yield _Plan(owners[3], "saved page.html", size=len(LOGIN_LIKE_HTML) + 64)
    yield _Plan(owners[4], "pasted.png", via="comment")
    yield _Plan(None, "nobody's.png")
    yield _Plan(owners[5], "mail.pdf", via="message")
    yield _Plan(owners[6], "README.txt")
    yield _Plan(owners[6], "readme.TXT")
    yield from (_Plan(owners[position % 7], name) for position, name in enumerate(ODD))
    yield from (_Plan(position, "logo.png", content="logo") for position in owners[2:6])
    yield _Plan(owners[7], "pasted.png", via="comment")
    yield _Plan(owners[8], "mail.pdf", via="message")
    yield _Plan(owners[8], "empty.txt", size=0)
    yield _Plan(None, "left over.zip")
    if large:
        yield _Plan(owners[9], "database.bin", "application/octet-stream", large)


def _ordinary(owner: int, rng: random.Random) -> _Plan:
    stem, extension, media_type = rng.choice(ORDINARY)
    description = rng.choice(DESCRIPTIONS) if rng.random() < 0.2 else None
    return _Plan(owner, f"{stem}-{rng.randrange(1_000_000)}{extension}", media_type, description=description)


def _size(plan: _Plan, rng: random.Random, median: int) -> int:
    drawn = max(_MIN_BYTES, min(round(median * rng.lognormvariate(0, _SIGMA)), 50 * median))
    return drawn if plan.size is None else plan.size


def _attachment(
    plan: _Plan, number: int, entities: tuple[WorldEntity, ...], rng: random.Random, size: int
) -> WorldAttachment:
    extension = plan.name[plan.name.rfind(".") :].lower() if "." in plan.name else ""
    return WorldAttachment(
        id=number,
        entity_id=entities[plan.owner].id if plan.owner is not None and plan.via == "entity" else None,
        comment_id=None,
        name=plan.name,
        media_type=plan.media_type or _MAIN_TYPES.get(extension, "application/octet-stream"),
        description=plan.description,
        created_at=random_date(rng),
        author=rng.choice(PEOPLE),
        size=size,
        content_seed=number,
    )


def _share(attachment: WorldAttachment, content: str, contents: dict[str, tuple[int, int]]) -> WorldAttachment:
    """Make attachments with the same `content` share its bytes."""
    if not content:
        return attachment
    size, seed = contents.setdefault(content, (attachment.size, attachment.content_seed))
    return replace(attachment, size=size, content_seed=seed)


def _attach(
    attachment: WorldAttachment,
    plan: _Plan,
    entities: tuple[WorldEntity, ...],
    messages: list[WorldMessage],
    quotes: dict[int, list[WorldAttachment]],
) -> WorldAttachment:
    """Attach it to its comment or message, if it has one."""
    if plan.owner is None or plan.via == "entity":
        return attachment
    if plan.via == "message":
        message = WorldMessage(7001 + len(messages), entities[plan.owner].id, f"Re: {entities[plan.owner].title}")
        messages.append(message)
        return replace(attachment, message_id=message.id)
    comment_id = _comment_id(plan.owner) + len(quotes.get(plan.owner, ()))
    pasted = replace(attachment, comment_id=comment_id)
    quotes.setdefault(plan.owner, []).append(pasted)
    return pasted


def _comment_id(position: int) -> int:
    return 501 + 10 * position


def _with_comments(entity: WorldEntity, position: int, quotes: dict[int, list[WorldAttachment]]) -> WorldEntity:
    """Add comments: one for each attachment pasted into one, and to every fifth entity another."""
    first = _comment_id(position)
    pasted = quotes.get(position, [])
    comments = [
        WorldComment(file.comment_id or first, f'<p>See <img src="~/Attachment.aspx?AttachmentID={file.id}"/></p>')
        for file in pasted
    ]
    if position % 5 == 0:
        comments.append(WorldComment(first + len(pasted), "<p>Does it still happen? Größe: 5 &lt; 6</p>"))
    return replace(entity, comments=tuple(comments))


def _with_images(entities: list[WorldEntity], attachments: list[WorldAttachment]) -> tuple[WorldEntity, ...]:
    """Put images into some texts: some are attachments of the entity, others no attachments at all."""
    first = {file.entity_id: file for file in reversed(attachments)}
    result = []
    markdown_done = False
    for position, entity in enumerate(entities):
        file = first.get(entity.id)
        text = entity.text
        if position % 7 == 3:
            text += f'<img src="~/images/inline-{entity.id}.png"/>'
        if file and not markdown_done:
            text = f"<!--markdown-->Steps\n\n![shot](https://tracker.example/Attachment.aspx?AttachmentID={file.id})"
            markdown_done = True
        elif file and position % 4 == 0:
            text += f'<img src="~/Attachment.aspx?AttachmentID={file.id}"/>'
        result.append(replace(entity, text=text))
    return tuple(result)
