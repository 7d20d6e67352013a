"""The requests that write to a sandbox Roundup: records are created, changed, and retired.

A file arrives in two steps: it becomes a record, and a change of an issue links it. A change names the state of the
item that it was made for, and is refused if that has changed meanwhile.
"""

import hashlib
import json
import re
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.roundup.access import Access
from migrator.sandbox.roundup.reads import Reads, answered
from migrator.sandbox.roundup.records import KEYED, LINKS, MULTILINKS, PROPERTIES, Records, RoundupQuirks, label_of
from migrator.sandbox.server import Sandbox
from migrator.sandbox.uploads import ReceivedFile, StoredContent, TooLargeError


class Writes:
    """The handlers of requests that write."""

    def __init__(self, sandbox: Sandbox, quirks: RoundupQuirks, records: Records, access: Access, reads: Reads) -> None:
        self._sandbox, self._state, self._quirks = sandbox, sandbox.state, quirks
        self._records, self._access, self._reads = records, access, reads

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Make a record of a file, which nothing links yet."""
        fields, received = await self._received(request)
        name, media_type = _text_in(fields, "name"), _text_in(fields, "type")
        fault = self._sandbox.faults.of_upload(None, name)
        if fault == "fail_uploads":
            return self._sandbox.faults.refuse(fault)
        file = ReceivedFile("content", name, media_type, received.size, received.sha256, received.content)
        number = self._state.keep(file, None, None).id
        if not received.size:
            self._records.lost.add(number)
            verb = "upper" if media_type.startswith("text/") else "encode"
            raise RefusedError(405, f"'NoneType' object has no attribute '{verb}'")
        return await self._sandbox.after_upload(request, fault, self._made(request, "file", number))

    async def _received(self, request: web.Request) -> tuple[dict[str, str], ReceivedFile]:
        if request.content_type == "application/json":
            sent = await _json_in(request)
            content, stored = str(sent.get("content") or "").encode(), StoredContent()
            stored.write(content)
            return sent, ReceivedFile("", "", "", len(content), hashlib.sha256(content).hexdigest(), stored)
        try:
            fields, files = await self._sandbox.receive(request)
        except TooLargeError:
            raise RefusedError(413, "Request Entity Too Large") from None
        if not files:
            raise RefusedError(400, "Must provide the 'content' property.")
        return fields, files[0]

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Make a record of any other class."""
        kind = self._reads.kind(request)
        values = self._values(kind, await _json_in(request))
        if kind == "issue":
            self._require_authors(values.get("messages", ()))
        return self._made(request, kind, self._records.create(kind, values))

    def _require_authors(self, messages: list[int]) -> None:
        """Whoever wrote a message of an issue is told of the issue from then on, so each message needs an author."""
        authors = [self._records.values("msg", number)["author"] for number in messages]
        if None in authors:
            raise RefusedError(409, '"nosy" multilink value ([None]) must contain Strings')

    def _made(self, request: web.Request, kind: str, number: int) -> web.Response:
        link = f"{self._access.place(request)}/rest/data/{kind}/{number}"
        return answered({"id": str(number), "link": link}, 201, {"Location": link})

    async def change(self, request: web.Request) -> web.StreamResponse:
        """Change an item: add, replace or remove values."""
        kind, number = self._reads.item(request)
        self._require_state(request, kind, number)
        sent = await _json_in(request)
        operation = str(sent.pop("@op", "replace")).lower()
        values = self._values(kind, sent)
        fault = self._fault(number, operation, values)
        if fault == "fail_uploads":
            return self._sandbox.faults.refuse(fault)
        before = self._records.values(kind, number)
        changed = {name: _patched(operation, before[name], value) for name, value in values.items()}
        self._records.change(kind, number, changed)
        told = {name: _told(name, value) for name, value in changed.items()}
        link = f"{self._access.place(request)}/rest/data/{kind}/{number}"
        answer = answered({"id": str(number), "type": kind, "link": link, "attribute": told})
        return await self._sandbox.after_upload(request, fault, answer)

    def _fault(self, number: int, operation: str, values: dict[str, Any]) -> str | None:
        """The fault of a change that adds a file, which is the second step of an upload."""
        file = self._state.attachment(values["files"][0]) if values.get("files") else None
        return self._sandbox.faults.of_upload(number, file.name) if file and operation == "add" else None

    async def retire(self, request: web.Request) -> web.StreamResponse:
        """Retire an item."""
        kind, number = self._reads.item(request)
        self._require_state(request, kind, number)
        self._records.retired.add((kind, number))
        return answered({"status": "ok"})

    def _require_state(self, request: web.Request, kind: str, number: int) -> None:
        forestalled = self._quirks.loses_changes > 0
        self._quirks.loses_changes -= forestalled
        if forestalled or request.headers.get("If-Match") != self._records.etag(kind, number):
            reason = "If-Match is missing or does not match. Retrieve asset and retry modification if valid."
            raise RefusedError(412, reason)

    def _values(self, kind: str, sent: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in sent.items():
            if name not in PROPERTIES[kind]:
                raise RefusedError(400, f"Property {name} not found in class {kind}")
            if name in MULTILINKS:
                given = value if isinstance(value, list) else str(value or "").split(",")
                values[name] = [self._number(MULTILINKS[name], name, one) for one in given if one != ""]
            elif name in LINKS:
                values[name] = None if value is None else self._number(LINKS[name], name, value)
            else:
                values[name] = _clean(value) if isinstance(value, str) else value
        return values

    def _number(self, kind: str, name: str, value: object) -> int:
        """The item that a number or its label means."""
        text = str(value)
        if text.isdecimal():
            if not self._records.exists(kind, int(text)):
                raise RefusedError(409, f"{kind} has no node {text}")
            return int(text)
        for known in self._records.numbers(kind) if kind in KEYED else ():
            if self._records.values(kind, known)[label_of(kind)] == text:
                return known
        raise RefusedError(400, f"property {name}: {text!r} is not a {kind}.")


def _clean(text: str) -> str:
    """A text as Roundup keeps it: with ends of lines of one kind, and no blanks around it."""
    return re.sub("\r\n?", "\n", text).strip()


def _told(name: str, value: Any) -> Any:
    """A changed value as an answer tells it: links by their numbers."""
    if name in MULTILINKS:
        return [*map(str, value)]
    return str(value) if name in LINKS and value else value


def _text_in(fields: dict[str, str], name: str) -> str:
    """A field of a form; an empty one is nothing to Roundup, and nothing is no text."""
    text = fields.get(name)
    if text == "":
        raise RefusedError(409, f'new property "{name}" not a string')
    return _clean(text or "")


def _patched(operation: str, before: Any, value: Any) -> Any:
    if operation == "replace":
        return value
    if operation == "add":
        return before + [one for one in value if one not in before] if isinstance(before, list) else value
    if operation == "remove":
        return [one for one in before if one not in value] if isinstance(before, list) else None
    raise RefusedError(400, f"PATCH Operation {operation} is not allowed")


async def _json_in(request: web.Request) -> dict[str, Any]:
    text = (await request.read()).decode("utf-8", "replace")
    try:
        sent = json.loads(text)
    except ValueError as error:
        raise RefusedError(400, f"{error}. JSON is: {text}") from None
    if not isinstance(sent, dict):
        raise RefusedError(400, f"an object is needed. JSON is: {text}")
    return sent
