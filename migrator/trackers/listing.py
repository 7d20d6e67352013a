"""Walks a listing in the best way that the server supports: after an id, by sorted offset, or unsorted.

The most efficient query is tried first, and a page is trusted only if it matches what was requested, because some
servers refuse parameters they don't know and others silently ignore them. Where the walk continues is decided in
`cursors`. Its end is believed only once the server's own count, if it gives one, is reached.

Beware: a server that ignores the offset returns the same page for ever. A page that brings nothing new is therefore
compared with one from far behind the end: a server that has items there ignores the offset, and that is an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import Any, TypeVar

from migrator.errors import (
    ForbiddenError,
    GoneError,
    ItemFailedError,
    MigratorError,
    RejectedError,
    RetriableError,
    ShortListingError,
    UnexpectedBodyError,
)
from migrator.model import Cursor, Unread
from migrator.trackers.cursors import Keyset, Offset, mode_of

FAR_OFFSET = 10**9
"""More items than any listing has."""

Items = list[dict[str, Any]]
S = TypeVar("S", bound=Hashable)


class PageOrder(Enum):
    """The ways to page through a listing, best first."""

    KEYSET = "items behind the last id, in the order of ids"
    OFFSET_SORTED = "by offset, in the order of ids"
    OFFSET_UNSORTED = "by offset, in the order of the server: rising or falling by id"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One way to ask for a page: `take` items with ids above `after`, or where that is None behind `skip` items."""

    take: int
    after: int | None = None
    skip: int = 0
    sorts: bool = True


@dataclass(frozen=True, slots=True)
class PageItems:
    """The items of one answer; `more` is what the server says of whether others follow, None if it doesn't.

    `total` is the number of items that the server tells for this question: all of the listing where it was asked by
    offset, those behind the id where it was asked for what follows one. None if it tells none.
    `unread` are the items of the same answer that can't be read, see `required.split`: they count, but have no id.
    """

    items: Items
    more: bool | None = None
    total: int | None = None
    unread: tuple[Unread, ...] = ()


@dataclass(frozen=True, slots=True)
class ListingPage:
    """What one step of a walk brought: items, those that can't be read, and where it goes on; None at the end."""

    items: Items
    next: Cursor | None
    unread: tuple[Unread, ...] = ()


def is_plain_refusal(error: MigratorError) -> bool:
    """Whether the server doesn't understand the request: rejected, but neither gone nor forbidden."""
    return isinstance(error, RejectedError) and not isinstance(error, GoneError | ForbiddenError)


def is_refusal(error: MigratorError, *, first: bool) -> bool:
    """The same; a 500 at the start of a listing may mean that, too: some servers stumble over what they don't know."""
    return is_plain_refusal(error) or (first and isinstance(error, RetriableError) and error.status == 500)


