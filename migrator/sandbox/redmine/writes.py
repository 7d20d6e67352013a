"""The requests that write to a sandbox Redmine.

A file arrives in two steps: its bytes are answered with a token, and a change of an issue that names the token attaches
them. A token works once.

Beware: the second step says 204 although it drops a file, if the file's description is too long.
"""

import json
import mimetypes
import secrets
from dataclasses import replace
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.redmine.access import Access
from migrator.sandbox.redmine.records import (
    IDENTIFIER,
    MAX_CHARACTERS,
    TRACKERS,
    Records,
    RedmineQuirks,
    sanitized,
)
from migrator.sandbox.server import Sandbox
from migrator.sandbox.uploads import ReceivedFile, TooLargeError, receive_body


class Writes:
    """The handlers of requests that write, and the files that no issue has yet."""

    def __init__(self, sandbox: Sandbox, quirks: RedmineQuirks, records: Records, access: Access) -> None:
        self._sandbox, self._state, self._quirks = sandbox, sandbox.state, quirks
        self._records, self._access = records, access
        self._waiting: dict[str, tuple[int, ReceivedFile]] = {}

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take the bytes of a file."""
        self._access.require(request)
        if request.content_type != "application/octet-stream":
            raise RefusedError(406)
        name = request.query.get("filename", "")
        if "\0" in name:
            return web.json_response({"status": 500, "error": "Internal Server Error"}, status=500)
        if len(sanitized(name)) > MAX_CHARACTERS:
            raise refused("File is too long (maximum is 255 characters)")
        faults = self._sandbox.faults
        try:
            file = await receive_body(request, faults.max_upload_bytes)
        except TooLargeError:
            faults.injected["max_upload_bytes"] += 1
            limit = f"the maximum allowed file size ({faults.max_upload_bytes})"
            raise refused(f"This file cannot be uploaded because it exceeds {limit}") from None
        number = self._state.reserve()
        token = f"{number}.{file.sha256}"
        known = sanitized(name) if name.strip() else secrets.token_hex(8)
        self._waiting[token] = number, replace(file, name=known)
        upload = {"token": token} if self._quirks.old_upload_answer else {"id": number, "token": token}
        return web.json_response({"upload": upload}, status=201)

    async def change(self, request: web.Request) -> web.StreamResponse:
        """Change an issue: here, attach files to it."""
        issue = self._access.issue(request)
        uploads = self._uploads_in(await self._issue_in(request))
        fault = self._fault(issue.id, uploads)
        if fault == "fail_uploads":
            return self._sandbox.faults.refuse(fault)
        self._attach(issue.id, uploads)
        return await self._sandbox.after_upload(request, fault, web.Response(status=204))

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Create an issue, perhaps with files."""
        self._access.require(request)
        sent = await self._issue_in(request)
        if str(sent.get("project_id")) not in {"1", IDENTIFIER}:
            raise refused("Project cannot be blank", "Tracker cannot be blank", "Status cannot be blank")
        subject, tracker = str(sent.get("subject") or "").strip(), sent.get("tracker_id")
        if not subject or len(subject) > MAX_CHARACTERS:
            raise refused("Subject is too long (maximum is 255 characters)" if subject else "Subject cannot be blank")
        tracker = tracker if tracker in range(1, len(TRACKERS) + 1) else 1  # an unknown one is no error
        uploads = self._uploads_in(sent)
        issue = self._state.create_entity(str(tracker), subject, str(sent.get("description") or ""))
        self._attach(issue.id, uploads)
        place = self._access.place(request)
        record = self._records.issue(issue, place, files=False)
        return web.json_response({"issue": record}, status=201, headers={"Location": f"{place}/issues/{issue.id}"})

    async def edit(self, request: web.Request) -> web.StreamResponse:
        """Change name and description of a file."""
        file, sent = self._access.file(request), (await _json_in(request)).get("attachment", {})
        if len(sent.get("description") or "") > MAX_CHARACTERS:
            raise refused("Description is too long (maximum is 255 characters)")
        if "description" in sent:
            self._state.describe(file.id, sent["description"])
        if sent.get("filename"):
            self._state.rename(file.id, sanitized(sent["filename"]))
        return web.Response(status=204)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete a file."""
        self._state.delete(self._access.file(request).id)
        return web.Response(status=204)

    async def _issue_in(self, request: web.Request) -> dict[str, Any]:
        sent = (await _json_in(request)).get("issue")
        if not isinstance(sent, dict):
            raise RefusedError(400)
        return sent

    def _uploads_in(self, issue: dict[str, Any]) -> list[dict[str, Any]]:
        """The files that a change names. All are refused if one has no valid token."""
        uploads: list[dict[str, Any]] = issue.get("uploads") or []
        tokens = [upload.get("token", "") for upload in uploads]
        if unsaved := len(tokens) - len(set(tokens) & self._waiting.keys()):
            raise refused(f"{unsaved} file(s) could not be saved.")
        return uploads

    def _fault(self, issue: int, uploads: list[dict[str, Any]]) -> str | None:
        return self._sandbox.faults.of_upload(issue, str(uploads[0].get("filename", ""))) if uploads else None

    def _attach(self, issue: int, uploads: list[dict[str, Any]]) -> None:
        for upload in uploads:
            number, file = self._waiting.pop(upload["token"])
            description, name = (upload.get("description") or "").strip(), upload.get("filename") or ""
            if len(description) > MAX_CHARACTERS or not self._quirks.attaches:
                continue
            known = sanitized(name) if name.strip() else file.name
            media_type = upload.get("content_type") or mimetypes.guess_type(known)[0] or ""
            described = replace(file, name=known, media_type=media_type)
            self._state.keep(described, issue, description, number)


def refused(*sentences: str) -> RefusedError:
    """A refusal with sentences for people."""
    return RefusedError(422, errors=list(sentences))


async def _json_in(request: web.Request) -> dict[str, Any]:
    """The body of a change; an empty 400 if it is not a JSON object."""
    try:
        sent = json.loads(await request.read())
    except ValueError:
        raise RefusedError(400) from None
    if not isinstance(sent, dict):
        raise RefusedError(400)
    return sent
