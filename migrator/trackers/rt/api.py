"""The lists of one Request Tracker, read to their end, and what their items mean."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

from migrator.errors import ShortListingError
from migrator.model import Attachment, Entity, EntityRef
from migrator.trackers.lenient import as_object, integer, iso_date, non_negative, raw_json, text
from migrator.trackers.listing import Items
from migrator.trackers.strict import number_in, object_in, objects_in
from migrator.wire import HttpClient

API = "REST/2.0"
TICKET = "Ticket"
PAGE_SIZE = 100
"""Items on a page. RT silently reduces any larger number to this."""

_FILE_FIELDS = "Filename,ContentType,ContentLength,Created,Creator,TransactionId"
_WITH_NAME = json.dumps([{"field": "Filename", "operator": "!=", "value": ""}])
_ABOUT_FILES = json.dumps([{"field": "Type", "operator": "LIKE", "value": "Attachment"}])
_CUTS = ("AttachmentTruncate", "AttachmentDrop")
_FILE_FIELDS_ONLY = json.dumps(
    [{"field": "Type", "value": "Binary"}, {"field": "Type", "value": "Image", "entry_aggregator": "OR"}]
)
_STATED_LENGTH = re.compile(r"^Content-Length:[ \t]*([0-9]{1,18})[ \t]*$", re.IGNORECASE | re.MULTILINE)


class Api:
    """Lists of one RT. `sees_all`: whether its lists of files state totals; None until one was read."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self.sees_all: bool | None = None

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The object that RT answers."""
        return object_in(await self._http.get_json(f"{API}/{path}", query))

    async def files(self, owner: EntityRef, path: str) -> tuple[Attachment, ...]:
        """The files below a ticket or transaction. An empty result proves nothing."""
        records = await self._list(f"{path}/attachments", _FILE_FIELDS)
        return tuple(file for record in records if (file := attachment_in(record, owner)).name)

    async def cuts(self, number: str) -> Items:
        """The transactions of a ticket which say that RT cut or dropped a file."""
        listed = await self._list(f"ticket/{number}/history", "Type,OldValue,NewValue", _ABOUT_FILES)
        return [item for item in listed if item.get("Type") in _CUTS]

    async def last_cut(self) -> dict[str, Any] | None:
        """The last such transaction of any ticket; None if there is none."""
        query = {"query": " OR ".join(f"Type = '{name}'" for name in _CUTS), "orderby": "id", "order": "DESC"}
        answer = await self.get("transactions", query | {"per_page": "1", "fields": "OldValue,NewValue,Created"})
        return next(iter(objects_in(answer, "items")), None)

    async def file_fields(self) -> list[str]:
        """The names of the custom fields that hold files."""
        items = await self._list("customfields", "Name,Type", _FILE_FIELDS_ONLY)
        return [text(item.get("Name")) for item in items if item.get("Type") in {"Binary", "Image"}]

    async def _list(self, path: str, fields: str, wanted: str = "") -> Items:
        """All items of a list; `ShortListingError` if there are fewer than its total.

        RT states a total only to superusers. For others, it leaves out what they may not see after it cut the list into
        pages, so a short page proves nothing: the list is read until a page is empty. To make that certain enough, only
        attachments with a file name are requested then.
        """
        query = {"fields": fields, "orderby": "id", "order": "ASC", "per_page": str(PAGE_SIZE)}
        query |= {"query": wanted} if wanted else {}
        by_number: dict[int, dict[str, Any]] = {}
        for page in itertools.count(1):
            answer = await self.get(path, {**query, "page": str(page)})
            items, total, known = objects_in(answer, "items"), integer(answer.get("total")), len(by_number)
            if not wanted:
                self.sees_all = total is not None
            if total is None and not wanted:
                return await self._list(path, fields, _WITH_NAME)
            by_number.update((number_in(item), item) for item in items)
            if len(by_number) == known or len(by_number) == total:
                break
        if items and len(by_number) == known:
            raise ShortListingError(f"GET {path}: page {page} of the list is an earlier one again")
        if total is not None and len(by_number) < total:
            raise ShortListingError(f"GET {path}: {len(by_number)} of {total} items were listed")
        return list(by_number.values())


def entity_in(item: Mapping[str, Any], base: object) -> Entity:
    """A ticket of a list. Any change of it, such as a comment, gives it another `LastUpdated`."""
    number = str(number_in(item))
    url = f"{base}/Ticket/Display.html?id={number}"
    ref = EntityRef(TICKET, number)
    return Entity(ref, text(item.get("Subject")), url, raw_json(item), iso_date(item.get("LastUpdated")))


def attachment_in(item: Mapping[str, Any], owner: EntityRef) -> Attachment:
    """An attachment of a list; it is no file if it has no name. Each belongs to a transaction, such as a comment."""
    transaction = item.get("TransactionId")
    return Attachment(
        str(number_in(item)),
        owner,
        text(item.get("Filename")),
        non_negative(item.get("ContentLength")),
        text(transaction) or str(as_object(transaction).get("id") or "") or None,
        text(item.get("ContentType")),
        created_at=iso_date(item.get("Created")),
        created_by=text(as_object(item.get("Creator")).get("id")),
        raw=raw_json(item),
    )


def words_on_cut(cut: Mapping[str, Any]) -> str:
    """A sentence on such a transaction."""
    before, limit, date = (text(cut.get(field)) for field in ("OldValue", "NewValue", "Created"))
    return f"RT cuts or drops large files when it takes them, last {date} one of {before} bytes at {limit}"


def kept_bytes(cut: Mapping[str, Any]) -> int | None:
    """The largest file that RT may keep whole, by such a transaction. Of files with zero bytes it may keep only 3/4."""
    limit = integer(cut.get("NewValue"))
    return None if limit is None else limit * 4 // 3


def stated_length(record: Mapping[str, Any]) -> int | None:
    """The length that a file had when RT took it, from the headers in its own record."""
    match = _STATED_LENGTH.search(text(record.get("Headers")))
    return int(match[1]) if match else None
