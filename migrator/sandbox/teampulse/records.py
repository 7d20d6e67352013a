"""TeamPulse's records: projects, users, work items, comments and attachments, as its API presents them.

Beware: dates carry no zone. Here they are in UTC; in which zone they are on a real server is not documented.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from migrator.sandbox.state import CommentRow, TrackerState
from migrator.sandbox.teampulse.web import TeamPulseQuirks, address_number
from migrator.sandbox.world import PEOPLE, WorldAttachment, WorldEntity

KINDS = {"story": "Story", "bug": "Bug", "task": "Task", "feature": "Feature", "request": "Feedback"}
"""Type of work item, by kind."""

WORK_ITEM_TYPES = (*KINDS.values(), "Issue", "Risk")
CREATED_AT = "2020-01-01T09:00:00.673"


class Project(NamedTuple):
    """A project; the API can't create one."""

    id: int
    name: str


PROJECTS = (Project(1, "Sandbox"), Project(2, "Старые дела"))


class User(NamedTuple):
    """A user."""

    id: int
    name: str


class Named(NamedTuple):
    """An area, an iteration, a team or a type of time entries of a project."""

    id: int
    name: str
    project_id: int


USERS = tuple(User(number, name) for number, name in enumerate(("Ann Lee", *PEOPLE[1:]), 8))
COLLECTIONS: Mapping[str, tuple[Named, ...]] = {
    "areas": (Named(1, "Everywhere", 1),),
    "iterations": (Named(1, "Sprint 1", 1), Named(2, "Sprint 2", 1)),
    "teams": (Named(1, "Everybody", 1),),
    "timeentrytypes": (Named(1, "Work", 1),),
    "users": (),
    "links": (),
    "acceptancecriteria": (),
    "timeentries": (),
    "activities": (),
}
"""Collections that the API has and the world doesn't. Those without rows are empty, except `users`: see `USERS`."""


class Records:
    """Builds records, and remembers what was changed in them.

    `place` is the address that the server believes it has, with another host and the virtual directory.
    """

    def __init__(self, state: TrackerState, quirks: TeamPulseQuirks, place: str) -> None:
        self._state, self._quirks, self.place = state, quirks, place
        self._changes: dict[int, dict[str, Any]] = {}
        self._projects: dict[int, int] = {}
        self.types: dict[int, str] = {}
        """The `type` of uploaded attachments."""

    def create(self, work_item_type: str, project_id: int, fields: Mapping[str, Any]) -> WorldEntity:
        """Add a work item."""
        kind = {spelled: kind for kind, spelled in KINDS.items()}.get(work_item_type, work_item_type)
        entity = self._state.create_entity(kind, fields["Name"], fields.get("Description") or "")
        self._projects[entity.id] = project_id
        self.change(entity.id, fields)
        return entity

    def change(self, number: int, fields: Mapping[str, Any]) -> None:
        """Set fields of a work item."""
        self._changes.setdefault(number, {}).update(fields)

    def project(self, project: Project) -> dict[str, Any]:
        """The JSON of a project."""
        return {"id": project.id, "name": project.name, "description": None}

    def user(self, user: User) -> dict[str, Any]:
        """The JSON of a user."""
        first, _, last = user.name.partition(" ")
        name = {"name": first.lower(), "firstName": first, "lastName": last, "displayName": user.name}
        return {"id": user.id, **name, "email": f"{first.lower()}@sandbox.example"}

    def named(self, row: Named) -> dict[str, Any]:
        """The JSON of a named item of a project."""
        return {"id": row.id, "name": row.name, "projectId": row.project_id}

    def work_item(self, entity: WorldEntity) -> dict[str, Any]:
        """The JSON of a work item."""
        status = "Deleted" if entity.id % 50 == 1 else "Not Done"
        fields = {"Name": entity.title, "Description": entity.text, "Status": status, "ParentID": None}
        return {
            "id": entity.id,
            "type": KINDS.get(entity.kind, entity.kind),
            "projectId": self._project_of(entity.id),
            "fields": fields | self._changes.get(entity.id, {}),
            **_authorship(PEOPLE[entity.id % len(PEOPLE)], CREATED_AT),
        }

    def parent(self, entity: WorldEntity) -> Any:
        """The id of the work item that a task belongs to."""
        return self._changes.get(entity.id, {}).get("ParentID")

    def comment(self, comment: CommentRow) -> dict[str, Any]:
        """The JSON of a comment."""
        return {
            "id": comment.id,
            "projectId": self._project_of(comment.entity_id),
            "workItemId": comment.entity_id,
            "description": comment.text,
            "type": "TeamPulse",
            **_authorship(PEOPLE[comment.id % len(PEOPLE)], CREATED_AT),
        }

    def attachment(self, file: WorldAttachment) -> dict[str, Any]:
        """The JSON of an attachment."""
        owner = self._state.world.owner_of(file)
        is_hidden = file.id in self._quirks.null_sizes
        return {
            "id": file.id,
            "name": file.name,
            "projectId": self._project_of(owner or 0),
            "workItemId": owner,
            "type": self.types.get(file.id, "TeamPulse"),
            "description": file.description,
            "size": None if is_hidden else file.size,
            "url": self.address(file, "AttachmentStreaming"),
            "downloadUrl": self.address(file),
            "commentId": file.comment_id,
            "friendlySize": None if is_hidden else _friendly(file.size),
            **_authorship(file.author, file.created_at.replace(tzinfo=None).isoformat()),
        }

    def address(self, file: WorldAttachment, page: str = "AttachmentDownload") -> str:
        """The address of a file on one of the `FilePages`."""
        return f"{self.place}/{page}/{address_number(file.id)}/AttachmentName/{quote(file.name, safe='')}"

    def _project_of(self, number: int) -> int:
        return self._projects.get(number, 2 if number % 4 == 0 else 1)


def known_names(record: Mapping[str, Any]) -> frozenset[str]:
    """The names that a filter may use on such a record, in lower case."""
    return frozenset(name.lower() for name in record)


def _authorship(author: str, date: str) -> dict[str, Any]:
    return {"createdBy": author, "createdAt": date, "lastModifiedBy": author, "lastModifiedAt": date}


def _friendly(size: int) -> str:
    return f"{size:.2f} B" if size < 1024 else f"{size / 1024:.2f} KB"


AUTHORSHIP = ("createdby", "createdat", "lastmodifiedby", "lastmodifiedat")
WORK_ITEM_FIELDS = frozenset(
    (
        *("id", "type", "projectid", "name", "description", "status", "parentid", "areaid", "iterationid", "teamid"),
        *("assignedtoid", "backlogpriority", "estimate", "workremaining", "workcompleted", "tfsid", *AUTHORSHIP),
    )
)
SMALL_FIELDS = frozenset(
    (
        *("id", "name", "projectid", "firstname", "lastname", "displayname", "email", "workitemid", "userid"),
        *("typeid", "hours", "date", "note", "type", "fromid", "toid", "description", *AUTHORSHIP),
    )
)
COMMENT_FIELDS = frozenset(("id", "projectid", "workitemid", "description", "type", *AUTHORSHIP))
ATTACHMENT_FIELDS = frozenset(
    ("id", "name", "projectid", "workitemid", "type", "description", "size", "commentid", *AUTHORSHIP)
)
