"""The answers of a Targetprocess, as pure functions: JSON and XML, attachments, dates, texts, uploads.

XML is converted to the shape of the JSON, so that no other module needs to know which of them came.

Beware: an answer may be malformed in any way; it then ends in one of `migrator.errors`, or as a missing value.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from migrator import errors
from migrator.model import Attachment, EntityRef
from migrator.sniffing import is_login_form, looks_like_html
from migrator.trackers.lenient import as_object, as_objects, non_negative, raw_json, text
from migrator.trackers.strict import objects_in
from migrator.trackers.url_quoting import encoded_once
from migrator.wire import Answer, error_reason, parse_json_or_none

INLINE = "inline:"
"""Begins the ids of images that stand in a text and are no attachments."""

_VAGUE = {"", "General", "Assignable"}
_QUOTED = re.compile(r"Attachment(?:Thumbnail)?\.aspx\?(?:[\w=&;-]*[&;])?AttachmentID=([0-9]{1,18})", re.IGNORECASE)
_IMAGE = re.compile(r"""["']~/((?:images|uploads)/[^"'<>]+)["']|\(~/((?:images|uploads)/[^)\s]+)\)""", re.IGNORECASE)
_BUILT = re.compile(r"(?:^|/)Attachment\.aspx\?AttachmentID=([0-9]+)$", re.IGNORECASE)
_DATE = re.compile(r"/Date\((-?\d{1,18})(?:([+-])(\d\d)(\d\d))?\)/", re.ASCII)


def parsed(answer: Answer, what: str) -> dict[str, Any]:
    """An answer of the API as JSON has it, whichever of JSON and XML it is. A login page means: not logged in."""
    if looks_like_html(answer.body):
        page = f"{what}: a web page ({error_reason(answer.body)}) instead of an answer"
        if is_login_form(answer.body):
            raise errors.AuthError(f"{page}; check the auth")
        raise errors.UnexpectedBodyError(page)
    is_xml = answer.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    try:
        value = _page_in(answer.xml(), what) if is_xml else answer.json()
    except (errors.UnexpectedBodyError, RecursionError) as error:
        told = str(error)
        raise errors.UnexpectedBodyError(told if told.startswith(what) else f"{what}: {told}") from None
    if not isinstance(value, dict):
        raise errors.UnexpectedBodyError(f"{what}: the answer is no object")
    return value


def _page_in(root: Element, what: str) -> Any:
    """The answer in XML. A list holds nothing but items, and an empty one is known by the name of what was asked for.

    Else an error, or the message of something in between, would be a list without items.
    """
    shape = from_xml(root, root=True)
    name, asked = root.tag.rpartition("}")[2].lower(), what.rpartition("/")[2].lower()
    is_list = len(root) or name == asked or "Next" in root.attrib
    if isinstance(shape, dict) and not (is_list and all(len(child) or child.attrib for child in root)):
        shape.pop("Items", None)
    return shape


def from_xml(element: Element, *, root: bool = False) -> Any:
    """An element in the shape that JSON has; `root` for the outermost, which is an object even if it is empty.

    What has no Id itself may be a collection: its children that are objects are its `Items`, too.
    """
    if any(name.rpartition("}")[2] == "nil" and value == "true" for name, value in element.attrib.items()):
        return None
    if not root and not len(element) and (element.text or not element.attrib):
        return element.text or ""
    children = [(child, from_xml(child)) for child in element]
    shape = {**element.attrib, **{child.tag: value for child, value in children}}
    if "Id" not in element.attrib:
        shape["Items"] = [value for _, value in children if isinstance(value, dict)]
    return shape


def listed(page: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
    """The items of a page; `UnexpectedBodyError` if it is none, or one of them is no object."""
    try:
        return objects_in(page, "Items")
    except errors.UnexpectedBodyError as error:
        raise errors.UnexpectedBodyError(f"{what}: {error}") from None


def id_of(item: Mapping[str, Any], what: str) -> int:
    """The id of an item; `UnexpectedBodyError` if it has none."""
    number = non_negative(item.get("Id"))
    if number is None:
        raise errors.UnexpectedBodyError(f"{what}: an item of the answer has no Id")
    return number


def inner(collection: object) -> list[dict[str, Any]]:
    """The items of a collection inside of an item."""
    return as_objects(collection.get("Items") if isinstance(collection, dict) else collection)


def kind_of(item: Mapping[str, Any]) -> str:
    """The name of the entity's type; empty where the item doesn't tell."""
    resource = text(item.get("ResourceType"))
    return text(as_object(item.get("EntityType")).get("Name")) or ("" if resource in _VAGUE else resource)


def attachment(item: Mapping[str, Any], owner: EntityRef, path_of: Callable[[str], str] | None = None) -> Attachment:
    """An item of a list of attachments. Where nobody wrote a description, Targetprocess puts the name there.

    `path_of` puts an address below our base: where the `Uri` is another than the one that all files have, it is kept.
    """
    name, description, size = text(item.get("Name")), text(item.get("Description")), non_negative(item.get("Size"))
    return Attachment(
        id=str(id_of(item, "Attachments")),
        owner=owner,
        name=name,
        size=size,
        media_type=text(item.get("MimeType")).strip(),
        description="" if description == name else description,
        created_at=iso_date(text(item.get("Date")).strip()),
        created_by=person(as_object(item.get("Owner"))),
        locator=_path_in(text(item.get("Uri")).strip(), item["Id"], path_of) if path_of else "",
        raw=raw_json(item),
    )


def _path_in(uri: str, number: object, path_of: Callable[[str], str]) -> str:
    """Where a file may be had besides the address that is built from its id; empty where that is the same."""
    if not uri or uri.endswith(f"/Attachment.aspx?AttachmentID={number}"):
        return ""
    if (built := _BUILT.search(uri)) and built[1] == str(number):
        return ""
    with suppress(errors.UnexpectedBodyError):
        return path_of(encoded_once(uri))
    return ""


def person(user: Mapping[str, Any]) -> str:
    """First and last name, else the login."""
    return f"{text(user.get('FirstName'))} {text(user.get('LastName'))}".strip() or text(user.get("Login"))


def iso_date(date: str) -> str:
    """Microsoft's `/Date(ms+HHMM)/` (UTC, and the zone it was meant in) and ISO 8601 in one spelling; else empty.

    XML tells no zone; JSON tells the same clock, and its zone.
    """
    try:
        if not (match := _DATE.fullmatch(date)):
            return datetime.fromisoformat(text(date)).isoformat()
        milliseconds, sign, hours, minutes = match.groups("")
        return (_epoch(sign, hours, minutes) + timedelta(milliseconds=int(milliseconds))).isoformat()
    except (ValueError, OverflowError):
        return ""


@cache
def _epoch(sign: str, hours: str, minutes: str) -> datetime:
    """When 1970 began in UTC, by the clocks of this zone. There are few."""
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return datetime(1970, 1, 1, tzinfo=UTC).astimezone(timezone(-offset if sign == "-" else offset) if offset else UTC)


def quoted_files(words: str) -> list[str]:
    """The ids of the attachments that a text shows or links to, each once."""
    return list(dict.fromkeys(str(int(number)) for number in _QUOTED.findall(html.unescape(words))))


def inline_paths(words: str) -> list[str]:
    """The paths of images that a text shows and that are no attachments, each once."""
    found = (html.unescape(in_html or in_markdown) for in_html, in_markdown in _IMAGE.findall(words))
    return list(dict.fromkeys(path.partition("?")[0].partition("#")[0] for path in found))


def inline_image(path: str, owner: EntityRef, comment_id: str | None) -> Attachment:
    """Such an image as an attachment; nothing but its path is known."""
    name = unquote(path.rpartition("/")[2]) or path
    return Attachment(f"{INLINE}{owner.id}:{path}", owner, name, comment_id=comment_id, locator=path)


def uploaded(body: bytes, owner: EntityRef) -> Attachment | None:
    """The file that the upload page names; its name is empty if the page doesn't know it. None if it names no file.

    New servers send objects, old ones arrays (id, date, name, type, ...), with `items` around them or not, and some
    wrap either in HTML for a browser's hidden frame.
    """
    answer = body.decode("utf-8", "replace")
    if answer.lstrip().startswith("<"):
        bare = re.search(r"[\[{].*[\]}]", answer, re.DOTALL)
        answer = html.unescape(bare[0]) if bare else ""
    value = parse_json_or_none(answer.encode())
    items = value.get("items", value.get("Items")) if isinstance(value, dict) else value
    if not isinstance(items, list) or len(items) != 1:
        return None
    item = dict(zip(("Id", "Date", "Name", "MimeType"), items[0], strict=False)) if isinstance(items[0], list) else {}
    item |= {key[:1].upper() + key[1:]: value for key, value in as_object(items[0]).items()}
    if non_negative(item.get("Id")) is None:
        return None
    nameless = text(item.get("Name")) == "undefined"
    return attachment({**item, "Name": "", "Description": ""} if nameless else item, owner)


def tells_of_a_file(body: bytes) -> bool:
    """Whether this is what the upload page answers with, in HTML or not."""
    return uploaded(body, EntityRef("", "")) is not None


def told_why(error: errors.MigratorError, *, inline: bool) -> errors.MigratorError:
    """The same refusal of a download, with what a person can do about it."""
    if inline:
        remedy = "a browser's cookie as [source.download_auth] may, and inline_images = 'skip' leaves it out"
        return errors.NotExposedError(f"an image of the text, not handed out by the REST API; {remedy}")
    hint = "a token may not fetch files: set [source.download_auth] to username and password, or to a cookie"
    return type(error)(f"{error} ({hint})")
