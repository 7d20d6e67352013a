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

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from migrator import errors
from migrator.adapters import Adapter
from migrator.adapters.teampulse_answers import attachment_in, description_in, entity_in, made_in, paths_in
from migrator.ahead import Ahead
from migrator.answers import says_too_large
from migrator.auth import Header, Signer, Wrap
from migrator.fields import as_html, record, text, whole
from migrator.http import Call, HttpClient
from migrator.listing import Found, Items, Listing, Way, is_plain_refusal
from migrator.lookup import Lookup
from migrator.marks import Marks
from migrator.model import NOBODY, Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Page
from migrator.multipart import Multipart
from migrator.ports import Body, Capabilities, Sink
from migrator.required import digits, number_in, objects_in
from migrator.tracker import HttpTracker, described

PREFIXES = ("api/v1", "api")
OWNERS = 20  # in one filter: servers of this age allow it 100 nodes, and `id eq 1 or` makes four
CREATED = ("Story", "Bug", "Issue", "Risk", "Feedback", "Feature")  # a Task needs a Story, too
CAPABILITIES = Capabilities(
    streams=("workitems", "attachments"),
    entity_streams=("workitems",),
    creates=True,
    max_connections=8,
    max_writes=2,
    reports_size=False,
    deletes=True,
)

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


