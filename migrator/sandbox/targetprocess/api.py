"""What the API of a sandbox Targetprocess answers: one handler each for all collections.

Beware: attachments are the only rows that can be deleted, and the only ones that can be changed: their description.
"""

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.state import CommentRow, TrackerState
from migrator.sandbox.targetprocess.access import Access
from migrator.sandbox.targetprocess.lists import Lists
from migrator.sandbox.targetprocess.query import bad_request
from migrator.sandbox.targetprocess.resources import PLURALS, TYPES, Resource
from migrator.sandbox.targetprocess.schema import PROJECTS
from migrator.sandbox.world import WorldAttachment, WorldEntity

Content = tuple[str, Any, int]
"""The name and the tree of an answer, which may become JSON or XML, and its status."""
ApiHandler = Callable[[web.Request, bytes], Content]
"""Makes the content of the answer to a request and its body; refuses by raising `RefusedError`."""


class Api:
    """The handlers of the API.

    `place` is the address that the server believes it has.
    """

    def __init__(self, state: TrackerState, access: Access, lists: Lists, place: str) -> None:
        self._state, self._access, self._lists, self._place = state, access, lists, place

    def collection(self, request: web.Request, _: bytes) -> Content:
        """A page of a collection."""
        special = {"context": self._context, "authentication": self._authentication}
        if build := special.get(request.match_info["collection"].lower()):
            return request.match_info["collection"], build(), 200
        resource = self._lists.resource(request)
        return PLURALS[resource.name], self._lists.page(request, resource, self._lists.rows_of(resource.name)), 200

    def meta(self, request: web.Request, _: bytes) -> Content:
        """The description of a resource, or of all resources."""
        address = f"{self._place}/api/v1/"
        if request.match_info["collection"].lower() == "index":
            items = [{"Name": name, "Uri": f"{address}{plural}/meta"} for name, plural in PLURALS.items()]
            return "ResourceMetadataDescriptionIndex", {"IndexUri": address + "Index/meta", "Items": items}, 200
        resource = self._lists.resource(request)
        fields = [{"Name": name, "IsCollection": field.many} for name, field in resource.fields.items()]
        tree = {"Name": resource.name, "Uri": f"{address}{PLURALS[resource.name]}/meta", "Items": fields}
        return "ResourceMetadataDescription", tree, 200

    def inner(self, request: web.Request, _: bytes) -> Content:
        """A page of a collection inside of a row."""
        parent = self._lists.resource(request)
        row = self._lists.row(request, parent)
        known, field = parent.find(request.match_info["inner"])
        if not field.many:
            raise RefusedError(404, f"'{known}' is not a collection.", name="NotFound")
        return known, self._lists.page(request, self._lists.resources[field.to], field.get(row)), 200

    def single(self, request: web.Request, _: bytes) -> Content:
        """One row."""
        resource = self._lists.resource(request)
        row = self._lists.row(request, resource)
        return resource.name, self._lists.shown(resource, row, self._lists.view(request, resource)), 200

    def delete(self, request: web.Request, _: bytes) -> Content:
        """Delete an attachment."""
        resource = self._lists.resource(request)
        if resource.name != "Attachment":
            raise RefusedError(403, f"A sandbox deletes attachments only, no {resource.name}.", name="Forbidden")
        row = self._lists.row(request, resource)
        self._state.delete(row.id)
        return resource.name, {"ResourceType": resource.name, "Id": row.id}, 200

    def write(self, request: web.Request, body: bytes) -> Content:
        """Create an entity or a comment, or describe an attachment."""
        resource = self._lists.resource(request)
        try:
            values = json.loads(body)
        except ValueError as error:
            raise bad_request("The body is not JSON.") from error
        if not isinstance(values, dict):
            raise bad_request("The body has to be one object.")
        view = self._lists.view(request, resource)
        if resource.name == "Attachment":
            attachment = self._describe(values, int(request.match_info.get("id", values.get("Id") or 0)))
            return resource.name, self._lists.shown(resource, attachment, view), 200
        if resource.name == "Comment":
            return resource.name, self._lists.shown(resource, self._comment(values), view), 201
        return resource.name, self._lists.shown(resource, self._create(resource, values), view), 201

    def _context(self) -> dict[str, Any]:
        user = {
            "ResourceType": "GeneralUser",
            "Id": 1,
            "FirstName": "System",
            "LastName": "",
            "Login": self._access.user,
        }
        projects = [{"ResourceType": "Project", "Id": project.id, "Name": project.name} for project in PROJECTS]
        version = {"Version": "3.13.12.0", "Acid": "0123456789ABCDEF", "Edition": "Sandbox"}
        return {**version, "LoggedUser": user, "SelectedProjects": {"Items": projects}}

    def _authentication(self) -> dict[str, Any]:
        return {"Token": self._access.service_token}

    def _describe(self, values: dict[str, Any], number: int) -> WorldAttachment:
        if not number:
            raise bad_request("Attachments are created by uploading a file.")
        attachment = self._state.attachment(number)
        if attachment is None:
            raise RefusedError(404, f"Attachment with Id {number} not found or access is forbidden.", name="NotFound")
        if "Description" in values:
            self._state.describe(number, values["Description"])
        return self._state.attachment(number) or attachment

    def _comment(self, values: dict[str, Any]) -> CommentRow:
        owner = (values.get("General") or {}).get("Id")
        if not values.get("Description") or not isinstance(owner, int) or self._state.entity(owner) is None:
            raise bad_request("Comment needs Description and General.")
        return self._state.add_comment(owner, values["Description"])

    def _create(self, resource: Resource, values: dict[str, Any]) -> WorldEntity:
        kind = next((kind for kind, entity_type in TYPES.items() if entity_type.name == resource.name), None)
        if kind is None or "Id" in values:
            raise bad_request(f"{resource.name} cannot be created or updated here.")
        needed = "UserStory" if kind == "task" else "Project"
        owner = (values.get(needed) or {}).get("Id")
        if needed == "Project":
            has_owner = owner in {project.id for project in PROJECTS}
        else:
            has_owner = self._state.entity(owner or 0) is not None
        if not values.get("Name") or not has_owner:
            raise bad_request(f"{resource.name} needs Name and {needed}.")
        return self._state.create_entity(kind, values["Name"], values.get("Description") or "")