@dataclass(frozen=True, slots=True)
class Listing:
    """A collection, page by page, `size` (two at least) items at once; the server may give fewer.

    `fetch` sends one request; `is_unsupported` tells which of its errors mean that this way is unknown to the server.
    """

    fetch: Callable[[PageRequest], Awaitable[PageItems]]
    id_of: Callable[[Mapping[str, Any]], int]
    size: int
    orders: Sequence[PageOrder] = tuple(PageOrder)
    is_unsupported: Callable[[MigratorError], bool] = is_plain_refusal

    async def page(self, cursor: Cursor | None) -> tuple[Items, Cursor | None]:
        """As `read`, for who makes sure that `fetch` gives no `unread`."""
        page = await self.read(cursor)
        return page.items, page.next

    async def read(self, cursor: Cursor | None) -> ListingPage:
        """A page and the cursor after it, in the first way that the server goes along with.

        `RejectedError` where it gives the same page again and again; the last refusal where it takes none of the ways.
        """
        refusal: MigratorError = UnexpectedBodyError("the listing is sorted otherwise than it was asked for")
        for request, state in self._requests(cursor):
            try:
                found = await self.fetch(request)
            except ItemFailedError as error:
                if not self.is_unsupported(error):
                    raise
                refusal = error
                continue
            ids = [self.id_of(item) for item in found.items]
            if is_as_requested(request, ids):
                next_cursor = await self._next_cursor(request, state, ids, found)
                if next_cursor is None:
                    await self._require_complete(request, state, found)
                return ListingPage(found.items, next_cursor, found.unread)
        raise refusal

    async def all(self) -> AsyncIterator[dict[str, Any]]:
        """Every item of all pages; repeats are possible."""
        async for item in walked(self.page, None):
            yield item

    def _requests(self, cursor: Cursor | None) -> Iterator[tuple[PageRequest, Keyset | Offset]]:
        """What was begun by offset goes on so; a keyset that is refused later begins again by offset."""
        by_offset = mode_of(cursor) is Offset
        offset = Offset.parse(cursor) if by_offset else Offset()
        keyset = Keyset() if by_offset else Keyset.parse(cursor)
        if PageOrder.KEYSET in self.orders and not by_offset:
            yield PageRequest(self.size, after=keyset.after or 0), keyset
        if PageOrder.OFFSET_SORTED in self.orders and offset.anchor >= 0:
            yield PageRequest(self.size, skip=offset.skip), offset
        if PageOrder.OFFSET_UNSORTED in self.orders:
            yield PageRequest(self.size, skip=offset.skip, sorts=False), offset

    async def _next_cursor(
        self, request: PageRequest, state: Keyset | Offset, ids: Sequence[int], found: PageItems
    ) -> Cursor | None:
        more, unread = found.more, len(found.unread)
        if isinstance(state, Keyset):
            return None if more is False else state.next_cursor(ids, unread, found.total)
        ids = ascending(ids, state)
        if not request.sorts:
            state = replace(state, seen=None)  # new items are recognised by their order
        if state.is_repeat(ids) and await self._returns_everything(request, len(ids), more):
            return None
        cursor = state.next_cursor(ids, self.size, unread, found.total)
        looking_back = cursor is not None and Offset.parse(cursor).backtracking
        return None if more is False and not looking_back else cursor

    async def _require_complete(self, request: PageRequest, state: Keyset | Offset, found: PageItems) -> None:
        """Nothing follows this page; `ShortListingError` where the server's own count says that something should."""
        count, total = len(found.items) + len(found.unread), found.total
        if found.more and not found.items:
            raise ShortListingError("the listing ended with an empty page, though the server tells of more")
        if total is None:
            return
        if isinstance(state, Offset):
            if total > request.skip + count:
                raise ShortListingError(f"the listing ended after {request.skip + count} of {total} items")
            if request.sorts:
                self._require_all_arrived(state, found, total)
        elif total > count and not await self._counts_everything(request, state, count, total):
            raise ShortListingError(f"the listing ended {total - count} items before the number that the server tells")
        else:
            await self._require_all_seen(request, state, count)

    def _require_all_arrived(self, state: Offset, found: PageItems, total: int) -> None:
        """`ShortListingError` where the pages left items out in their midst, though the server counts them all
        along.
        """
        seen = state.seen_with([self.id_of(item) for item in found.items], len(found.unread))
        if seen is not None and seen < min(total, total if state.total is None else state.total):
            raise ShortListingError(f"the listing brought {seen} of {total} items")

    async def _require_all_seen(self, request: PageRequest, state: Keyset, count: int) -> None:
        """`ShortListingError` where the server told of more items at the start, and does so now.

        Some page left one out.
        """
        if state.total is None or state.seen is None or state.total <= state.seen + count:
            return
        now = (await self.fetch(replace(request, after=0))).total
        if now is not None and now > state.seen + count:
            raise ShortListingError(f"the listing brought {state.seen + count} of {now} items")

    async def _counts_everything(self, request: PageRequest, state: Keyset, count: int, total: int) -> bool:
        """Whether this total is of the whole listing, as some servers count, not of what follows an id; and reached."""
        if not request.after or (state.seen is not None and total > state.seen + count):
            return False
        return (await self.fetch(replace(request, after=0))).total == total

    async def _returns_everything(self, request: PageRequest, count: int, more: bool | None) -> bool:
        """Whether a server that skips nothing takes nothing either, and so gives all there is each time.

        False: it does skip. `RejectedError` if it gives a part, and always the same.
        """
        try:
            beyond = await self.fetch(replace(request, skip=FAR_OFFSET, take=count - 1))
        except RejectedError:
            return False
        if not beyond.items:
            return False
        if len(beyond.items) < count or more:
            raise RejectedError(f"the server gives the same page of {count} items again, so the rest can't be listed")
        return True


async def walked(step: Callable[[S], Awaitable[tuple[Items, S | None]]], start: S) -> AsyncIterator[dict[str, Any]]:
    """The items of all steps until there is no next one; `RejectedError` if it leads where it was before."""
    state: S | None = start
    seen: set[S | None] = set()
    while state not in seen:
        seen.add(state)
        items, state = await step(state if state is not None else start)
        for item in items:
            yield item
        if state is None:
            return
    raise RejectedError("the listing leads in a circle: its next page was read already")


def is_as_requested(request: PageRequest, ids: Sequence[int]) -> bool:
    """Whether a page is as it was asked for: in order, and behind the last id. Some servers list an item twice."""
    behind = request.after is None or not ids or ids[0] > request.after
    return not request.sorts or (behind and all(one <= other for one, other in pairwise(ids)))


def ascending(ids: Sequence[int], state: Offset) -> list[int]:
    """The ids, negated where a listing that isn't sorted begins with the newest: rising either way."""
    rising = state.anchor > 0 or (state.anchor == 0 and list(ids[:1]) <= list(ids[-1:]))
    return list(ids) if rising else [-number for number in ids]
