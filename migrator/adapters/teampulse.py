"""Telerik TeamPulse, as source and as target: the files of its work items (API version 1, or without a version).

The one idea: `/attachments` lists every file of the tracker with the number of its work item, so two walks in the
order of ids are enough. The kind of an owner is not told there; it is looked up for each page anew.

The one trap: a file's address (`downloadUrl`, `url`) holds another number than its id and the server's own idea of
its host. It is never built, only taken as told, without the host. Nor is `totalResults` to be trusted: some servers
count the page only, so a listing ends where nothing new comes.

Accounts of a Windows domain: NTLM is not spoken here. Log in with a browser and give its cookie (`.ASPXAUTH=...`).
Author and date of an upload are always the account's and now. The API tells dates without a zone; they stay so.
Sources: vendor page "Attachments" (paths, fields, the part named `files`); vendor pages "Authentication" and
"Filtering"; the vendor's time tracking SDK (the fields that may be null, the description set by PUT).
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from migrator import errors
from migrator.adapters import Adapter
from migrator.answers import expects_html
from migrator.auth import Header, Signer, Wrap
from migrator.fields import as_html, record, text, whole
from migrator.http import Call, HttpClient
from migrator.marks import Marks
from migrator.model import NOBODY, Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Page
from migrator.multipart import Multipart
from migrator.paging import Keyset, Offset, mode_of
from migrator.ports import Body, Capabilities, Sink

PREFIXES = ("api/v1", "api")
OWNERS = 20  # in one filter: servers of this age allow it 100 nodes, and `id eq 1 or` makes four
CREATED = ("Story", "Bug", "Issue", "Risk", "Feedback", "Feature")  # a Task needs a Story, too
BEYOND = 10**9  # more items than any listing has

_ADDRESS = re.compile(r"(?:^|/)(Attachment(?:Download|Streaming)/.*)", re.DOTALL)
_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"
_NOT_IN_WINDOWS_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]|[. ](?=[. ]*$)')


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    page_size     work items or attachments asked for at once; the server may give fewer; 2 at least
    upload_type   what uploads are marked as: "TeamPulse", or "Feedback" for the feedback portal
    max_bytes     the largest file that the server takes (the API doesn't tell it); 0 where nobody knows
    create_project  number or name of the project in which work items are created, see [mapping] create_missing
    create_kind   their type, "Story" or "Bug", say; left out: the original's where there is such a type, else "Story"
    """

    page_size: int = 100
    upload_type: str = "TeamPulse"
    max_bytes: int = 0
    create_project: str = ""
    create_kind: str = ""


