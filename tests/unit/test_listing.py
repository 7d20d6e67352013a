"""The walk of a listing on servers of every kind: what stays is found, and no server makes it endless or short."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator import errors
from migrator.trackers.listing import Listing, PageItems, PageOrder, PageRequest, walked
from migrator.trackers.strict import numbered, split

IDS = st.lists(st.integers(1, 500), unique=True, max_size=40)
PARTS = st.sets(st.sampled_from(["after", "skip", "take", "sort"]))


class Server:
    """Ids on a server that honours only these parts of a question, or refuses those that it doesn't know."""

    def __init__(
        self,
        ids: list[int],
        knows: set[str],
        *,
        cap: int = 1000,
        refuses: bool = False,
        counts: str = "",
        end: int = 1000,
    ) -> None:
        """`counts`: its total is of "all" or of what "follows" the id; nothing of the first `end` is left out."""
        self.ids, self.knows, self.cap, self.refuses = ids, knows, cap, refuses
        self.counts, self.end = counts, end
        self.asked: list[PageRequest] = []

    async def ask(self, way: PageRequest) -> PageItems:
        self.asked.append(way)
        assert len(self.asked) < 400, "it never ends"
        parts = {"after": way.after is not None, "skip": bool(way.skip), "sort": way.sorts}
        if self.refuses and any(wanted and part not in self.knows for part, wanted in parts.items()):
            raise errors.RejectedError("not supported", status=400)
        ids = sorted(self.ids) if way.sorts and "sort" in self.knows else self.ids
        if way.after is not None and "after" in self.knows:
            ids = [number for number in ids if number > way.after]
        start = way.skip if "skip" in self.knows else 0
        most = min(self.cap, way.take) if "take" in self.knows else len(ids)
        total = {"all": len(self.ids), "follows": len(ids)}.get(self.counts)
        listed = set((sorted(self.ids) if way.sorts and "sort" in self.knows else self.ids)[: self.end])
        some = [number for number in ids if number in listed][start : start + most]
        return PageItems([{"id": number} for number in some], total=total)


def listing(server: Server, size: int = 5, **more: Any) -> Listing:
    return Listing(server.ask, lambda item: int(item["id"]), size, **more)


async def found(server: Server, size: int = 5, **more: Any) -> set[int]:
    return {item["id"] async for item in listing(server, size, **more).all()}


@given(IDS, PARTS, st.integers(2, 9), st.booleans(), st.booleans(), st.sampled_from(["all", "follows"]))
def test_total_that_is_reached_changes_nothing(ids, knows, size, refuses, falling, counts):
    ids = sorted(ids, reverse=falling)
    plain = Server(ids, knows, cap=7, refuses=refuses)
    server = Server(ids, knows, cap=7, refuses=refuses, counts=counts)
    try:
        without = asyncio.run(found(plain, size))
    except errors.RejectedError:
        with pytest.raises(errors.RejectedError):
            asyncio.run(found(server, size))
    else:
        assert asyncio.run(found(server, size)) == without


@given(st.sampled_from(["all", "follows"]), st.integers(0, 19), st.integers(2, 9), st.sampled_from(list(PageOrder)))
def test_listing_that_ends_before_its_total_is_no_listing(counts, end, size, order):
    server = Server(list(range(1, 41, 2)), {"after", "skip", "take", "sort"}, cap=7, counts=counts, end=end)
    with pytest.raises(errors.ShortListingError):
        asyncio.run(found(server, size, orders=(order,)))


async def test_empty_page_that_tells_of_more_is_not_the_end():
    async def ask(way: PageRequest) -> PageItems:
        return PageItems([], more=True)

    with pytest.raises(errors.ShortListingError, match="empty page"):
        await Listing(ask, lambda item: int(item["id"]), 5).page(None)


async def test_count_in_an_older_checkpoint_is_not_held_against_the_total():
    server = Server([3, 5, 9], {"after", "sort"}, counts="all")
    assert await listing(server).page('{"after": 9}') == ([], None)


