"""Walks a listing in the best order that the server supports: by keyset, by sorted offset, or by unsorted offset.

The most efficient query is tried first, and a page is trusted only if it matches what was requested, because some
servers refuse parameters that they don't know and others silently ignore them. `cursors` decides where the walk
continues. Its end is believed only once the server's own count, if it gives one, is reached.

Beware: a server that ignores the offset returns the same page for ever. After a page without new items a page far
beyond the end is therefore requested: a server that returns items for it ignores the offset, which is an error.
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
"""An offset beyond the end of any listing."""

Items = list[dict[str, Any]]
S = TypeVar("S", bound=Hashable)


class PageOrder(Enum):
    """The ways to page through a listing, best first."""

    KEYSET = "items after the last id, in the order of ids"
    OFFSET_SORTED = "by offset, in the order of ids"
    OFFSET_UNSORTED = "by offset, in the order of the server: rising or falling by id"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for `take` items with ids above `after`, or if that is None, for those after the first `skip` items.

    `sorts`: the server is asked to sort by id.
    """

    take: int
    after: int | None = None
    skip: int = 0
    sorts: bool = True

    @property
    def position(self) -> str:
        """Where in the listing the page starts, for messages."""
        return f"behind {self.skip} items" if self.after is None else f"after id {self.after}"


@dataclass(frozen=True, slots=True)
class PageItems:
    """The items of one answer.

    `more` says whether others follow, None if the server doesn't say. `total` is the number of items that the server
    states for this query: by offset the whole listing, by keyset those after the id; None if it states none. `unread`
    are the items of the same answer that can't be read (see `strict.split`): they count, but have no id.
    """

    items: Items
    more: bool | None = None
    total: int | None = None
    unread: tuple[Unread, ...] = ()


@dataclass(frozen=True, slots=True)
class ListingPage:
    """A page of a walk: its items, those that can't be read, and the cursor after it; None at the end."""

    items: Items
    next: Cursor | None
    unread: tuple[Unread, ...] = ()


def is_plain_refusal(error: MigratorError) -> bool:
    """Whether the server doesn't understand the request: rejected, but neither gone nor forbidden."""
    return isinstance(error, RejectedError) and not isinstance(error, GoneError | ForbiddenError)


def is_refusal(error: MigratorError, *, first: bool) -> bool:
    """A plain refusal, or at the start of a listing a 500, with which some servers answer an unknown query."""
    return is_plain_refusal(error) or (first and isinstance(error, RetriableError) and error.status == 500)


