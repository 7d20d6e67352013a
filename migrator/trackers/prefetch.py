"""Requests the next pages of a listing before they are needed, so that several are under way at once.

In a listing by ids nobody knows where the page after the next begins. But a page may begin too early, since repeated
items are cut off, so its start is estimated from how dense the ids have been. An estimate beyond a gap is held back
until the walk gets there.

Beware: a prefetched page is older than one requested now. That does no harm, because items that exist all the time are
on it, and the walk checks where it begins as for any other page. Nothing else may be concluded from it: if it failed or
brings nothing new, the page is requested again.
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
"""The most pages of a listing that are requested ahead."""
GUESS_MARGIN = 8
"""The estimated distance is shortened by this fraction, because gaps in the ids are never evenly spread."""

Fetch = Callable[[PageRequest], Awaitable[PageItems]]


class Prefetcher:
    """Of one listing that is walked by one reader. `close` belongs at its end."""

    def __init__(self, id_of: Callable[[Mapping[str, Any]], int]) -> None:
        self._id_of = id_of
        self._pending: dict[PageRequest, asyncio.Task[PageItems]] = {}
        self._abandoned: set[asyncio.Task[PageItems]] = (
            set()
        )  # not wanted any more; cut off, it would cost the connection
        self._allowed = 1

    def wrap(self, listing: Listing) -> Listing:
        """The same listing, its pages asked ahead."""
        return replace(listing, fetch=partial(self.fetch, fetch=listing.fetch))

    async def fetch(self, request: PageRequest, fetch: Fetch) -> PageItems:
        """A page, as `fetch` gives it; further ones are on their way when this returns, but for the first page: whoever
        reads that may only want to see whether there is something.
        """
        if request.skip >= FAR_OFFSET:
            return await fetch(request)
        if not request.after and not request.skip:
            self._drop_all()  # a walk that begins wants nothing from before it
            return await fetch(request)
        found = await self._prefetched(request) or await fetch(request)
        self._prefetch_after(request, found, fetch)
        return found

    async def close(self) -> None:
        """Nothing of what was asked ahead is wanted any more; none of it is under way when this returns."""
        self._drop_all()
        for task in (passed := list(self._abandoned)):
            task.cancel()
        await asyncio.gather(*passed, return_exceptions=True)

    def _drop_all(self) -> None:
        for request in list(self._pending):
            self._drop(request)

    def _drop(self, request: PageRequest) -> None:
        task = self._pending.pop(request)
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)

    async def _prefetched(self, request: PageRequest) -> PageItems | None:
        """The page from what was asked ahead, if that goes as far back and brings something."""
        places = [asked for asked in self._pending if _covers_start_of(asked, request)]
        for asked in list(self._pending):
            if asked in places[:-1] or not _may_be_needed(asked, request):
                self._drop(asked)
        if not places:
            return None
        task = self._pending.pop(places[-1])
        try:
            found = await task
            as_asked = is_as_requested(places[-1], [self._id_of(item) for item in found.items])
        except MigratorError:
            as_asked = False
        if not as_asked:
            self._allowed = 1
            return None
        self._allowed = min(self._allowed + 1, MAX_PREFETCHED)
        fresh = [item for item in found.items if request.after is None or self._id_of(item) > request.after]
        if not fresh or len(fresh) == len(found.items):
            return found if fresh else None
        # Its count is of what follows another id: the end of the listing is asked for anew.
        return PageItems(fresh, more=found.more or None, unread=found.unread)

    def _prefetch_after(self, request: PageRequest, found: PageItems, fetch: Fetch) -> None:
        """Ask for what comes next, if the answer says that something does; else for nothing more."""
        ids = [self._id_of(item) for item in found.items]
        if len(ids) < 2 or not (found.more or (found.more is None and len(ids) >= request.take)):
            self._drop_all()
            return
        following = next(reversed(self._pending), None)
        while len(self._pending) < self._allowed:
            following = _next_request(request, ids) if following is None else _guess_after(following, ids)
            self._pending[following] = task = asyncio.ensure_future(fetch(following))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # raised where the page is wanted


def _may_be_needed(asked: PageRequest, wanted: PageRequest) -> bool:
    """Whether a walk that is there may still come to what was asked: one by ids does, one by offset only at once."""
    if wanted.after is None:
        return asked == wanted or (asked.after is None and asked.skip > wanted.skip and asked.sorts == wanted.sorts)
    return asked.after is not None


def _covers_start_of(asked: PageRequest, wanted: PageRequest) -> bool:
    """Whether what was asked holds the begin of what is wanted."""
    if asked.after is None or wanted.after is None:
        return asked == wanted
    return asked.after <= wanted.after and replace(asked, after=wanted.after) == wanted


def _next_request(request: PageRequest, ids: list[int]) -> PageRequest:
    """The page that the walk asks for after this one."""
    return (
        replace(request, skip=request.skip + len(ids) - 1)
        if request.after is None
        else replace(request, after=max(ids))
    )


def _guess_after(request: PageRequest, ids: list[int]) -> PageRequest:
    """The page behind one that is on its way, judging by these ids."""
    if request.after is None:
        return replace(request, skip=request.skip + len(ids) - 1)
    span = request.take * (max(ids) - min(ids) + 1) // len(ids)
    return replace(request, after=request.after + max(1, span - (span - request.take) // GUESS_MARGIN))
