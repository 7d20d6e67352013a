"""A source under test with the truth about its tracker, and a whole crawl through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from migrator.model import NOBODY, Attachment, Cursor, Entity, EntityRef, Page
from migrator.ports import Source
from migrator.testing.samples import Expected, MemorySink

MAX_PAGES = 2000
"""A crawl with more of them is taken for one that never ends."""


@dataclass
class BoundSource:
    """A source and the truth about what is in its tracker.

    `build` makes another source like `source`, which the test closes. `gone` is an attachment that was listed and then
    deleted, `missing` an entity that does not exist. `refused` builds a source with wrong credentials, `unreachable`
    one at a URL where nothing listens. `attach` adds a file to an entity, past the source. The tests of those that are
    None are skipped.
    """

    source: Source
    build: Callable[[], Source]
    entities: set[EntityRef]
    files: list[Expected]
    gone: Attachment | None = None
    missing: Entity | None = None
    refused: Callable[[], Source] | None = None
    unreachable: Callable[[], Source] | None = None
    attach: Callable[[EntityRef], object] | None = None


@dataclass
class Crawl:
    """What a crawl read. `steps` are (stream, cursor, page) in their order, `asked` the files of each `Page.ask`."""

    steps: list[tuple[str, Cursor | None, Page]] = field(default_factory=list)
    asked: dict[EntityRef, tuple[Attachment, ...]] = field(default_factory=dict)

    @property
    def entities(self) -> set[EntityRef]:
        """All that were listed, with files or without."""
        return {entity.ref for _, _, page in self.steps for entity in (*page.entities, *page.ask)}

    @property
    def attachments(self) -> dict[str, Attachment]:
        """By id. A file that is listed without an owner has the owner that a link gives it, if any."""
        links = {link.attachment_id: link.owner for _, _, page in self.steps for link in page.links}
        listed = [file for _, _, page in self.steps for file in page.attachments]
        listed += [file for files in self.asked.values() for file in files]
        return {
            file.id: replace(file, owner=links.get(file.id, NOBODY)) if file.owner == NOBODY else file
            for file in listed
        }


async def read_to_the_end(source: Source, stream: str) -> list[Page]:
    """The pages of one stream, without the files of `Page.ask`. Fails if there are more than MAX_PAGES."""
    pages: list[Page] = []
    cursor: Cursor | None = None
    for _ in range(MAX_PAGES):
        pages.append(await source.read(stream, cursor))
        if (cursor := pages[-1].next) is None:
            return pages
    raise AssertionError(f"the listing {stream!r} never ends")


async def crawl(source: Source, start: tuple[str, Cursor | None] | None = None) -> Crawl:
    """Read every stream from its start, or resume at `start` (stream, cursor) and read the streams after it."""
    done = Crawl()
    streams = source.capabilities.streams
    first, cursor = start or (streams[0], None)
    for stream in streams[streams.index(first) :]:
        while True:
            page = await source.read(stream, cursor)
            done.steps.append((stream, cursor, page))
            assert len(done.steps) < MAX_PAGES, "the listing never ends"
            for entity in page.ask:
                done.asked[entity.ref] = await source.attachments_of(entity)
            cursor = page.next
            if cursor is None:
                break
    return done


async def fetch(source: Source, attachment: Attachment) -> MemorySink:
    """One file, downloaded into memory."""
    sink = MemorySink()
    await source.download(attachment, sink)
    return sink


def comparable(attachment: Attachment) -> tuple[EntityRef, str, str]:
    """Owner, name and description: what a file has in common with what was put into the tracker."""
    return attachment.owner, attachment.name, attachment.description
