"""Prefetches the pages of a listing, so that several requests are under way at once.

In a walk by keyset nobody knows where the page after the next starts. But a page may start too early, because repeated
items are removed, so its start is estimated from the density of the ids so far. A page whose start was estimated too
high is kept until the walk gets there.

Beware: a prefetched page is older than one requested now. That does no harm to its items: those that exist during the
whole walk are on it, and the walk checks its start like that of any other page. Nothing else may be concluded from it:
if it failed or has no new items, the page is requested again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from migrator.errors import MigratorError
from migrator.trackers.listing import FAR_OFFSET, Listing, PageItems, PageRequest, is_as_requested

MAX_PREFETCHED = 3
"""The most pages of a listing that are prefetched at once."""
GUESS_MARGIN = 8
"""The estimated distance is shortened by 1/GUESS_MARGIN, because gaps in the ids are never evenly spread."""

Fetch = Callable[[PageRequest], Awaitable[PageItems]]


class Prefetcher:
    """Prefetches the pages of one listing for one reader. `close` it at the end."""

    def __init__(self, id_of: Callable[[Mapping[str, Any]], int]) -> None:
        self._id_of = id_of
        self._pending: dict[PageRequest, asyncio.Task[PageItems]] = {}
        # No longer needed; left to finish, because cancelling them would close their connections.
        self._abandoned: set[asyncio.Task[PageItems]] = set()
        self._allowed = 1

    def wrap(self, listing: Listing) -> Listing:
        """The same listing, with its pages prefetched."""
        return replace(listing, fetch=partial(self.fetch, fetch=listing.fetch))

    async def fetch(self, request: PageRequest, fetch: Fetch) -> PageItems:
        """The page, as `fetch` returns it; the next ones are under way when this returns.

        Nothing is prefetched after the first page, because its reader may need no other.
        """
        if request.skip >= FAR_OFFSET:
            return await fetch(request)
        if not request.after and not request.skip:
            self._drop_all()  # a new walk needs nothing of the one before
            return await fetch(request)
        page = await self._prefetched(request) or await fetch(request)
        self._prefetch_after(request, page, fetch)
        return page

    async def close(self) -> None:
        """Cancel all prefetching; no request is under way when this returns."""
        self._drop_all()
        for task in (abandoned := list(self._abandoned)):
            task.cancel()
        await asyncio.gather(*abandoned, return_exceptions=True)

    def _drop_all(self) -> None:
        for request in list(self._pending):
            self._drop(request)

    def _drop(self, request: PageRequest) -> None:
        task = self._pending.pop(request)
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)

    async def _prefetched(self, request: PageRequest) -> PageItems | None:
        """The page, if a prefetched one covers its start and has new items."""
        covering = [pending for pending in self._pending if _covers_start_of(pending, request)]
        for pending in list(self._pending):
            if pending in covering[:-1] or not _may_be_needed(pending, request):
                self._drop(pending)
        if not covering:
            return None
        task = self._pending.pop(covering[-1])
        try:
            page = await task
            is_valid = is_as_requested(covering[-1], [self._id_of(item) for item in page.items])
        except MigratorError:
            is_valid = False
        if not is_valid:
            self._allowed = 1
            return None
        self._allowed = min(self._allowed + 1, MAX_PREFETCHED)
        new = [item for item in page.items if request.after is None or self._id_of(item) > request.after]
        if not new or len(new) == len(page.items):
            return page if new else None
        # Its total counts from another id, and `more=False` may be out of date: the end is requested again.
        return PageItems(new, more=page.more or None, unread=page.unread)

    def _prefetch_after(self, request: PageRequest, page: PageItems, fetch: Fetch) -> None:
        """Request the pages after this one, if it is not the last; drop everything pending if it is."""
        ids = [self._id_of(item) for item in page.items]
        if len(ids) < 2 or not (page.more or (page.more is None and len(ids) >= request.take)):
            self._drop_all()
            return
        last = next(reversed(self._pending), None)
        while len(self._pending) < self._allowed:
            last = _next_request(request, ids) if last is None else _guess_after(last, ids)
            self._pending[last] = task = asyncio.ensure_future(fetch(last))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # raised where the page is needed


def _may_be_needed(pending: PageRequest, current: PageRequest) -> bool:
    """Whether a walk that is at `current` may still use a pending page: by offset only if it is an exact later one."""
    if current.after is None:
        is_later = pending.after is None and pending.skip > current.skip and pending.sorts == current.sorts
        return pending == current or is_later
    return pending.after is not None


def _covers_start_of(pending: PageRequest, current: PageRequest) -> bool:
    """Whether a pending page has the first item of the page `current`."""
    if pending.after is None or current.after is None:
        return pending == current
    return pending.after <= current.after and replace(pending, after=current.after) == current


def _next_request(request: PageRequest, ids: list[int]) -> PageRequest:
    """The request that the walk makes after a page with these ids."""
    if request.after is None:
        return replace(request, skip=request.skip + len(ids) - 1)
    return replace(request, after=max(ids))


def _guess_after(request: PageRequest, ids: list[int]) -> PageRequest:
    """The request after one whose page has not arrived, estimated from the density of these ids."""
    if request.after is None:
        return replace(request, skip=request.skip + len(ids) - 1)
    span = request.take * (max(ids) - min(ids) + 1) // len(ids)
    return replace(request, after=request.after + max(1, span - (span - request.take) // GUESS_MARGIN))
