"""Targetprocess as a source: it reads every list that may show a file, and compares them with the server's counts.

These are the list of all attachments, the attachments of each entity (the vendor's page "Work with Attachments" warns
that the first list may be short), and the texts of entities and comments, which show the owners of files without one.

Beware: files of comments and e-mail messages name no owner, and an entity does not list the files of its comments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from typing_extensions import override

from migrator import errors
from migrator.model import NOBODY, Attachment, Cursor, Entity, EntityRef, Link, Page, Unread
from migrator.ports import Source
from migrator.trackers.lenient import as_object, integer, raw_json, text
from migrator.trackers.listing import oddities_of_order
from migrator.trackers.targetprocess.api import ATTACHMENTS, COMMENTS, GENERALS, MESSAGES, Collection
from migrator.trackers.targetprocess.client import Options, Targetprocess
from migrator.trackers.targetprocess.files import records_of, text_now
from migrator.trackers.targetprocess.parse import (
    INLINE,
    attachment,
    id_of,
    inline_image,
    inline_paths,
    inner,
    kind_of,
    quoted_files,
)
from migrator.wire import HttpClient, read_json

_LOSSES = {
    "Attachments": "files are found through their entities only: those of comments, e-mails and nobody are missed",
    "Generals": "files that only their entity lists are not found, nor entities without files",
    "Comments": "files of comments stay without their entity (Unlinked)",
    "Messages": "files of e-mails stay without their entity (Unlinked)",
}
"""What a backup lacks if a list can't be read."""

MAX_ADDED_SHARE = 0.01
"""The share of files by which two lists may differ because people add files meanwhile; more is a contradiction."""


