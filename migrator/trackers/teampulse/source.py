"""Telerik TeamPulse, as source and as target: the files of its work items (API version 1, or without a version).

The one idea: `/attachments` lists every file of the tracker with the number of its work item, so two walks in the
order of ids are enough. The kind of an owner is not told there; it is looked up for each page anew.

The one trap: a file's address (`downloadUrl`, `url`) holds another number than its id and the server's own idea of
its host. It is never built, only taken as told, without the host.

Accounts of a Windows domain: NTLM is not spoken here. Log in with a browser and give its cookie (`.ASPXAUTH=...`).
Author and date of an upload are always the account's and now. The API tells dates without a zone; they stay so.
Sources: vendor page "Attachments" (paths, fields, the part named `files`); vendor pages "Authentication" and
"Filtering"; the vendor's time tracking SDK (the fields that may be null, the description set by PUT).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from migrator import errors
from migrator.model import NOBODY, Attachment, Cursor, Draft, EntityDraft, EntityRef, Page, Unread
from migrator.ports import Body
from migrator.trackers import Adapter
from migrator.trackers.base import described
from migrator.trackers.cursors import Offset, mode_of
from migrator.trackers.lenient import as_html, text, whole
from migrator.trackers.listing import Items
from migrator.trackers.markers import Marks
from migrator.trackers.name_lookup import Lookup
from migrator.trackers.prefetch import Ahead
from migrator.trackers.strict import digits, number_in
from migrator.trackers.teampulse.client import CAPABILITIES, Options, TeamPulse
from migrator.trackers.teampulse.parse import UNTYPED, attachment_in, description_in, made_in
from migrator.wire.auth import Header, Signer, Wrap
from migrator.wire.client import Call, HttpClient
from migrator.wire.request_body import Multipart
from migrator.wire.status import says_too_large

OWNERS = 20  # in one filter: servers of this age allow it 100 nodes, and `id eq 1 or` makes four
STUMBLES = 3  # times that a work item is asked for, before a failure is taken for its last word
CREATED = ("Story", "Bug", "Issue", "Risk", "Feedback", "Feature")  # a Task needs a Story, too

_NOT_IN_WINDOWS_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]|[. ](?=[. ]*$)')


class TeamPulseSource(TeamPulse):
    """Work items of all types, deleted ones too, then all attachments; both in the order of their ids."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._ahead = {stream: Ahead(number_in) for stream in self.capabilities.streams}
        self._stumbles: Counter[int] = Counter()
        self._knows_owners = False  # a work item was found where it was looked up, so one that is not is not there

    async def close(self) -> None:
        """See `Tracker`."""
        for ahead in self._ahead.values():
            await ahead.close()
        await super().close()

    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """See `Source`. Files of a work item that can't be read belong to nobody."""
        listing = self._listing(stream, first=cursor is None)
        came = await self._ahead[stream].over(listing).read(cursor)
        page = await (self._work_items(came.items) if stream == "workitems" else self._attachments(came.items))
        return replace(page, next=came.next, unread=(*came.unread, *page.unread))

    async def oddities(self) -> tuple[str, ...]:
        """See `Tracker`."""
        found = list(await super().oddities())
        for stream in self.capabilities.streams:
            found += await self._odd(stream)
        return tuple(found)

    async def _odd(self, stream: str) -> list[str]:
        try:
            items, cursor = await self._listing(stream).page(None)
        except (errors.Rejected, errors.Retriable) as error:
            lost = "no file is found" if stream == "attachments" else "work items without files are not"
            return [f"{stream} can't be listed ({error}): {lost}"]
        found = []
        try:
            if cursor is not None and len(items) < self._options.page_size:
                await self._listing(stream, first=False).page(cursor)
        except errors.ShortListing as error:
            found.append(f"{stream}: {error}; as long as it is so, each backup says that it is incomplete")
        if mode_of(cursor) is Offset:
            found.append(
                f"{stream} are listed by position and not by id: what is deleted meanwhile costs some requests"
            )
        if stream == "workitems" and items and await self._filtered(f"id eq {number_in(items[0])}", 1) is None:
            found.append("it takes no filter of work items: the owners of files are asked for one by one")
        return found

    async def _work_items(self, items: Sequence[Mapping[str, Any]]) -> Page:
        entities = tuple(self._entity(item) for item in items)
        untyped = [entity.ref.id for entity in entities if entity.ref.kind == UNTYPED]
        told = f"without a type, and so kept as {UNTYPED}: {', '.join(untyped[:10])}"
        return Page(entities, warnings=(f"{len(untyped)} work items {told}",) if untyped else ())

    async def _attachments(self, items: Sequence[Mapping[str, Any]]) -> Page:
        numbers = [whole(item.get("workItemId")) for item in items]
        owners, unread = await self._owners(sorted({number for number in numbers if number is not None}))
        refs = [NOBODY if number is None else owners.get(number, NOBODY) for number in numbers]
        files = tuple(attachment_in(item, ref, self._http) for item, ref in zip(items, refs, strict=True))
        return Page(attachments=files, unread=tuple(unread))

    async def _owners(self, numbers: Sequence[int]) -> tuple[dict[int, EntityRef], list[Unread]]:
        """Those of these work items that can be read: many at once where filters work, else one by one."""
        found: dict[int, EntityRef] = {}
        for at in range(0, len(numbers), OWNERS):
            some = " or ".join(f"id eq {number}" for number in numbers[at : at + OWNERS])
            found |= {number_in(item): self._entity(item).ref for item in await self._filtered(some, OWNERS) or []}
        failures: dict[int, errors.MigratorError] = {}
        missing = await self._one_by_one([number for number in numbers if number not in found], found, failures)
        reasons = {number: str(error) for number, error in self._last_words(failures).items()}
        self._knows_owners = self._knows_owners or bool(found)
        if missing and not await self._looks_up():
            reasons |= dict.fromkeys(missing, "no work item can be looked up, so this one may be there")
        told = {number: f"{reason}; its files are kept as nobody's" for number, reason in sorted(reasons.items())}
        return found, [Unread(EntityRef(UNTYPED, str(number)), reason) for number, reason in told.items()]

    async def _one_by_one(
        self, numbers: Sequence[int], found: dict[int, EntityRef], failures: dict[int, errors.MigratorError]
    ) -> list[int]:
        """Look each work item up; gives those that are not there for us."""
        missing = []
        for number in numbers:
            try:
                owner = await self._owner(number)
            except (errors.AuthRefused, errors.Rejected, errors.Retriable) as error:
                failures[number] = error
                continue
            if owner is None:
                missing.append(number)
            else:
                found[number] = owner.ref
        return missing

    async def _looks_up(self) -> bool:
        """Whether a work item that is there is found, so that one which is not found is not there."""
        if not self._knows_owners:
            some: Items = []
            with suppress(errors.Rejected, errors.WrongBody):
                some = await self._list("workitems", {"$top": "2"})
            self._knows_owners = any([await self._owner(number_in(item)) for item in some])
        return self._knows_owners

    def _last_words(self, failures: Mapping[int, errors.MigratorError]) -> Mapping[int, errors.MigratorError]:
        """Why work items can't be read, if it was tried often enough of each; raises one of the failures if not."""
        self._stumbles.update([*failures])
        for number, error in failures.items():
            if isinstance(error, errors.ConnectFailed | errors.Throttled) or self._stumbles[number] < STUMBLES:
                raise error
        return failures


class TeamPulseTarget(TeamPulse):
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
        if not made:
            return None
        named = made if text(made.get("name")) else {**made, "name": draft.name}
        sent = attachment_in(named, owner, self._http)
        return await described(self, sent, draft.description)

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
