"""Trac as a source: the tickets in the order of their numbers, each page with the files of its tickets."""

from __future__ import annotations

from typing_extensions import override

from migrator.errors import GoneError, ItemFailedError, RejectedError
from migrator.model import Attachment, Cursor, Entity, EntityRef, Page, Unread
from migrator.ports import Source
from migrator.trackers.listing import Listing, PageItems, PageOrder, PageRequest
from migrator.trackers.strict import number_in
from migrator.trackers.trac.client import KIND, TracTracker, attachments_in, ticket_in

PAGE_SIZE = 100
"""Tickets on a page: their numbers are asked for by one request, and all that is known of them by another."""
NOT_READ = "files on wiki pages and milestones are not read: only those of tickets"


class TracSource(TracTracker, Source):
    """Tickets, each with its files."""

    @override
    async def oddities(self) -> tuple[str, ...]:
        return (NOT_READ,)

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        listed = await Listing(self._numbers, number_in, PAGE_SIZE, (PageOrder.KEYSET,)).read(cursor)
        numbers = [number_in(item) for item in listed.items]
        calls = [(method, [number]) for number in numbers for method in ("ticket.get", "ticket.listAttachments")]
        results = await self._api.calls(calls) if calls else []
        entities: list[Entity] = []
        files: list[Attachment] = []
        unread: list[Unread] = []
        for number, ticket, attached in zip(numbers, results[::2], results[1::2], strict=True):
            if isinstance(ticket, GoneError):
                continue  # deleted since its number was listed
            try:
                entity, found = self._ticket(number, ticket, attached)
            except ItemFailedError as error:
                unread.append(Unread(EntityRef(KIND, str(number)), str(error)))
                continue
            entities.append(entity)
            files += found
        return Page(tuple(entities), tuple(files), unread=tuple(unread), next=listed.next)

    def _ticket(self, number: int, ticket: object, attached: object) -> tuple[Entity, tuple[Attachment, ...]]:
        for result in (ticket, attached):
            if isinstance(result, RejectedError):
                raise result
        entity = ticket_in(ticket, number, self._http.base)
        return entity, attachments_in(attached, entity.ref)

    async def _numbers(self, request: PageRequest) -> PageItems:
        """The next numbers. A query has no total: at the start and at the end, all tickets are counted by another."""
        start = request.after or 0
        total = None if start else await self._api.count()
        while not (numbers := await self._api.tickets(f"id={start + 1}-{start + request.take}")):
            if await self._api.newest() <= start + request.take:
                return PageItems([], more=False, total=await self._api.count())
            start += request.take
        return PageItems([{"id": number} for number in numbers], total=total)
