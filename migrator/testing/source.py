"""What every source must pass, adapter or layer: `SourceContract`."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime

import pytest

from migrator import errors
from migrator.model import NOBODY, EntityRef
from migrator.ports import Capabilities, Source
from migrator.testing.crawling import BoundSource, Crawl, comparable, crawl, fetch, read_to_the_end
from migrator.testing.samples import LARGEST_CHUNK, Expected, MemorySink

CURSOR_STRIDE = 4 if {"CI", "MIGRATOR_SLOW"}.isdisjoint(os.environ) else 1
"""A crawl is resumed at every fourth of its cursors, to be quick; with CI or MIGRATOR_SLOW set, at each."""


class SourceContract:
    """Subclass it as `Test...` with an async fixture `bound` that yields a `BoundSource`."""

    @pytest.fixture
    async def bound(self) -> AsyncIterator[BoundSource]:
        """The tracker under test; a subclass has to define it."""
        pytest.fail(f"{type(self).__name__} defines no fixture `bound` that yields a BoundSource")
        yield

    async def test_a_crawl_lists_everything_within_the_capabilities(self, bound: BoundSource) -> None:
        done = await crawl(bound.source)
        assert bound.entities <= done.entities
        expected = Counter((file.owner, file.name, file.description) for file in bound.files)
        assert Counter(comparable(file) for file in done.attachments.values()) == expected
        self.assert_well_formed(done)
        self.assert_sizes(bound, done)
        self.assert_kinds(bound.source.capabilities, done)

    def assert_well_formed(self, done: Crawl) -> None:
        """Ids and kinds are text, dates are ISO 8601, `raw` is JSON."""
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
        """Every size is listed if, and only if, the capability says so."""
        files = done.attachments.values()
        if bound.source.capabilities.reports_size:
            assert Counter((f.name, f.size) for f in files) == Counter((f.name, f.size) for f in bound.files)
        else:
            assert any(file.size is None for file in files), "every size is listed, so reports_size is true"

    def assert_kinds(self, capabilities: Capabilities, done: Crawl) -> None:
        """The kinds are those that the capabilities name, if they name any, and nothing that is left out is listed."""
        entities, owners = {ref.kind for ref in done.entities}, {file.owner.kind for file in done.attachments.values()}
        if capabilities.kinds:
            assert entities <= set(capabilities.kinds)
            assert owners <= {*capabilities.kinds, NOBODY.kind}
        assert not set(capabilities.left_out) & (set(capabilities.kinds) | entities | owners)
        assert not [id_ for id_ in done.attachments if id_.startswith(tuple(capabilities.left_out_ids))]

    async def test_entities_have_dates_only_if_the_capability_says_so(self, bound: BoundSource) -> None:
        done = await crawl(bound.source)
        dates = [entity.modified_at for _, _, page in done.steps for entity in page.ask if entity.modified_at]
        assert bool(dates) == bound.source.capabilities.dates_changes
        for date in dates:
            datetime.fromisoformat(date)

    async def test_a_new_file_changes_the_date_of_its_entity(self, bound: BoundSource) -> None:
        """For every entity that has a date: one that doesn't change would hide the file."""
        if not bound.source.capabilities.dates_changes or bound.attach is None:
            pytest.skip("this source gives no dates")
        before = await self.dates(bound.source)
        assert before
        for ref in before:
            bound.attach(ref)
        after = await self.dates(bound.source)
        assert {ref for ref in before if after[ref] == before[ref]} == set()
        assert await self.dates(bound.source) == after, "without a change, a date stays"

    async def dates(self, source: Source) -> dict[EntityRef, str]:
        """The dates that a crawl lists."""
        steps = (await crawl(source)).steps
        return {entity.ref: entity.modified_at for _, _, page in steps for entity in page.ask if entity.modified_at}

    async def test_entity_streams_list_every_entity_with_its_json(self, bound: BoundSource) -> None:
        source, with_json = bound.source, set()
        for stream in source.capabilities.entity_streams or source.capabilities.streams:
            for page in await read_to_the_end(source, stream):
                with_json |= {entity.ref for entity in (*page.entities, *page.ask) if entity.raw is not None}
        assert bound.entities <= with_json
        assert set(source.capabilities.entity_streams) <= set(source.capabilities.streams)

    async def test_every_file_arrives_whole_in_small_chunks(self, bound: BoundSource) -> None:
        fetched, largest = [], 0
        for file in (await crawl(bound.source)).attachments.values():
            sink = await fetch(bound.source, file)
            fetched.append(Expected(file.owner, file.name, len(sink.content), sink.sha256, file.description))
            largest = max(largest, sink.largest)
            assert await bound.source.still_lists(file), file
        assert Counter(fetched) == Counter(bound.files)
        assert largest <= LARGEST_CHUNK
        first = sink.sha256
        sink.rewind()
        await bound.source.download(file, sink)
        assert sink.sha256 == first, "after a rewind, the same file arrives"

    async def test_the_declared_number_of_connections_works(self, bound: BoundSource) -> None:
        """And concurrent calls don't disturb each other."""
        files = list((await crawl(bound.source)).attachments.values())
        times = max(2, -(-bound.source.capabilities.max_connections // len(files)))
        crawls, sinks = await asyncio.gather(
            asyncio.gather(*(crawl(bound.source) for _ in range(2))),
            asyncio.gather(*(fetch(bound.source, file) for file in files * times)),
        )
        assert all(other.attachments.keys() == {file.id for file in files} for other in crawls)
        fetched = Counter((file.name, sink.sha256) for file, sink in zip(files * times, sinks, strict=True))
        assert fetched == Counter((file.name, file.sha256) for file in bound.files * times)

    async def test_crawl_from_every_stored_cursor_misses_nothing(self, bound: BoundSource) -> None:
        whole = await crawl(bound.source)
        for number, (stream, cursor, _) in itertools.islice(enumerate(whole.steps), None, None, CURSOR_STRIDE):
            assert cursor is None or isinstance(cursor, str)
            another = bound.build()
            try:
                rest = await crawl(another, (stream, cursor))
            finally:
                await another.close()
            before = Crawl(whole.steps[:number], {})
            asked_before = {entity.ref for _, _, page in before.steps for entity in page.ask}
            before.asked = {ref: files for ref, files in whole.asked.items() if ref in asked_before}
            assert before.entities | rest.entities >= bound.entities
            assert before.attachments.keys() | rest.attachments.keys() == whole.attachments.keys()

    async def test_a_foreign_cursor_raises_one_of_our_errors(self, bound: BoundSource) -> None:
        for cursor in ("no cursor of ours", "{}", "[1]", '{"after": "x"}', '{"offset": 1}'):
            with pytest.raises(errors.MigratorError):
                await bound.source.read(bound.source.capabilities.streams[0], cursor)

    async def test_there_is_a_stream_and_each_has_a_name_of_its_own(self, bound: BoundSource) -> None:
        streams = bound.source.capabilities.streams
        assert streams
        assert len(set(streams)) == len(streams)

    async def test_deleted_attachment_is_gone(self, bound: BoundSource) -> None:
        if bound.gone is None:
            pytest.skip("this tracker has no deleted attachment to ask for")
        with pytest.raises(errors.GoneError):
            await fetch(bound.source, bound.gone)

    async def test_a_deleted_attachment_is_no_longer_listed(self, bound: BoundSource) -> None:
        if bound.gone is None:
            pytest.skip("this tracker has no deleted attachment to ask for")
        assert not await bound.source.still_lists(bound.gone)

    async def test_a_file_whose_entity_answers_404_is_not_called_gone(self, bound: BoundSource) -> None:
        """A 404 may also mean that only the route is missing."""
        if bound.missing is None:
            pytest.skip("this source never asks for the attachments of one entity")
        file = next(file for file in (await crawl(bound.source)).attachments.values() if file.owner != NOBODY)
        try:
            listed = await bound.source.still_lists(replace(file, owner=bound.missing.ref))
        except errors.ItemFailedError:
            return
        assert listed, "its own record is there, even if its entity is not"

    async def test_oddities_are_sentences(self, bound: BoundSource) -> None:
        await bound.source.check()
        oddities = await bound.source.oddities()
        assert isinstance(oddities, tuple)
        assert all(text.strip() and text == text.strip() for text in oddities)

    async def test_missing_entity_is_gone(self, bound: BoundSource) -> None:
        if bound.missing is None:
            pytest.skip("this source never asks for the attachments of one entity")
        with pytest.raises(errors.GoneError):
            await bound.source.attachments_of(bound.missing)

    async def test_check_describes_account_and_tracker(self, bound: BoundSource) -> None:
        assert (await bound.source.check()).strip()

    async def test_closing_twice_is_fine(self, bound: BoundSource) -> None:
        source = bound.build()
        await source.check()
        await source.close()
        await source.close()

    async def test_closing_unused_is_fine(self, bound: BoundSource) -> None:
        await bound.build().close()

    async def test_wrong_credentials_are_refused_by_check(self, bound: BoundSource) -> None:
        if bound.refused is None:
            pytest.skip("this tracker asks for no credentials")
        source = bound.refused()
        try:
            with pytest.raises(errors.AuthError):
                await source.check()
        finally:
            await source.close()

    async def test_wrong_credentials_never_look_like_an_empty_tracker(self, bound: BoundSource) -> None:
        if bound.refused is None:
            pytest.skip("this tracker asks for no credentials")
        source = bound.refused()
        try:
            with pytest.raises((errors.AuthError, errors.LoginPageError)):
                await crawl(source)
        finally:
            await source.close()

    async def test_wrong_credentials_never_save_a_file(self, bound: BoundSource) -> None:
        if bound.refused is None:
            pytest.skip("this tracker asks for no credentials")
        file = next(iter((await crawl(bound.source)).attachments.values()))
        source, sink = bound.refused(), MemorySink()
        try:
            with pytest.raises((errors.AuthError, errors.LoginPageError, errors.ForbiddenError, errors.GoneError)):
                await source.download(file, sink)
        finally:
            await source.close()
        assert not sink.content

    async def test_an_unreachable_tracker_raises_an_error_at_the_first_request(self, bound: BoundSource) -> None:
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
