"""The answers of a TeamPulse, as pure functions: work items, files and their addresses.

Beware: some servers put a file's name into its address unescaped. The name may contain a `?`, a `#` or a `%`, so it is
separated from the address before the address is parsed.
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
"""The kind of a work item without a type."""

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
    """A work item; `view` is its address without the number. A work item without a type is `UNTYPED`."""
    number, kind = str(number_in(item)), text(item.get("type")).strip() or UNTYPED
    title = text(as_object(item.get("fields")).get("Name"))
    return Entity(EntityRef(kind, number), title, view + number, raw_json(item))


def total_in(answer: object) -> int | None:
    """The number of all items that the answer of a list states under any of its known names; None without one."""
    fields = {key.lower(): value for key, value in as_object(answer).items() if isinstance(key, str)}
    totals = (non_negative(fields.get(name)) for name in _TOTALS)
    return next((total for total in totals if total is not None), None)


def description_in(item: Mapping[str, Any]) -> str:
    """The text of a work item, as HTML."""
    return text(as_object(item.get("fields")).get("Description"))


def attachment_in(item: Mapping[str, Any], owner: EntityRef, http: HttpClient) -> Attachment:
    """A file. The lines of its locator are its addresses, the best first."""
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
    """The addresses of a file as paths below the base, the best first; what is no address is left out."""
    record = as_object(item)
    paths = [_path_in(text(record.get(key)), text(record.get("name")), http) for key in ("downloadUrl", "url")]
    return [path for path in paths if path]


def _path_in(address: str, name: str, http: HttpClient) -> str:
    if name and address.endswith(f"/{name}"):
        address = address.removesuffix(name) + quote(name, safe="")
    try:
        path = encoded_once(http.path_of(address))
    except UnexpectedBodyError:
        return ""
    match = _ADDRESS.search(path)
    return match[1] if match else path
