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
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from migrator import errors
from migrator.model import Attachment, EntityRef
from migrator.sniffing import is_login_form, looks_like_html
from migrator.trackers.lenient import as_object, as_objects, non_negative, raw_json, text
from migrator.trackers.strict import objects_in
from migrator.trackers.url_quoting import encoded_once
from migrator.wire import Answer, error_reason, parse_json_or_none

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

INLINE = "inline:"
"""The start of the ids of images that are in a text and are no attachments."""

_VAGUE_TYPES = {"", "General", "Assignable"}
_QUOTED = re.compile(r"Attachment(?:Thumbnail)?\.aspx\?(?:[\w=&;-]*[&;])?AttachmentID=([0-9]{1,18})", re.IGNORECASE)
_IMAGE = re.compile(r"""["']~/((?:images|uploads)/[^"'<>]+)["']|\(~/((?:images|uploads)/[^)\s]+)\)""", re.IGNORECASE)
_BUILT = re.compile(r"(?:^|/)Attachment\.aspx\?AttachmentID=([0-9]+)$", re.IGNORECASE)
_DATE = re.compile(r"/Date\((-?\d{1,18})(?:([+-])(\d\d)(\d\d))?\)/", re.ASCII)


def parsed(answer: Answer, place: str) -> dict[str, Any]:
    """An answer in JSON or XML, in the shape of JSON; `AuthError` for a login page."""
    if looks_like_html(answer.body):
        page = f"{place}: a web page ({error_reason(answer.body)}) instead of an answer"
        if is_login_form(answer.body):
            raise errors.AuthError(f"{page}; check the credentials")
        raise errors.UnexpectedBodyError(page)
    is_xml = answer.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    try:
        value = _page_in(answer.xml(), place) if is_xml else answer.json()
    except (errors.UnexpectedBodyError, RecursionError) as error:
        reason = str(error)
        raise errors.UnexpectedBodyError(reason if reason.startswith(place) else f"{place}: {reason}") from None
    if not isinstance(value, dict):
        raise errors.UnexpectedBodyError(f"{place}: the answer is not an object")
    return value


def _page_in(root: Element, place: str) -> Any:
    """An answer in XML. It is a list only if it holds nothing but items, or is empty and named after the request.

    Otherwise the error page of the server or of a proxy would be a list without items.
    """
    value = from_xml(root, root=True)
    name, requested = root.tag.rpartition("}")[2].lower(), place.rpartition("/")[2].lower()
    is_list = len(root) or name == requested or "Next" in root.attrib
    if isinstance(value, dict) and not (is_list and all(len(child) or child.attrib for child in root)):
        value.pop("Items", None)
    return value


def from_xml(element: Element, *, root: bool = False) -> Any:
    """An element in the shape of JSON; `root`: it is the outermost, which is an object even if it is empty.

    An element without an Id may be a collection: those of its children that are objects are also its `Items`.
    """
    if any(name.rpartition("}")[2] == "nil" and value == "true" for name, value in element.attrib.items()):
        return None
    if not root and not len(element) and (element.text or not element.attrib):
        return element.text or ""
    children = [(child, from_xml(child)) for child in element]
    fields = {**element.attrib, **{child.tag: value for child, value in children}}
    if "Id" not in element.attrib:
        fields["Items"] = [value for _, value in children if isinstance(value, dict)]
    return fields


