"""Which resources a sandbox Targetprocess has, and how their fields come from the world.

Rows are the world's own objects; a field is a small function of one.

Beware: a file of a comment or of a message has no General, and a comment no Attachments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from migrator.sandbox.state import CommentRow, TrackerState
from migrator.sandbox.targetprocess.files import owner_id, unique_name
from migrator.sandbox.targetprocess.resources import EPOCH, TYPES, Field, Resource
from migrator.sandbox.world import PEOPLE, WorldAttachment, WorldEntity


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A project, an entity type or a person."""

    id: int
    name: str


STATES = (NamedRow(1, "Open"), NamedRow(2, "In Progress"), NamedRow(3, "Done"))
ENTITY_TYPES = tuple(NamedRow(number, name) for name, _, number in TYPES.values())
EVERYBODY = (NamedRow(1, "System"), *(NamedRow(owner_id(name), name) for name in PEOPLE))
PROJECTS = (NamedRow(1, "Sandbox"), NamedRow(2, "Старые дела"))


class SandboxView(Protocol):
    """What the schema needs to know of a sandbox."""

    state: TrackerState

    def attached(self, entity_id: int) -> list[WorldAttachment]:
        """The attachments of an entity."""

    def uri(self, file: WorldAttachment, *, thumbnail: bool = False) -> str:
        """The address of a file."""


def build_resources(sandbox: SandboxView) -> Mapping[str, Resource]:
    """The table of resources."""
    found = [_attachment(sandbox), _comment(sandbox), _message(sandbox), *_small()]
    found += [_general(sandbox, name) for name in ("General", *(names[0] for names in TYPES.values()))]
    return {resource.name: resource for resource in found}


def _attachment(sandbox: SandboxView) -> Resource:
    messages = {message.id: message for message in sandbox.state.world.messages}
    fields = {
        "Id": Field(lambda file: file.id),
        "Name": Field(lambda file: file.name),
        "UniqueFileName": Field(unique_name),
        "Description": Field(lambda file: file.name if file.description is None else file.description),
        "Date": Field(lambda file: file.created_at),
        "Uri": Field(sandbox.uri),
        "ThumbnailUri": Field(lambda file: sandbox.uri(file, thumbnail=True)),
        "MimeType": Field(lambda file: file.media_type),
        "Size": Field(lambda file: file.size),
        "Owner": Field(lambda file: NamedRow(owner_id(file.author), file.author), "GeneralUser"),
        "General": Field(lambda file: sandbox.state.entity(file.entity_id) if file.entity_id else None, "General"),
        "Message": Field(lambda file: messages.get(file.message_id), "Message"),
    }
    default = ("Name", "UniqueFileName", "Description", "Date", "Owner", "General", "Message")
    return Resource("Attachment", fields, default)


def _comment(sandbox: SandboxView) -> Resource:
    fields = {
        "Id": Field(lambda comment: comment.id),
        "Description": Field(lambda comment: comment.text),
        "ParentId": Field(lambda _: None),
        "CreateDate": Field(lambda _: EPOCH),
        "IsPrivate": Field(lambda _: False),
        "General": Field(lambda comment: sandbox.state.entity(comment.entity_id), "General"),
        "Owner": Field(lambda comment: _person(comment.id), "GeneralUser"),
    }
    return Resource("Comment", fields, ("Description", "ParentId", "CreateDate", "IsPrivate", "General", "Owner"))


def _message(sandbox: SandboxView) -> Resource:
    def files(message: Any) -> Sequence[WorldAttachment]:
        return [file for file in sandbox.state.world.attachments if file.message_id == message.id]

    fields = {
        "Id": Field(lambda message: message.id),
        "Subject": Field(lambda message: message.subject),
        "CreateDate": Field(lambda _: EPOCH),
        "Generals": Field(lambda message: [sandbox.state.entity(message.entity_id)], "General", many=True),
        "Attachments": Field(files, "Attachment", many=True),
    }
    return Resource("Message", fields, ("Subject", "CreateDate"))


def _general(sandbox: SandboxView, name: str) -> Resource:
    def comments(entity: WorldEntity) -> list[CommentRow]:
        return [one for one in sandbox.state.comments if one.entity_id == entity.id]

    fields = {
        "Id": Field(lambda entity: entity.id),
        "Name": Field(lambda entity: entity.title),
        "Description": Field(lambda entity: entity.text),
        "CreateDate": Field(lambda _: EPOCH),
        "EntityType": Field(lambda entity: NamedRow(TYPES[entity.kind][2], TYPES[entity.kind][0]), "EntityType"),
        "Project": Field(lambda entity: PROJECTS[entity.id % 4 == 0], "Project"),
        "Owner": Field(lambda entity: _person(entity.id), "GeneralUser"),
        "Attachments": Field(lambda entity: sandbox.attached(entity.id), "Attachment", many=True),
        "Comments": Field(comments, "Comment", many=True),
    }
    fields |= {} if name == "General" else _planned(sandbox)
    return Resource(name, fields, ("Name", "Description", "CreateDate", "EntityType", "Project", "Owner"))


def _planned(sandbox: SandboxView) -> dict[str, Field]:
    """Fields of what is planned and done, for entities of a type; here nothing is in a release or an iteration."""

    def below(kind: str) -> Callable[[WorldEntity], list[WorldEntity]]:
        """The tasks or bugs of a story: those between it and the next one."""

        def found(entity: WorldEntity) -> list[WorldEntity]:
            if entity.kind != "story":
                return []
            after = [one for one in sandbox.state.entities() if one.id > entity.id]
            until = next((one.id for one in after if one.kind == "story"), None)
            return [one for one in after if one.kind == kind and (until is None or one.id < until)]

        return found

    return {
        "EntityState": Field(lambda entity: STATES[entity.id // 3 % 3], "EntityState"),
        "Effort": Field(lambda entity: float(entity.id % 13)),
        "TimeSpent": Field(lambda _: 0.0),
        "Velocity": Field(lambda _: 0.0),
        "StartDate": Field(lambda _: None),
        "EndDate": Field(lambda _: None),
        "Release": Field(lambda _: None, "Release"),
        "Iteration": Field(lambda _: None, "Iteration"),
        "TeamIteration": Field(lambda _: None, "TeamIteration"),
        "Tasks": Field(below("task"), "Task", many=True),
        "Bugs": Field(below("bug"), "Bug", many=True),
    }


def _small() -> list[Resource]:
    named = {"Id": Field(lambda row: row.id), "Name": Field(lambda row: row.name)}
    person = {
        "Id": Field(lambda row: row.id),
        "FirstName": Field(lambda row: row.name.partition(" ")[0]),
        "LastName": Field(lambda row: row.name.partition(" ")[2]),
        "Login": Field(lambda row: f"user{row.id}"),
        "FullName": Field(lambda row: row.name),
        "IsActive": Field(lambda _: True),
    }
    people = [Resource(name, person, ("FirstName", "LastName", "Login")) for name in ("GeneralUser", "User")]
    return [*(Resource(name, named, ("Name",)) for name in ("EntityType", "EntityState", "Project")), *people]


def _person(number: int) -> NamedRow:
    name = PEOPLE[number % len(PEOPLE)]
    return NamedRow(owner_id(name), name)