class _TeamPulse:
    def __init__(self, http: HttpClient, options: Options) -> None:
        self._http, self._options = http, options
        self._page_size = max(2, options.page_size)
        self._prefix = ""
        self._sorts = True
        self.capabilities = Capabilities(
            streams=("workitems", "attachments"),
            entity_streams=("workitems",),
            creates=True,
            max_connections=8,
            max_writes=2,
            reports_size=False,
            deletes=True,
            max_attachment_bytes=options.max_bytes or None,
        )

    async def check(self) -> str:
        """See `Tracker`."""
        me = await self._account()
        return f"TeamPulse as {text(me.get('displayName')) or text(me.get('name')) or 'somebody without a name'}"

    async def close(self) -> None:
        """See `Tracker`."""
        await self._http.close()

    async def _account(self) -> dict[str, Any]:
        """Who is logged in; finds out on the way which API there is."""
        for prefix in (self._prefix,) if self._prefix else PREFIXES:
            try:
                answer = await self._http.get(f"{prefix}/users/me", Accept="application/json")
            except errors.Gone:
                continue
            me = record(answer.json())
            self._prefix = prefix
            return me
        raise errors.TrackerUnreachable("no API of TeamPulse at this address; is `url` right?")

    async def _path(self, path: str) -> str:
        if not self._prefix:
            await self._account()
        return f"{self._prefix}/{path}"

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        answer = await self._http.get(await self._path(path), query, Accept="application/json")
        return answer.json()

    async def _list(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        return items_in(await self._get(path, {"$top": str(self._page_size), **query}))

    async def _list_if_it_can(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]] | None:
        """None where the server doesn't understand the query."""
        try:
            return await self._list(path, query)
        except errors.Rejected as error:
            if type(error) is not errors.Rejected:
                raise
            return None

    async def _step(self, path: str, cursor: Cursor | None) -> tuple[list[dict[str, Any]], Cursor | None]:
        """One page of a listing, and where it goes on. A server that can't filter or sort is walked by offset."""
        if mode_of(cursor) is not Offset:
            state = Keyset.parse(cursor)
            after = state.after or 0
            found = await self._list_if_it_can(path, {"$filter": f"id gt {after}", "$orderby": "id asc"})
            if found is not None and follows(after, ids := [id_in(item) for item in found]):
                return found, state.following(ids)
            cursor = None
        return await self._step_by_offset(path, Offset.parse(cursor))

    async def _step_by_offset(self, path: str, state: Offset) -> tuple[list[dict[str, Any]], Cursor | None]:
        query = {"$skip": str(state.request)}
        found = await self._list_if_it_can(path, {**query, "$orderby": "id asc"}) if self._sorts else None
        if found is None:
            self._sorts = False
            found = await self._list(path, query)
        ids = in_walking_order([id_in(item) for item in found], state)
        nothing_new = state.request > 0 and len(ids) > 1 and max(ids) <= state.anchor
        if nothing_new and await self._list(path, {"$skip": str(BEYOND)}):
            return found, None  # it skips nothing and gives all there is each time
        return found, state.following(ids, self._page_size)

    async def _files_of(self, owner: EntityRef) -> tuple[Attachment, ...]:
        path, cursor = f"workitems/{_digits(owner.id)}/attachments", None
        found: dict[str, Attachment] = {}
        while True:
            items, cursor = await self._step(path, cursor)
            found |= {file.id: file for file in (self._attachment(item, owner) for item in items)}
            if cursor is None:
                return tuple(found.values())

    def _attachment(self, item: Mapping[str, Any], owner: EntityRef) -> Attachment:
        return replace(attachment_in(item, owner), locator="\n".join(paths_in(item, self._http)))

    async def _owner(self, number: int) -> Entity | None:
        try:
            return self._entity(record(await self._get(f"workitems/{number}")))
        except (errors.Gone, errors.Forbidden):
            return None

    def _entity(self, item: Mapping[str, Any]) -> Entity:
        return entity_in(item, f"{self._http.base}/view#item/")

    async def _download(self, attachment: Attachment, sink: Sink) -> None:
        """From where it was said to be; asked for anew if that is gone: the name of a file is part of its address."""
        path, told = f"attachments/{_digits(attachment.id)}", attachment.locator.split("\n")
        if not attachment.locator:
            return await self._fetch(attachment, paths_in(await self._get(path), self._http), sink)
        try:
            return await self._fetch(attachment, told, sink)
        except errors.Gone:
            if (now := paths_in(await self._get(path), self._http)) == told:
                raise
        return await self._fetch(attachment, now, sink)

    async def _fetch(self, attachment: Attachment, paths: Sequence[str], sink: Sink) -> None:
        """From the first of these addresses that gives it; only one may be meant for this kind of login."""
        # A page of HTML that has no size to be held against passes only if the server names it as a file.
        html = attachment.size is not None and expects_html(attachment)
        refusal: errors.MigratorError = errors.NotReachable(f"attachment {attachment.id}: no address of it is told")
        for number, address in enumerate(paths):
            try:
                return await self._http.download(address, sink, html_expected=html)
            except (errors.Rejected, errors.LoginPage) as error:
                refusal = refusal if number else error
        raise refusal


