"""Issuetrak's answers, searches and dates, as pure functions.

Beware: much of the format is documented by example only, so each function reads what it knows and treats the rest as
missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from migrator.errors import ConfigError, GoneError, RejectedError, UnexpectedBodyError
from migrator.model import Attachment, EntityRef
from migrator.trackers.lenient import integer, non_negative, raw_json, text
from migrator.trackers.strict import number_in, objects_in

_RANGE = re.compile(r"\s*([0-9]{1,10})\s*-\s*([0-9]{1,10})\s*", re.ASCII)


def as_gone(error: RejectedError, subject: str, *other_statuses: int) -> RejectedError:
    """`GoneError` for the statuses 404 and 410, and for the others given; any other error unchanged."""
    missing = error.status in {404, 410, *other_statuses}
    return GoneError(f"{subject} is not there ({error})", status=error.status) if missing else error


def search_for_all(index: int, size: int) -> dict[str, Any]:
    """The query for a page of all issues, in the order of their numbers."""
    any_issue = {
        "QueryExpressionOperator": "AND",
        "QueryExpressionOperation": "NotEqual",
        "FieldName": "IssueNumber",
        "FieldFilterValue1": "0",
        "FieldFilterValue2": "",
    }
    return {
        "QuerySetDefinitions": [{"QuerySetIndex": 0, "QuerySetOperator": "AND", "QuerySetExpressions": [any_issue]}],
        "QueryOrderingDefinitions": [{"FieldName": "IssueNumber", "QueryOrderingDirection": "Asc"}],
        "PageIndex": index,
        "PageSize": size,
        "CanIncludeNotes": False,
    }


def page_window(offset: int, max_size: int) -> tuple[int, int]:
    """The index and size of the page that contains the item at `offset`, and as many items after it as possible.

    Pages are requested by index, so the size decides. For offsets below 10^8 there is at least one item after it.
    """
    size = max(range(max_size, max_size // 2, -1), key=lambda candidate: candidate - offset % candidate)
    return offset // size, size


def collection_in(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The items of an answer; `UnexpectedBodyError` if it has no list, or states another number of items."""
    items, count = objects_in(answer, "Collection"), integer(answer.get("CountForPage"))
    if count is not None and count != len(items):
        raise UnexpectedBodyError(f"the answer states {count} items and has {len(items)}")
    return items


def attachment_in(record: Mapping[str, Any], owner: EntityRef) -> Attachment:
    """One file of a list."""
    return Attachment(
        id=str(number_in(record, "AttachmentID")),
        owner=owner,
        name=text(record.get("FileName")),
        size=non_negative(record.get("FileSizeInBytes")),
        created_at=text(record.get("CreatedDate")),
        created_by=text(record.get("CreatedBy")),
        raw=without_query_date({**record, "FileContent": None}),
    )


def without_query_date(record: Mapping[str, Any]) -> str:
    """The JSON of a record without the time of the request, so that an unchanged record has equal JSON each time."""
    metadata = record.get("Metadata")
    if isinstance(metadata, list):
        rest = [pair for pair in metadata if not isinstance(pair, dict) or pair.get("Key") != "QueryDate"]
        record = {**record, "Metadata": rest}
    return raw_json(record)


def created_in(answer: object) -> str | None:
    """The number of a new attachment: alone, as text, or inside an object; None if it is missing."""
    number = integer(answer if not isinstance(answer, dict) else answer.get("AttachmentID"))
    return str(number) if number is not None and number > 0 else None


def api_date(moment: str, zone: tzinfo) -> str:
    """A date as the API takes it: in the server's zone, without an offset; the current time for anything else."""
    try:
        date = datetime.fromisoformat(moment)
        local = date.astimezone(zone) if date.tzinfo else date
    except (ValueError, OverflowError):
        local = datetime.now(zone)
    return local.replace(tzinfo=None).isoformat(timespec="microseconds") + "0"


def range_in(numbers: str) -> tuple[int, int]:
    """The first and last number of a range such as `1-5000`; `ConfigError` for anything else."""
    match = _RANGE.fullmatch(numbers)
    if not match or int(match[1]) > int(match[2]):
        raise ConfigError(f'options.issue_numbers: {numbers!r} is not a range such as "1-5000"')
    return int(match[1]), int(match[2])


def zone_in(name: str) -> tzinfo:
    """A time zone by name; `ConfigError` for an unknown one."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ConfigError(f"options.time_zone: {name!r} is not a known time zone") from None
