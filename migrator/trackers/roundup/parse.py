"""Roundup's answers as our types.

A date is written `2026-11-22.03:56:34`, in UTC. Lists of links have objects with an id and, if asked for, a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migrator.errors import GoneError
from migrator.model import NOBODY, Attachment, Entity, EntityRef
from migrator.trackers.lenient import as_object, iso_date, raw_json, text
from migrator.trackers.strict import digits, number_in, objects_in

FILE = "file"
"""Roundup's class of files."""


def entity_in(item: Mapping[str, Any], kind: str, base: object) -> Entity:
    """An item of a list; its title is what its class calls title or name."""
    number = str(number_in(item))
    title = text(item.get("title")) or text(item.get("name"))
    return Entity(EntityRef(kind, number), title, f"{base}/{kind}{number}", raw_json(item))


def linked_in(item: Mapping[str, Any]) -> dict[int, str]:
    """The numbers of the files that an item links, with their names; `UnexpectedBodyError` if it doesn't say."""
    return {number_in(file): text(file.get("name")) for file in objects_in(item, "files")}


def attachment_in(record: Mapping[str, Any], owner: EntityRef = NOBODY, kind: str = "") -> Attachment:
    """One file on one item of a kind, from the record of the file. The record doesn't tell the size."""
    number = str(number_in(record))
    date, _, time = text(record.get("creation")).partition(".")
    return Attachment(
        id=attachment_id(kind, owner.id, number),
        owner=owner,
        name=text(record.get("name")),
        media_type=text(record.get("type")),
        created_at=iso_date(f"{date}T{time.partition('.')[0]}+00:00"),
        created_by=text(as_object(record.get("creator")).get("username")),
        locator=number,
        raw=raw_json(record),
    )


def attachment_id(kind: str, item: str, file: str) -> str:
    """The name of a file on an item, by Roundup's own names of both, or of a file that no item links."""
    return f"{kind}{item}/{FILE}{file}" if kind else f"{FILE}{file}"


def file_number(attachment_id: str) -> str:
    """The number of the file in such a name; `GoneError` if it is none."""
    return digits(attachment_id.rpartition("/")[2].removeprefix(FILE))


def created_in(answer: Any) -> str:
    """The number of a record that was created, or an item that an answer describes."""
    return str(number_in(answer.get("data") if isinstance(answer, dict) else None))


def item_number(owner: EntityRef) -> str:
    """The number of an item; `GoneError` if its id is none."""
    if not owner.id:
        raise GoneError("a file without an item has no list")
    return digits(owner.id)