class TeamPulseSource(_TeamPulse):
    """Work items of all types, deleted ones too, then all attachments; both in the order of their ids."""

    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """See `Source`. Files of a work item that can't be read belong to nobody."""
        items, following = await self._step(stream, cursor)
        if stream == "workitems":
            return Page(tuple(self._entity(item) for item in items), next=following)
        numbers = [whole(item.get("workItemId")) for item in items]
        owners = await self._owners(sorted({number for number in numbers if number is not None}))
        refs = [NOBODY if number is None else owners.get(number, NOBODY) for number in numbers]
        files = tuple(self._attachment(item, ref) for item, ref in zip(items, refs, strict=True))
        return Page(attachments=files, next=following)

    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """See `Source`. Whether files of its comments are among them, depends on the server."""
        return await self._files_of(entity.ref)

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`."""
        await self._download(attachment, sink)

    async def _owners(self, numbers: Sequence[int]) -> dict[int, EntityRef]:
        """Those of these work items that can be read: many at once where filters work, else one by one."""
        found: dict[int, EntityRef] = {}
        for at in range(0, len(numbers), OWNERS):
            some = " or ".join(f"id eq {number}" for number in numbers[at : at + OWNERS])
            items = await self._list_if_it_can("workitems", {"$filter": some, "$top": str(OWNERS)}) or []
            found |= {id_in(item): self._entity(item).ref for item in items}
        for number in numbers:
            if number not in found and (entity := await self._owner(number)):
                found[number] = entity.ref
        return found


class TeamPulseTarget(_TeamPulse):
    """Files are added to work items that exist; the API takes none for a comment."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._marks = Marks(self._described_items)
        self._home: int | None = None

    def legal_name(self, name: str) -> str:
        """See `Target`. What Windows file names can't have, .NET cuts off, or IIS refuses in the file's address."""
        return _NOT_IN_WINDOWS_NAMES.sub("_", name) or "_"

    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """See `Target`."""
        return await self._files_of(owner)

    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """See `Target`. The description goes after the file; where it fails, what is returned has none."""
        path = f"workitems/{_digits(owner.id)}/attachments"
        parts = Multipart({}, "files", draft.name, draft.media_type, body)
        query = {"type": self._options.upload_type}
        call = Call("POST", await self._path(path), query, {"Accept": "application/json"}, parts)
        try:
            answer = await self._http.write(call)
        except (errors.Gone, errors.Unanswered) as error:
            raise await self._refusal(owner, error) from None
        item = made_in(answer.body)
        return None if item is None else await self._described(self._attachment(item, owner), draft.description)

    async def _refusal(self, owner: EntityRef, error: errors.Rejected) -> errors.Rejected:
        """What is too large, ASP.NET calls an error of its own (500), and IIS not found (404.13, seldom said so)."""
        told = str(error).lower()
        too_large = "request length exceeded" in told or "404.13" in told
        if isinstance(error, errors.Gone) and not too_large:
            too_large = await self._owner(int(owner.id)) is not None
        return errors.Rejected(f"{owner}: the file is too large for the server") if too_large else error

    async def _described(self, made: Attachment, description: str) -> Attachment:
        if not description:
            return made
        try:
            await self.describe(made, description)
        except (errors.Retriable, errors.Rejected):
            return made  # the file is there: an error would have it sent again
        return replace(made, description=description)

    async def describe(self, remote: Attachment, description: str) -> None:
        """See `Target`."""
        path = await self._path(f"attachments/{_digits(remote.id)}")
        await self._http.send_json("PUT", path, {"description": description})

    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """See `Target`."""
        await self._download(remote, sink)

    async def delete(self, remote: Attachment) -> None:
        """See `Target`."""
        await self._http.send(Call("DELETE", await self._path(f"attachments/{_digits(remote.id)}")))

    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """See `Target`."""
        kind = self._options.create_kind or (draft.kind if draft.kind in CREATED else CREATED[0])
        fields = {"Name": draft.title or "untitled", "Description": as_html(f"{draft.text}\n\n{draft.mark}")}
        shape = {"type": kind, "projectId": await self._project(), "fields": fields}
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        call = Call("POST", await self._path("workitems"), {}, headers, json.dumps(shape).encode())
        try:
            ref = EntityRef(kind, str(id_in((await self._http.write(call)).json())))
        except (errors.Unanswered, errors.WrongBody):
            self._marks.doubt(draft.mark)
            raise
        self._marks.made(draft.mark, ref)
        return ref

    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        """See `Target`. A server that doesn't filter is walked once."""
        query = {"$filter": f"substringof('{draft.mark}',Description)"}
        found = await self._list_if_it_can("workitems", query)
        if found is None or any(draft.mark not in _description(item) for item in found):
            return await self._marks.find(draft.mark)
        return self._entity(found[0]).ref if found else None

    async def _described_items(self) -> AsyncIterator[tuple[EntityRef, str]]:
        cursor = None
        while True:
            items, cursor = await self._step("workitems", cursor)
            for item in items:
                yield self._entity(item).ref, _description(item)
            if cursor is None:
                return

    async def _project(self) -> int:
        wanted = self._options.create_project
        if wanted.isascii() and wanted.isdecimal():
            return int(wanted)
        if self._home is not None:
            return self._home
        projects = await self._list("projects", {})
        found = [id_in(item) for item in projects if wanted and text(item.get("name")) == wanted]
        if len(found) != 1:
            known = ", ".join(f"{text(item.get('name'))} ({id_in(item)})" for item in projects[:20])
            raise errors.ConfigError(f"target.options.create_project: {wanted!r} is no one project; there are {known}")
        self._home = found[0]
        return self._home


def items_in(answer: object) -> list[dict[str, Any]]:
    """What a page of a collection holds."""
    found = record(answer).get("results")
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise errors.WrongBody("the answer holds no list of `results`")
    return found


def made_in(body: bytes) -> dict[str, Any] | None:
    """The one file that the answer to an upload tells of, be it bare, in a list or in `results`; None if it doesn't."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    answer = record(answer).get("results", answer)
    if isinstance(answer, list):
        answer = answer[0] if len(answer) == 1 else None
    return record(answer) if whole(record(answer).get("id")) is not None else None


def entity_in(item: Mapping[str, Any], view: str) -> Entity:
    """A work item; `view` is the address of all of them, up to the number."""
    number, kind = str(id_in(item)), text(item.get("type"))
    if not kind:
        raise errors.WrongBody(f"work item {number} is of no type")
    title = text(record(item.get("fields")).get("Name"))
    return Entity(EntityRef(kind, number), title, view + number, _raw(item))


def attachment_in(item: Mapping[str, Any], owner: EntityRef) -> Attachment:
    """A file, without its addresses."""
    size, comment = whole(item.get("size")), whole(item.get("commentId"))
    return Attachment(
        id=str(id_in(item)),
        owner=owner,
        name=text(item.get("name")),
        size=size if size is not None and size >= 0 else None,
        comment_id=None if comment is None else str(comment),
        description=text(item.get("description")),
        created_at=_date(text(item.get("createdAt"))),
        created_by=text(item.get("createdBy")),
        raw=_raw(item),
    )


def id_in(item: object) -> int:
    """The number that every item has."""
    number = whole(record(item).get("id"))
    if number is None:
        raise errors.WrongBody("an item of the answer has no id")
    return number


def paths_in(item: object, http: HttpClient) -> list[str]:
    """Where a file may be had, below the base, the best first; what is no address is left out."""
    told = record(item)
    paths = [_path_in(text(told.get(key)), text(told.get("name")), http) for key in ("downloadUrl", "url")]
    return [path for path in paths if path]


def _path_in(address: str, name: str, http: HttpClient) -> str:
    # Some servers put the name into the address as it is: with a `?`, a `#` or a `%` in it, it has to be told apart.
    if name and address.endswith(f"/{name}"):
        address = address.removesuffix(name) + quote(name, safe="")
    try:
        path = quote(http.path_of(address), safe=_URL_CHARACTERS)
    except errors.WrongBody:
        return ""
    found = _ADDRESS.search(path)
    return found[1] if found else path