@dataclass(frozen=True, slots=True)
class Listing:
    """A collection, in pages of `size` items (at least two); the server may return fewer.

    `fetch` sends one request; `is_unsupported` says which of its errors mean that the server doesn't know this order.
    """

    fetch: Callable[[PageRequest], Awaitable[PageItems]]
    id_of: Callable[[Mapping[str, Any]], int]
    size: int
    orders: Sequence[PageOrder] = tuple(PageOrder)
    is_unsupported: Callable[[MigratorError], bool] = is_plain_refusal

    async def page(self, cursor: Cursor | None) -> tuple[Items, Cursor | None]:
        """Like `read`, for a `fetch` that never returns `unread` items."""
        page = await self.read(cursor)
        return page.items, page.next

    async def read(self, cursor: Cursor | None) -> ListingPage:
        """A page and the cursor after it, in the first order that the server supports.

        `RejectedError` if the server returns the same page again and again; its last refusal if it supports no order.
        """
        refusal: MigratorError = UnexpectedBodyError("the listing is not sorted as requested")
        for request, state in self._requests(cursor):
            try:
                answer = await self.fetch(request)
            except ItemFailedError as error:
                if not self.is_unsupported(error):
                    raise
                refusal = error
                continue
            ids = [self.id_of(item) for item in answer.items]
            if is_as_requested(request, ids):
                next_cursor = await self._next_cursor(request, state, ids, answer)
                if next_cursor is None:
                    await self._require_complete(request, state, answer)
                return ListingPage(answer.items, next_cursor, answer.unread)
        raise refusal

    async def all(self) -> AsyncIterator[dict[str, Any]]:
        """Every item of all pages; repeats are possible."""
        async for item in walked(self.page, None):
            yield item

    def _requests(self, cursor: Cursor | None) -> Iterator[tuple[PageRequest, Keyset | Offset]]:
        """The requests to try. A walk by offset stays one; a walk by keyset that is refused starts over by offset."""
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
        self, request: PageRequest, state: Keyset | Offset, ids: Sequence[int], answer: PageItems
    ) -> Cursor | None:
        more, unread = answer.more, len(answer.unread)
        if isinstance(state, Keyset):
            return None if more is False else state.next_cursor(ids, unread, answer.total)
        ids = ascending(ids, state)
        if not request.sorts:
            state = replace(state, seen=None)  # new items can be counted only if they are in order
        if state.is_repeat(ids) and await self._returns_everything(request, len(ids), more):
            return None
        cursor = state.next_cursor(ids, self.size, unread, answer.total)
        is_backtracking = cursor is not None and Offset.parse(cursor).backtracking
        return None if more is False and not is_backtracking else cursor

    async def _require_complete(self, request: PageRequest, state: Keyset | Offset, answer: PageItems) -> None:
        """`ShortListingError` if this is the last page, but the server's own count says that more should follow."""
        count, total = len(answer.items) + len(answer.unread), answer.total
        if answer.more and not answer.items:
            raise ShortListingError(
                "the listing ended with an empty page, although the server says that there are more items"
            )
        if total is None:
            return
        if isinstance(state, Offset):
            if total > request.skip + count:
                raise ShortListingError(f"the listing ended after {request.skip + count} of {total} items")
            if request.sorts:
                self._require_all_arrived(state, answer, total)
        elif total > count and not await self._counts_everything(request, state, count, total):
            raise ShortListingError(f"the listing ended {total - count} items before the total that the server states")
        else:
            await self._require_all_seen(request, state, count)

    def _require_all_arrived(self, state: Offset, answer: PageItems, total: int) -> None:
        """`ShortListingError` if items are missing in the middle that the server counted from the start."""
        seen = state.seen_with([self.id_of(item) for item in answer.items], len(answer.unread))
        if seen is not None and seen < min(total, total if state.total is None else state.total):
            raise ShortListingError(f"the listing returned {seen} of {total} items")

    async def _require_all_seen(self, request: PageRequest, state: Keyset, count: int) -> None:
        """`ShortListingError` if the server stated more items at the start, and still does: some page left one out."""
        if state.total is None or state.seen is None or state.total <= state.seen + count:
            return
        now = (await self.fetch(replace(request, after=0))).total
        if now is not None and now > state.seen + count:
            raise ShortListingError(f"the listing returned {state.seen + count} of {now} items")

    async def _counts_everything(self, request: PageRequest, state: Keyset, count: int, total: int) -> bool:
        """Whether this total is that of the whole listing, as some servers count even by keyset, and is reached."""
        if not request.after or (state.seen is not None and total > state.seen + count):
            return False
        return (await self.fetch(replace(request, after=0))).total == total

    async def _returns_everything(self, request: PageRequest, count: int, more: bool | None) -> bool:
        """Whether the server ignores both `skip` and `take` and returns the whole listing each time.

        False if it obeys `skip`. `RejectedError` if it returns always the same part of the listing.
        """
        try:
            beyond = await self.fetch(replace(request, skip=FAR_OFFSET, take=count - 1))
        except RejectedError:
            return False
        if not beyond.items:
            return False
        if len(beyond.items) < count or more:
            raise RejectedError(
                f"the server returns the same page of {count} items again and again, so the rest can't be listed"
            )
        return True


def oddities_of_order(name: str, cursor: Cursor | None) -> list[str]:
    """A sentence, if the cursor after the first page of a listing shows that the server can't list it by id."""
    if mode_of(cursor) is not Offset:
        return []
    return [f"{name} are listed by position and not by id: each deletion during a run costs some more requests"]


async def walked(step: Callable[[S], Awaitable[tuple[Items, S | None]]], start: S) -> AsyncIterator[dict[str, Any]]:
    """The items of all steps until there is no next one; `RejectedError` if a step comes a second time."""
    state: S | None = start
    seen: set[S | None] = set()
    while state not in seen:
        seen.add(state)
        items, state = await step(state if state is not None else start)
        for item in items:
            yield item
        if state is None:
            return
    raise RejectedError("the listing loops: its next page was already read")


def is_as_requested(request: PageRequest, ids: Sequence[int]) -> bool:
    """Whether a page matches its request: sorted, and after the last id. Some servers list an item twice."""
    is_after = request.after is None or not ids or ids[0] > request.after
    return not request.sorts or (is_after and all(number <= following for number, following in pairwise(ids)))


def ascending(ids: Sequence[int], state: Offset) -> list[int]:
    """The ids in ascending order: negated, if an unsorted listing starts with the newest."""
    rising = state.anchor > 0 or (state.anchor == 0 and list(ids[:1]) <= list(ids[-1:]))
    return list(ids) if rising else [-number for number in ids]
