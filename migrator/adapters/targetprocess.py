"""Targetprocess, REST API version 1, as a source and as a target.

The one idea: every list that may show a file is read: all attachments, the attachments of each entity (the vendor's
page "Work with Attachments" warns that the first may be short), and the texts of entities and comments, which tell
whose the files are that name no owner.
The one trap: old and new servers differ in what they refuse (sorting, filters, fields, counts, JSON), and some ignore
what they don't know. So a page is asked for in the best way first, and believed only if it is as it was asked for.

`Next` is never followed: it names the server's own idea of its host and drops parameters; it only tells that there is
more. Files are fetched by id below the configured URL for the same reason. Tokens may not fetch files (same page).
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any, Literal
from urllib.parse import quote, unquote
from xml.etree.ElementTree import Element

from migrator import errors
from migrator.adapters import Adapter
from migrator.answers import expects_html, looks_like_html, reason_in
from migrator.auth import Header, QueryToken, Signer, basic
from migrator.fields import record, records, text, whole
from migrator.http import Answer, Call, HttpClient
from migrator.model import NOBODY, Attachment, Cursor, Draft, Entity, EntityRef, Link, Page
from migrator.multipart import Multipart
from migrator.paging import Keyset, Offset, mode_of
from migrator.ports import Body, Capabilities, Sink

INLINE = "inline:"
"""Begins the ids of images that stand in a text and are no attachments."""

_FILE = "Id,Name,Description,Date,MimeType,Size,Uri,Owner[Id,FirstName,LastName,Login]"
_KIND = "General[Id,Name,EntityType[Name]]"
_MESSAGE = "[Id,Generals[Id,Name,EntityType[Name]],Attachments[Id]]"
_VAGUE = {"", "General", "Assignable"}
_QUOTED = re.compile(r"Attachment(?:Thumbnail)?\.aspx\?(?:[\w=&;-]*[&;])?AttachmentID=([0-9]{1,18})", re.IGNORECASE)
_IMAGE = re.compile(r"""["']~/((?:images|uploads)/[^"'<>]+)["']|\(~/((?:images|uploads)/[^)\s]+)\)""", re.IGNORECASE)
_DATE = re.compile(r"/Date\((-?\d{1,18})(?:([+-])(\d\d)(\d\d))?\)/", re.ASCII)


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    format          "xml" asks for XML; what comes is understood either way
    page_size       items in one answer of a listing, 2 to 1000
    cross_check     which entities are asked for their own list: those with files ("counts"), "all", or none ("off")
    inline_images   "list" takes old images inside of texts as files. The API doesn't hand them out, so the backup
                    stays incomplete and names each, unless [source.download_auth] has a browser's cookie; "skip"
                    leaves them out
    """

    format: Literal["json", "xml"] = "json"
    page_size: int = 500
    cross_check: Literal["counts", "all", "off"] = "counts"
    inline_images: Literal["list", "skip"] = "list"


@dataclass(frozen=True, slots=True)
class Listing:
    """A collection, and what to ask of its items: the fullest first, less for servers that don't know all of it."""

    name: str
    asks: tuple[Mapping[str, str], ...]
    sorts: bool = True
    most: int = 1000


