"""HAL collections with numbered pages, as Spring makes them: what a page says, and what is to be read after it.

What is still to be read is a list of `PageStep`s, each one page of one collection, and goes into a cursor.

Beware: if an item is deleted during the walk, everything after it moves up and one item slips past. A page after the
first is therefore believed only if it joins the one before: the item right before it must have been seen; if not, the
listing goes back. An empty page has no `_embedded`. Links contain the server's own idea of its host and are not
followed. The totals on a page (`totalElements`, `totalPages`) are compared with what arrived, page by page.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from migrator.errors import ArchiveDamagedError, RejectedError, ShortListingError, UnexpectedBodyError
from migrator.model import Cursor
from migrator.trackers.lenient import as_object, integer, non_negative, text
from migrator.trackers.listing import FAR_OFFSET
from migrator.trackers.strict import objects_in

Get = Callable[[str, Mapping[str, str]], Awaitable[dict[str, Any]]]
"""Asks for a path with a query; gives the object that came."""


@dataclass(frozen=True, slots=True)
class PageStep:
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


@dataclass(frozen=True, slots=True)
class _PageInfo:
    """What a page tells of itself and of the whole, as far as it doesn't contradict what came on it."""

    size: int | None
    total: int | None
    pages: int | None

    @classmethod
    def of(cls, told: Mapping[str, Any], page: int, count: int, size: int) -> _PageInfo:
        """A total below the number of items that came is none, nor is then a number of pages that ends here."""
        own_size, total, pages = (non_negative(told.get(key)) for key in ("size", "totalElements", "totalPages"))
        if count and total is not None and total < page * (own_size or size) + count:
            total, pages = None, pages if pages is not None and page + 1 < pages else None
        return cls(own_size or None, total, pages)

    def left(self, step: PageStep, count: int) -> int:
        """The number of items from this page on; without a total, those that came."""
        return count if self.total is None else self.total - step.page * (self.size or step.size)


async def read_page(
    get: Get, step: PageStep, unread: list[str] | None = None, *, short: bool = False
) -> tuple[list[dict[str, Any]], PageStep | None]:
    """The items of a page, and what to read after it: the next one, or an earlier one if something is missing.

    The listing goes on while the number of pages or that of all items says so: either may be missing, or too low; where
    neither is told it goes on until nothing comes. `ShortListingError` where a page holds less than it tells; with
    `short` one that holds some is taken, and what it lacks named in `unread`. `UnexpectedBodyError` where it can't
    tell its place, or holds an item without an id; with `unread`, such an item is named there, if there are others
    beside it.
    """
    answer = await get(step.path, step.query(step.page, step.size))
    if step.page and has_only_links(answer):
        answer = {"page": {}}
    place = as_object(answer.get("page"))
    items, odd = with_ids(answer, step.path) if unread is not None else (items_in(answer, step.path), [])
    ids, count = [number_of(item) for item in items], len(items) + len(odd)
    if integer(place.get("number")) not in {None, step.page}:
        raise UnexpectedBodyError(f"GET {step.path}: page {step.page} was asked for, another came")
    if step.page and await _is_repeat(get, step, ids):
        await _require_everything(get, step, count, place)
        return [], None
    told = _PageInfo.of(place, step.page, count, step.size)
    size, left = told.size or step.size, told.left(step, count)
    if unread is not None:
        unread += [f"GET {step.path}: item {at} of page {step.page} has no id" for at in odd]
    if count < min(size, left):
        return items, _after_short(replace(step, size=size), told, count, unread if short else None)
    if step.page and size != step.size:
        return items, PageStep(step.path, 0, size, sorts=step.sorts)
    if step.page and not await _joins(get, step, ids, told.total):
        return items, replace(step, page=step.page - 1 if step.sorts else 0)
    return items, _step_after(replace(step, size=size), told, ids, count)


def _after_short(step: PageStep, told: _PageInfo, count: int, unread: list[str] | None) -> PageStep | None:
    """What follows a page that holds less than it tells: what lacks there is not looked for on the next one."""
    reason = f"GET {step.path}: page {step.page} holds {count} items, of {told.total} in all"
    if unread is None or not count:
        raise ShortListingError(reason)
    unread.append(reason)
    goes_on = step.sorts and (step.page + 1) * step.size < (told.total or 0)
    return replace(step, page=step.page + 1, anchor=FAR_OFFSET) if goes_on else None


def _step_after(step: PageStep, told: _PageInfo, ids: Sequence[int], count: int) -> PageStep | None:
    """The page after a full one. If the server states no size, it is what came on the first."""
    if told.total is not None or told.pages is not None:
        more = step.page + 1 < (told.pages or 0) or count < told.left(step, count)
        return _next_step(step, ids, told.total) if more else None
    if not count or (told.size is not None and count < told.size):
        return None
    is_first = told.size is None and not step.page
    return _next_step(replace(step, size=min(step.size, max(2, count))) if is_first else step, ids, None)


