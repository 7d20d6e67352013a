"""Issuetrak's answers, searches and dates, as pure functions.

Beware: much of the format is documented by example only, so each function reads what it knows and counts the rest as
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


def as_gone(error: RejectedError, what: str, *also: int) -> RejectedError:
    """`GoneError` for 404 and 410, and for the other statuses that mean the same here; any other error unchanged."""
    missing = error.status in {404, 410, *also}
    return GoneError(f"{what} is not there ({error})", status=error.status) if missing else error


def query(index: int, size: int) -> dict[str, Any]:
    """The search for all issues, in the order of their numbers."""
    every = {
        "QueryExpressionOperator": "AND",
        "QueryExpressionOperation": "NotEqual",
        "FieldName": "IssueNumber",
        "FieldFilterValue1": "0",
        "FieldFilterValue2": "",
    }
    return {
        "QuerySetDefinitions": [{"QuerySetIndex": 0, "QuerySetOperator": "AND", "QuerySetExpressions": [every]}],
        "QueryOrderingDefinitions": [{"FieldName": "IssueNumber", "QueryOrderingDirection": "Asc"}],
        "PageIndex": index,
        "PageSize": size,
        "CanIncludeNotes": False,
    }


def page_window(offset: int, longest: int) -> tuple[int, int]:
    """The page, as (index, size), that holds the item at `offset` and the most after it: pages go by index only here.

    At least one more comes after it, as no offset below 10^8 is the last item of a page in every size tried.
    """
    size = max(range(longest, longest // 2, -1), key=lambda size: size - offset % size)
    return offset // size, size


def collection_in(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The items of an answer; `UnexpectedBodyError` if it has none, or fewer than it counts."""
    found, count = objects_in(answer, "Collection"), integer(answer.get("CountForPage"))
    if count is not None and count != len(found):
        raise UnexpectedBodyError(f"the answer tells of {count} items and holds {len(found)}")
    return found


def attachment_in(found: Mapping[str, Any], owner: EntityRef) -> Attachment:
    """One file of a list."""
    return Attachment(
        id=str(number_in(found, "AttachmentID")),
        owner=owner,
        name=text(found.get("FileName")),
        size=non_negative(found.get("FileSizeInBytes")),
        created_at=text(found.get("CreatedDate")),
        created_by=text(found.get("CreatedBy")),
        raw=without_query_date({**found, "FileContent": None}),
    )


def without_query_date(found: Mapping[str, Any]) -> str:
    """What is kept of an item: all but the moment at which it was asked for, so that what didn't change looks alike."""
    metadata = found.get("Metadata")
    if isinstance(metadata, list):
        rest = [one for one in metadata if not isinstance(one, dict) or one.get("Key") != "QueryDate"]
        found = {**found, "Metadata": rest}
    return raw_json(found)


def created_in(answer: object) -> str | None:
    """The number of a new attachment: alone, as text, or inside an object; None if it is missing."""
    number = integer(answer if not isinstance(answer, dict) else answer.get("AttachmentID"))
    return str(number) if number is not None and number > 0 else None


def api_date(moment: str, zone: tzinfo) -> str:
    """A date as the API takes it: without offset, in the server's zone; now for one that can't be read."""
    try:
        when = datetime.fromisoformat(moment)
        local = when.astimezone(zone) if when.tzinfo else when
    except (ValueError, OverflowError):
        local = datetime.now(zone)
    return local.replace(tzinfo=None).isoformat(timespec="microseconds") + "0"


def range_in(numbers: str) -> tuple[int, int]:
    """`1-5000`; `ConfigError` for anything else."""
    found = _RANGE.fullmatch(numbers)
    if not found or int(found[1]) > int(found[2]):
        raise ConfigError(f'options.issue_numbers: {numbers!r} is no range such as "1-5000"')
    return int(found[1]), int(found[2])


def zone_in(name: str) -> tzinfo:
    """A time zone by name; `ConfigError` for an unknown one."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ConfigError(f"options.time_zone: {name!r} is no known time zone") from None
