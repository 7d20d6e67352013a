"""Trac as a target: files are added to tickets that exist, or that a load creates."""

from __future__ import annotations

import re

from typing_extensions import override

from migrator.errors import GoneError, RejectedError, UnexpectedBodyError
from migrator.model import Attachment, Draft, EntityDraft, EntityRef
from migrator.ports import Body, Target
from migrator.trackers.keyed_lock import KeyedLock
from migrator.trackers.lenient import integer
from migrator.trackers.strict import digits
from migrator.trackers.trac.client import KIND, Options, TracTracker
from migrator.wire import Base64CallBody, HttpClient

TWINS = "of several files with one name on a ticket, Trac renames the second to NAME.2.txt and so on; see the report"
REPLACES = False
"""The last parameter of an upload. Left out, it is true, and an older file of the same name is deleted."""
NOTIFIES = False
"""The last parameter for a new ticket: nobody is mailed about it."""

_SURROGATES = re.compile("[\ud800-\udfff]")


class TracTarget(TracTracker, Target):
    """Trac as a target. It keeps any name but an empty one."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._tickets = KeyedLock()

    @override
    async def oddities(self) -> tuple[str, ...]:
        return (TWINS,)

    @override
    def legal_name(self, name: str) -> str:
        """Trac takes an empty name, but can't give the file back."""
        return _SURROGATES.sub("_", name) or "_"

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """The answer is the name that the file was given. Trac has no place for its media type."""
        if owner.kind not in {KIND, ""}:
            raise RejectedError(f"{owner}: files are added to tickets only")
        if reason := await self.refuses(owner, draft):
            raise RejectedError(reason)
        number, method = int(digits(owner.id)), "ticket.putAttachment"
        call = Base64CallBody(method, [number, draft.name, draft.description], body, [REPLACES])
        async with self._tickets.hold(number):
            name = await self._api.put(call, method)
        if not isinstance(name, str) or not name:
            raise UnexpectedBodyError(f"{method}: the answer is not a name")
        return Attachment(f"{owner.id}/{name}", owner, name, draft.size, description=draft.description)

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        """Does nothing: the API sets a description with the upload only."""

    @override
    async def delete(self, remote: Attachment) -> None:
        number, _, name = remote.id.partition("/")
        if not name:
            raise RejectedError(f"ticket {number}: Trac's API can't delete a file without a name")
        if remote.id not in {file.id for file in await self.find_attachments(remote.owner)}:
            raise GoneError(f"{remote.owner} has no file {name!r}")
        await self._api.call("ticket.deleteAttachment", int(digits(number)), name)

    @override
    async def require_creating(self) -> None:
        """Nothing is needed; whether the account may create tickets shows when it does."""

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        fields = {"type": self._options.create_type} if self._options.create_type else {}
        title = draft.title.strip() or "untitled"
        number = integer(await self._api.write("ticket.create", title, draft.marked, fields, NOTIFIES))
        if not number:
            raise UnexpectedBodyError("ticket.create: the answer is not a number")
        return EntityRef(KIND, str(number))

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        found = await self._api.tickets(f"description~={draft.mark}")
        return EntityRef(KIND, str(found[0])) if found else None
