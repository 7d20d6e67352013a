"""HAL collections with numbered pages, as Spring makes them: the items of a page, and the page to read after it.

The pages that are still to be read are a list of `PageStep`s, which goes into a cursor.

Beware: if an item is deleted during the walk, everything after it moves up and one item slips past. A page after the
first is therefore believed only if it joins the one before: the item right before it must have been seen; if not, the
walk goes back. An empty page has no `_embedded`. Links contain the server's own idea of its host and are not followed.
The totals on each page (`totalElements`, `totalPages`) are compared with the items that arrived.
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
"""Requests a path with a query; returns the object in the answer."""


@dataclass(frozen=True, slots=True)
class PageStep:
    """A page to read: the path of its collection, its number and size, and `anchor`, the id of the last item before it.

    `sorts` is False if the collection has an order of its own and refuses to be sorted by id.
    """

    path: str
    page: int = 0
    size: int = 100
    anchor: int = 0
    sorts: bool = True

    def query(self, page: int, size: int) -> dict[str, str]:
        """The query for a page. Without an order, some items come twice and others never."""
        return {"page": str(page), "size": str(size), **({"sort": "id"} if self.sorts else {})}


@dataclass(frozen=True, slots=True)
class _PageInfo:
    """What a page states about its size and the whole collection, as far as its items don't contradict it."""

    size: int | None
    total: int | None
    pages: int | None

    @classmethod
    def of(cls, stated: Mapping[str, Any], page: int, count: int, size: int) -> _PageInfo:
        """A total below the number of items so far is dropped, and with it a number of pages that ends here."""
        own_size, total, pages = (non_negative(stated.get(key)) for key in ("size", "totalElements", "totalPages"))
        if count and total is not None and total < page * (own_size or size) + count:
            total, pages = None, pages if pages is not None and page + 1 < pages else None
        return cls(own_size or None, total, pages)

    def left(self, step: PageStep, count: int) -> int:
        """The number of items from this page on; without a total, those on the page."""
        return count if self.total is None else self.total - step.page * (self.size or step.size)


async def read_page(
    get: Get, step: PageStep, unread: list[str] | None = None, *, short: bool = False
) -> tuple[list[dict[str, Any]], PageStep | None]:
    """The items of a page, and the page to read after it: the next one, or an earlier one if an item is missing.

    The walk goes on while the number of pages or of all items says so (either may be missing, or too low), or if
    neither is stated, until a page is empty. `ShortListingError` if a page has fewer items than it states; with
    `short`, a page with some items is accepted, and the lack is reported in `unread`. `UnexpectedBodyError` if another
    page came, or an item has no id; with `unread`, such an item is reported there if other items have one.
    """
    answer = await get(step.path, step.query(step.page, step.size))
    if step.page and has_only_links(answer):
        answer = {"page": {}}
    stated = as_object(answer.get("page"))
    items, without_id = with_ids(answer, step.path) if unread is not None else (items_in(answer, step.path), [])
    ids, count = [number_of(item) for item in items], len(items) + len(without_id)
    if integer(stated.get("number")) not in {None, step.page}:
        raise UnexpectedBodyError(f"GET {step.path}: page {step.page} was requested, but another one came")
    if step.page and await _is_repeat(get, step, ids):
        await _require_everything(get, step, count, stated)
        return [], None
    info = _PageInfo.of(stated, step.page, count, step.size)
    size, left = info.size or step.size, info.left(step, count)
    if unread is not None:
        unread += [f"GET {step.path}: item {position} of page {step.page} has no id" for position in without_id]
    if count < min(size, left):
        return items, _after_short(replace(step, size=size), info, count, unread if short else None)
    if step.page and size != step.size:
        return items, PageStep(step.path, 0, size, sorts=step.sorts)
    if step.page and not await _joins(get, step, ids, info.total):
        return items, replace(step, page=step.page - 1 if step.sorts else 0)
    return items, _step_after(replace(step, size=size), info, ids, count)


def _after_short(step: PageStep, info: _PageInfo, count: int, unread: list[str] | None) -> PageStep | None:
    """The page after one that lacks items. It need not join that page, so the missing items are not looked for."""
    reason = f"GET {step.path}: page {step.page} holds {count} items, of {info.total} in all"
    if unread is None or not count:
        raise ShortListingError(reason)
    unread.append(reason)
    goes_on = step.sorts and (step.page + 1) * step.size < (info.total or 0)
    return replace(step, page=step.page + 1, anchor=FAR_OFFSET) if goes_on else None


def _step_after(step: PageStep, info: _PageInfo, ids: Sequence[int], count: int) -> PageStep | None:
    """The page after a full one. If the server states no page size, it is the number of items on the first page."""
    if info.total is not None or info.pages is not None:
        more = step.page + 1 < (info.pages or 0) or count < info.left(step, count)
        return _next_step(step, ids, info.total) if more else None
    if not count or (info.size is not None and count < info.size):
        return None
    is_first = info.size is None and not step.page
    return _next_step(replace(step, size=min(step.size, max(2, count))) if is_first else step, ids, None)


