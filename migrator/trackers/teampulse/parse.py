"""The answers of a TeamPulse, as pure functions: work items, files and their addresses.

Beware: some servers put a file's name into its address unescaped. If it contains a `?`, a `#` or a `%`, the name has
to be separated from the address before the address is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from migrator.errors import UnexpectedBodyError
from migrator.model import Attachment, Entity, EntityRef
from migrator.trackers.lenient import as_object, integer, iso_date, non_negative, raw_json, text
from migrator.trackers.strict import number_in
from migrator.trackers.url_quoting import encoded_once
from migrator.wire import HttpClient, parse_json_or_none

UNTYPED = "WorkItem"
"""The kind of a work item that tells no type."""

_TOTALS = ("totalresults", "totalcount", "odata.count", "@odata.count", "total", "count")
_ADDRESS = re.compile(r"(?:^|/)(Attachment(?:Download|Streaming)/.*)", re.DOTALL)


def created_in(body: bytes) -> dict[str, Any] | None:
    """The file in the answer to an upload: alone, in a list or in `results`; None if there is none."""
    answer = parse_json_or_none(body)
    answer = as_object(answer).get("results", answer)
    if isinstance(answer, list):
        answer = answer[0] if len(answer) == 1 else None
    return as_object(answer) if non_negative(as_object(answer).get("id")) is not None else None


def entity_in(item: Mapping[str, Any], view: str) -> Entity:
    """A work item; `view` is the address of all of them, up to the number. One that tells no type is `UNTYPED`."""
    number, kind = str(number_in(item)), text(item.get("type")).strip() or UNTYPED
    title = text(as_object(item.get("fields")).get("Name"))
    return Entity(EntityRef(kind, number), title, view + number, raw_json(item))


def total_in(answer: object) -> int | None:
    """The number of all items, as far as the answer of a list tells one, in whichever spelling."""
    told = {key.lower(): value for key, value in as_object(answer).items() if isinstance(key, str)}
    found = (non_negative(told.get(name)) for name in _TOTALS)
    return next((number for number in found if number is not None), None)


def description_in(item: Mapping[str, Any]) -> str:
    """The text of a work item, as HTML."""
    return text(as_object(item.get("fields")).get("Description"))


def attachment_in(item: Mapping[str, Any], owner: EntityRef, http: HttpClient) -> Attachment:
    """A file; its addresses, the best first, are lines of the locator."""
    comment = integer(item.get("commentId"))
    return Attachment(
        id=str(number_in(item)),
        owner=owner,
        name=text(item.get("name")),
        size=non_negative(item.get("size")),
        comment_id=None if comment is None else str(comment),
        description=text(item.get("description")),
        created_at=iso_date(item.get("createdAt")),
        created_by=text(item.get("createdBy")),
        locator="\n".join(paths_in(item, http)),
        raw=raw_json(item),
    )


def paths_in(item: object, http: HttpClient) -> list[str]:
    """Where a file may be had, below the base, the best first; what is no address is left out."""
    told = as_object(item)
    paths = [_path_in(text(told.get(key)), text(told.get("name")), http) for key in ("downloadUrl", "url")]
    return [path for path in paths if path]


def _path_in(address: str, name: str, http: HttpClient) -> str:
    if name and address.endswith(f"/{name}"):
        address = address.removesuffix(name) + quote(name, safe="")
    try:
        path = encoded_once(http.path_of(address))
    except UnexpectedBodyError:
        return ""
    found = _ADDRESS.search(path)
    return found[1] if found else path