class TargetprocessSource(Targetprocess, Source):
    """Targetprocess as a source."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._kinds: dict[int, str] = {}
        self._records = records_of(self._api)
        self._tally = Tally(by_entity=options.cross_check == "off")

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        if stream == "Attachments":
            return await self._attachments(cursor)
        if stream == "Generals":
            return await self._generals(cursor)
        try:
            return await (self._comments(cursor) if stream == "Comments" else self._messages(cursor))
        except errors.GoneError as error:
            if cursor is not None or await self._has(stream):
                raise
            return Page(warnings=(f"this server has no {stream} ({error}): {_LOSSES[stream]}",))

    @override
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """`ShortListingError` if they are fewer than the entity itself states."""
        count = self._count_in(entity.raw) if entity.raw is not None else await self._files.count_of(entity.ref)
        return tuple((await self._files.all_of(entity.ref, count)).values())

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        """By the file's own record or the list of its entity; an image by its text."""
        if attachment.id.startswith(INLINE):
            words = await text_now(self._api, attachment.owner, attachment.comment_id)
            return attachment.locator in inline_paths(words)
        return await self._records.still_lists(attachment, self.find_attachments)

    @override
    async def oddities(self) -> tuple[str, ...]:
        sentences = list(await super().oddities())
        for collection in (ATTACHMENTS, GENERALS, COMMENTS, MESSAGES):
            sentences += await self._oddities_of(collection)
        return tuple(sentences)

    async def _oddities_of(self, collection: Collection) -> list[str]:
        name = collection.name
        try:
            page = await self._api.page(collection, None)
            items, cursor = page.items, page.next
        except errors.ItemFailedError as error:
            return [f"{name} can't be listed ({error}): {_LOSSES[name]}"]
        sentences = []
        if collection is GENERALS:
            sentences += await self._oddities_of_files(items)
        if collection is ATTACHMENTS and not items and await self._some_have_files():
            sentences.append(f"the list of all attachments is empty, although entities have files: {_LOSSES[name]}")
        if self._api.asks_less_for(collection):
            remedy = (
                "the files of every entity are requested"
                if collection is GENERALS
                else "the rest is requested item by item"
            )
            sentences.append(f"{name}: the server refuses some of the requested fields; {remedy}")
        sentences += oddities_of_order(name, cursor)
        wanted = min(self._options.page_size, collection.max_page_size)
        if cursor is not None and 0 < len(items) < wanted and (await self._api.page(collection, cursor)).items:
            sentences.append(f"{name}: a page has {len(items)} items, although {wanted} were requested")
        return sentences

    async def _some_have_files(self) -> bool:
        try:
            items = (await self._api.page(GENERALS, None)).items
        except errors.ItemFailedError:
            return False
        return any(integer(item.get("Attachments-Count")) for item in items)

    async def _oddities_of_files(self, items: Sequence[Mapping[str, Any]]) -> list[str]:
        """Oddities of the list of files of the first entity that has some."""
        owner = next((item for item in items if integer(item.get("Attachments-Count"))), None)
        if owner is None:
            return []
        try:
            files = await self._files.of(EntityRef("General", str(id_of(owner, "Generals"))))
        except errors.ItemFailedError as error:
            return [f"an entity's own list of files can't be read ({error}): only the list of all attachments is used"]
        if len(files) < (integer(owner.get("Attachments-Count")) or 0):
            return ["an entity states more files than it lists: such entities fail, unless another list shows the rest"]
        if not self._files.stands_in:
            return []
        return ["entities have no list of their files: the files are read from the entity itself, 1000 at most"]

    async def _has(self, resource: str) -> bool:
        """Whether the server has a resource at all: it answers a simpler query, or describes its fields."""
        for path, query in ((resource, {"take": "2"}), (f"{resource}/meta", {})):
            try:
                await self._api.ask(path, query)
            except errors.GoneError:
                continue
            return True
        return False

    async def _attachments(self, cursor: Cursor | None) -> Page:
        page = await self._api.page(ATTACHMENTS, cursor)
        owners = await self._owners(page.items)
        refs = [owner.ref if owner else NOBODY for owner in owners]
        files = [attachment(item, ref, self._http.path_of) for item, ref in zip(page.items, refs, strict=True)]
        self._tally.count_page(files, first=cursor is None, last=page.next is None)
        return Page(distinct(owners), tuple(files), next=page.next, unread=page.unread)

    async def _generals(self, cursor: Cursor | None) -> Page:
        page = await self._api.page(GENERALS, cursor)
        entities = [(item, entity) for item in page.items if (entity := await self._entity(item, raw=raw_json(item)))]
        ask = tuple(entity for item, entity in entities if self._is_asked(item, entity.ref))
        texts = [(text(item.get("Description")), entity.ref, None) for item, entity in entities]
        files, links = self._in_texts(texts)
        self._tally.count_stated((integer(item.get("Attachments-Count")) for item in page.items), first=cursor is None)
        unread, warnings = self._contradiction() if page.next is None else ((), ())
        unread = (*page.unread, *unread)
        return Page(tuple(entity for _, entity in entities), files, links, ask, page.next, unread, warnings)

    def _contradiction(self) -> tuple[tuple[Unread, ...], tuple[str, ...]]:
        """A failure if the list of all attachments is empty although entities state files; a warning if it is short."""
        stated, listed = self._tally.stated, self._tally.listed
        if not stated or listed is None or stated - listed <= stated * MAX_ADDED_SHARE:
            return (), ()
        reason = f"the entities state {stated} files, and the list of all attachments has {listed}"
        if not listed:
            return (Unread(EntityRef("Attachments", "GET api/v1/Attachments"), reason),), ()
        return (), (f"{reason}: files that it lacks and that belong to comments, e-mails or nothing are not found",)

    async def _comments(self, cursor: Cursor | None) -> Page:
        page = await self._api.page(COMMENTS, cursor)
        owned = [(item, owner) for item in page.items if (owner := await self._entity(item.get("General")))]
        texts = [(text(item.get("Description")), owner.ref, str(id_of(item, "Comments"))) for item, owner in owned]
        files, links = self._in_texts(texts)
        return Page(distinct(owner for _, owner in owned), files, links, next=page.next, unread=page.unread)

    async def _messages(self, cursor: Cursor | None) -> Page:
        page = await self._api.page(MESSAGES, cursor)
        owners: list[Entity | None] = []
        links: list[Link] = []
        for item in page.items:
            files = inner(item.get("Attachments"))
            general = next(iter(inner(item.get("Generals"))), None) if files else None
            if owner := await self._entity(general):
                owners.append(owner)
                links += [Link(str(id_of(file, "Messages")), owner.ref) for file in files]
        return Page(distinct(owners), links=tuple(links), next=page.next, unread=page.unread)

    def _is_asked(self, item: Mapping[str, Any], ref: EntityRef) -> bool:
        """Whether the entity's own list of files is to be read; an entity without a count may have files."""
        count, check = integer(item.get("Attachments-Count")), self._options.cross_check
        if check == "off":
            return count is not None and self._tally.lacks(ref, count)
        return check == "all" or count != 0

    @staticmethod
    def _count_in(raw: str) -> int | None:
        """The number of files that an entity stated when it was listed."""
        return integer(as_object(read_json(raw.encode())).get("Attachments-Count"))

    def _in_texts(
        self, texts: Iterable[tuple[str, EntityRef, str | None]]
    ) -> tuple[tuple[Attachment, ...], tuple[Link, ...]]:
        files, links = [], []
        for words, owner, comment_id in texts:
            links += [Link(number, owner, comment_id) for number in quoted_files(words)]
            if self._options.inline_images == "list":
                files += [inline_image(path, owner, comment_id) for path in inline_paths(words)]
        return tuple(files), tuple(links)

    async def _owners(self, items: Sequence[Mapping[str, Any]]) -> list[Entity | None]:
        """The entity of each item of a page. Many have the same one, which is made once: a night lists all files."""
        known: dict[int | None, Entity | None] = {None: None}
        owners = []
        for item in items:
            general = item.get("General")
            number = integer(general.get("Id")) if isinstance(general, dict) else None
            if number not in known:
                known[number] = await self._entity(general)
            owners.append(known[number])
        return owners

    async def _entity(self, general: object, raw: str | None = None) -> Entity | None:
        """The entity of a General; None if it is null."""
        item = as_object(general)
        number = integer(item.get("Id"))
        if number is None:
            return None
        ref = EntityRef(kind_of(item) or await self._kind_of(number), str(number))
        return Entity(ref, text(item.get("Name")), f"{self._http.base}/entity/{number}", raw)

    async def _kind_of(self, number: int) -> str:
        """The kind of an entity of which a list doesn't state it; "General" if it can't be read."""
        if number not in self._kinds:
            try:
                self._kinds[number] = kind_of(await self._api.ask(f"Generals/{number}")) or "General"
            except errors.RejectedError:
                return "General"
        return self._kinds[number]


