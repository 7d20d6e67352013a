"""A sandbox TeamPulse: API version 1 over the made-up world, with the quirks that its clients report.

`reads.py` answers what can be read; here are the routes and whatever writes.

Beware: the only change to an attachment that it accepts is a new description, and a change to a work item is a flat
map.
"""

import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.server import UPLOAD_ROUTE, in_any_case
from migrator.sandbox.teampulse.reads import Handler, TeamPulseReads
from migrator.sandbox.teampulse.records import (
    COLLECTIONS,
    KINDS,
    PROJECTS,
    WORK_ITEM_FIELDS,
    WORK_ITEM_TYPES,
)
from migrator.sandbox.uploads import TooLargeError, receive

TOO_LARGE = "<html><head><title>404.13 - Not Found</title></head><body>The request content is too long.</body></html>"


class TeamPulseSandbox(TeamPulseReads):
    """An embedded TeamPulse: `TeamPulseSandbox(world, faults, base_path="/tp", **quirks)`.

    Its keywords are the fields of `web.TeamPulseQuirks`.
    """

    tracker = "teampulse"

    @override
    def kind_of(self, entity_id: int) -> str:
        """The type of a work item."""
        entity = self.state.entity(entity_id)
        if entity is None:
            raise KeyError(entity_id)
        return KINDS.get(entity.kind, entity.kind)

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of the API, with and without its version, and those of login and files."""
        yield from self.login.routes()
        yield from self.file_pages.routes()
        for prefix in ("api/v1", "api"):
            for method, path, handler, name in self._handlers():
                kwargs = {"name": f"{name}.{prefix.replace('/', '.')}"} if name else {}
                yield web.RouteDef(method, in_any_case(prefix) + path, self._answering(handler), kwargs)

    def _handlers(self) -> Iterable[tuple[str, str, Handler, str]]:
        item = r"/{id:\d+}"
        yield "GET", "/users/me", self._me, ""
        yield "GET", "/projects", self._projects, ""
        yield "GET", "/projects" + item, self._project, ""
        yield "GET", "/workitems", self._work_items, ""
        yield "POST", "/workitems", self._create_work_item, ""
        yield "GET", "/workitems" + item, self._work_item, ""
        yield "PUT", "/workitems" + item, self._change_work_item, ""
        yield "DELETE", "/workitems" + item, self._delete_work_item, ""
        yield "GET", "/workitems" + item + "/attachments", self._work_item_files, ""
        yield "POST", "/workitems" + item + "/attachments", self._upload, UPLOAD_ROUTE
        yield "GET", "/workitems" + item + "/comments", self._work_item_comments, ""
        yield "GET", "/attachments", self._files, ""
        yield "GET", "/attachments" + item, self._file_record, ""
        yield "PUT", "/attachments" + item, self._describe, ""
        yield "DELETE", "/attachments" + item, self._delete_file, ""
        yield "GET", "/comments", self._comments, ""
        yield "POST", "/comments", self._create_comment, ""
        yield "GET", "/comments" + item, self._comment, ""
        yield "DELETE", "/comments" + item, self._delete_comment, ""
        yield "GET", "/comments" + item + "/attachments", self._comment_files, ""
        yield "DELETE", "/attachment" + item, self._delete_file, ""  # as the vendor page's heading spells it
        yield "GET", "/workitems" + item + "/tasks", self._tasks, ""
        yield "GET", "/users" + item, self._person, ""
        for name in COLLECTIONS:
            yield "GET", "/" + name, self._small_collection(name), ""
        for name in ("areas", "iterations", "teams", "timeentrytypes"):
            yield "GET", "/projects" + item + "/" + name, self._small_collection(name), ""

    async def _create_work_item(self, request: web.Request) -> web.Response:
        given = await _object(request)
        fields = given.get("fields")
        if given.get("type") not in WORK_ITEM_TYPES:
            raise RefusedError(400, type="The field type must be a valid work item type.")
        if given.get("projectId") not in {project.id for project in PROJECTS}:
            raise RefusedError(400, projectId="The field projectId must be an existing project.")
        if not isinstance(fields, dict) or not fields.get("Name"):
            raise RefusedError(400, Name="The field Name is required.")
        if given["type"] == "Task" and self.state.entity(fields.get("ParentID") or 0) is None:
            raise RefusedError(400, ParentID="The field ParentID is required for a Task.")
        return self._created("workitems", self.records.work_item(self.records.create(given["type"], given, fields)))

    async def _change_work_item(self, request: web.Request) -> web.Response:
        number = self._item_id(request)
        given = await _object(request)
        if unknown := [name for name in given if name.lower() not in WORK_ITEM_FIELDS]:
            raise RefusedError(400, **dict.fromkeys(unknown, "This is no field of a work item."))
        self.records.change(number, given)
        return web.json_response(self.records.work_item(self.state.entity(number)))

    async def _delete_work_item(self, request: web.Request) -> web.Response:
        self.removed.add(self._item_id(request))
        return web.Response()

    async def _create_comment(self, request: web.Request) -> web.Response:
        given = await _object(request)
        owner = given.get("workItemId")
        if not isinstance(owner, int) or self.state.entity(owner) is None or not given.get("projectId"):
            raise RefusedError(400, workItemId="The fields workItemId and projectId are required.")
        if not given.get("description"):
            raise RefusedError(400, description="The field description is required.")
        return self._created("comments", self.records.comment(self.state.add_comment(owner, given["description"])))

    async def _delete_comment(self, request: web.Request) -> web.Response:
        self.state.comments.remove(self._one_comment(request))
        return web.Response()

    async def _describe(self, request: web.Request) -> web.Response:
        file = self._attachment(request)
        given = await _object(request)
        if unknown := [name for name in given if name != "description"]:
            raise RefusedError(400, **dict.fromkeys(unknown, "The field is read-only."))
        self.state.describe(file.id, given.get("description"))
        return await self._file_record(request)

    async def _delete_file(self, request: web.Request) -> web.Response:
        self.state.delete(self._attachment(request).id)
        return web.Response()

    async def _upload(self, request: web.Request) -> web.Response:
        number = self._item_id(request)
        if request.query.get("type", "TeamPulse") not in {"TeamPulse", "Feedback"}:
            raise RefusedError(400, type="The field type must be TeamPulse or Feedback.")
        if request.content_type != "multipart/form-data":
            raise RefusedError(400, files="The request has to be multipart/form-data.")
        try:
            _, files = await receive(request, self.faults.max_upload_bytes)
        except TooLargeError:
            self.faults.injected["max_upload_bytes"] += 1
            return web.Response(status=self.quirks.too_large_status, text=TOO_LARGE, content_type="text/html")
        if [file.field for file in files] != ["files"]:
            raise RefusedError(400, files="Exactly one file has to be sent as files.")
        fault = self.faults.of_upload(number, files[0].name)
        if fault == "fail_uploads":
            return self.faults.refuse(fault)
        kept = self.state.keep(files[0], number, None)
        self.records.types[kept.id] = request.query.get("type", "TeamPulse")
        return await self.after_upload(request, fault, self._created("attachments", self.records.attachment(kept)))

    def _created(self, collection: str, record: dict[str, Any]) -> web.Response:
        location = f"{self.internal_host}{self.base_path}/api/v1/{collection}/{record['id']}"
        return web.json_response(record, status=201, headers={"Location": location})


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        given = json.loads(await request.read())
    except ValueError as error:
        raise RefusedError(400, message="The body is no JSON.") from error
    if not isinstance(given, dict):
        raise RefusedError(400, message="The body has to be one object.")
    return given
