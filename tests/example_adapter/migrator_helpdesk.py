"""The adapter `helpdesk`: django-helpdesk 2 (REST API) as source and as target. Copy it for an adapter of your own.

A ticket has follow-ups, and each of these has files. A load puts all files of a ticket on one follow-up with the title
"Migrated files", so that it neither fills the history of the ticket nor sends a mail for each file.

Beware: files are public, and their bytes stay after they were deleted, so only the record of a file says that it is
there and that this account may read it. A `size` that somebody sent along is believed, so a size may be wrong.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from typing_extensions import override

from migrator.errors import (
    AuthError,
    ConfigError,
    ForbiddenError,
    GoneError,
    LoginPageError,
    RejectedError,
    TrackerUnreachableError,
    UnexpectedBodyError,
)
from migrator.model import Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Page
from migrator.ports import Body, Capabilities, Sink, Source, Target
from migrator.trackers import Adapter, Guide
from migrator.trackers.toolbox import (
    HttpTracker,
    KeyedLock,
    Listing,
    MarkerIndex,
    PageItems,
    PageOrder,
    PageRequest,
    digits,
    integer,
    iso_date,
    non_negative,
    number_in,
    numbered_page,
    object_in,
    objects_in,
    raw_json,
    split,
    text,
)
from migrator.wire import HeaderAuth, HttpClient, MultipartBody, Request, Signer, basic

KIND = "ticket"
TICKETS, FOLLOW_UPS, FILES = "api/tickets/", "api/followups/", "api/followups-attachments/"
"""Without the slash at its end, a write is answered with a redirect, and nothing is written."""
PAGE_SIZE = 100
FOLLOW_UP = "Migrated files"
MAX_TITLE = 200
"""Characters."""

CAPABILITIES = Capabilities(
    streams=("tickets",),
    kinds=(KIND,),
    max_connections=4,
    sets_description=False,
    creates=True,
    deletes=True,
    max_name_bytes=4000,  # 1,000 characters
    name_encoding="utf-32-le",
    refuses_empty=True,
)


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    queue       target: the number of the queue in which tickets are created, see [mapping] create_missing
    """

    queue: int = 0


def ticket_in(item: Mapping[str, Any], base: object) -> tuple[Entity, tuple[Attachment, ...]]:
    """A ticket with the files of all its follow-ups."""
    owner = EntityRef(KIND, str(number_in(item)))
    files = tuple(
        file_in(record, owner, text(follow_up.get("date")))
        for follow_up in objects_in(item, "followup_set")
        for record in objects_in(follow_up, "followupattachment_set")
    )
    return Entity(owner, text(item.get("title")), f"{base}/tickets/{owner.id}/", raw_json(item)), files


def file_in(record: Mapping[str, Any], owner: EntityRef, date: str = "") -> Attachment:
    """One file; the date is that of its follow-up."""
    return Attachment(
        id=str(number_in(record)),
        owner=owner,
        name=text(record.get("filename")),
        size=non_negative(record.get("size")),
        comment_id=str(number_in(record, "followup")),
        media_type=text(record.get("mime_type")),
        created_at=iso_date(date),
        raw=raw_json(record),
    )


class Helpdesk(HttpTracker[Options]):
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, CAPABILITIES)
        self._listing = Listing(self._page, number_in, PAGE_SIZE, (PageOrder.OFFSET_SORTED,))

    @override
    async def check(self) -> str:
        try:
            return f"django-helpdesk accepts the account; it shows {await self._count()} tickets"
        except ForbiddenError as error:
            raise AuthError(f"{error}; only a member of the staff may use the API") from None
        except LoginPageError:
            raise
        except (RejectedError, UnexpectedBodyError) as error:
            raise TrackerUnreachableError(f"no django-helpdesk with its API answers here ({error})") from None

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        _, files = ticket_in(await self._ticket(owner), self._http.base)
        return files

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        record = object_in(await self._http.get_json(f"{FILES}{digits(attachment.id)}/"))
        if not (address := text(record.get("file"))):
            raise UnexpectedBodyError(f"the record of file {attachment.id} has no address")
        await self._stream(attachment, self._http.path_of(address), sink)

    async def _ticket(self, owner: EntityRef) -> dict[str, Any]:
        if owner.kind not in {KIND, ""}:
            raise RejectedError(f"{owner}: only tickets have files")
        return object_in(await self._http.get_json(f"{TICKETS}{digits(owner.id)}/"))

    async def _page(self, request: PageRequest) -> PageItems:
        """Tickets in the order of their numbers. A page behind the last one is a 404, as is any wrong address."""
        page = numbered_page(request)
        try:
            answer = await self._http.get_json(TICKETS, {"page": str(page.number), "page_size": str(page.size)})
        except GoneError:
            return PageItems([], more=False, total=await self._count())
        return PageItems(objects_in(answer, "results")[page.before :], total=integer(answer.get("count")))

    async def _count(self) -> int:
        return number_in(await self._http.get_json(TICKETS, {"page_size": "1"}), "count")