class Tally:
    """The number of files in the list of all attachments, and the number that the entities state.

    Both are known only if the lists were read from the start. `by_entity`: also count the files of each entity, which
    takes memory.
    """

    def __init__(self, *, by_entity: bool) -> None:
        self._by_entity = by_entity
        self._counts: Counter[EntityRef] = Counter()
        self._listed: int | None = None
        self._latest: frozenset[str] = frozenset()
        self._complete = False
        self.stated: int | None = None
        """The sum of what the entities stated; None if their list was not read from the start or one stated nothing."""

    @property
    def listed(self) -> int | None:
        """The number of files in the list; None if not all of it was read."""
        return self._listed if self._complete else None

    def count_page(self, files: Iterable[Attachment], *, first: bool, last: bool) -> None:
        """Count a page, without the files that the page before had already (an overlap, or a page read again)."""
        if first:
            self._counts, self._listed, self._latest = Counter(), 0, frozenset()
        owners = {file.id: file.owner for file in files}
        if self._listed is not None:
            new = [owner for number, owner in owners.items() if number not in self._latest]
            self._listed += len(new)
            if self._by_entity:
                self._counts.update(new)
        self._latest, self._complete = frozenset(owners), last

    def count_stated(self, counts: Iterable[int | None], *, first: bool) -> None:
        """Add what the entities of a page state."""
        before, stated = 0 if first else self.stated, [*counts]
        known = [count for count in stated if count is not None]
        self.stated = before + sum(known) if before is not None and len(known) == len(stated) else None

    def lacks(self, ref: EntityRef, count: int) -> bool:
        """Whether the list was read completely, and has fewer files of this entity than `count`."""
        return self.listed is not None and self._counts[ref] < count


def distinct(entities: Iterable[Entity | None]) -> tuple[Entity, ...]:
    """Each entity once."""
    return tuple({entity.ref: entity for entity in entities if entity}.values())
