"""HAL collections that are paged by number, as Spring makes them: what a page tells, and what is to be read after it.

The one idea: what is still to be read is a list of `Step`s, each one page of one collection, and goes into a cursor.
The one trap: when an item is deleted meanwhile, everything after it moves up and one item slips past. So a page after
the first is believed only if it joins the one before: what stands right before it must have been seen; if not, the
listing goes back. An empty page has no `_embedded`; links name the server's own idea of its host and are not followed.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from migrator.errors import ArchiveDamaged, Rejected, WrongBody
from migrator.fields import record, text, whole
from migrator.listing import BEYOND
from migrator.model import Cursor
from migrator.required import objects_in

Get = Callable[[str, Mapping[str, str]], Awaitable[dict[str, Any]]]
"""Asks for a path with a query; gives the object that came."""


@dataclass(frozen=True, slots=True)
class Step:
    """A page to be read: of which collection, its number and size, and the id of the last item before it.

    `sorts` False: the collection has an order of its own and refuses to be sorted by id.
    """

    path: str
    page: int = 0
    size: int = 100
    anchor: int = 0
    sorts: bool = True

    def query(self, page: int, size: int) -> dict[str, str]:
        """What asks for a page. Without an order items come twice and others never."""
        return {"page": str(page), "size": str(size), **({"sort": "id"} if self.sorts else {})}


async def read_page(get: Get, step: Step) -> tuple[list[dict[str, Any]], Step | None]:
    """The items of a page, and what to read after it: the next one, or an earlier one if something is missing."""
    answer = await get(step.path, step.query(step.page, step.size))
    items, told = items_in(answer), record(answer.get("page"))
    ids = [number_of(item) for item in items]
    if whole(told.get("number")) not in {None, step.page}:
        raise WrongBody(f"GET {step.path}: page {step.page} was asked for, another came")
    if step.page and await _comes_again(get, step, ids):
        raise WrongBody(f"GET {step.path}: the server gives the same page again, so the rest can't be listed")
    size = whole(told.get("size")) or step.size
    if step.page and size != step.size:
        return items, Step(step.path, 0, size, sorts=step.sorts)
    if step.page and not await _joins(get, step, ids):
        return items, replace(step, page=step.page - 1 if step.sorts else 0)
    return items, _following(replace(step, size=size), ids, told, asked=step.size)


async def _comes_again(get: Get, step: Step, ids: Sequence[int]) -> bool:
    """Whether this is the page before once more, on a server that has items on any page, however far."""
    if not ids or (max(ids) > step.anchor if step.sorts else ids[-1] != step.anchor):
        return False
    try:
        return bool(items_in(await get(step.path, step.query(BEYOND // step.size, step.size))))
    except Rejected:
        return False


async def _joins(get: Get, step: Step, ids: Sequence[int]) -> bool:
    """Whether nothing is missing between the anchor and this page."""
    if step.sorts and ids and min(ids) <= step.anchor:
        return True
    before = items_in(await get(step.path, step.query(step.page * step.size - 1, 1)))
    numbers = [number_of(item) for item in before]
    return bool(numbers) and (numbers[0] <= step.anchor if step.sorts else numbers[0] == step.anchor)


def _following(step: Step, ids: Sequence[int], told: Mapping[str, Any], *, asked: int) -> Step | None:
    """The next page; `WrongBody` where the answer can't tell its end."""
    pages = whole(told.get("totalPages"))
    if pages is None and len(ids) >= asked:
        raise WrongBody(f"GET {step.path}: nothing tells whether page {step.page} is the last")
    if pages is None or step.page + 1 >= pages:
        return None
    if not ids:
        raise WrongBody(f"GET {step.path}: an empty page before the last")
    return replace(step, page=step.page + 1, anchor=max(ids) if step.sorts else ids[-1])


def items_in(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All items of a page, whatever keys they are under. An empty page has no `_embedded`, but still is one."""
    if "_embedded" not in answer:
        if "page" in answer or "_links" in answer:
            return []
        raise WrongBody("the answer is no page of a collection")
    groups = answer["_embedded"]
    if not isinstance(groups, dict):
        raise WrongBody("the answer embeds no lists")
    return [item for group in groups.values() for item in objects_in(group)]


def number_of(item: Mapping[str, Any]) -> int:
    """The id of an item, also of one that may not be read."""
    number = whole(item.get("id", item.get("resource_id")))
    if number is None:
        address = text(record(record(item.get("_links")).get("self")).get("href"))
        number = whole(address.partition("?")[0].rpartition("/")[2])
    if number is None or number < 0:
        raise WrongBody("an item of the answer has no id")
    return number


def cursor_of(steps: Iterable[Step]) -> Cursor:
    """What is still to be read, as text."""
    return json.dumps([[step.path, step.page, step.size, step.anchor, int(step.sorts)] for step in steps])


def steps_in(cursor: Cursor) -> list[Step]:
    """What is still to be read, from the text; `ArchiveDamaged` if it is none of ours."""
    try:
        steps = [Step(path, int(p), int(size), int(anchor), bool(s)) for path, p, size, anchor, s in json.loads(cursor)]
    except (ValueError, TypeError):
        steps = []
    if not steps or not all(isinstance(step.path, str) for step in steps):
        raise ArchiveDamaged(f"a checkpoint of another version: {cursor[:40]!r}; delete the row in `checkpoints`")
    return steps
