"""The requests that write to a sandbox TeamPulse: work items, comments, descriptions, uploads, deletions.

Beware: only the description of an attachment can be changed, and a change to a work item is a flat map of its fields.
"""

import json
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.server import Sandbox
from migrator.sandbox.teampulse.lists import Lookup
from migrator.sandbox.teampulse.records import PROJECTS, WORK_ITEM_FIELDS, WORK_ITEM_TYPES, Records
from migrator.sandbox.teampulse.web import TeamPulseQuirks
from migrator.sandbox.uploads import TooLargeError

TOO_LARGE = "<html><head><title>404.13 - Not Found</title></head><body>The request content is too long.</body></html>"


class Writes:
    """The handlers of requests that write."""

    def __init__(self, sandbox: Sandbox, quirks: TeamPulseQuirks, records: Records, lookup: Lookup) -> None:
        self._sandbox, self._state, self._quirks = sandbox, sandbox.state, quirks
        self._records, self._lookup = records, lookup

    async def create_work_item(self, request: web.Request) -> web.Response:
        """Create a work item of any type."""
        body = await _object(request)
        fields = body.get("fields")
        if body.get("type") not in WORK_ITEM_TYPES:
            raise RefusedError(400, type="The field type must be a valid work item type.")
        if body.get("projectId") not in {project.id for project in PROJECTS}:
            raise RefusedError(400, projectId="The field projectId must be an existing project.")
        if not isinstance(fields, dict) or not fields.get("Name"):
            raise RefusedError(400, Name="The field Name is required.")
        if body["type"] == "Task" and self._state.entity(fields.get("ParentID") or 0) is None:
            raise RefusedError(400, ParentID="The field ParentID is required for a Task.")
        entity = self._records.create(body["type"], body["projectId"], fields)
        return self.created("workitems", self._records.work_item(entity))

    async def change_work_item(self, request: web.Request) -> web.Response:
        """Set fields of a work item."""
        entity = self._lookup.work_item(request)
        body = await _object(request)
        if unknown := [name for name in body if name.lower() not in WORK_ITEM_FIELDS]:
            raise RefusedError(400, **dict.fromkeys(unknown, "This is not a field of a work item."))
        self._records.change(entity.id, body)
        return web.json_response(self._records.work_item(entity))

    async def delete_work_item(self, request: web.Request) -> web.Response:
        """Delete a work item."""
        self._lookup.remove(self._lookup.work_item(request))
        return web.Response()

    async def create_comment(self, request: web.Request) -> web.Response:
        """Create a comment on a work item."""
        body = await _object(request)
        owner = body.get("workItemId")
        if not isinstance(owner, int) or self._state.entity(owner) is None or not body.get("projectId"):
            raise RefusedError(400, workItemId="The fields workItemId and projectId are required.")
        if not body.get("description"):
            raise RefusedError(400, description="The field description is required.")
        comment = self._state.add_comment(owner, body["description"])
        return self.created("comments", self._records.comment(comment))

    async def delete_comment(self, request: web.Request) -> web.Response:
        """Delete a comment."""
        self._state.comments.remove(self._lookup.comment(request))
        return web.Response()

    async def describe_attachment(self, request: web.Request) -> web.Response:
        """Change the description of an attachment."""
        file = self._lookup.attachment(request)
        body = await _object(request)
        if unknown := [name for name in body if name != "description"]:
            raise RefusedError(400, **dict.fromkeys(unknown, "The field is read-only."))
        self._state.describe(file.id, body.get("description"))
        return web.json_response(self._records.attachment(self._lookup.attachment(request)))

    async def delete_attachment(self, request: web.Request) -> web.Response:
        """Delete an attachment."""
        self._state.delete(self._lookup.attachment(request).id)
        return web.Response()

    async def upload(self, request: web.Request) -> web.Response:
        """Attach a file to a work item."""
        number = self._lookup.work_item(request).id
        kind = request.query.get("type", "TeamPulse")
        if kind not in {"TeamPulse", "Feedback"}:
            raise RefusedError(400, type="The field type must be TeamPulse or Feedback.")
        if request.content_type != "multipart/form-data":
            raise RefusedError(400, files="The request has to be multipart/form-data.")
        try:
            _, files = await self._sandbox.receive(request)
        except TooLargeError:
            return web.Response(status=self._quirks.too_large_status, text=TOO_LARGE, content_type="text/html")
        if [file.field for file in files] != ["files"]:
            raise RefusedError(400, files="Exactly one file has to be sent as files.")
        faults = self._sandbox.faults
        fault = faults.of_upload(number, files[0].name)
        if fault == "fail_uploads":
            return faults.refuse(fault)
        kept = self._state.keep(files[0], number, None)
        self._records.types[kept.id] = kind
        answer = self.created("attachments", self._records.attachment(kept))
        return await self._sandbox.after_upload(request, fault, answer)

    def created(self, collection: str, record: dict[str, Any]) -> web.Response:
        """The answer to a request that created this."""
        location = f"{self._records.place}/api/v1/{collection}/{record['id']}"
        return web.json_response(record, status=201, headers={"Location": location})


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise RefusedError(400, message="The body is not JSON.") from error
    if not isinstance(body, dict):
        raise RefusedError(400, message="The body has to be one object.")
    return body