class _TeamPulse(HttpTracker[Options]):
    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, replace(CAPABILITIES, max_attachment_bytes=options.max_bytes or None))
        self._prefix = ""

    async def check(self) -> str:
        """See `Tracker`."""
        me = await self._account()
        return f"TeamPulse as {text(me.get('displayName')) or text(me.get('name')) or 'somebody without a name'}"

    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """See `Target`. Whether files of its comments are among them, depends on the server."""
        listing = self._listing(f"workitems/{digits(owner.id)}/attachments")
        files = [attachment_in(item, owner, self._http) async for item in listing.all()]
        return tuple({file.id: file for file in files}.values())

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`. Where it was said to be; if that is gone, asked anew: a file's name is part of its address."""
        path, told = f"attachments/{digits(attachment.id)}", attachment.locator.split("\n")
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
        refusal: errors.MigratorError = errors.NotReachable(f"attachment {attachment.id}: no address of it is told")
        for number, address in enumerate(paths):
            try:
                return await self._stream(attachment, address, sink)
            except (errors.Rejected, errors.LoginPage) as error:
                refusal = refusal if number else error
        raise refusal

    async def _account(self) -> dict[str, Any]:
        """Who is logged in; finds out on the way which API there is."""
        for prefix in (self._prefix,) if self._prefix else PREFIXES:
            try:
                me = record(await self._http.get_json(f"{prefix}/users/me"))
            except errors.Gone:
                continue
            self._prefix = prefix
            return me
        raise errors.TrackerUnreachable("no API of TeamPulse at this address; is `url` right?")

    async def _path(self, path: str) -> str:
        if not self._prefix:
            await self._account()
        return f"{self._prefix}/{path}"

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        return await self._http.get_json(await self._path(path), query)

    async def _list(self, path: str, query: Mapping[str, str]) -> Items:
        return objects_in(await self._get(path, query), "results")

    def _listing(self, path: str) -> Listing:
        """A collection; `totalResults` is left alone, so it ends where nothing new comes."""

        async def ask(way: Way) -> Found:
            query = {"$top": str(way.take), **({"$orderby": "id asc"} if way.sorts else {})}
            where = {"$skip": str(way.skip)} if way.after is None else {"$filter": f"id gt {way.after}"}
            return Found(await self._list(path, query | where))

        return Listing(ask, number_in, max(2, self._options.page_size))

    async def _filtered(self, condition: str, most: int) -> Items | None:
        """The work items that meet a condition; None where the server doesn't understand it."""
        try:
            return await self._list("workitems", {"$filter": condition, "$top": str(most)})
        except errors.Rejected as error:
            if not is_plain_refusal(error):
                raise
            return None

    async def _owner(self, number: int) -> Entity | None:
        try:
            return self._entity(record(await self._get(f"workitems/{number}")))
        except (errors.Gone, errors.Forbidden):
            return None

    def _entity(self, item: Mapping[str, Any]) -> Entity:
        return entity_in(item, f"{self._http.base}/view#item/")


class TeamPulseSource(_TeamPulse):
    """Work items of all types, deleted ones too, then all attachments; both in the order of their ids."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._ahead = {stream: Ahead(number_in) for stream in self.capabilities.streams}

    async def close(self) -> None:
        """See `Tracker`."""
        for ahead in self._ahead.values():
            await ahead.close()
        await super().close()

    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """See `Source`. Files of a work item that can't be read belong to nobody."""
        items, following = await self._ahead[stream].over(self._listing(stream)).page(cursor)
        if stream == "workitems":
            return Page(tuple(self._entity(item) for item in items), next=following)
        numbers = [whole(item.get("workItemId")) for item in items]
        owners = await self._owners(sorted({number for number in numbers if number is not None}))
        refs = [NOBODY if number is None else owners.get(number, NOBODY) for number in numbers]
        files = tuple(attachment_in(item, ref, self._http) for item, ref in zip(items, refs, strict=True))
        return Page(attachments=files, next=following)

    async def _owners(self, numbers: Sequence[int]) -> dict[int, EntityRef]:
        """Those of these work items that can be read: many at once where filters work, else one by one."""
        found: dict[int, EntityRef] = {}
        for at in range(0, len(numbers), OWNERS):
            some = " or ".join(f"id eq {number}" for number in numbers[at : at + OWNERS])
            found |= {number_in(item): self._entity(item).ref for item in await self._filtered(some, OWNERS) or []}
        for number in numbers:
            if number not in found and (entity := await self._owner(number)):
                found[number] = entity.ref
        return found


class TeamPulseTarget(_TeamPulse):
    """Files are added to work items that exist; the API takes none for a comment."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._marks = Marks(self._described_items)
        self._project = Lookup("target.options.create_project", options.create_project, self._projects)

    def legal_name(self, name: str) -> str:
        """See `Target`. What Windows file names can't have, .NET cuts off, or IIS refuses in the file's address."""
        return _NOT_IN_WINDOWS_NAMES.sub("_", name) or "_"

    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """See `Target`. The description goes after the file; where it fails, what is returned has none."""
        path = f"workitems/{digits(owner.id)}/attachments"
        parts = Multipart({}, "files", draft.name, draft.media_type, body)
        query = {"type": self._options.upload_type}
        call = Call("POST", await self._path(path), query, {"Accept": "application/json"}, parts)
        try:
            made = made_in((await self._http.write(call)).body)
        except (errors.Gone, errors.Unanswered) as error:
            raise await self._refusal(owner, error) from None
        return await described(self, attachment_in(made, owner, self._http), draft.description) if made else None

    async def _refusal(self, owner: EntityRef, error: errors.Rejected) -> errors.Rejected:
        """What is too large, ASP.NET calls an error of its own (500), and IIS not found (404.13, seldom said so)."""
        too_large = says_too_large(error)
        if isinstance(error, errors.Gone) and not too_large:
            too_large = await self._owner(int(owner.id)) is not None
        return errors.Rejected(f"{owner}: the file is too large for the server") if too_large else error

    async def describe(self, remote: Attachment, description: str) -> None:
        """See `Target`."""
        path = await self._path(f"attachments/{digits(remote.id)}")
        await self._http.send_json("PUT", path, {"description": description})

    async def delete(self, remote: Attachment) -> None:
        """See `Target`."""
        await self._http.send(Call("DELETE", await self._path(f"attachments/{digits(remote.id)}")))

    async def expect_creating(self) -> None:
        """See `Target`."""
        await self._project.number()

    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """See `Target`."""
        kind = self._options.create_kind or (draft.kind if draft.kind in CREATED else CREATED[0])
        fields = {"Name": draft.title or "untitled", "Description": as_html(draft.marked)}
        shape = {"type": kind, "projectId": await self._project.number(), "fields": fields}
        return await self._marks.created(draft.mark, self._create(kind, shape))

    async def _create(self, kind: str, shape: Mapping[str, Any]) -> EntityRef:
        answer = await self._http.write_json("POST", await self._path("workitems"), shape)
        return EntityRef(kind, str(number_in(answer.json())))

    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        """See `Target`. A server that doesn't filter is walked once."""
        found = await self._filtered(f"substringof('{draft.mark}',Description)", self._options.page_size)
        if found is None or any(draft.mark not in description_in(item) for item in found):
            return await self._marks.find(draft.mark)
        return self._entity(found[0]).ref if found else None

    async def _described_items(self) -> AsyncIterator[tuple[EntityRef, str]]:
        async for item in self._listing("workitems").all():
            yield self._entity(item).ref, description_in(item)

    async def _projects(self) -> Iterable[tuple[int, str]]:
        found = await self._list("projects", {"$top": str(self._options.page_size)})
        return [(number_in(item), text(item.get("name"))) for item in found]


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file: as the server told it; never built from the id, which is another number."""
    path = attachment.locator.partition("\n")[0]
    return f"{base}/{path}" if path else ""


def signer(auth: Mapping[str, str]) -> Signer:
    """An account of TeamPulse's own by password, or whatever account a browser's cookie belongs to."""
    return Header("Cookie", auth["cookie"]) if "cookie" in auth else Wrap(auth["username"], auth["password"])


ADAPTER = Adapter(
    source=TeamPulseSource,
    target=TeamPulseTarget,
    options=Options,
    auth=(("username", "password"), ("cookie",)),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
)
