"""Kiwi TCMS as a source: test cases and test plans in the order of their numbers, each with its files.

Kiwi lists without pages, so a page is a range of numbers. Where a range is empty, the next one is larger, until one
without an end is empty, too: only that is the end. The number of test cases is compared with Kiwi's own count.
"""

from __future__ import annotations

from functools import partial

from typing_extensions import override

from migrator.errors import ForbiddenError, RejectedError, UnexpectedBodyError
from migrator.model import Attachment, Cursor, Entity, EntityRef, Page, Unread
from migrator.ports import Source
from migrator.trackers.kiwi.client import CASE, Kiwi, Options, attachment_in, plain
from migrator.trackers.lenient import as_object, integer, raw_json
from migrator.trackers.listing import Items, Listing, PageItems, PageOrder, PageRequest
from migrator.trackers.name_lookup import NameLookup
from migrator.trackers.strict import list_in, number_in, numbered, split
from migrator.wire import HttpClient

GROWTH = 4
"""How many times larger the next range is after an empty one."""
MAX_RANGE = 1_000_000
"""After an empty range of this size, all that is left is requested at once."""
UNREAD = "files of test runs and of Kiwi's own bugs are not read, because the API doesn't list them"


class KiwiSource(Kiwi, Source):
    """Test cases, then test plans; of one product, if the options name it."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._product = NameLookup("options.product", options.product, self.products)

    @override
    async def oddities(self) -> tuple[str, ...]:
        """The count that a listing is compared with may be missing."""
        uncounted = (
            ()
            if await self._count(0) is not None
            else ("it doesn't tell the number of test cases, so a listing that lacks some looks like a complete one",)
        )
        return (UNREAD, *uncounted)

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        fetch = partial(self._range, stream)
        listed = await Listing(fetch, number_in, self._options.page_size, (PageOrder.KEYSET,)).read(cursor)
        entities = {number_in(item): self._entity(item, stream) for item in listed.items}
        lists = await self.api.call_each(f"{stream}.list_attachments", list(entities)) if entities else {}
        files, unread = list[Attachment](), list(listed.unread)
        for number, records in lists.items():
            of_entity, broken = self._files_in(records, entities[number].ref)
            files += of_entity
            unread += broken
        ask = tuple(entity for number, entity in entities.items() if number not in lists)
        return Page(tuple(entities.values()), tuple(files), ask=ask, unread=tuple(unread), next=listed.next)

    async def _range(self, kind: str, request: PageRequest) -> PageItems:
        """The next range of numbers that isn't empty; nothing at the end."""
        after, size = request.after or 0, request.take
        items, unread = await self._between(kind, after, after + size)
        while not items and not unread and size <= MAX_RANGE:
            after, size = after + size, size * GROWTH
            items, unread = await self._between(kind, after, after + size if size <= MAX_RANGE else None)
        begins_or_ends = not request.after or not items
        total = await self._count(request.after or 0) if kind == CASE and begins_or_ends else None
        return PageItems(items, total=total, unread=unread)

    async def _between(self, kind: str, after: int, last: int | None) -> tuple[Items, tuple[Unread, ...]]:
        """What has a number above `after`, and up to `last` if that is given, in the order of numbers."""
        up_to = {} if last is None else {"pk__lte": last}
        answer = await self.api.find(kind, pk__gt=after, **up_to, **await self._of_product(kind))
        items, unread = split(list_in(answer), numbered, f"{kind}.filter, numbers above {after}", kind)
        return sorted(items, key=number_in), unread

    async def _count(self, after: int) -> int | None:
        """Kiwi's own count of the test cases with higher numbers; None if it tells none."""
        try:
            answer = await self.api.call("Testing.breakdown", {"pk__gt": after, **await self._of_product(CASE)})
        except (ForbiddenError, RejectedError):
            return None
        return integer(as_object(as_object(answer).get("count")).get("all"))

    async def _of_product(self, kind: str) -> dict[str, int]:
        """What limits a search to the product that the options name."""
        if not self._options.product:
            return {}
        return {"category__product" if kind == CASE else "product": await self._product.number()}

    def _entity(self, item: dict[str, object], kind: str) -> Entity:
        number = str(number_in(item))
        title, folder = (plain(item.get("summary")), "case") if kind == CASE else (plain(item.get("name")), "plan")
        return Entity(EntityRef(kind, number), title, f"{self._http.base}/{folder}/{number}/", raw_json(item))

    def _files_in(self, records: object, owner: EntityRef) -> tuple[list[Attachment], list[Unread]]:
        """The files in a list, and a failure for each that can't be read."""
        try:
            files, broken = split(list_in(records), partial(self._file, owner), f"the files of {owner}", owner.kind)
        except UnexpectedBodyError as error:
            return [], [Unread(owner, str(error))]
        return files, [Unread(owner, failure.reason) for failure in broken]

    def _file(self, owner: EntityRef, record: dict[str, object]) -> Attachment:
        return attachment_in(record, owner, self._http)