async def _require_everything(get: Get, step: PageStep, count: int, place: Mapping[str, Any]) -> None:
    """`UnexpectedBodyError` where a server that gives the same page again may have more than that.

    One that tells nothing of pages may have none: asked for fewer items far behind, it gives all that there are. A
    round number may be where it always cuts.
    """
    may_be_all = not place and count % 10 and count % 25
    if may_be_all and len(await _listed_on(get, step, FAR_OFFSET // step.size, max(1, count - 1))) == count:
        return
    raise UnexpectedBodyError(f"GET {step.path}: the server gives the same page again, so the rest can't be listed")


async def _is_repeat(get: Get, step: PageStep, ids: Sequence[int]) -> bool:
    """Whether this is the page before once more, on a server that has items on any page, however far."""
    if not ids or (max(ids) > step.anchor if step.sorts else ids[-1] != step.anchor):
        return False
    try:
        return bool(await _listed_on(get, step, FAR_OFFSET // step.size, step.size))
    except RejectedError:
        return False


async def _joins(get: Get, step: PageStep, ids: Sequence[int], total: int | None) -> bool:
    """Whether nothing is missing between the anchor and this page, which may be beyond the end."""
    if total == 0 or (step.sorts and ids and min(ids) <= step.anchor):
        return True
    if not ids and total is None:
        return await _ended_before(get, step)
    here = step.page * step.size
    before = await _listed_on(get, step, (here if total is None else min(here, total)) - 1, 1)
    numbers = [_number(item) for item in before]
    return bool(numbers) and (
        numbers[0] is None or (numbers[0] <= step.anchor if step.sorts else numbers[0] == step.anchor)
    )


async def _listed_on(get: Get, step: PageStep, page: int, size: int) -> list[Any]:
    """What is on another page of a listing that has answered already."""
    answer = await get(step.path, step.query(page, size))
    return [] if has_only_links(answer) else _listed(answer, step.path)


def has_only_links(answer: Mapping[str, Any]) -> bool:
    """Whether an answer holds nothing but links: an end without a word, where the same route has answered before."""
    return not {*answer} - {"_links"}


async def _ended_before(get: Get, step: PageStep) -> bool:
    """Whether the page before this empty one still ends with the anchor, where nobody tells how many there are."""
    before = await _listed_on(get, step, step.page - 1, step.size)
    numbers = [number for item in before if (number := _number(item)) is not None]
    if not numbers:
        return step.page == 1
    return max(numbers) <= step.anchor if step.sorts else numbers[-1] == step.anchor


def _next_step(step: PageStep, ids: Sequence[int], total: int | None) -> PageStep | None:
    """The next page. None behind an empty one, if all that is there was seen.

    `ShortListingError` where nobody says so.
    """
    if not ids and total is None:
        raise ShortListingError(f"GET {step.path}: page {step.page} is empty, and not the last")
    return replace(step, page=step.page + 1, anchor=max(ids) if step.sorts else ids[-1]) if ids else None


def items_in(answer: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """All items of a page of what was asked by `path`, whatever keys they are under.

    An empty page has no `_embedded`, but still is one: it tells its place, or names itself. Other answers have links,
    too, the one of the API's own address among them.
    """
    return objects_in(_listed(answer, path))


def with_ids(answer: Mapping[str, Any], path: str) -> tuple[list[dict[str, Any]], list[int]]:
    """The items of a page that have an id, and at which positions, from 0, are others.

    `UnexpectedBodyError` if all are such.
    """
    items = _listed(answer, path)
    good = [item for item in items if _number(item) is not None]
    if items and not good:
        raise UnexpectedBodyError("no item of the answer has an id")
    return good, [at for at, item in enumerate(items) if _number(item) is None]


def _listed(answer: Mapping[str, Any], path: str) -> list[Any]:
    if "_embedded" not in answer:
        itself = text(as_object(as_object(answer.get("_links")).get("self")).get("href")).partition("?")[0]
        if isinstance(answer.get("page"), dict) or itself.partition("{")[0].endswith(f"/{path}"):
            return []
        raise UnexpectedBodyError("the answer is no page of a collection")
    groups = answer["_embedded"]
    if not isinstance(groups, dict) or not all(isinstance(group, list) for group in groups.values()):
        raise UnexpectedBodyError("the answer embeds no lists")
    return [item for group in groups.values() for item in group]


def number_of(item: Mapping[str, Any]) -> int:
    """The id of an item, also of one that may not be read."""
    number = _number(item)
    if number is None:
        raise UnexpectedBodyError("an item of the answer has no id")
    return number


def _number(item: object) -> int | None:
    found = as_object(item)
    number = integer(found.get("id", found.get("resource_id")))
    if number is None:
        address = text(as_object(as_object(found.get("_links")).get("self")).get("href"))
        number = integer(address.partition("?")[0].rpartition("/")[2])
    return number if number is not None and number >= 0 else None


def encode(steps: Iterable[PageStep]) -> Cursor:
    """What is still to be read, as text."""
    return json.dumps([[step.path, step.page, step.size, step.anchor, int(step.sorts)] for step in steps])


def decode(cursor: Cursor) -> list[PageStep]:
    """What is still to be read, from the text; `ArchiveDamagedError` if it is none of ours."""
    try:
        steps = [
            PageStep(path, int(p), int(size), int(anchor), bool(s)) for path, p, size, anchor, s in json.loads(cursor)
        ]
    except (ValueError, TypeError):
        steps = []
    if not steps or not all(isinstance(step.path, str) for step in steps):
        raise ArchiveDamagedError(f"a checkpoint of another version: {cursor[:40]!r}; delete the row in `checkpoints`")
    return steps
