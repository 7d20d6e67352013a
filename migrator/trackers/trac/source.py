"""Trac as a source: the tickets in the order of their numbers, each page with the files of its tickets.

Beware: a list leaves out files that the account may not see, and is then simply empty. The change log of a ticket names
all files that it has now, so a ticket with an empty list is believed only if its change log names none.
"""

from __future__ import annotations

from collections.abc import Sequence

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
HIDDEN = "its change log names files, but its list shows none; may this account see them (ATTACHMENT_VIEW)?"


def names_files(log: object) -> bool:
    """Whether a change log names a file: the third value of an entry is what was changed."""
    entries = log if isinstance(log, list) else []
    return any(isinstance(entry, list) and entry[2:3] == ["attachment"] for entry in entries)


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
        lists = results[1::2]
        hidden = await self._hidden([number for number, shown in zip(numbers, lists, strict=True) if shown == []])
        entities: list[Entity] = []
        files: list[Attachment] = []
        unread: list[Unread] = []
        for number, ticket, attached in zip(numbers, results[::2], lists, strict=True):
            if isinstance(ticket, GoneError):
                continue  # deleted since its number was listed
            if number in hidden:
                unread.append(Unread(EntityRef(KIND, str(number)), HIDDEN))
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

    async def _hidden(self, empty: Sequence[int]) -> set[int]:
        """Those of the tickets with an empty list that have files."""
        logs = await self._api.calls([("ticket.changeLog", [number]) for number in empty]) if empty else []
        return {number for number, log in zip(empty, logs, strict=True) if names_files(log)}

    async def _numbers(self, request: PageRequest) -> PageItems:
        """The next numbers. A query has no total: at the start and at the end, all tickets are counted by another."""
        start = request.after or 0
        total = None if start else await self._api.count()
        while not (numbers := await self._api.tickets(f"id={start + 1}-{start + request.take}")):
            if await self._api.newest() <= start + request.take:
                return PageItems([], more=False, total=await self._api.count())
            start += request.take
        return PageItems([{"id": number} for number in numbers], total=total)