def listed(page: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    """The items of a page; `UnexpectedBodyError` if it is not a page, or one of them is not an object."""
    try:
        return objects_in(page, "Items")
    except errors.UnexpectedBodyError as error:
        raise errors.UnexpectedBodyError(f"{place}: {error}") from None


def id_of(item: Mapping[str, Any], place: str) -> int:
    """The id of an item; `UnexpectedBodyError` if it has none."""
    number = non_negative(item.get("Id"))
    if number is None:
        raise errors.UnexpectedBodyError(f"{place}: an item of the answer has no Id")
    return number


def inner(collection: object) -> list[dict[str, Any]]:
    """The items of a collection inside an item."""
    return as_objects(collection.get("Items") if isinstance(collection, dict) else collection)


def kind_of(item: Mapping[str, Any]) -> str:
    """The name of the entity's type; empty if the item doesn't state it."""
    resource = text(item.get("ResourceType"))
    return text(as_object(item.get("EntityType")).get("Name")) or ("" if resource in _VAGUE_TYPES else resource)


def attachment(item: Mapping[str, Any], owner: EntityRef, path_of: Callable[[str], str] | None = None) -> Attachment:
    """A file from an item of a list. A description that is the name is dropped, because Targetprocess put it there.

    `path_of` makes an address relative to our base. An unusual `Uri` becomes the locator.
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
    """The path of a `Uri`; empty if it is the one that is built from the id."""
    if not uri or uri.endswith(f"/Attachment.aspx?AttachmentID={number}"):
        return ""
    if (built := _BUILT.search(uri)) and built[1] == str(number):
        return ""
    with suppress(errors.UnexpectedBodyError):
        return path_of(encoded_once(uri))
    return ""


def person(user: Mapping[str, Any]) -> str:
    """First and last name, or if both are missing, the login."""
    return f"{text(user.get('FirstName'))} {text(user.get('LastName'))}".strip() or text(user.get("Login"))


def iso_date(date: str) -> str:
    """ISO 8601 from Microsoft's `/Date(ms+HHMM)/` (UTC, and a zone) or ISO 8601 in any spelling; else empty.

    JSON has the local time with its zone, XML the same time without.
    """
    try:
        if not (match := _DATE.fullmatch(date)):
            return datetime.fromisoformat(text(date)).isoformat()
        milliseconds, sign, hours, minutes = match.groups("")
        epoch, offset = _epoch(sign, hours, minutes)
        return (epoch + timedelta(milliseconds=int(milliseconds))).isoformat() + offset
    except (ValueError, OverflowError):
        return ""


@cache
def _epoch(sign: str, hours: str, minutes: str) -> tuple[datetime, str]:
    """The start of 1970 in UTC by the clocks of this zone, and its offset as ISO 8601 has it.

    Cached, because there are few zones; and without a zone, as dates with one take twice as long.
    """
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    zone = timezone(-offset if sign == "-" else offset) if offset else UTC
    epoch = datetime(1970, 1, 1, tzinfo=UTC).astimezone(zone)
    return epoch.replace(tzinfo=None), epoch.isoformat()[-6:]


def quoted_files(words: str) -> list[str]:
    """The ids of the attachments that a text shows or links to, each once."""
    return list(dict.fromkeys(str(int(number)) for number in _QUOTED.findall(html.unescape(words))))


def inline_paths(words: str) -> list[str]:
    """The paths of images that a text shows and that are no attachments, each once."""
    paths = (html.unescape(in_html or in_markdown) for in_html, in_markdown in _IMAGE.findall(words))
    return list(dict.fromkeys(path.partition("?")[0].partition("#")[0] for path in paths))


def inline_image(path: str, owner: EntityRef, comment_id: str | None) -> Attachment:
    """An image inside a text as an attachment; only its path is known."""
    name = unquote(path.rpartition("/")[2]) or path
    return Attachment(f"{INLINE}{owner.id}:{path}", owner, name, comment_id=comment_id, locator=path)


def uploaded(body: bytes, owner: EntityRef) -> Attachment | None:
    """The file that the answer to an upload names, with an empty name if that is missing; None if it names no file.

    New servers send objects, old ones arrays (id, date, name, type, ...), in `items` or not, and some wrap either in
    HTML for a browser's hidden frame.
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


def names_a_file(body: bytes) -> bool:
    """Whether an answer, in HTML or not, is that to an upload."""
    return uploaded(body, EntityRef("", "")) is not None


def with_remedy(error: errors.MigratorError, *, inline: bool) -> errors.MigratorError:
    """The error of a refused download, with what a person can do about it."""
    if inline:
        return errors.NotExposedError(
            "image pasted into a description: the REST API can't download it. Set [source.download_auth] to a browser "
            'cookie, or inline_images = "skip" to ignore these images.'
        )
    hint = "a token may not fetch files: set [source.download_auth] to username and password, or to a cookie"
    return type(error)(f"{error} ({hint})")
