"""Roundup as a source: the items of each class with their files, then the files that no item links."""

from __future__ import annotations

from functools import partial
from typing import Any

from typing_extensions import override

from migrator.model import NOBODY, Attachment, Cursor, Entity, Page
from migrator.ports import Source
from migrator.trackers.roundup.client import FILE_FIELDS, RoundupTracker
from migrator.trackers.roundup.parse import FILE, attachment_in, entity_in, file_number, linked_in
from migrator.trackers.strict import number_in, split


class RoundupSource(RoundupTracker, Source):
    """The items in the order of their numbers. Each page comes with its files, so no item is asked for by itself."""

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        if stream == FILE:
            return await self._loose_files(cursor)
        listed = await self._listing(stream, await self._fields_of(stream)).read(cursor)
        read, place = partial(self._entity, stream), f"rest/data/{stream}"
        items, unread = split(listed.items, read, place, stream)
        files = await self._files_of(stream, {entity.ref: linked for entity, linked in items})
        return Page(
            entities=tuple(entity for entity, _ in items),
            attachments=tuple(file for of_one in files.values() for file in of_one),
            unread=unread,
            next=listed.next,
        )

    def _entity(self, kind: str, item: dict[str, Any]) -> tuple[Entity, dict[int, str]]:
        return entity_in(item, kind, self._http.base), linked_in(item)

    async def _loose_files(self, cursor: Cursor | None) -> Page:
        listed = await self._listing(FILE, FILE_FIELDS).read(cursor)
        numbers = [number_in(record) for record in listed.items]
        linked = await self._linked(numbers) if numbers else set()
        loose = [record for record in listed.items if number_in(record) not in linked]
        return Page(attachments=tuple(map(attachment_in, loose)), next=listed.next)

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        if attachment.owner != NOBODY:
            return await super().still_lists(attachment)
        return bool(await self._records(FILE, [int(file_number(attachment.id))], FILE_FIELDS))
