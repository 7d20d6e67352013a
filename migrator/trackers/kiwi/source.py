"""Kiwi TCMS as a source: test cases and test plans in the order of their numbers, each with its files.

Kiwi lists without pages, so a page is a range of numbers. Gaps are skipped by asking whether larger and larger ranges
are empty; for test cases, Kiwi can be asked to count, so nothing large is listed for that. The end is reached only if a
list without an upper bound is empty, and the number of test cases is compared with Kiwi's own count.
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

MAX_NUMBER = 2**31 - 1
"""The highest number that Kiwi's databases can give."""
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
        if not items and not unread:
            start = await self._end_of_gap(kind, after + size, size)
            last = None if start is None else start + size
            items, unread = await self._between(kind, after if start is None else start, last)
        begins_or_ends = not request.after or not items
        total = await self._count(after) if kind == CASE and begins_or_ends else None
        return PageItems(items, total=total, unread=unread)

    async def _end_of_gap(self, kind: str, after: int, size: int) -> int | None:
        """Where the next range of this size begins that isn't empty; None if there are no higher numbers."""
        if await self._is_empty(kind, after, None):
            return None
        width = size
        while await self._is_empty(kind, after, after + width):
            after, width = after + width, 2 * width
            if after > MAX_NUMBER:
                raise UnexpectedBodyError(f"{kind}: Kiwi counts more of them than it lists")
        while width > size:
            width = -(-width // 2)
            if await self._is_empty(kind, after, after + width):
                after += width
        return after

    async def _is_empty(self, kind: str, after: int, last: int | None) -> bool:
        """Whether there is nothing in a range that may be large: test cases are counted, if Kiwi does, not listed."""
        count = await self._count(after, last) if kind == CASE else None
        return count == 0 if count is not None else not any(await self._between(kind, after, last))

    async def _between(self, kind: str, after: int, last: int | None) -> tuple[Items, tuple[Unread, ...]]:
        """What has a number above `after`, and up to `last` if that is given, in the order of numbers."""
        answer = await self.api.find(kind, **await self._lookups(kind, after, last))
        items, unread = split(list_in(answer), numbered, f"{kind}.filter, numbers above {after}", kind)
        return sorted(items, key=number_in), unread

    async def _count(self, after: int, last: int | None = None) -> int | None:
        """Kiwi's own count of the test cases with numbers above `after`; None if it tells none."""
        try:
            answer = await self.api.call("Testing.breakdown", await self._lookups(CASE, after, last))
        except (ForbiddenError, RejectedError):
            return None
        return integer(as_object(as_object(answer).get("count")).get("all"))

    async def _lookups(self, kind: str, after: int, last: int | None) -> dict[str, int]:
        """The conditions for a range of numbers, in the product that the options name, if they name one."""
        lookups = {"pk__gt": after} | ({} if last is None else {"pk__lte": min(last, MAX_NUMBER)})
        if not self._options.product:
            return lookups
        of_product = "category__product" if kind == CASE else "product"
        return lookups | {of_product: await self._product.number()}

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
