"""What every source must pass, adapter or layer: `SourceContract`, bound by a fixture `bound`."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import pytest

from migrator import errors
from migrator.model import NOBODY, Attachment, Cursor, Entity, EntityRef, Page
from migrator.ports import Capabilities, Source
from tests.contract import LARGEST_CHUNK, Expected, MemorySink
from tests.support.parts import FULL


@dataclass
class BoundSource:
    """A source and the truth about what is in its tracker.

    `build` makes one more source like `source`; it is closed by the test. `gone` is an attachment that was listed and
    then deleted, `missing` an entity that is not there. `refused` builds a source with wrong credentials, `unreachable`
    one at a URL where nothing listens. What is None is skipped, and said.
    """

    source: Source
    build: Callable[[], Source]
    entities: set[EntityRef]
    files: list[Expected]
    gone: Attachment | None = None
    missing: Entity | None = None
    refused: Callable[[], Source] | None = None
    unreachable: Callable[[], Source] | None = None


@dataclass
class Crawl:
    """All that a crawl brought; `steps` are (stream, cursor, page) in the order they were read."""

    steps: list[tuple[str, Cursor | None, Page]] = field(default_factory=list)
    asked: dict[EntityRef, tuple[Attachment, ...]] = field(default_factory=dict)

    @property
    def entities(self) -> set[EntityRef]:
        return {entity.ref for _, _, page in self.steps for entity in (*page.entities, *page.ask)}

    @property
    def attachments(self) -> dict[str, Attachment]:
        """By id; the owner of a linked one is what the links tell."""
        links = {link.attachment_id: link.owner for _, _, page in self.steps for link in page.links}
        found = [file for _, _, page in self.steps for file in page.attachments]
        found += [file for files in self.asked.values() for file in files]
        return {
            file.id: replace(file, owner=links.get(file.id, NOBODY)) if file.owner == NOBODY else file for file in found
        }


async def read_to_the_end(source: Source, stream: str) -> list[Page]:
    """The pages of one stream, with nothing asked for beside; fails if there are more than a thousand."""
    pages, cursor = [], None
    for _ in range(1000):
        pages.append(await source.read(stream, cursor))
        if (cursor := pages[-1].next) is None:
            return pages
    raise AssertionError(f"the listing {stream!r} never ends")


async def crawl(source: Source, start: tuple[str, Cursor | None] | None = None) -> Crawl:
    """Read every stream from its start, or go on from (stream, cursor) and read the streams after it."""
    done = Crawl()
    streams = source.capabilities.streams
    first, cursor = start or (streams[0], None)
    for stream in streams[streams.index(first) :]:
        while True:
            page = await source.read(stream, cursor)
            done.steps.append((stream, cursor, page))
            assert len(done.steps) < 2000, "the listing never ends"
            for entity in page.ask:
                done.asked[entity.ref] = await source.attachments_of(entity)
            cursor = page.next
            if cursor is None:
                break
    return done


async def fetch(source: Source, attachment: Attachment) -> MemorySink:
    bucket = MemorySink()
    await source.download(attachment, bucket)
    return bucket


def told(attachment: Attachment) -> tuple[EntityRef, str, str]:
    return attachment.owner, attachment.name, attachment.description


class SourceContract:
    """Subclass it as `Test...` with an async fixture `bound` that yields a `BoundSource`."""

    @pytest.fixture
    async def bound(self):
        raise NotImplementedError

    async def test_crawl_lists_everything_and_keeps_to_the_capabilities(self, bound):
        done = await crawl(bound.source)
        assert bound.entities <= done.entities
        expected = Counter((file.owner, file.name, file.description) for file in bound.files)
        assert Counter(told(file) for file in done.attachments.values()) == expected
        self.assert_well_formed(done)
        self.assert_sizes(bound, done)
        self.assert_kinds(bound.source.capabilities, done)

    def assert_well_formed(self, done: Crawl) -> None:
        """What is listed is text and dates and JSON."""
        for file in done.attachments.values():
            assert isinstance(file.id, str)
            assert file.id
            assert isinstance(file.owner.id, str)
            json.loads(file.raw)
            if file.created_at:
                datetime.fromisoformat(file.created_at)
        for _, _, page in done.steps:
            for entity in page.entities:
                assert isinstance(entity.ref.id, str)
                assert entity.ref.kind
                assert entity.raw is None or json.loads(entity.raw) is not None

    def assert_sizes(self, bound: BoundSource, done: Crawl) -> None:
        """They are told if the capability says so."""
        files = done.attachments.values()
        if bound.source.capabilities.reports_size:
            assert Counter((f.name, f.size) for f in files) == Counter((f.name, f.size) for f in bound.files)
        else:
            assert any(file.size is None for file in files), "every size is told: reports_size is true"

    def assert_kinds(self, capabilities: Capabilities, done: Crawl) -> None:
        """Those that the capabilities name, if they are known beforehand, and none that is left out."""
        entities, owners = {ref.kind for ref in done.entities}, {file.owner.kind for file in done.attachments.values()}
        if capabilities.kinds:
            assert entities <= set(capabilities.kinds)
            assert owners <= {*capabilities.kinds, NOBODY.kind}
        assert not set(capabilities.left_out) & (set(capabilities.kinds) | entities | owners)

    async def test_streams_of_entities_tell_of_every_entity_with_its_json(self, bound):
        source, found = bound.source, {}
        for stream in source.capabilities.entity_streams or source.capabilities.streams:
            cursor = None
            while True:
                page = await source.read(stream, cursor)
                found |= {entity.ref: entity for entity in (*page.entities, *page.ask) if entity.raw is not None}
                cursor = page.next
                if cursor is None:
                    break
        assert bound.entities <= set(found)
        assert set(source.capabilities.entity_streams) <= set(source.capabilities.streams)

    async def test_every_file_arrives_with_its_own_bytes_in_small_pieces(self, bound):
        found, largest = [], 0
        for file in (await crawl(bound.source)).attachments.values():
            bucket = await fetch(bound.source, file)
            found.append(Expected(file.owner, file.name, len(bucket.content), bucket.sha256, file.description))
            largest = max(largest, bucket.largest)
            assert await bound.source.still_lists(file), file
        assert Counter(found) == Counter(bound.files)
        assert largest <= LARGEST_CHUNK
        first = bucket.sha256
        bucket.rewind()
        await bound.source.download(file, bucket)
        assert bucket.sha256 == first, "after a rewind it is the same"

    async def test_as_many_connections_as_declared_are_borne(self, bound):
        """And calls side by side do not disturb each other."""
        files = list((await crawl(bound.source)).attachments.values())
        times = max(2, -(-bound.source.capabilities.max_connections // len(files)))
        crawls, buckets = await asyncio.gather(
            asyncio.gather(*(crawl(bound.source) for _ in range(2))),
            asyncio.gather(*(fetch(bound.source, file) for file in files * times)),
        )
        assert all(other.attachments.keys() == {file.id for file in files} for other in crawls)
        got = Counter((file.name, bucket.sha256) for file, bucket in zip(files * times, buckets, strict=True))
        assert got == Counter((file.name, file.sha256) for file in bound.files * times)

    async def test_crawl_from_every_stored_cursor_misses_nothing(self, bound):
        whole = await crawl(bound.source)
        for at, (stream, cursor, _) in itertools.islice(enumerate(whole.steps), None, None, 1 if FULL else 4):
            assert cursor is None or isinstance(cursor, str)
            another = bound.build()
            try:
                rest = await crawl(another, (stream, cursor))
            finally:
                await another.close()
            before = Crawl(whole.steps[:at], {})
            early = {e.ref for _, _, page in before.steps for e in page.ask}
            before.asked = {ref: files for ref, files in whole.asked.items() if ref in early}
            assert before.entities | rest.entities >= bound.entities
            assert before.attachments.keys() | rest.attachments.keys() == whole.attachments.keys()

    async def test_cursor_of_another_program_is_refused_in_our_words(self, bound):
        for cursor in ("no cursor of ours", "{}", "[1]", '{"after": "x"}', '{"offset": 1}'):
            with pytest.raises(errors.MigratorError):
                await bound.source.read(bound.source.capabilities.streams[0], cursor)

    async def test_streams_are_named_once_and_there_is_at_least_one(self, bound):
        streams = bound.source.capabilities.streams
        assert streams
        assert len(set(streams)) == len(streams)

    async def test_deleted_attachment_is_gone(self, bound):
        if bound.gone is None:
            pytest.skip("this tracker has no deleted attachment to ask for")
        with pytest.raises(errors.GoneError):
            await fetch(bound.source, bound.gone)

    async def test_deleted_attachment_is_listed_no_longer(self, bound):
        if bound.gone is None:
            pytest.skip("this tracker has no deleted attachment to ask for")
        assert not await bound.source.still_lists(bound.gone)

    async def test_file_of_an_entity_that_answers_404_is_not_said_to_be_gone(self, bound):
        """Nobody can tell an entity that is no more from a route that isn't there."""
        if bound.missing is None:
            pytest.skip("this source never asks for the attachments of one entity")
        file = next(file for file in (await crawl(bound.source)).attachments.values() if file.owner != NOBODY)
        try:
            listed = await bound.source.still_lists(replace(file, owner=bound.missing.ref))
        except errors.ItemFailedError:
            return
        assert listed, "its own record is there, whatever its entity says"

    async def test_what_is_odd_is_told_in_sentences(self, bound):
        await bound.source.check()
        told = await bound.source.oddities()
        assert isinstance(told, tuple)
        assert all(text.strip() and text == text.strip() for text in told)

    async def test_missing_entity_is_gone(self, bound):
        if bound.missing is None:
            pytest.skip("this source never asks for the attachments of one entity")
        with pytest.raises(errors.GoneError):
            await bound.source.attachments_of(bound.missing)

    async def test_check_says_who_and_where(self, bound):
        assert (await bound.source.check()).strip()

    async def test_closing_twice_is_fine(self, bound):
        source = bound.build()
        await source.check()
        await source.close()
        await source.close()

    async def test_closing_unused_is_fine(self, bound):
        await bound.build().close()

    async def test_wrong_credentials_are_refused_by_check(self, bound):
        if bound.refused is None:
            pytest.skip("this tracker asks for no credentials")
        source = bound.refused()
        try:
            with pytest.raises(errors.AuthError):
                await source.check()
        finally:
            await source.close()

    async def test_wrong_credentials_never_look_like_an_empty_tracker(self, bound):
        if bound.refused is None:
            pytest.skip("this tracker asks for no credentials")
        source = bound.refused()
        try:
            with pytest.raises((errors.AuthError, errors.LoginPageError)):
                await crawl(source)
        finally:
            await source.close()

    async def test_wrong_credentials_never_save_a_file(self, bound):
        if bound.refused is None:
            pytest.skip("this tracker asks for no credentials")
        file = next(iter((await crawl(bound.source)).attachments.values()))
        source, bucket = bound.refused(), MemorySink()
        try:
            with pytest.raises((errors.AuthError, errors.LoginPageError, errors.ForbiddenError, errors.GoneError)):
                await source.download(file, bucket)
        finally:
            await source.close()
        assert not bucket.content

    async def test_nobody_there_is_said_in_our_words_and_only_when_asked(self, bound):
        if bound.unreachable is None:
            pytest.skip("this tracker is in the process")
        source = bound.unreachable()
        unreachable = (errors.ConnectError, errors.TrackerUnreachableError)
        try:
            with pytest.raises(unreachable):
                await source.check()
            with pytest.raises(unreachable):
                await crawl(source)
        finally:
            await source.close()
