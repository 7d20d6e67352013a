"""What a Roundup source and target share: options, capabilities, login, records by number, links, downloads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from typing_extensions import override

from migrator.errors import (
    AuthError,
    ForbiddenError,
    GoneError,
    LoginPageError,
    NotExposedError,
    RejectedError,
    ShortListingError,
    TrackerUnreachableError,
    UnexpectedBodyError,
)
from migrator.model import Attachment, EntityRef
from migrator.ports import BodyFacts, Capabilities, Sink
from migrator.trackers.base import HttpTracker
from migrator.trackers.lenient import integer
from migrator.trackers.listing import Items, Listing, PageItems, PageOrder, PageRequest
from migrator.trackers.roundup.parse import FILE, attachment_in, file_number, item_number, linked_in
from migrator.trackers.strict import number_in, object_in, objects_in
from migrator.wire import HttpClient

PAGE_SIZE = 100
"""Records that are asked for at once, by their numbers."""
FILE_FIELDS = ("name", "type", "creation", "creator")
BYTES = "application/octet-stream"
"""What a download asks for and must be answered with: a page, or JSON, would have another type."""

# It keeps names of any length, in any characters but spaces at the ends.
CAPABILITIES = Capabilities(
    streams=("issue", FILE),
    kinds=("issue",),
    entity_streams=("issue",),
    max_connections=4,
    reports_size=False,
    sets_description=False,
    creates=True,
    deletes=True,
    refuses_empty=True,
)


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    classes     the classes of this tracker's schema whose items have files, in a property `files`; the first one is
                that of new items, see [mapping] create_missing
    """

    classes: tuple[str, ...] = ("issue",)


