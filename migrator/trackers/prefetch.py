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
from migrator.trackers.listing import BEYOND, Listing, PageItems, PageRequest, is_as_requested

MOST = 3
"""The most pages of a listing that are requested ahead."""
CAUTION = 8
"""The estimated distance is shortened by this fraction, because gaps in the ids are never evenly spread."""

Ask = Callable[[PageRequest], Awaitable[PageItems]]


class Prefetcher:
    """Of one listing that is walked by one reader. `close` belongs at its end."""

    def __init__(self, id_of: Callable[[Mapping[str, Any]], int]) -> None:
        self._id_of = id_of
        self._asked: dict[PageRequest, asyncio.Task[PageItems]] = {}
        self._passed: set[asyncio.Task[PageItems]] = set()  # not wanted any more; cut off, it would cost the connection
        self._most = 1

    def over(self, listing: Listing) -> Listing:
        """The same listing, its pages asked ahead."""
        return replace(listing, ask=partial(self.ask, ask=listing.ask))

    async def ask(self, way: PageRequest, ask: Ask) -> PageItems:
        """A page, as `ask` gives it; further ones are on their way when this returns, but for the first page: whoever
        reads that may only want to see whether there is something.
        """
        if way.skip >= BEYOND:
            return await ask(way)
        if not way.after and not way.skip:
            self._drop_all()  # a walk that begins wants nothing from before it
            return await ask(way)
        found = await self._had(way) or await ask(way)
        self._go_on(way, found, ask)
        return found

    async def close(self) -> None:
        """Nothing of what was asked ahead is wanted any more; none of it is under way when this returns."""
        self._drop_all()
        for task in (passed := list(self._passed)):
            task.cancel()
        await asyncio.gather(*passed, return_exceptions=True)

    def _drop_all(self) -> None:
        for way in list(self._asked):
            self._drop(way)

    def _drop(self, way: PageRequest) -> None:
        task = self._asked.pop(way)
        self._passed.add(task)
        task.add_done_callback(self._passed.discard)

    async def _had(self, way: PageRequest) -> PageItems | None:
        """The page from what was asked ahead, if that goes as far back and brings something."""
        places = [asked for asked in self._asked if _begins_by(asked, way)]
        for asked in list(self._asked):
            if asked in places[:-1] or not _may_be_wanted(asked, way):
                self._drop(asked)
        if not places:
            return None
        task = self._asked.pop(places[-1])
        try:
            found = await task
            as_asked = is_as_requested(places[-1], [self._id_of(item) for item in found.items])
        except MigratorError:
            as_asked = False
        if not as_asked:
            self._most = 1
            return None
        self._most = min(self._most + 1, MOST)
        fresh = [item for item in found.items if way.after is None or self._id_of(item) > way.after]
        if not fresh or len(fresh) == len(found.items):
            return found if fresh else None
        # Its count is of what follows another id: the end of the listing is asked for anew.
        return PageItems(fresh, more=found.more or None, unread=found.unread)

    def _go_on(self, way: PageRequest, found: PageItems, ask: Ask) -> None:
        """Ask for what comes next, if the answer says that something does; else for nothing more."""
        ids = [self._id_of(item) for item in found.items]
        if len(ids) < 2 or not (found.more or (found.more is None and len(ids) >= way.take)):
            self._drop_all()
            return
        following = next(reversed(self._asked), None)
        while len(self._asked) < self._most:
            following = _behind(way, ids) if following is None else _further(following, ids)
            self._asked[following] = task = asyncio.ensure_future(ask(following))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # raised where the page is wanted


def _may_be_wanted(asked: PageRequest, wanted: PageRequest) -> bool:
    """Whether a walk that is there may still come to what was asked: one by ids does, one by offset only at once."""
    if wanted.after is None:
        return asked == wanted or (asked.after is None and asked.skip > wanted.skip and asked.sorts == wanted.sorts)
    return asked.after is not None


def _begins_by(asked: PageRequest, wanted: PageRequest) -> bool:
    """Whether what was asked holds the begin of what is wanted."""
    if asked.after is None or wanted.after is None:
        return asked == wanted
    return asked.after <= wanted.after and replace(asked, after=wanted.after) == wanted


def _behind(way: PageRequest, ids: list[int]) -> PageRequest:
    """The page that the walk asks for after this one."""
    return replace(way, skip=way.skip + len(ids) - 1) if way.after is None else replace(way, after=max(ids))


def _further(way: PageRequest, ids: list[int]) -> PageRequest:
    """The page behind one that is on its way, judging by these ids."""
    if way.after is None:
        return replace(way, skip=way.skip + len(ids) - 1)
    span = way.take * (max(ids) - min(ids) + 1) // len(ids)
    return replace(way, after=way.after + max(1, span - (span - way.take) // CAUTION))
