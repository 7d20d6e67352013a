"""Pages of HAL collections: whatever is deleted or added meanwhile, nothing that stays is missed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.errors import WrongBody
from migrator.hal import Step, cursor_of, items_in, number_of, read_page, steps_in


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


async def walk(collection: Collection, size: int, *, sorts: bool) -> set[int]:
    step: Step | None = Step("things", size=size, sorts=sorts)
    seen: set[int] = set()
    while step is not None:
        items, following = await read_page(collection.get, step)
        seen |= {number_of(item) for item in items}
        step = None if following is None else steps_in(cursor_of([following]))[0]
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
        {"_embedded": {"things": [{"id": 1}, {"id": 2}]}},
        {"_embedded": {"things": [{"id": 1}]}, "page": {"number": 7, "totalPages": 9}},
        {"page": {"number": 0, "totalPages": 2}},
        {"_embedded": {"things": [{"name": "no id"}]}, "page": {"number": 0, "totalPages": 1}},
    ],
)
async def test_page_that_cannot_tell_its_place_is_refused(answer):
    async def get(path, query):
        return answer

    with pytest.raises(WrongBody):
        await read_page(get, Step("things", size=2))


def test_all_keys_of_a_page_are_read():
    assert len(items_in({"_embedded": {"projects": [{"id": 1}], "project-templates": [{"id": 2}]}})) == 2