class RoundupTracker(HttpTracker[Options]):
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        streams = (*options.classes, FILE)
        can = replace(CAPABILITIES, streams=streams, kinds=options.classes, entity_streams=options.classes)
        super().__init__(http, options, can)
        self._linking: tuple[str, ...] | None = None
        self._fields: dict[str, tuple[str, ...]] = {}

    @override
    async def check(self) -> str:
        counts = []
        for kind in self._options.classes:
            try:
                _, total = await self._newest(kind)
            except ForbiddenError as error:
                raise AuthError(f"{error}; may this account use the REST API?") from None
            except LoginPageError:
                raise
            except (RejectedError, UnexpectedBodyError) as error:
                reason = f"no Roundup with its REST API answers at this address, or it has no class {kind!r} ({error})"
                raise TrackerUnreachableError(f"{reason}; is `url` right? It ends with the tracker's name") from None
            counts.append(f"{kind}: {'many' if total is None else total}")
        return f"Roundup accepts the account; it shows {', '.join(counts)}"

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """Roundup answers a request for one item even if that is deleted ("retired"), so the list is asked."""
        kind, number = self._kind_of(owner), item_number(owner)
        items = await self._records(kind, [int(number)], ["files"])
        if not items:
            await self._item(kind, number)
            raise GoneError(f"{owner}: it is retired")
        return tuple((await self._files_of(kind, {owner: linked_in(items[0])}))[owner])

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """A 400 is Roundup's answer for a record whose content it doesn't have."""
        path = f"rest/data/{FILE}/{file_number(attachment.id)}/binary_content"
        try:
            await self._http.download(path, _PlainBytes(sink), html_expected=True, accept=BYTES)
        except RejectedError as error:
            if error.status != 400:
                raise
            reason = "Roundup has a record of this file and no content, as a refused upload of an empty file leaves it"
            raise NotExposedError(f"{error}: {reason}", status=400) from None

    def _kind_of(self, owner: EntityRef) -> str:
        kind = owner.kind or self._options.classes[0]
        if kind not in self._options.classes:
            raise RejectedError(f"{owner}: {kind} is not one of the `classes` in the options")
        return kind

    def _listing(self, kind: str, fields: Iterable[str]) -> Listing:
        """All records of a class, by number: each request names the numbers that it wants."""

        async def fetch(request: PageRequest) -> PageItems:
            start, total = request.after or 0, None
            if not start:
                _, total = await self._newest(kind)
            while not (records := await self._records(kind, range(start + 1, start + 1 + request.take), fields)):
                newest, total = await self._newest(kind)
                if newest <= start + request.take:
                    return PageItems([], more=False, total=total)
                start += request.take
            return PageItems(records, total=total)

        return Listing(fetch, number_in, PAGE_SIZE, (PageOrder.KEYSET,))

    async def _newest(self, kind: str) -> tuple[int, int | None]:
        """The highest number in a class, 0 if there is none, and how many records this account may see."""
        data = await self._data(f"rest/data/{kind}", {"@page_size": "1", "@page_index": "1", "@sort": "-id"})
        total = integer(data.get("@total_size"))
        return max(map(number_in, objects_in(data, "collection")), default=0), None if total == -1 else total

    async def _records(self, kind: str, numbers: Sequence[int], fields: Iterable[str]) -> Items:
        """Those of these records that exist, in the order of their numbers. Deleted ones don't."""
        path = f"rest/data/{kind}?{'&'.join(f'id={number}' for number in numbers)}"
        records = await self._collection(path, {"@fields": ",".join(fields), "@verbose": "2"})
        if unasked := {number_in(record) for record in records} - set(numbers):
            raise UnexpectedBodyError(f"GET rest/data/{kind}: {len(unasked)} records came that were not asked for")
        return sorted(records, key=number_in)

    async def _collection(self, path: str, query: Mapping[str, str]) -> Items:
        """The records of one answer; `ShortListingError` if it says that it found more."""
        data = await self._data(path, query)
        records, total = objects_in(data, "collection"), integer(data.get("@total_size"))
        if total is not None and total != -1 and len(records) < total and "@page_size" not in query:
            raise ShortListingError(f"GET {path.partition('?')[0]}: {len(records)} of {total} records were listed")
        return records

    async def _item(self, kind: str, number: str) -> dict[str, Any]:
        """One record, even if it is deleted; `GoneError` if there never was one."""
        return await self._data(f"rest/data/{kind}/{number}")

    async def _data(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return object_in(await self._http.get_json(path, query), "data")

    async def _fields_of(self, kind: str) -> tuple[str, ...]:
        """The properties of a class, as its newest item shows them."""
        if kind not in self._fields:
            newest, _ = await self._newest(kind)
            if not newest:
                return ("files",)
            data = await self._data(f"rest/data/{kind}/{newest}", {"@protected": "true"})
            self._fields[kind] = tuple(key for key in object_in(data, "attributes") if key not in {"id", "content"})
        return self._fields[kind]

    async def _files_of(
        self, kind: str, linked: Mapping[EntityRef, Mapping[int, str]]
    ) -> dict[EntityRef, list[Attachment]]:
        """The files of each item of a kind. Of a deleted file that is still linked only the name is listed."""
        numbers = sorted({number for files in linked.values() for number in files})
        known: dict[int, dict[str, Any]] = {}
        for start in range(0, len(numbers), PAGE_SIZE):
            records = await self._records(FILE, numbers[start : start + PAGE_SIZE], FILE_FIELDS)
            known |= {number_in(record): record for record in records}
        return {
            owner: [
                attachment_in(known.get(number, {"id": number, "name": name}), owner, kind)
                for number, name in files.items()
            ]
            for owner, files in linked.items()
        }

    async def _linked(self, numbers: Sequence[int]) -> set[int]:
        """Those of these files that an item of any class links, whichever classes are read."""
        if self._linking is None:
            known = [kind for kind in await self._data("rest/data") if await self._has_files(kind)]
            self._linking = tuple(dict.fromkeys((*known, *self._options.classes)))
        query = {"files": ",".join(map(str, numbers)), "@fields": "files", "@verbose": "2"}
        linked: set[int] = set()
        for kind in self._linking:
            for item in await self._collection(f"rest/data/{kind}", query):
                linked |= set(linked_in(item))
        return linked & set(numbers)

    async def _has_files(self, kind: str) -> bool:
        try:
            await self._data(f"rest/data/{kind}", {"files": "1", "@page_size": "1"})
        except RejectedError:
            return False
        return True


class _PlainBytes(Sink):
    """Passes on a file that came as plain bytes, as requested; `UnexpectedBodyError` for anything else."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner

    @override
    async def start(self, facts: BodyFacts) -> None:
        if facts.media_type != BYTES:
            raise UnexpectedBodyError(f"{facts.media_type or 'a body without a type'} instead of the file's bytes")
        await self._inner.start(replace(facts, named=True))

    @override
    async def write(self, chunk: bytes) -> None:
        await self._inner.write(chunk)

    @override
    def rewind(self) -> None:
        self._inner.rewind()

    @override
    def warn(self, text: str) -> None:
        self._inner.warn(text)
