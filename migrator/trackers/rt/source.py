"""Request Tracker as a source: its tickets in the order of their numbers, and the files of each.

A search finds neither deleted tickets nor those that were merged into another, which has their files.
"""

from __future__ import annotations

from typing_extensions import override

from migrator.errors import RejectedError
from migrator.model import Cursor, Page
from migrator.ports import Source
from migrator.trackers.lenient import integer
from migrator.trackers.listing import Listing, PageItems, PageOrder, PageRequest
from migrator.trackers.prefetch import Prefetcher
from migrator.trackers.rt.api import API, PAGE_SIZE, TICKET, entity_in, words_on_cut
from migrator.trackers.rt.client import Options, RtTracker
from migrator.trackers.strict import list_in, number_in, numbered, object_in, split
from migrator.wire import HttpClient

NO_TOTAL = (
    "this RT doesn't say how many tickets it has, so a list that lacks some can't be told from a whole one: switch "
    "$UseSQLForACLChecks on, or give this account the global right ShowTicket"
)
NO_SUPERUSER = (
    "this account is not a superuser, so RT doesn't say how many files a ticket has; files of comments that it "
    "may not see are left out of its lists, so they are not backed up"
)
_TICKET_FIELDS = {"fields": "Subject,Status,Created,LastUpdated,Creator,Queue", "fields[Queue]": "Name"}


class RtSource(RtTracker, Source):
    """Tickets in the order of their numbers; the files of each are requested separately."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._prefetcher = Prefetcher(number_in)

    @override
    async def close(self) -> None:
        await self._prefetcher.close()
        await super().close()

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """The first page shows whether RT tells this account how many files a ticket has."""
        listing = Listing(self._fetch, number_in, PAGE_SIZE, (PageOrder.KEYSET,))
        listed = await self._prefetcher.wrap(listing).read(cursor)
        entities = tuple(entity_in(item, self._http.base) for item in listed.items)
        if self.api.sees_all is None and entities:
            await self.api.files(entities[0].ref, f"ticket/{entities[0].ref.id}")
        warnings = (NO_SUPERUSER,) if self.api.sees_all is False else ()
        return Page(entities=entities, ask=entities, next=listed.next, unread=listed.unread, warnings=warnings)

    async def _fetch(self, request: PageRequest) -> PageItems:
        """The tickets after an id. Their total counts from there, too."""
        after = f"id > {request.after or 0}"
        query = f"({self._options.query}) AND {after}" if self._options.query else after
        window = {"query": query, "orderby": "id", "order": "ASC", "per_page": str(request.take)}
        answer = object_in(await self._http.get_json(f"{API}/tickets", window | _TICKET_FIELDS))
        total = integer(answer.get("total"))
        if total is None:
            raise RejectedError(NO_TOTAL)
        tickets, unread = split(list_in(answer, "items"), numbered, f"tickets, {request.position}", TICKET)
        return PageItems(tickets, total > len(tickets) + len(unread), total, unread)

    @override
    async def oddities(self) -> tuple[str, ...]:
        page = await self.read("tickets", None)
        sentences = [] if page.entities else ["no ticket is found, so nothing is backed up"]
        if cut := await self.api.last_cut():
            sentences.append(f"{words_on_cut(cut)}; what is left of such a file is backed up, with a warning")
        if fields := await self.api.file_fields():
            sentences.append(f"files in custom fields are not backed up: {', '.join(fields)}")
        return tuple(sentences)