@given(IDS, PARTS, st.integers(2, 9), st.booleans(), st.booleans())
def test_every_item_is_found_or_the_listing_ends_in_our_words(ids, knows, size, refuses, falling):
    ids = sorted(ids, reverse=falling)
    server = Server(ids, knows, cap=7, refuses=refuses)
    try:
        assert asyncio.run(found(server, size)) == set(ids)
    except errors.RejectedError:
        assert not {"sort", "after"} <= knows
        assert "skip" not in knows


@pytest.mark.parametrize("order", [PageOrder.OFFSET_SORTED, PageOrder.OFFSET_UNSORTED])
async def test_server_that_gives_the_same_page_for_ever_is_told_so(order):
    server = Server(list(range(1, 21)), {"sort", "take"})
    with pytest.raises(errors.RejectedError, match="same page"):
        await found(server, orders=(order,))
    assert len(server.asked) < 10


async def test_server_that_skips_nothing_but_gives_all_at_once_is_read_whole():
    assert await found(Server(list(range(1, 21)), {"sort"}), orders=(PageOrder.OFFSET_SORTED,)) == set(range(1, 21))


async def test_refusal_that_is_none_of_the_way_ends_the_listing():
    async def ask(_: PageRequest) -> PageItems:
        raise errors.ForbiddenError("no")

    with pytest.raises(errors.ForbiddenError):
        await Listing(ask, lambda item: int(item["id"]), 5).page(None)


async def test_end_that_the_server_tells_is_believed_without_another_question():
    server = Server([1, 2, 3], {"sort", "skip", "take", "after"})

    async def ask(way: PageRequest) -> PageItems:
        return PageItems((await server.ask(way)).items, more=False)

    items, following = await Listing(ask, lambda item: int(item["id"]), 5).page(None)
    assert ([item["id"] for item in items], following, len(server.asked)) == ([1, 2, 3], None, 1)


async def test_steps_that_lead_back_to_one_before_are_an_error():
    async def step(state: str | None) -> tuple[list[dict[str, Any]], str | None]:
        return [], "b" if state == "a" else "a"

    with pytest.raises(errors.RejectedError, match="loops"):
        [item async for item in walked(step, "a")]


async def test_listing_begun_by_offset_goes_on_so():
    server = Server(list(range(1, 12)), {"sort", "skip", "take", "after"})
    cursor = json.dumps({"offset": 5, "anchor": 5, "back": 0})
    items, _ = await listing(server).page(cursor)
    assert server.asked == [PageRequest(5, skip=4)]
    assert items[0] == {"id": 5}


def test_an_item_is_told_by_what_the_listing_says_is_its_id():
    async def ask(_: PageRequest) -> PageItems:
        return PageItems([{"number": 7}], more=False)

    def number(item: Mapping[str, Any]) -> int:
        return int(item["number"])

    assert asyncio.run(Listing(ask, number, 5).page(None)) == ([{"number": 7}], None)


ALL = {"after", "skip", "take", "sort"}


async def walked_whole(server: Server, bad: set[int], size: int, order: PageOrder) -> tuple[set[int], int]:
    """The ids of all pages, and how many items were told to be unreadable, of a server some of whose items are so."""

    async def ask(way: PageRequest) -> PageItems:
        found = await server.ask(way)
        items = [{"id": None} if item["id"] in bad else item for item in found.items]
        good, unread = split(items, numbered, "GET items")
        return PageItems(good, found.more, found.total, unread)

    walk = Listing(ask, lambda item: int(item["id"]), size, orders=(order,))
    seen, told, cursor = set(), 0, None
    while True:
        stretch = await walk.read(cursor)
        seen |= {item["id"] for item in stretch.items}
        told, cursor = told + len(stretch.unread), stretch.next
        if cursor is None:
            return seen, told


@given(IDS, st.data(), st.integers(3, 9), st.sampled_from(list(PageOrder)), st.sampled_from(["", "all", "follows"]))
def test_item_that_cannot_be_read_costs_no_other(ids, data, size, order, counts):
    ids = sorted(ids)
    bad = data.draw(st.sets(st.sampled_from(ids), max_size=3)) if ids else set()
    server = Server(ids, ALL, cap=7, counts=counts)
    try:
        seen, told = asyncio.run(walked_whole(server, bad, size, order))
    except errors.UnexpectedBodyError:
        assert len(bad) > 1  # a whole page of them
    else:
        assert seen == set(ids) - bad
        assert told >= len(bad)