def follows(after: int, ids: Sequence[int]) -> bool:
    """Whether these are in order and all greater: what a server that ignores filter or order doesn't give."""
    return all(before < number for before, number in pairwise([after, *ids]))


def in_walking_order(ids: Sequence[int], state: Offset) -> list[int]:
    """The ids, negated where a listing can't be sorted and begins with the newest: rising either way."""
    newest_first = state.anchor < 0 or list(ids[:1]) > list(ids[-1:])
    return [-number for number in ids] if newest_first else list(ids)


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file: as the server told it; never built from the id, which is another number."""
    path = attachment.locator.partition("\n")[0]
    return f"{base}/{path}" if path else ""


def signer(auth: Mapping[str, str]) -> Signer:
    """An account of TeamPulse's own by password, or whatever account a browser's cookie belongs to."""
    return Header("Cookie", auth["cookie"]) if "cookie" in auth else Wrap(auth["username"], auth["password"])


def _digits(number: str) -> str:
    """An id that may stand in a path; never anything that would lead elsewhere."""
    if not (number.isascii() and number.isdecimal()):
        raise errors.Gone(f"{number[:40]!r} is no number of TeamPulse's")
    return number


def _description(item: Mapping[str, Any]) -> str:
    return text(record(item.get("fields")).get("Description"))


def _raw(item: Mapping[str, Any]) -> str:
    return text(json.dumps(item, ensure_ascii=False))


def _date(told: str) -> str:
    try:
        datetime.fromisoformat(told)
    except ValueError:
        return ""
    return told


ADAPTER = Adapter(
    source=TeamPulseSource,
    target=TeamPulseTarget,
    options=Options,
    auth=(("username", "password"), ("cookie",)),
    signer=signer,
    max_connections=8,
    url_of=attachment_url,
)
