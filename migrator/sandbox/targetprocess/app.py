"""A sandbox Targetprocess: REST API version 1 over the made-up world, with the quirks of real servers.

One generic handler answers for all collections; `lists.py` finds and shows their rows, `files.py` has the pages beside
the API.

Beware: its default format is XML, and an error is JSON only if that is requested twice.
"""

import json
import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.server import in_any_case
from migrator.sandbox.state import CommentRow
from migrator.sandbox.targetprocess.files import TargetprocessFiles, lowered
from migrator.sandbox.targetprocess.lists import TargetprocessLists
from migrator.sandbox.targetprocess.query import BadRequestError
from migrator.sandbox.targetprocess.resources import (
    PLURALS,
    TYPES,
    Resource,
    as_json,
    as_xml,
)
from migrator.sandbox.targetprocess.schema import PROJECTS
from migrator.sandbox.world import World, WorldAttachment


class TargetprocessSandbox(TargetprocessFiles):
    """An embedded Targetprocess: `TargetprocessSandbox(world, faults, base_path="/tp", **quirks)`.

    Its keywords are the fields of `files.TargetprocessQuirks`.
    """

    tracker = "targetprocess"

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world, faults, base_path=base_path, **quirks)
        self.lists = TargetprocessLists(self)

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of the API, and those of the files."""
        api = in_any_case("api/v1")
        item = api + r"/{collection}/{id:\d+}"
        return [
            *super().routes(),
            web.get(api + r"/{collection}{slash:/?}", self._get_collection),
            web.post(api + r"/{collection}{slash:/?}", self._post),
            web.get(api + r"/{collection}/meta{slash:/?}", self._get_meta),
            web.get(item, self._get_one),
            web.post(item, self._post),
            web.delete(item, self._delete),
            web.get(item + "/{inner}", self._get_inner),
        ]

    @override
    def template(self, request: web.Request) -> str:
        """The route of a request, with collections by their proper names."""
        template = super().template(request).replace("{slash}", "").replace("{slash:/?}", "")
        for part in ("collection", "inner"):
            given = request.match_info.get(part, "")
            proper = PLURALS.get(self.lists.by_collection.get(given.lower(), ""), given)
            template = template.replace("{" + part + "}", proper)
        return template

    @override
    def kind_of(self, entity_id: int) -> str:
        """The entity type of an entity."""
        entity = self.state.entity(entity_id)
        if entity is None:
            raise KeyError(entity_id)
        return TYPES[entity.kind][0]

    async def _get_collection(self, request: web.Request) -> web.Response:
        return await self._answered(request, self._collection)

    async def _get_meta(self, request: web.Request) -> web.Response:
        return await self._answered(request, self._meta)

    async def _get_inner(self, request: web.Request) -> web.Response:
        return await self._answered(request, self._inner)

    async def _get_one(self, request: web.Request) -> web.Response:
        return await self._answered(request, self._single)

    async def _post(self, request: web.Request) -> web.Response:
        return await self._answered(request, self._written)

    async def _delete(self, request: web.Request) -> web.Response:
        return await self._answered(request, self._removed)

    async def _answered(self, request: web.Request, handler: Any) -> web.Response:
        account = self.account(request)
        if account is None:
            return web.Response(status=401, text="Unauthorized", headers={"WWW-Authenticate": "Basic realm=tp"})
        if account == "requester":
            return self._refusal(request, RefusedError(403, "Requesters have no access to the API.", name="Forbidden"))
        try:
            name, tree, status = handler(request, await request.read())
        except BadRequestError as error:
            return self._refusal(request, RefusedError(400, str(error), name="BadRequest"))
        except RefusedError as error:
            return self._refusal(request, error)
        if self._wants_json(request):
            return as_javascript(request, as_json(tree), status)
        return web.Response(text=as_xml(name, tree), status=status, content_type="application/xml")

    def _wants_json(self, request: web.Request, *, both: bool = False) -> bool:
        asked = lowered(request).get("format", "").lower()
        accepts = "application/json" in request.headers.get("Accept", "")
        wanted = (asked == "json" and accepts) if both else asked == "json" or (accepts and asked != "xml")
        return wanted and not self.quirks.xml_only

    def _refusal(self, request: web.Request, error: RefusedError) -> web.Response:
        tree = {
            "Status": error.details["name"],
            "Message": str(error),
            "Type": "Presentational",
            "Details": {"Items": []},
            "ErrorId": str(UUID(int=error.status)),
        }
        if self._wants_json(request, both=True):
            return web.Response(text=as_json(tree), status=error.status, content_type="application/json")
        return web.Response(text=as_xml("Error", tree), status=error.status, content_type="application/xml")

    def _collection(self, request: web.Request, _: bytes) -> tuple[str, Any, int]:
        special = {"context": self._context, "authentication": self._authentication}
        if build := special.get(request.match_info["collection"].lower()):
            return request.match_info["collection"], build(), 200
        resource = self.lists.resource(request)
        return PLURALS[resource.name], self.lists.page(request, resource, self.lists.rows_of(resource.name)), 200

    def _meta(self, request: web.Request, _: bytes) -> tuple[str, Any, int]:
        address = f"{self.internal_host}{self.base_path}/api/v1/"
        if request.match_info["collection"].lower() == "index":
            items = [{"Name": name, "Uri": f"{address}{plural}/meta"} for name, plural in PLURALS.items()]
            return "ResourceMetadataDescriptionIndex", {"IndexUri": address + "Index/meta", "Items": items}, 200
        resource = self.lists.resource(request)
        fields = [{"Name": name, "IsCollection": field.many} for name, field in resource.fields.items()]
        told_of = {"Name": resource.name, "Uri": f"{address}{PLURALS[resource.name]}/meta", "Items": fields}
        return "ResourceMetadataDescription", told_of, 200

    def _inner(self, request: web.Request, _: bytes) -> tuple[str, Any, int]:
        parent = self.lists.resource(request)
        row = self.lists.row(request, parent)
        known, field = parent.find(request.match_info["inner"])
        if not field.many:
            raise RefusedError(404, f"'{known}' is no collection.", name="NotFound")
        return known, self.lists.page(request, self.lists.resources[field.to], field.get(row)), 200

    def _single(self, request: web.Request, _: bytes) -> tuple[str, Any, int]:
        resource = self.lists.resource(request)
        return (
            resource.name,
            self.lists.shown(resource, self.lists.row(request, resource), self.lists.view(request, resource)),
            200,
        )

    def _context(self) -> dict[str, Any]:
        user = {
            "ResourceType": "GeneralUser",
            "Id": 1,
            "FirstName": "System",
            "LastName": "",
            "Login": self.user,
        }
        projects = [{"ResourceType": "Project", "Id": one.id, "Name": one.name} for one in PROJECTS]
        version = {"Version": "3.13.12.0", "Acid": "0123456789ABCDEF", "Edition": "Sandbox"}
        return {**version, "LoggedUser": user, "SelectedProjects": {"Items": projects}}

    def _authentication(self) -> dict[str, Any]:
        return {"Token": self.service_token}

    def _removed(self, request: web.Request, _: bytes) -> tuple[str, Any, int]:
        resource = self.lists.resource(request)
        if resource.name != "Attachment":
            raise RefusedError(403, f"A sandbox deletes attachments only, no {resource.name}.", name="Forbidden")
        row = self.lists.row(request, resource)
        self.state.delete(row.id)
        return resource.name, {"ResourceType": resource.name, "Id": row.id}, 200

    def _written(self, request: web.Request, body: bytes) -> tuple[str, Any, int]:
        resource = self.lists.resource(request)
        try:
            given = json.loads(body)
        except ValueError as error:
            raise BadRequestError("The body is no JSON.") from error
        if not isinstance(given, dict):
            raise BadRequestError("The body has to be one object.")
        view = self.lists.view(request, resource)
        if resource.name == "Attachment":
            row = self._described(given, int(request.match_info.get("id", given.get("Id") or 0)))
            return resource.name, self.lists.shown(resource, row, view), 200
        if resource.name == "Comment":
            return resource.name, self.lists.shown(resource, self._commented(given), view), 201
        return resource.name, self.lists.shown(resource, self._created(resource, given), view), 201

    def _described(self, given: dict[str, Any], number: int) -> WorldAttachment:
        if not number:
            raise BadRequestError("Attachments are created by uploading a file.")
        if self.state.attachment(number) is None:
            raise RefusedError(404, f"Attachment with Id {number} not found or access is forbidden.", name="NotFound")
        if "Description" in given:
            self.state.describe(number, given["Description"])
        found = self.state.attachment(number)
        assert found is not None  # noqa: S101 - it was there two lines above
        return found

    def _commented(self, given: dict[str, Any]) -> CommentRow:
        owner = (given.get("General") or {}).get("Id")
        if not given.get("Description") or not isinstance(owner, int) or self.state.entity(owner) is None:
            raise BadRequestError("Comment needs Description and General.")
        return self.state.add_comment(owner, given["Description"])

    def _created(self, resource: Resource, given: dict[str, Any]) -> Any:
        kind = next((kind for kind, names in TYPES.items() if names[0] == resource.name), None)
        if kind is None or "Id" in given:
            raise BadRequestError(f"{resource.name} cannot be created or updated here.")
        needed = "UserStory" if kind == "task" else "Project"
        owner = (given.get(needed) or {}).get("Id")
        known = (
            owner in {one.id for one in PROJECTS} if needed == "Project" else self.state.entity(owner or 0) is not None
        )
        if not given.get("Name") or not known:
            raise BadRequestError(f"{resource.name} needs Name and {needed}.")
        return self.state.create_entity(kind, given["Name"], given.get("Description") or "")


def as_javascript(request: web.Request, text: str, status: int) -> web.Response:
    """Answer with JSON, as the argument of a call if the query names a `callback`."""
    callback = lowered(request).get("callback", "")
    if not re.fullmatch(r"[\w$.?]+", callback):
        return web.Response(text=text, status=status, content_type="application/json")
    return web.Response(text=f"{callback}({text})", status=status, content_type="application/javascript")
