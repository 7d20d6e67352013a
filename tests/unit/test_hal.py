"""Pages of HAL collections: whatever is deleted or added meanwhile, nothing that stays is missed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.errors import MigratorError, ShortListingError, UnexpectedBodyError
from migrator.trackers.squash.hal import PageStep, decode, encode, items_in, number_of, read_page


class Collection:
    """Ids on a server that caps the page size; `changes` happen after so many requests."""

    def __init__(self, ids: list[int], cap: int, changes: dict[int, set[int]]) -> None:
        self.ids, self.cap, self.changes, self.requests = ids, cap, changes, 0

    async def get(self, path: str, query: Any) -> dict[str, Any]:
        page, size = int(query["page"]), min(int(query["size"]), self.cap)
        ids = sorted(self.ids) if query.get("sort") == "id" else self.ids
        some = [{"id": number} for number in ids[page * size : (page + 1) * size]]
        told = {"number": page, "size": size, "totalElements": len(ids), "totalPages": -(-len(ids) // size)}
        self.requests += 1
        self.ids = [number for number in self.ids if number not in self.changes.get(self.requests, ())]
        return {"page": told} if not some else {"_embedded": {"things": some}, "page": told}


class Untold(Collection):
    """The same on a server that tells of a page only what stands in `tells`."""

    def __init__(self, ids: list[int], cap: int, changes: dict[int, set[int]], tells: list[str]) -> None:
        super().__init__(ids, cap, changes)
        self.tells = tells

    async def get(self, path: str, query: Any) -> dict[str, Any]:
        answer = await super().get(path, query)
        told = {name: answer["page"][name] for name in self.tells}
        if not told and "_embedded" not in answer:
            return {} if int(query["page"]) else {"_links": {"self": {"href": f"http://h/{path}?page=0"}}}
        return {**answer, "page": told} if told else {"_embedded": answer["_embedded"]}


async def walk(collection: Collection, size: int, *, sorts: bool) -> set[int]:
    step: PageStep | None = PageStep("things", size=size, sorts=sorts)
    seen: set[int] = set()
    while step is not None:
        items, following = await read_page(collection.get, step)
        seen |= {number_of(item) for item in items}
        step = None if following is None else decode(encode([following]))[0]
        assert collection.requests < 500, "it never ends"
    return seen


IDS = st.lists(st.integers(1, 60), unique=True, max_size=30)
CHANGES = st.dictionaries(st.integers(1, 12), st.sets(st.integers(1, 60), max_size=6), max_size=5)


@given(IDS, CHANGES, st.integers(2, 9), st.integers(2, 9), st.booleans())
def test_what_stays_is_found_whatever_is_deleted_meanwhile(ids, changes, size, cap, sorts):
    collection = Collection(ids, cap, changes)
    seen = asyncio.run(walk(collection, size, sorts=sorts))
    assert set(collection.ids) <= seen <= set(ids)


@pytest.mark.parametrize(
    "answer",
    [
        {"_embedded": {"things": [{"id": 1}]}, "page": {"number": 7, "totalPages": 9}},
        {"page": {"number": 0, "totalPages": 2}},
        {"_embedded": {"things": [{"name": "no id"}]}, "page": {"number": 0, "totalPages": 1}},
    ],
)
async def test_page_that_cannot_tell_its_place_is_refused(answer):
    async def get(path, query):
        return answer

    with pytest.raises(UnexpectedBodyError):
        await read_page(get, PageStep("things", size=2))


def test_all_keys_of_a_page_are_read():
    assert len(items_in({"_embedded": {"projects": [{"id": 1}], "project-templates": [{"id": 2}]}}, "projects")) == 2


def page_of(ids: range | list[int], **told: Any) -> dict[str, Any]:
    some = {"_embedded": {"things": [{"id": number} for number in ids]}} if ids else {}
    return {**some, "page": told, "_links": {}}


def server(total: int, size: int, tell: Any) -> Any:
    """A server of so many items that tells of each page what `tell` makes of (number, items on it)."""

    async def get(path, query):
        number, size_now = int(query["page"]), min(int(query["size"]), size)
        some = range(1, total + 1)[number * size_now : (number + 1) * size_now]
        return page_of(some, **tell(number, size_now, some))

    return get


async def everything(get: Any, size: int = 20) -> list[int]:
    step: PageStep | None = PageStep("things", size=size)
    found = []
    while step is not None:
        items, step = await read_page(get, step)
        found += [number_of(item) for item in items]
        assert len(found) < 500
    return found


TELLS = {
    "no number of pages": lambda number, size, _: {"number": number, "size": size, "totalElements": 90},
    "too few pages": lambda number, size, _: {"number": number, "size": size, "totalElements": 90, "totalPages": 1},
    "no number of items": lambda number, size, _: {"number": number, "size": size, "totalPages": -(-90 // size)},
    "too few items": lambda number, size, some: {"number": number, "totalElements": len(some), "totalPages": 5},
    "no page size": lambda number, size, _: {"number": number, "totalElements": 90},
    "too many pages": lambda number, size, _: {"size": size, "totalElements": 90, "totalPages": 8},
    "no items and no pages": lambda number, size, _: {"number": number, "totalElements": 0, "totalPages": 0},
    "less than came": lambda number, size, _: {"size": size, "totalElements": 7, "totalPages": 1},
}


@pytest.mark.parametrize("tell", TELLS.values(), ids=TELLS)
async def test_listing_goes_on_while_anything_that_is_told_says_so(tell):
    """By the number of pages, or by that of all items: the other may be missing or too low."""
    assert sorted(set(await everything(server(90, 20, tell)))) == list(range(1, 91))


@pytest.mark.parametrize("sorts", [True, False])
@pytest.mark.parametrize("asked", [20, 50])
@pytest.mark.parametrize("count", [0, 1, 20, 21, 90, 100])
@pytest.mark.parametrize("tells", [[], ["number"], ["size"]])
async def test_listing_of_which_nothing_is_told_is_read_until_nothing_comes(tells, count, asked, sorts):
    """Also where the server caps its pages without a word; what is deleted meanwhile hides nothing."""
    for gone in ({}, {3: {1, 2, 3}}):
        collection = Untold([*range(1, count + 1)], 20, gone, tells)
        seen = await walk(collection, asked, sorts=sorts)
        assert set(collection.ids) <= seen <= set(range(1, count + 1))


@pytest.mark.parametrize("count", [1, 3, 19, 101])
async def test_server_that_gives_everything_on_each_page_is_read_once(count):
    async def get(path, query):
        return {"_embedded": {"things": [{"id": number} for number in range(1, count + 1)]}}

    assert await everything(get) == list(range(1, count + 1))


@pytest.mark.parametrize("count", [10, 20, 25, 100])
async def test_same_round_number_of_items_again_and_again_is_not_taken_for_all(count):
    async def get(path, query):
        return {"_embedded": {"things": [{"id": number} for number in range(1, count + 1)]}}

    with pytest.raises(UnexpectedBodyError):
        await everything(get)


@pytest.mark.parametrize(
    "links", [{}, {"self": {"href": "http://h/api/rest/latest"}}, {"profile": {"href": "/things"}}]
)
def test_answer_with_links_alone_is_no_empty_page(links):
    with pytest.raises(UnexpectedBodyError):
        items_in({"_links": links}, "things")
    assert items_in({"_links": {"self": {"href": "http://h/api/rest/latest/things?page=0"}}}, "things") == []
    assert items_in({"page": {}}, "things") == []


async def test_page_that_stays_short_is_taken_and_named_on_request():
    async def get(path, query):
        number = int(query["page"])
        size = int(query["size"])
        some = [one for one in range(1, 91)[number * size : (number + 1) * size] if one not in {20, 33}]
        return page_of(some, number=number, size=size, totalElements=90)

    step, found, lacking = PageStep("things", size=20), [], []
    while step is not None:
        with pytest.raises(ShortListingError) if step.page < 2 else contextlib.nullcontext():
            await read_page(get, step, [])
        items, step = await read_page(get, step, lacking, short=True)
        found += [number_of(item) for item in items]
    assert sorted({*range(1, 91)} - {*found}) == [20, 33]
    assert lacking == [f"GET things: page {page} holds 19 items, of 90 in all" for page in (0, 1)]


@pytest.mark.parametrize(
    "answer",
    [
        page_of([], number=0, size=20, totalElements=6, totalPages=0),
        page_of([], number=0, size=20, totalElements=6, totalPages=1),
        page_of([], totalElements=6),
        page_of(range(1, 6), number=0, size=20, totalElements=6, totalPages=1),
        page_of(range(1, 20), number=0, size=20, totalElements=90, totalPages=5),
        page_of([1], totalElements=6),
        page_of([], number=0, totalPages=2),
    ],
)
async def test_page_with_less_than_it_tells_is_short(answer):
    async def get(path, query):
        return answer

    with pytest.raises(ShortListingError):
        await read_page(get, PageStep("things", size=20))


async def test_listing_that_ends_with_an_empty_page_before_its_total_is_short():
    async def get(path, query):
        some = range(1, 21) if query["page"] == "0" else []
        return page_of(some, number=int(query["page"]), size=20, totalElements=90, totalPages=5)

    with pytest.raises(ShortListingError):
        await everything(get)


async def test_server_that_takes_no_size_and_gives_all_at_once_is_read_once():
    async def get(path, query):
        return page_of(range(1, 51), number=0, size=20, totalElements=50, totalPages=1)

    assert await everything(get) == list(range(1, 51))


@given(IDS.filter(bool), st.integers(2, 9), st.data())
def test_page_that_lacks_any_item_is_noticed(ids, size, data):
    """Whichever item a server leaves out of whichever page: the listing fails, it never just lacks it."""
    lost = data.draw(st.sampled_from(ids))
    whole = Collection(ids, 100, {})

    async def get(path, query):
        answer = await whole.get(path, query)
        groups = {"things": [item for item in items_in(answer, path) if item["id"] != lost]}
        return {**answer, "_embedded": groups}

    async def walk_all():
        with pytest.raises(MigratorError):
            await everything(get, size)

    asyncio.run(walk_all())