async def _require_everything(get: Get, step: PageStep, count: int, stated: Mapping[str, Any]) -> None:
    """`UnexpectedBodyError` if a server that returns the same page again may have more items than that.

    It has no more if it doesn't support pages at all: it states nothing about them, and returns everything even if
    fewer items far beyond the end are requested. A round number of items may be the limit at which it cuts.
    """
    may_be_all = not stated and count % 10 and count % 25
    if may_be_all and len(await _listed_on(get, step, FAR_OFFSET // step.size, max(1, count - 1))) == count:
        return
    raise UnexpectedBodyError(f"GET {step.path}: the server gives the same page again, so the rest can't be listed")


async def _is_repeat(get: Get, step: PageStep, ids: Sequence[int]) -> bool:
    """Whether this is the page before once more, from a server that returns items for any page number."""
    if not ids or (max(ids) > step.anchor if step.sorts else ids[-1] != step.anchor):
        return False
    try:
        return bool(await _listed_on(get, step, FAR_OFFSET // step.size, step.size))
    except RejectedError:
        return False


async def _joins(get: Get, step: PageStep, ids: Sequence[int], total: int | None) -> bool:
    """Whether no item is missing between the anchor and this page, which may be beyond the end."""
    if total == 0 or (step.sorts and ids and min(ids) <= step.anchor):
        return True
    if not ids and total is None:
        return await _ended_before(get, step)
    start = step.page * step.size
    before = await _listed_on(get, step, (start if total is None else min(start, total)) - 1, 1)
    numbers = [_number(item) for item in before]
    return bool(numbers) and (
        numbers[0] is None or (numbers[0] <= step.anchor if step.sorts else numbers[0] == step.anchor)
    )


async def _listed_on(get: Get, step: PageStep, page: int, size: int) -> list[Any]:
    """The items of another page of a listing that has answered before."""
    answer = await get(step.path, step.query(page, size))
    return [] if has_only_links(answer) else _listed(answer, step.path)


def has_only_links(answer: Mapping[str, Any]) -> bool:
    """Whether an answer has only links: the end of a listing, if the same route has answered before."""
    return not {*answer} - {"_links"}


async def _ended_before(get: Get, step: PageStep) -> bool:
    """Whether the page before this empty one still ends with the anchor, if no total is stated."""
    before = await _listed_on(get, step, step.page - 1, step.size)
    numbers = [number for item in before if (number := _number(item)) is not None]
    if not numbers:
        return step.page == 1
    return max(numbers) <= step.anchor if step.sorts else numbers[-1] == step.anchor


def _next_step(step: PageStep, ids: Sequence[int], total: int | None) -> PageStep | None:
    """The next page; None after an empty page if a total is stated, `ShortListingError` if it isn't."""
    if not ids and total is None:
        raise ShortListingError(f"GET {step.path}: page {step.page} is empty, and not the last")
    return replace(step, page=step.page + 1, anchor=max(ids) if step.sorts else ids[-1]) if ids else None


def items_in(answer: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """All items of a page of the collection `path`, whatever keys they are under.

    An empty page has no `_embedded`, but states its number or has a link to itself. An answer without either is not a
    page: other answers have links, too, such as that of the API's root.
    """
    return objects_in(_listed(answer, path))


def with_ids(answer: Mapping[str, Any], path: str) -> tuple[list[dict[str, Any]], list[int]]:
    """The items of a page that have an id, and the positions (from 0) of those that have none.

    `UnexpectedBodyError` if none has one.
    """
    items = _listed(answer, path)
    readable = [item for item in items if _number(item) is not None]
    if items and not readable:
        raise UnexpectedBodyError("no item of the answer has an id")
    return readable, [position for position, item in enumerate(items) if _number(item) is None]


def _listed(answer: Mapping[str, Any], path: str) -> list[Any]:
    if "_embedded" not in answer:
        itself = text(as_object(as_object(answer.get("_links")).get("self")).get("href")).partition("?")[0]
        if isinstance(answer.get("page"), dict) or itself.partition("{")[0].endswith(f"/{path}"):
            return []
        raise UnexpectedBodyError("the answer is not a page of a collection")
    groups = answer["_embedded"]
    if not isinstance(groups, dict) or not all(isinstance(group, list) for group in groups.values()):
        raise UnexpectedBodyError("the answer embeds no lists")
    return [item for group in groups.values() for item in group]


def number_of(item: Mapping[str, Any]) -> int:
    """The id of an item, including one that this account may not read."""
    number = _number(item)
    if number is None:
        raise UnexpectedBodyError("an item of the answer has no id")
    return number


def _number(item: object) -> int | None:
    fields = as_object(item)
    number = integer(fields.get("id", fields.get("resource_id")))
    if number is None:
        address = text(as_object(as_object(fields.get("_links")).get("self")).get("href"))
        number = integer(address.partition("?")[0].rpartition("/")[2])
    return number if number is not None and number >= 0 else None


def encode(steps: Iterable[PageStep]) -> Cursor:
    """The cursor for these steps."""
    return json.dumps([[step.path, step.page, step.size, step.anchor, int(step.sorts)] for step in steps])


def decode(cursor: Cursor) -> list[PageStep]:
    """The steps in a cursor; `ArchiveDamagedError` if it is none of ours."""
    try:
        steps = [
            PageStep(path, int(p), int(size), int(anchor), bool(s)) for path, p, size, anchor, s in json.loads(cursor)
        ]
    except (ValueError, TypeError):
        steps = []
    if not steps or not all(isinstance(step.path, str) for step in steps):
        raise ArchiveDamagedError(f"checkpoint of another version: {cursor[:40]!r}; delete the row in `checkpoints`")
    return steps