@given(st.integers(0, 19), st.sampled_from(["all", "follows", "by offset"]), st.integers(2, 9))
def test_page_that_leaves_out_one_of_its_items_is_noticed_at_the_end(hidden, counts, size):
    """As where a filter is put on a page after it was cut: the place is counted, the item doesn't come."""
    ids = list(range(1, 41, 2))
    orders = (PageOrder.OFFSET_SORTED,) if counts == "by offset" else (PageOrder.KEYSET,)
    server = Server(ids, ALL, cap=7, counts=counts.replace("by offset", "all"))

    async def ask(way: PageRequest) -> PageItems:
        found = await server.ask(way)
        return PageItems([item for item in found.items if item["id"] != ids[hidden]], total=found.total)

    walk = Listing(ask, lambda item: int(item["id"]), size, orders=orders)
    with pytest.raises(errors.ShortListingError):
        asyncio.run(everything(walk))


async def everything(walk: Listing) -> set[int]:
    return {item["id"] async for item in walk.all()}


@pytest.mark.parametrize("size", range(3, 9))
async def test_server_that_lists_each_item_twice_and_counts_so_is_read_whole(size):
    """As with a join that brings a row for each of two labels."""
    server = Server(sorted([*range(1, 20)] * 2), ALL, counts="all")
    assert await everything(listing(server, size, orders=(PageOrder.OFFSET_SORTED,))) == set(range(1, 20))


@given(IDS, st.integers(3, 9))
def test_server_that_sorts_by_something_else_is_read_whole_where_it_counts(ids, size):
    server = Server(ids, {"skip", "take"}, counts="all")
    walk = listing(server, size, orders=(PageOrder.OFFSET_SORTED, PageOrder.OFFSET_UNSORTED))
    try:
        assert asyncio.run(everything(walk)) == set(ids)
    except errors.ShortListingError as error:
        assert "brought" not in str(error)  # noqa: PT017 - an order without sense may lose its place, not its count


@given(st.integers(0, 20), st.sampled_from(["all", "follows", "by offset"]))
def test_item_deleted_during_the_listing_does_not_count_as_left_out(when, counts):
    orders = (PageOrder.OFFSET_SORTED,) if counts == "by offset" else (PageOrder.KEYSET,)
    server = Server(list(range(1, 41)), ALL, cap=7, counts=counts.replace("by offset", "all"))

    async def ask(way: PageRequest) -> PageItems:
        if len(server.asked) == 2:
            server.ids = [number for number in server.ids if number not in {when, when + 20}]
        return await server.ask(way)

    walk = Listing(ask, lambda item: int(item["id"]), 5, orders=orders)
    assert set(range(1, 41)) - {when, when + 20} <= asyncio.run(everything(walk))


@pytest.mark.parametrize("order", [PageOrder.OFFSET_SORTED, PageOrder.OFFSET_UNSORTED])
@pytest.mark.parametrize("falling", [True, False])
@pytest.mark.parametrize("end", range(2, 19))
@pytest.mark.parametrize("cap", [2, 3, 4, 1000])
async def test_empty_page_where_there_are_items_is_an_error_and_no_endless_walk(order, falling, end, cap):
    server = Server(sorted(range(1, 21), reverse=falling), ALL, cap=cap)

    async def ask(way: PageRequest) -> PageItems:
        found = await server.ask(way)
        return PageItems([] if way.skip >= end else found.items)

    with pytest.raises(errors.ShortListingError, match="at a different one each time"):
        await everything(Listing(ask, lambda item: int(item["id"]), 5, orders=(order,)))


@pytest.mark.parametrize("deleted", [1, 2, 7, 15, 20])
async def test_page_that_is_empty_since_items_were_deleted_is_no_error(deleted):
    server = Server(list(range(1, 21)), ALL)

    async def ask(way: PageRequest) -> PageItems:
        if len(server.asked) == 3:
            server.ids = server.ids[deleted:]
        return await server.ask(way)

    walk = Listing(ask, lambda item: int(item["id"]), 5, orders=(PageOrder.OFFSET_SORTED,))
    assert await everything(walk) >= set(range(deleted + 1, 21))