class HelpdeskSource(Helpdesk, Source):
    """The tickets, each page with the files of its tickets."""

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        listed = await self._listing.read(cursor)
        read, unread = split(listed.items, lambda item: ticket_in(item, self._http.base), TICKETS, KIND)
        files = tuple(file for _, attached in read for file in attached)
        return Page(tuple(entity for entity, _ in read), files, next=listed.next, unread=unread)


class HelpdeskTarget(Helpdesk, Target):
    """Files are added to tickets, which a load can create, too."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._tickets, self._markers = KeyedLock(), MarkerIndex(self._walk)

    @override
    def legal_name(self, name: str) -> str:
        """Any name but an empty one; spaces at its ends are dropped."""
        return re.sub("[\0\ud800-\udfff]", "_", name).strip() or "_"

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """Django cleans the name of the file itself, so that has only the extension; the name goes in a field."""
        if reason := await self.refuses(owner, draft):
            raise RejectedError(reason)
        fields = {"followup": await self._follow_up(owner), "filename": draft.name, "mime_type": draft.media_type}
        extension = "".join(re.findall(r"\A\.\w+\Z", PurePosixPath(draft.name).suffix))
        form = MultipartBody(fields, "file", f"file{extension}", draft.media_type, body)
        answer = await self._http.write(Request("POST", FILES, body=form))
        return file_in(object_in(answer.json()), owner)

    async def _follow_up(self, owner: EntityRef) -> str:
        """The number of the follow-up on this ticket for our files, which is made for the first of them."""
        async with self._tickets.hold(owner.id):
            ticket = await self._ticket(owner)
            for follow_up in objects_in(ticket, "followup_set"):
                if follow_up.get("title") == FOLLOW_UP:
                    return str(number_in(follow_up))
            new = {"ticket": number_in(ticket), "title": FOLLOW_UP, "comment": "", "public": False}
            return str(number_in((await self._http.write_json("POST", FOLLOW_UPS, new)).json()))

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        """Does nothing: files have no description."""

    @override
    async def delete(self, remote: Attachment) -> None:
        await self._http.send(Request("DELETE", f"{FILES}{digits(remote.id)}/"))

    @override
    async def require_creating(self) -> None:
        if not self._options.queue:
            raise ConfigError("[target.options] queue: the number of the queue in which tickets are created is missing")

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        await self.require_creating()
        title = draft.title.replace("\n", " ").strip()[:MAX_TITLE] or "untitled"
        ticket = {"queue": self._options.queue, "title": title, "description": draft.marked, "status": 1, "priority": 3}
        return await self._markers.created(draft.mark, self._created(ticket))

    async def _created(self, ticket: Mapping[str, Any]) -> EntityRef:
        return EntityRef(KIND, str(number_in((await self._http.write_json("POST", TICKETS, ticket)).json())))

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        return await self._markers.find(draft.mark)

    async def _walk(self) -> AsyncIterator[tuple[EntityRef, str]]:
        async for item in self._listing.all():
            yield EntityRef(KIND, str(number_in(item))), text(item.get("description"))


def signer(auth: Mapping[str, str]) -> Signer:
    """A token of REST framework, or the name and password of an account."""
    if "token" in auth:
        return HeaderAuth("Authorization", f"Token {auth['token']}")
    return basic(auth["username"], auth["password"])


ADAPTER = Adapter(
    source=HelpdeskSource,
    target=HelpdeskTarget,
    options=Options,
    auth=(("token",), ("username", "password")),
    signer=signer,
    capabilities=CAPABILITIES,
    port=(1, 0),
    guide=Guide(
        name="django-helpdesk",
        url="https://helpdesk.example.org",
        username="backup",
        auth_notes={"token": "a token of Django REST framework"},
        target_notes=("The account needs to be a member of the staff.",),
    ),
)
