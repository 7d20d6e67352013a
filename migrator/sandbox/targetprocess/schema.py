"""Which resources a sandbox Targetprocess has, and how their fields come from the world.

Rows are the world's own objects; a field is a small function of a row.

Beware: a file of a comment or of a message has no General, and a comment no Attachments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrator.sandbox.state import CommentRow, TrackerState
from migrator.sandbox.targetprocess.files import file_uri, owner_id, thumbnail_uri, unique_name
from migrator.sandbox.targetprocess.resources import CREATED_AT, TYPES, Field, Resource
from migrator.sandbox.world import PEOPLE, WorldAttachment, WorldEntity


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A project, an entity type or a person."""

    id: int
    name: str


STATES = (NamedRow(1, "Open"), NamedRow(2, "In Progress"), NamedRow(3, "Done"))
ENTITY_TYPES = tuple(NamedRow(entity_type.id, entity_type.name) for entity_type in TYPES.values())
EVERYBODY = (NamedRow(1, "System"), *(NamedRow(owner_id(name), name) for name in PEOPLE))
PROJECTS = (NamedRow(1, "Sandbox"), NamedRow(2, "Старые дела"))


def build_resources(
    state: TrackerState, place: str, attached: Callable[[int], list[WorldAttachment]]
) -> Mapping[str, Resource]:
    """The table of resources; `attached` gives the attachments of an entity, by its id."""
    resources = [_attachment(state, place), _comment(state), _message(state), *_small()]
    resources += [
        _general(state, name, attached) for name in ("General", *(entity_type.name for entity_type in TYPES.values()))
    ]
    return {resource.name: resource for resource in resources}


def _attachment(state: TrackerState, place: str) -> Resource:
    messages = {message.id: message for message in state.world.messages}
    fields = {
        "Id": Field(lambda file: file.id),
        "Name": Field(lambda file: file.name),
        "UniqueFileName": Field(unique_name),
        "Description": Field(lambda file: file.name if file.description is None else file.description),
        "Date": Field(lambda file: file.created_at),
        "Uri": Field(lambda file: file_uri(place, file)),
        "ThumbnailUri": Field(lambda file: thumbnail_uri(place, file)),
        "MimeType": Field(lambda file: file.media_type),
        "Size": Field(lambda file: file.size),
        "Owner": Field(lambda file: NamedRow(owner_id(file.author), file.author), "GeneralUser"),
        "General": Field(lambda file: state.entity(file.entity_id) if file.entity_id else None, "General"),
        "Message": Field(lambda file: messages.get(file.message_id), "Message"),
    }
    default = ("Name", "UniqueFileName", "Description", "Date", "Owner", "General", "Message")
    return Resource("Attachment", fields, default)


def _comment(state: TrackerState) -> Resource:
    fields = {
        "Id": Field(lambda comment: comment.id),
        "Description": Field(lambda comment: comment.text),
        "ParentId": Field(lambda _: None),
        "CreateDate": Field(lambda _: CREATED_AT),
        "IsPrivate": Field(lambda _: False),
        "General": Field(lambda comment: state.entity(comment.entity_id), "General"),
        "Owner": Field(lambda comment: _person(comment.id), "GeneralUser"),
    }
    return Resource("Comment", fields, ("Description", "ParentId", "CreateDate", "IsPrivate", "General", "Owner"))


def _message(state: TrackerState) -> Resource:
    def files(message: Any) -> Sequence[WorldAttachment]:
        return [file for file in state.world.attachments if file.message_id == message.id]

    fields = {
        "Id": Field(lambda message: message.id),
        "Subject": Field(lambda message: message.subject),
        "CreateDate": Field(lambda _: CREATED_AT),
        "Generals": Field(lambda message: [state.entity(message.entity_id)], "General", many=True),
        "Attachments": Field(files, "Attachment", many=True),
    }
    return Resource("Message", fields, ("Subject", "CreateDate"))


def _general(state: TrackerState, name: str, attached: Callable[[int], list[WorldAttachment]]) -> Resource:
    def comments(entity: WorldEntity) -> list[CommentRow]:
        return [comment for comment in state.comments if comment.entity_id == entity.id]

    fields = {
        "Id": Field(lambda entity: entity.id),
        "Name": Field(lambda entity: entity.title),
        "Description": Field(lambda entity: entity.text),
        "CreateDate": Field(lambda _: CREATED_AT),
        "EntityType": Field(lambda entity: NamedRow(TYPES[entity.kind].id, TYPES[entity.kind].name), "EntityType"),
        "Project": Field(lambda entity: PROJECTS[entity.id % 4 == 0], "Project"),
        "Owner": Field(lambda entity: _person(entity.id), "GeneralUser"),
        "Attachments": Field(lambda entity: attached(entity.id), "Attachment", many=True),
        "Comments": Field(comments, "Comment", many=True),
    }
    fields |= {} if name == "General" else _planned(state)
    return Resource(name, fields, ("Name", "Description", "CreateDate", "EntityType", "Project", "Owner"))


def _planned(state: TrackerState) -> dict[str, Field]:
    """The fields of planning that every entity type has; here nothing is in a release or an iteration."""

    def below(kind: str) -> Callable[[WorldEntity], list[WorldEntity]]:
        """The tasks or bugs of a story: those between it and the next one."""

        def rows(story: WorldEntity) -> list[WorldEntity]:
            if story.kind != "story":
                return []
            later = [entity for entity in state.entities() if entity.id > story.id]
            end = next((entity.id for entity in later if entity.kind == "story"), None)
            return [entity for entity in later if entity.kind == kind and (end is None or entity.id < end)]

        return rows

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
