"""The requests that write to a sandbox Request Tracker: new tickets, and comments with files.

Beware: the answer to a comment is the same whether its files were kept, cut or dropped.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.rt.access import Access, as_json
from migrator.sandbox.rt.reads import queue_in
from migrator.sandbox.rt.tickets import RtQuirks, Tickets, Transaction
from migrator.sandbox.server import Sandbox

KEYS = ("FileName", "FileType", "FileContent")

Sent = tuple[str, str, bytes]
"""Name, type and content of a file."""


class Writes:
    """The handlers of requests that write. What they get is in the memory, whole, as in that of a real one."""

    def __init__(self, sandbox: Sandbox, quirks: RtQuirks, tickets: Tickets, access: Access) -> None:
        self._sandbox, self._state, self._quirks = sandbox, sandbox.state, quirks
        self._tickets, self._access = tickets, access

    async def comment(self, request: web.Request) -> web.StreamResponse:
        """Add a comment, or a reply to the requestor, perhaps with files."""
        try:
            sent = json.loads(await request.read())
        except ValueError:
            raise RefusedError(500, text="") from None
        if not sent.get("ContentType"):
            raise RefusedError(400, "ContentType is a required field for application/json")
        files = _files_in(sent, "{} is a required field for each attachment in Attachments")
        number = int(request.match_info["id"])
        if self._state.entity(number) is None:
            raise RefusedError(400, "Message could not be recorded")
        self._access.ticket(request)
        self._refuse_large(files)
        fault = self._sandbox.faults.of_upload(number, files[0][0]) if files else None
        if fault == "fail_uploads":
            return self._sandbox.faults.refuse(fault)
        kind, said = ("Comment", "Comments") if request.path.endswith("/comment") else ("Correspond", "Correspondence")
        text = str(sent.get("Content") or "").encode()
        made = self._tickets.comment(number, kind, text, sent["ContentType"], files=bool(files))
        self._add(made, files)
        answer = as_json([f"{said} added"], 201, Location=f"/REST/2.0/transaction/{made.id}")
        return await self._sandbox.after_upload(request, fault, answer)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Make a ticket, perhaps with files."""
        try:
            sent = json.loads(await request.read())
        except ValueError:
            raise RefusedError(400, "JSON parse error") from None
        if not isinstance(sent, dict):
            raise RefusedError(400, "JSON object must be a HASH")
        if not sent.get("Queue"):
            raise RefusedError(400, "Could not create ticket. Queue not set")
        try:
            queue = queue_in(str(sent["Queue"]))
        except RefusedError:
            reason = f"No permission to create tickets in the queue '{sent['Queue']}'"
            raise RefusedError(403, reason) from None
        files = _files_in(sent, "Field {} is required for each attachment in Attachments")
        self._refuse_large(files)
        text, subject = str(sent.get("Content") or "").encode(), str(sent.get("Subject") or "")
        made = self._tickets.open(queue, subject, text, sent.get("ContentType") or "text/plain", files=bool(files))
        self._add(made, files)
        if sent.get("RefersTo") and self._quirks.keeps_links:
            self._tickets.links[made.ticket] = sent["RefersTo"]
        record = {
            "type": "ticket",
            "id": str(made.ticket),
            "_url": f"{self._access.place(request)}/ticket/{made.ticket}",
        }
        return as_json(record, 201, Location=f"/REST/2.0/ticket/{made.ticket}")

    def _add(self, transaction: Transaction, files: Sequence[Sent]) -> None:
        for name, media_type, content in files:
            self._tickets.take(transaction, name, media_type, content)

    def _refuse_large(self, files: Sequence[Sent]) -> None:
        """RT has no limit over which it refuses a file; a web server in front of it may have one."""
        faults = self._sandbox.faults
        if faults.max_upload_bytes is not None and any(len(file[2]) > faults.max_upload_bytes for file in files):
            faults.injected["max_upload_bytes"] += 1
            raise RefusedError(413, text="Request Entity Too Large")


def _files_in(sent: Mapping[str, Any], complaint: str) -> list[Sent]:
    """The files of a ticket or comment. RT takes the characters of their names for bytes."""
    files = []
    attachments = sent.get("Attachments", [])
    if not isinstance(attachments, list):
        raise RefusedError(500, text="")
    for file in attachments:
        for key in KEYS:
            if file.get(key) in {None, "", "0"}:
                raise RefusedError(400, complaint.format(key))
        try:
            name = file["FileName"].encode("latin-1").decode()
        except UnicodeError:
            raise RefusedError(500, text="") from None
        files.append((name, file["FileType"], _decoded(file["FileContent"])))
    return files


def _decoded(text: str) -> bytes:
    """What is no base64 is passed over in silence."""
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return b""
