"""Redmine's answers as our types: files, their owners, and numbers in custom fields that may be files.

What cannot be read of one item is reported beside the others, so that nothing else is lost with it.

Beware: a custom field that holds a file has the file's id as its value, and looks like an integer field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from migrator.errors import UnexpectedBodyError
from migrator.model import Attachment, Entity, EntityRef, Unread
from migrator.trackers.lenient import as_object, as_objects, integer, raw_json, text
from migrator.trackers.strict import list_in, number_in, objects_in, split

ISSUE, WIKI, NEWS, VERSION, PROJECT = "Issue", "WikiPage", "News", "Version", "Project"
USER, GROUP, TIME_ENTRY = "User", "Group", "TimeEntry"
KINDS = (ISSUE, WIKI, NEWS, VERSION, PROJECT, USER, GROUP, TIME_ENTRY)

RECORDS = {
    ISSUE: ("issues", "issue"),
    NEWS: ("news", "news"),
    VERSION: ("versions", "version"),
    PROJECT: ("projects", "project"),
    USER: ("users", "user"),
    GROUP: ("groups", "group"),
    TIME_ENTRY: ("time_entries", "time_entry"),
}
"""Where the record of one is, and under which name it stands there; a wiki page has no number, and so no place here."""


class FieldValues(NamedTuple):
    """A custom field of one item, and the whole numbers that are its values: files, if it is a field for files."""

    id: str
    name: str
    numbers: tuple[str, ...]


def attachment_in(found: Mapping[str, Any], owner: EntityRef, locator: str = "") -> Attachment:
    """One file. `locator` is the list that it comes from, if that isn't the record of its owner."""
    return Attachment(
        id=str(number_in(found)),
        owner=owner,
        name=text(found.get("filename")),
        size=integer(found.get("filesize")),
        media_type=text(found.get("content_type")),
        description=text(found.get("description")),
        created_at=text(found.get("created_on")),
        created_by=text(as_object(found.get("author")).get("name")),
        locator=locator,
        raw=raw_json(found),
    )


def attachments_in(item: Mapping[str, Any], owner: EntityRef) -> tuple[Attachment, ...]:
    """The files that an item's JSON tells of; `UnexpectedBodyError` where one of them makes no sense."""
    return tuple(attachment_in(found, owner) for found in objects_in(item, "attachments"))


def listed_files(item: Mapping[str, Any], owner: EntityRef) -> tuple[list[Attachment], tuple[Unread, ...]] | None:
    """Those that make sense, and the others; None where it tells of none in its form: its own record is to be asked."""
    try:
        told = list_in(item, "attachments")
        files, unread = split(told, partial(attachment_in, owner=owner), f"the files of {owner}", owner.kind)
    except UnexpectedBodyError:
        return None
    return files, tuple(replace(one, ref=owner) for one in unread)


def values_in(item: Mapping[str, Any]) -> Iterator[FieldValues]:
    """The custom fields of an item whose values may be files."""
    for field in as_objects(item.get("custom_fields")):
        value = field.get("value")
        told = [text(one) or str(one) for one in (value if isinstance(value, list) else [value])]
        numbers = tuple(one for one in told if one.isascii() and one.isdecimal() and int(one))
        if numbers:
            yield FieldValues(str(integer(field.get("id"))), text(field.get("name")), numbers)


def ref_in(issue: Mapping[str, Any]) -> EntityRef:
    """Which issue this is."""
    return EntityRef(ISSUE, str(number_in(issue)))


def entity_in(item: Mapping[str, Any], kind: str, base: object) -> Entity:
    """One item with a number, as its kind's lists tell of it. A user's list may hold a key, which is nobody's business.

    Its title is what people see first: a subject, a title or a name.
    """
    number = str(number_in(item))
    name = text(item.get("subject")) or text(item.get("title")) or text(item.get("name")) or text(item.get("login"))
    open_fields = {key: value for key, value in item.items() if key != "api_key"}
    return Entity(EntityRef(kind, number), name, f"{base}/{RECORDS[kind][0]}/{number}", raw_json(open_fields))
