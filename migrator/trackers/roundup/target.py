"""Roundup as a target: files are added to items that exist, or that a load creates.

Each change of an item names the state that it was made for (`If-Match`). Roundup refuses it with a 412 if the item has
changed meanwhile; then nothing was done, and the upload starts over and finds its own file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from migrator.errors import ConfigError, GoneError, OutcomeUnknownError, RejectedError, RetriableError
from migrator.model import Attachment, Draft, EntityDraft, EntityRef
from migrator.ports import Body, BodyFacts, Sink, Target
from migrator.trackers.keyed_lock import KeyedLock
from migrator.trackers.lenient import as_object, text
from migrator.trackers.roundup.client import Options, RoundupTracker
from migrator.trackers.roundup.parse import FILE, attachment_id, created_in, file_number, item_number
from migrator.trackers.strict import number_in, object_in, objects_in
from migrator.wire import Answer, HttpClient, MultipartBody, Request

EMPTY = "empty files can't be loaded: Roundup refuses them, and keeps a broken record of each one that is sent"
MAX_CANDIDATES = 20
"""The most records of one name that are looked at, to find one that a killed upload left."""

_SURROGATES = re.compile("[\ud800-\udfff]")


class RoundupTarget(RoundupTracker, Target):
    """Roundup as a target."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._items, self._names = KeyedLock(), KeyedLock()
        self._address = ""

    @override
    async def oddities(self) -> tuple[str, ...]:
        return (EMPTY,)

    @override
    def legal_name(self, name: str) -> str:
        """Roundup cuts off spaces at the ends, and takes no empty name."""
        return _SURROGATES.sub("_", name).replace("\r", "_").strip() or "_"

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """Only the last step changes the item, so all before it may be repeated."""
        if reason := await self.refuses(owner, draft):
            raise RejectedError(reason)
        kind, number = self._kind_of(owner), item_number(owner)
        # Two uploads of one name at once could take each other's record for one that nobody links.
        async with self._items.hold((kind, number)), self._names.hold(draft.name):
            state = await self._state(kind, number)
            file = await self._unlinked(draft, body) or await self._send(draft, body)
            answer = await self._write("PATCH", f"{kind}/{number}", {"@op": "add", "files": [file]}, state)
        changed = as_object(object_in(answer.json(), "data").get("attribute"))
        if file not in (changed.get("files") or ()):
            raise OutcomeUnknownError(f"{owner}: Roundup accepted the file, but doesn't link it", accepted=True)
        return Attachment(attachment_id(kind, number, file), owner, draft.name, draft.size, locator=file)

    async def _send(self, draft: Draft, body: Body) -> str:
        """The number of a new record with this file, which no item links yet."""
        media_type = draft.media_type or "application/octet-stream"
        fields = {"name": draft.name, "type": media_type}
        sent = MultipartBody(fields, "content", "content", media_type, body)
        answer = await self._http.send(Request("POST", f"rest/data/{FILE}", headers=await self._origin(), body=sent))
        return created_in(answer.json())

    async def _unlinked(self, draft: Draft, body: Body) -> str | None:
        """The number of a record that is this file and that no item links: an upload that was killed left it."""
        media_type = draft.media_type or "application/octet-stream"
        query = {"name:": draft.name, "@fields": "name,type", "@sort": "-id"}
        records = [
            record
            for record in await self._collection(f"rest/data/{FILE}", query)
            if (text(record.get("name")), text(record.get("type"))) == (draft.name, media_type)
        ]
        numbers = [number_in(record) for record in records[:MAX_CANDIDATES]]
        loose = set(numbers) - await self._linked(numbers) if numbers else set()
        if not loose:
            return None
        wanted = hashlib.sha256()
        async for chunk in body:
            wanted.update(chunk)
        for number in sorted(loose):
            if await self._sha256(number) == wanted.digest():
                return str(number)
        return None

    async def _sha256(self, number: int) -> bytes | None:
        digest = _Digest()
        try:
            await self.download(Attachment(f"{FILE}{number}", EntityRef("", ""), ""), digest)
        except RejectedError:
            return None
        return digest.sha256.digest()

    @override
    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """`GoneError` unless the item links the file, because a file that it doesn't link any more is still given."""
        await self._linked_files(remote)
        await self.download(remote, sink)

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        """Does nothing: files of a Roundup have no description."""

    @override
    async def delete(self, remote: Attachment) -> None:
        """Take the file off its item, and then delete ("retire") it, unless another item links it."""
        kind, number, file = self._kind_of(remote.owner), item_number(remote.owner), file_number(remote.id)
        async with self._items.hold((kind, number)):
            await self._linked_files(remote)
            state = await self._state(kind, number)
            await self._write("PATCH", f"{kind}/{number}", {"@op": "remove", "files": [file]}, state)
        if not await self._linked([int(file)]):
            await self._retire(file)

    async def _retire(self, file: str) -> None:
        """An account may be allowed to change items and not to delete files; then the record stays, on no item."""
        try:
            await self._write("DELETE", f"{FILE}/{file}", None, await self._state(FILE, file))
        except RejectedError:
            return

    async def _linked_files(self, remote: Attachment) -> None:
        if remote.id not in {file.id for file in await self.find_attachments(remote.owner)}:
            raise GoneError(f"{remote.owner} doesn't link {FILE} {file_number(remote.id)}")

    @override
    async def require_creating(self) -> None:
        try:
            await self._data("rest/data/msg", {"messageid": "none", "@page_size": "1"})
        except RejectedError as error:
            reason = f"this Roundup has no messages to hold the text of new items ({error})"
            raise ConfigError(f"[mapping] create_missing: {reason}") from None

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """An item has no text of its own: the text is its first message, which is found by its id for e-mail."""
        await self.require_creating()
        kind = self._options.classes[0]
        message = {"content": draft.marked, "messageid": f"<{draft.mark}>"}
        number = created_in((await self._write("POST", "msg", message)).json())
        item = {"title": draft.title.strip() or "untitled", "messages": [await self._signed(number)]}
        return EntityRef(kind, created_in((await self._write("POST", kind, item)).json()))

    async def _signed(self, message: str) -> str:
        """The message with its creator as author: Roundup links no message without one."""
        data = await self._data(f"rest/data/msg/{message}", {"@protected": "true"})
        creator = as_object(object_in(data, "attributes").get("creator"))
        await self._write("PATCH", f"msg/{message}", {"author": str(number_in(creator))}, text(data.get("@etag")))
        return message

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        messages = await self._collection("rest/data/msg", {"messageid": draft.mark})
        if not messages:
            return None
        kind, numbers = self._options.classes[0], ",".join(str(number_in(message)) for message in messages)
        items = await self._collection(f"rest/data/{kind}", {"messages": numbers})
        return EntityRef(kind, str(min(map(number_in, items)))) if items else None

    async def _state(self, kind: str, number: str) -> str:
        """What a change of this record has to name; `GoneError` if there is no such record."""
        return text((await self._item(kind, number)).get("@etag"))

    async def _write(self, method: str, path: str, value: Mapping[str, Any] | None, state: str = "") -> Answer:
        headers = {**await self._origin(), "Accept": "application/json"}
        if state:
            headers["If-Match"] = state
        if value is not None:
            headers["Content-Type"] = "application/json"
        body = None if value is None else json.dumps(value).encode()
        try:
            return await self._http.write(Request(method, f"rest/data/{path}", headers=headers, body=body))
        except RejectedError as error:
            if error.status == 412:
                raise RetriableError(f"{error}: it was changed meanwhile", status=412) from None
            raise

    async def _origin(self) -> dict[str, str]:
        """Headers that every write needs: that it comes from a page of the tracker, by the name that it has itself."""
        if not self._address:
            links = objects_in(await self._data("rest/"), "links")
            own = next((text(link.get("uri")) for link in links if link.get("rel") == "self"), "")
            self._address = own.rpartition("/rest")[0] or str(self._http.base)
        origin = re.match(r"[^:/]+://[^/]+", self._address)
        headers = {"X-Requested-With": "rest", "Referer": f"{self._address}/"}
        return headers | ({"Origin": origin[0]} if origin else {})


class _Digest(Sink):
    """Takes a file and keeps only its hash."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    @override
    async def start(self, facts: BodyFacts) -> None:
        self.sha256 = hashlib.sha256()

    @override
    async def write(self, chunk: bytes) -> None:
        self.sha256.update(chunk)

    @override
    def rewind(self) -> None:
        self.sha256 = hashlib.sha256()

    @override
    def warn(self, text: str) -> None:
        """A warning is of no use here."""