ATTACHMENTS = Listing("Attachments", ({"include": f"[{_FILE},{_KIND},Message[Id]]"}, {"include": f"[{_FILE},General]"}))
GENERALS = Listing(
    "Generals",
    (
        {"include": "[Id,Name,Description,EntityType[Name],Project[Id,Name]]", "append": "[Attachments-Count]"},
        {"include": "[Id,Name,Description,EntityType[Name],Project[Id,Name]]"},
        {"include": "[Id,Name,Description,EntityType]"},
    ),
)
COMMENTS = Listing("Comments", ({"include": f"[Id,Description,{_KIND}]"}, {"include": "[Id,Description,General]"}))
# Inner collections share one limit over the whole page: few messages at a time.
MESSAGES = Listing("Messages", ({"include": _MESSAGE, "innerTake": "1000"},), most=20)
OF_ENTITY = Listing("Generals/{}/Attachments", ({"include": f"[{_FILE}]"}, {}), sorts=False)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask for a page: what to add to the query, and where the listing stands."""

    query: Mapping[str, str]
    state: Keyset | Offset


class _Targetprocess:
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        self._http, self._options = http, options
        self._known: dict[str, int] = {}  # listing -> the first of its `asks` that this server didn't refuse
        self.capabilities = Capabilities(
            streams=("Attachments", "Generals", "Comments", "Messages"),
            max_connections=4,
            max_writes=1,
            reports_size=options.inline_images == "skip",
        )

    async def check(self) -> str:
        """See `Tracker`."""
        try:
            context = await self._ask("api/v1/Context")
        except errors.Forbidden as error:
            raise errors.AuthRefused(f"{error}; requesters may not use the API") from error
        user = record(context.get("LoggedUser"))
        login = text(user.get("Login")) or person(user) or "somebody"
        return f"Targetprocess {text(context.get('Version')) or 'of unknown version'} as {login}"

    async def close(self) -> None:
        """See `Tracker`."""
        await self._http.close()

    async def _ask(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        form = self._options.format
        try:
            answer = await self._http.get(path, {"format": form, **(query or {})}, Accept=f"application/{form}")
        except errors.LoginPage as error:
            raise errors.AuthRefused(str(error)) from error
        return parsed(answer, f"GET {path}")

    async def _page(
        self, listing: Listing, cursor: Cursor | None, *of: str
    ) -> tuple[list[dict[str, Any]], Cursor | None]:
        """The items of one page and the cursor after it, in the first way that the server goes along with."""
        path = f"api/v1/{listing.name.format(*of)}"
        take = max(2, min(self._options.page_size, listing.most))
        refusal: errors.MigratorError = errors.WrongBody(f"GET {path}: sorted otherwise than it was asked for")
        for number in range(self._known.get(listing.name, 0), len(listing.asks)):
            for way in ways(cursor, sorts=listing.sorts):
                try:
                    page = await self._ask(path, {**listing.asks[number], **way.query, "take": str(take)})
                except (errors.Gone, errors.Forbidden):
                    raise
                except errors.Rejected as error:
                    refusal = error
                    continue
                items = listed(page, path)
                ids = [id_of(item, path) for item in items]
                if kept_to(way, ids):
                    self._known[listing.name] = number
                    return items, following(way, ids, take, more=bool(page.get("Next")))
        raise refusal

    async def _files_of(self, owner: EntityRef) -> tuple[Attachment, ...]:
        found: dict[str, Attachment] = {}
        cursor: Cursor | None = None
        while True:
            items, cursor = await self._page(OF_ENTITY, cursor, quote(owner.id, safe=""))
            found |= {file.id: file for file in (attachment(item, owner) for item in items)}
            if cursor is None:
                return tuple(found.values())

    async def _fetch(self, file: Attachment, sink: Sink) -> None:
        # A page of HTML may be the file itself; where its size is known, that decides (in the layer above).
        expected = file.size is not None and expects_html(file)
        try:
            query = {"AttachmentID": file.id}
            await self._http.download("Attachment.aspx", sink, query, html_expected=expected)
        except (errors.LoginPage, errors.AuthRefused) as error:
            hint = "tokens may not fetch files: set [source.download_auth] to username and password, or to a cookie"
            raise type(error)(f"{error} ({hint})") from error


class TargetprocessSource(_Targetprocess):
    """Targetprocess as a source."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._kinds: dict[int, str] = {}

    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """See `Source`."""
        if stream == "Attachments":
            return await self._attachments(cursor)
        if stream == "Generals":
            return await self._generals(cursor)
        try:
            return await (self._comments(cursor) if stream == "Comments" else self._messages(cursor))
        except errors.Rejected:
            if cursor is not None:
                raise
            return Page()  # not on this server, or not for this account: files keep the owner they name, if any

    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """See `Source`."""
        return await self._files_of(entity.ref)

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`. `NotReachable` for an image inside of a text, where only a browser may fetch it."""
        if not attachment.id.startswith(INLINE):
            return await self._fetch(attachment, sink)
        try:
            return await self._http.download(attachment.locator, sink)
        except (errors.LoginPage, errors.AuthRefused, errors.Rejected) as error:
            remedy = "a browser's cookie as [source.download_auth] may, and inline_images = 'skip' leaves it out"
            raise errors.NotReachable(f"an image of the text, not handed out by the REST API; {remedy}") from error

    async def _attachments(self, cursor: Cursor | None) -> Page:
        items, after = await self._page(ATTACHMENTS, cursor)
        owners = [await self._entity(item.get("General")) for item in items]
        files = [attachment(item, owner.ref if owner else NOBODY) for item, owner in zip(items, owners, strict=True)]
        return Page(distinct(owners), tuple(files), next=after)

    async def _generals(self, cursor: Cursor | None) -> Page:
        items, after = await self._page(GENERALS, cursor)
        entities = [(item, entity) for item in items if (entity := await self._entity(item, raw=json.dumps(item)))]
        wanted = tuple(entity for item, entity in entities if self._asks_for(item))
        texts = [(text(item.get("Description")), entity.ref, None) for item, entity in entities]
        files, links = self._in_texts(texts)
        return Page(tuple(entity for _, entity in entities), files, links, wanted, after)

    async def _comments(self, cursor: Cursor | None) -> Page:
        items, after = await self._page(COMMENTS, cursor)
        owned = [(item, owner) for item in items if (owner := await self._entity(item.get("General")))]
        texts = [(text(item.get("Description")), owner.ref, str(id_of(item, "api/v1/Comments"))) for item, owner in owned]
        files, links = self._in_texts(texts)
        return Page(distinct(owner for _, owner in owned), files, links, next=after)

    async def _messages(self, cursor: Cursor | None) -> Page:
        items, after = await self._page(MESSAGES, cursor)
        owners: list[Entity | None] = []
        links: list[Link] = []
        for item in items:
            files = inner(item.get("Attachments"))
            general = next(iter(inner(item.get("Generals"))), None) if files else None
            if owner := await self._entity(general):
                owners.append(owner)
                links += [Link(str(id_of(file, "api/v1/Messages")), owner.ref) for file in files]
        return Page(distinct(owners), links=tuple(links), next=after)

    def _asks_for(self, item: Mapping[str, Any]) -> bool:
        """Whether the entity is asked for its own list of files; without a count there is no telling."""
        count = whole(item.get("Attachments-Count"))
        check = self._options.cross_check
        return check == "all" or (check == "counts" and count != 0)

    def _in_texts(
        self, texts: Iterable[tuple[str, EntityRef, str | None]]
    ) -> tuple[tuple[Attachment, ...], tuple[Link, ...]]:
        files, links = [], []
        for words, owner, comment_id in texts:
            links += [Link(number, owner, comment_id) for number in quoted_files(words)]
            if self._options.inline_images == "list":
                files += [inline_image(path, owner, comment_id) for path in inline_paths(words)]
        return tuple(files), tuple(links)

    async def _entity(self, general: object, raw: str | None = None) -> Entity | None:
        """The entity that a General tells of; None if it is null."""
        item = record(general)
        number = whole(item.get("Id"))
        if number is None:
            return None
        ref = EntityRef(kind_of(item) or await self._looked_up(number), str(number))
        return Entity(ref, text(item.get("Name")), f"{self._http.base}/entity/{number}", raw)

    async def _looked_up(self, number: int) -> str:
        """The kind of an entity that the listing leaves open; "General" if it can't be had."""
        if number not in self._kinds:
            try:
                found = await self._ask(f"api/v1/Generals/{number}")
            except errors.Rejected:
                found = {}
            self._kinds[number] = kind_of(found) or "General"
        return self._kinds[number]


class TargetprocessTarget(_Targetprocess):
    """Targetprocess as a target. All entities share one id space, so their kind isn't needed."""

    def legal_name(self, name: str) -> str:
        """See `Target`: only what a header line can't carry is replaced."""
        return "".join("_" if unicodedata.category(char) in {"Cc", "Cs"} else char for char in name) or "_"

    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """See `Target`."""
        return await self._files_of(owner)

    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """See `Target`. A description that could not be set is missing in what is returned; the file is there."""
        parts = Multipart({"generalId": owner.id}, "file", draft.name, draft.media_type, body)
        call = Call("POST", "UploadFile.ashx", headers={"Accept": "application/json"}, body=parts)
        try:
            answer = await self._http.write(call)
        except errors.Unanswered as error:
            raise await self._fate(owner, error) from error
        made = uploaded(answer.body, owner)
        if made is None or draft.description in {"", made.description}:
            return made
        try:
            await self.describe(made, draft.description)
        except (errors.Retriable, errors.Rejected):
            return made
        return replace(made, description=draft.description)

    async def describe(self, remote: Attachment, description: str) -> None:
        """See `Target`."""
        path = f"api/v1/Attachments/{quote(remote.id, safe='')}"
        answer = await self._http.send_json("POST", path, {"Description": description}, {"format": "json"})
        parsed(answer, f"POST {path}")

    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """See `Target`."""
        await self._fetch(remote, sink)

    async def _fate(self, owner: EntityRef, error: errors.Unanswered) -> errors.MigratorError:
        """The upload page answers most failures with 500: a definite no where the file can't have arrived."""
        if "request length exceeded" in str(error).lower():
            return errors.Rejected(f"the server takes no file of this size ({error})")
        try:
            await self._ask(f"api/v1/Generals/{quote(owner.id, safe='')}")
        except errors.Gone as gone:
            return gone
        except errors.MigratorError:
            return error
        return error


def ways(cursor: Cursor | None, *, sorts: bool) -> list[Way]:
    """The ways to go on, best first: behind the last id, by offset in the order of ids, by offset as it comes.

    What was begun by offset goes on so; a keyset that is refused later begins again by offset.
    """
    by_offset = mode_of(cursor) is Offset
    offset = Offset.parse(cursor) if by_offset else Offset()
    skip = {"skip": str(offset.request)}
    found: list[Way] = []
    if sorts and not by_offset:
        keyset = Keyset.parse(cursor)
        found.append(Way({"orderBy": "Id", "where": f"Id gt {keyset.after or 0}"}, keyset))
    if sorts and offset.anchor >= 0:
        found.append(Way({"orderBy": "Id", **skip}, offset))
    return [*found, Way(skip, offset)]


def kept_to(way: Way, ids: Sequence[int]) -> bool:
    """Whether a page is as it was asked for: some servers ignore what they don't know."""
    if "orderBy" not in way.query:
        return True
    after = (way.state.after or 0) if isinstance(way.state, Keyset) else 0
    return all(one < other for one, other in pairwise([after, *ids]))


def following(way: Way, ids: Sequence[int], take: int, *, more: bool) -> Cursor | None:
    """The cursor after a page. Unsorted lists begin with the newest, so their ids (and the anchor) are negated."""
    state = way.state
    if isinstance(state, Keyset):
        return state.following(ids) if more else None
    rising = state.anchor > 0 or (state.anchor == 0 and len(ids) > 1 and ids[0] < ids[-1])
    cursor = state.following([number if rising else -number for number in ids], take)
    looking_back = cursor is not None and Offset.parse(cursor).back
    return cursor if more or looking_back else None


def parsed(answer: Answer, what: str) -> dict[str, Any]:
    """An answer of the API as JSON has it, whichever of JSON and XML it is. A page for people means: not logged in."""
    if looks_like_html(answer.body):
        raise errors.AuthRefused(f"{what}: a web page ({reason_in(answer.body)}) instead of an answer; check the auth")
    is_xml = answer.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    try:
        value = from_xml(answer.xml(), root=True) if is_xml else answer.json()
    except (errors.WrongBody, RecursionError) as error:
        raise errors.WrongBody(f"{what}: {error}") from None
    if not isinstance(value, dict):
        raise errors.WrongBody(f"{what}: the answer is no object")
    return value


def from_xml(element: Element, *, root: bool = False) -> Any:
    """An element in the shape that JSON has; `root` for the outermost, which is an object even if it is empty.

    What has no Id itself may be a collection: its children that have one are its `Items`, too.
    """
    if any(name.rpartition("}")[2] == "nil" and value == "true" for name, value in element.attrib.items()):
        return None
    if not root and not len(element) and (element.text or not element.attrib):
        return element.text or ""
    shape: dict[str, Any] = dict(element.attrib)
    if "Id" not in shape:
        shape["Items"] = [from_xml(child) for child in element if "Id" in child.attrib]
    return shape | {child.tag: from_xml(child) for child in element if child.tag != "Items"}


def listed(page: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """The items of a page; `WrongBody` if it is none."""
    if not isinstance(page.get("Items"), list):
        raise errors.WrongBody(f"GET {path}: no list of items in the answer")
    return records(page["Items"])


def id_of(item: Mapping[str, Any], path: str) -> int:
    """The id of an item; `WrongBody` if it has none."""
    number = whole(item.get("Id"))
    if number is None:
        raise errors.WrongBody(f"GET {path}: an item without an Id")
    return number


def inner(collection: object) -> list[dict[str, Any]]:
    """The items of a collection inside of an item."""
    return records(collection.get("Items") if isinstance(collection, dict) else collection)


def kind_of(item: Mapping[str, Any]) -> str:
    """The name of the entity's type; empty where the item doesn't tell."""
    resource = text(item.get("ResourceType"))
    return text(record(item.get("EntityType")).get("Name")) or ("" if resource in _VAGUE else resource)


def distinct(entities: Iterable[Entity | None]) -> tuple[Entity, ...]:
    """Each entity once."""
    return tuple({entity.ref: entity for entity in entities if entity}.values())


def attachment(item: Mapping[str, Any], owner: EntityRef) -> Attachment:
    """An item of a list of attachments. Where nobody wrote a description, Targetprocess puts the name there."""
    name, description, size = text(item.get("Name")), text(item.get("Description")), whole(item.get("Size"))
    return Attachment(
        id=str(id_of(item, "api/v1/Attachments")),
        owner=owner,
        name=name,
        size=size if size is not None and size >= 0 else None,
        media_type=text(item.get("MimeType")).strip(),
        description="" if description == name else description,
        created_at=iso_date(text(item.get("Date")).strip()),
        created_by=person(record(item.get("Owner"))),
        raw=json.dumps(item),
    )


def person(user: Mapping[str, Any]) -> str:
    """First and last name, else the login."""
    return f"{text(user.get('FirstName'))} {text(user.get('LastName'))}".strip() or text(user.get("Login"))


def iso_date(date: str) -> str:
    """Microsoft's `/Date(ms+HHMM)/` (UTC, and the zone it was meant in) as ISO 8601; ISO 8601 as it is; else empty."""
    try:
        if not (match := _DATE.fullmatch(date)):
            datetime.fromisoformat(date)
            return date
        offset = timedelta(hours=int(match[3] or 0), minutes=int(match[4] or 0))
        zone = timezone(-offset if match[2] == "-" else offset) if offset else UTC
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(match[1]))).astimezone(zone).isoformat()
    except (ValueError, OverflowError):
        return ""


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
    """The one file that the upload page tells of; None if it doesn't, or doesn't know the file's name itself.

    New servers send objects, old ones arrays (id, date, name, type, ...), with `items` around them or not, and some
    wrap either in HTML for a browser's hidden frame.
    """
    answer = body.decode("utf-8", "replace")
    if answer.lstrip().startswith("<"):
        bare = re.search(r"[\[{].*[\]}]", answer, re.DOTALL)
        answer = html.unescape(bare[0]) if bare else ""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    items = value.get("items", value.get("Items")) if isinstance(value, dict) else value
    if not isinstance(items, list) or len(items) != 1:
        return None
    item = dict(zip(("Id", "Date", "Name", "MimeType"), items[0], strict=False)) if isinstance(items[0], list) else {}
    item |= {key[:1].upper() + key[1:]: value for key, value in record(items[0]).items()}
    known = whole(item.get("Id")) is not None and text(item.get("Name")) not in {"", "undefined"}
    return attachment(item, owner) if known else None


def signer(auth: Mapping[str, str]) -> Signer:
    """Credentials of [source.auth] or [target.auth]."""
    if "username" in auth:
        return basic(auth["username"], auth["password"])
    for name in ("access_token", "token"):
        if name in auth:
            return QueryToken(name, auth[name])
    return Header("Cookie", auth["cookie"])


ADAPTER = Adapter(
    source=TargetprocessSource,
    target=TargetprocessTarget,
    options=Options,
    auth=(("username", "password"), ("access_token",), ("token",), ("cookie",)),
    signer=signer,
    max_connections=4,
)
