"""Pages asked ahead change nothing of what a walk finds, on servers of every kind, and come side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator import errors
from migrator.trackers.listing import Listing, PageItems, PageOrder, PageRequest
from migrator.trackers.prefetch import MAX_PREFETCHED, Prefetcher

SIZE = 5
CLOSE_OR_FAR = st.lists(st.integers(1, 6), max_size=60)
"""How far each id is from the one before."""


def number_of(item: Mapping[str, Any]) -> int:
    return int(item["id"])


def ids_from(steps: list[int]) -> list[int]:
    return [sum(steps[: at + 1]) for at in range(len(steps))]


class Server:
    """Ids that come and go while it is asked; an answer takes some turns of the loop, and is of when it was begun."""

    def __init__(self, ids: list[int], *, tells_more: bool = True, filters: bool = True) -> None:
        self.ids, self.tells_more, self.filters = ids, tells_more, filters
        self.asked: list[PageRequest] = []
        self.under_way = self.most_at_once = 0
        self.fails: set[int] = set()
        self.removed: set[int] = set()
        self.removals: list[int] = []
        self.delays = [3]
        self.cap = 1000

    async def ask(self, way: PageRequest) -> PageItems:
        self.asked.append(way)
        number = len(self.asked)
        assert number < 300, "it never ends"
        if self.removals and (at := self.removals.pop()) < len(self.ids):
            self.removed.add(self.ids.pop(at))
        behind = [one for one in self.ids if not self.filters or way.after is None or one > way.after]
        page = behind[way.skip : way.skip + min(way.take, self.cap)]
        more = len(behind) > way.skip + way.take if self.tells_more else None
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            for _ in range(self.delays[number % len(self.delays)]):
                await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        if number in self.fails:
            raise errors.RetriableError("not now")
        return PageItems([{"id": one} for one in page], more)


async def walk(server: Server, *orders: PageOrder, ahead: Prefetcher | None = None) -> list[int]:
    """Everything that a walk finds; what is asked again after a failure is asked for as the retry layer does."""
    ahead = ahead or Prefetcher(number_of)
    listing = Listing(partial(ahead.fetch, fetch=server.ask), number_of, SIZE, orders or tuple(PageOrder))
    found, cursor, tries = [], None, 0
    while True:
        try:
            items, cursor = await listing.page(cursor)
        except errors.UnexpectedBodyError:
            raise
        except errors.RetriableError:
            tries += 1
            assert tries < 50
            continue
        found += [number_of(item) for item in items]
        if cursor is None:
            await ahead.close()
            return found


@given(
    CLOSE_OR_FAR, st.booleans(), st.booleans(), st.lists(st.integers(0, 40), max_size=12),
    st.lists(st.integers(0, 4), min_size=1, max_size=7), st.sets(st.integers(1, 30), max_size=5),
)  # fmt: skip
def test_all_that_stays_is_found_however_answers_cross_and_fail(steps, by_id, tells_more, removals, delays, fails):
    server = Server(ids_from(steps), tells_more=tells_more)
    server.removals, server.delays, server.fails = removals, delays, fails
    found = asyncio.run(walk(server, *((PageOrder.KEYSET,) if by_id else (PageOrder.OFFSET_SORTED,))))
    assert set(server.ids) <= set(found) <= set(server.ids) | server.removed


@pytest.mark.parametrize("order", [PageOrder.KEYSET, PageOrder.OFFSET_SORTED])
@pytest.mark.parametrize("gap", [1, 3])
async def test_pages_come_side_by_side_and_nothing_is_asked_twice(order, gap):
    server = Server([gap * number for number in range(1, 201)])
    found = await walk(server, order)
    assert sorted(set(found)) == server.ids
    assert server.most_at_once >= MAX_PREFETCHED
    assert len(set(server.asked)) == len(server.asked)
    alone = 200 / SIZE if order is PageOrder.KEYSET else 200 / (SIZE - 1)
    assert len(server.asked) <= 1.5 * alone + MAX_PREFETCHED


@pytest.mark.parametrize("count", [0, 1, SIZE])
async def test_a_listing_of_one_page_is_one_request(count):
    server = Server(list(range(1, count + 1)))
    await walk(server)
    assert len(server.asked) == 1


async def test_a_server_that_ignores_where_to_begin_is_seen_through_as_before():
    server = Server(list(range(1, 31)), filters=False)
    with pytest.raises(errors.UnexpectedBodyError):
        await walk(server, PageOrder.KEYSET)
    assert sorted(set(await walk(server))) == server.ids  # by offset instead


async def test_a_walk_that_begins_again_sees_what_came_since_the_one_before():
    server, ahead = Server(list(range(1, 13))), Prefetcher(number_of)
    listing = Listing(partial(ahead.fetch, fetch=server.ask), number_of, SIZE, [PageOrder.KEYSET])
    cursor = None
    for _ in range(2):
        _, cursor = await listing.page(cursor)
    await asyncio.sleep(0)  # what was the last page has been asked ahead
    server.ids.append(13)
    assert 13 in await walk(server, PageOrder.KEYSET, ahead=ahead)


async def test_a_page_that_failed_ahead_is_asked_for_again_without_a_word():
    server, ahead = Server(list(range(1, 13))), Prefetcher(number_of)
    server.fails = {3}
    listing = Listing(partial(ahead.fetch, fetch=server.ask), number_of, SIZE, [PageOrder.KEYSET])
    assert [number_of(item) async for item in listing.all()] == server.ids
    assert len(server.asked) == 3 + 1


async def test_a_page_asked_ahead_that_ends_before_where_the_walk_is_is_no_end():
    server, ahead = Server(list(range(1, 31))), Prefetcher(number_of)
    await ahead.fetch(PageRequest(SIZE, after=3), server.ask)
    server.cap = 2
    await asyncio.sleep(0)
    server.cap = SIZE
    found = await ahead.fetch(PageRequest(SIZE, after=10), server.ask)
    assert [number_of(item) for item in found.items] == [11, 12, 13, 14, 15]
    await ahead.close()


async def test_who_reads_the_first_page_only_asks_for_no_more():
    server, ahead = Server(list(range(1, 100))), Prefetcher(number_of)
    await Listing(partial(ahead.fetch, fetch=server.ask), number_of, SIZE).page(None)
    await asyncio.sleep(0)
    assert len(server.asked) == 1


async def test_close_leaves_no_request_open_though_the_server_is_silent():
    server, ahead = Server(list(range(1, 100))), Prefetcher(number_of)

    async def ask(way: PageRequest) -> PageItems:
        if way.after not in {0, 3}:
            await asyncio.Event().wait()
        return await server.ask(way)

    await ahead.fetch(PageRequest(SIZE, after=3), ask)
    await ahead.fetch(PageRequest(SIZE, after=0), ask)  # what was asked ahead is not wanted any more
    await ahead.fetch(PageRequest(SIZE, after=3), ask)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 3
    async with asyncio.timeout(5):
        await ahead.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
