"""Redmine's answers as our types: files, their owners, and numbers in custom fields that may be files.

An item that cannot be read is reported beside the others, so that nothing else is lost with it.

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


class RecordNames(NamedTuple):
    """What the API calls records of one kind: a list of them, whose path has the same name, and a single one."""

    list_name: str
    key: str


RECORD_NAMES = {
    ISSUE: RecordNames("issues", "issue"),
    NEWS: RecordNames("news", "news"),
    VERSION: RecordNames("versions", "version"),
    PROJECT: RecordNames("projects", "project"),
    USER: RecordNames("users", "user"),
    GROUP: RecordNames("groups", "group"),
    TIME_ENTRY: RecordNames("time_entries", "time_entry"),
}
"""The names for each kind. A wiki page has no number, so it is not here."""


class FieldValues(NamedTuple):
    """A custom field of one item, with those of its values that are integers: ids, if it is a field for files."""

    id: str
    name: str
    numbers: tuple[str, ...]


def attachment_in(record: Mapping[str, Any], owner: EntityRef, locator: str = "") -> Attachment:
    """One file. `locator` is the list that it comes from, if that isn't the record of its owner."""
    return Attachment(
        id=str(number_in(record)),
        owner=owner,
        name=text(record.get("filename")),
        size=integer(record.get("filesize")),
        media_type=text(record.get("content_type")),
        description=text(record.get("description")),
        created_at=text(record.get("created_on")),
        created_by=text(as_object(record.get("author")).get("name")),
        locator=locator,
        raw=raw_json(record),
    )


def attachments_in(item: Mapping[str, Any], owner: EntityRef) -> tuple[Attachment, ...]:
    """The files in an item's JSON; `UnexpectedBodyError` if one of them can't be read."""
    return tuple(attachment_in(record, owner) for record in objects_in(item, "attachments"))


def listed_files(item: Mapping[str, Any], owner: EntityRef) -> tuple[list[Attachment], tuple[Unread, ...]] | None:
    """The files in an item's JSON, and those that can't be read; None if it has no list, so its record must be read."""
    try:
        records = list_in(item, "attachments")
        files, unread = split(records, partial(attachment_in, owner=owner), f"the files of {owner}", owner.kind)
    except UnexpectedBodyError:
        return None
    return files, tuple(replace(failure, ref=owner) for failure in unread)


def values_in(item: Mapping[str, Any]) -> Iterator[FieldValues]:
    """The custom fields of an item whose values may be files."""
    for field in as_objects(item.get("custom_fields")):
        value = field.get("value")
        words = [text(word) or str(word) for word in (value if isinstance(value, list) else [value])]
        numbers = tuple(word for word in words if word.isascii() and word.isdecimal() and int(word))
        if numbers:
            yield FieldValues(str(integer(field.get("id"))), text(field.get("name")), numbers)


def ref_in(issue: Mapping[str, Any]) -> EntityRef:
    """Which issue this is."""
    return EntityRef(ISSUE, str(number_in(issue)))


def entity_in(item: Mapping[str, Any], kind: str, base: object) -> Entity:
    """An item of a list as an entity; its title is its subject, title or name.

    A list of users may contain their API keys, which are not kept.
    """
    number = str(number_in(item))
    name = text(item.get("subject")) or text(item.get("title")) or text(item.get("name")) or text(item.get("login"))
    public_fields = {key: value for key, value in item.items() if key != "api_key"}
    url = f"{base}/{RECORD_NAMES[kind].list_name}/{number}"
    return Entity(EntityRef(kind, number), name, url, raw_json(public_fields))
