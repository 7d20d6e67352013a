"""Targetprocess's lists: which rows a collection has, and how a page of them is filtered, sorted and shown.

Beware: the list of all attachments may be incomplete (`hidden_from_collection`), as the vendor warns.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.query import number_in
from migrator.sandbox.server import Sandbox
from migrator.sandbox.targetprocess.access import lowered
from migrator.sandbox.targetprocess.files import TargetprocessQuirks
from migrator.sandbox.targetprocess.query import (
    Condition,
    Include,
    bad_request,
    narrowed,
    parse_include,
    parse_where,
)
from migrator.sandbox.targetprocess.resources import (
    PLURALS,
    TYPES,
    Budget,
    Resource,
    check_include,
    chosen,
    shown,
    value_at,
)
from migrator.sandbox.targetprocess.schema import ENTITY_TYPES, EVERYBODY, PROJECTS, STATES, build_resources
from migrator.sandbox.world import WorldAttachment

DEFAULT_TAKE = 25
MAX_TAKE = 1000
FIXED: Mapping[str, Sequence[Any]] = {
    "Project": PROJECTS,
    "EntityState": STATES,
    "EntityType": sorted(ENTITY_TYPES, key=lambda row: row.id),
    "User": sorted(EVERYBODY, key=lambda row: row.id),
    "GeneralUser": sorted(EVERYBODY, key=lambda row: row.id),
}
"""The rows that are the same in every sandbox, by resource."""
COLLECTIONS = {spelling.lower(): name for name, plural in PLURALS.items() for spelling in (name, plural)}
"""Resource, by its own name and by that of its collection, both in lower case."""


@dataclass(frozen=True, slots=True)
class View:
    """How rows are to be shown."""

    include: Include | None
    excluded: frozenset[str]
    counted: tuple[str, ...]
    budget: Budget


class Lists:
    """Finds the rows that a request names, and shows them; rows are sorted by id.

    `place` is the address that the server believes it has.
    """

    def __init__(self, sandbox: Sandbox, quirks: TargetprocessQuirks, place: str) -> None:
        self._sandbox, self._state, self._quirks, self._place = sandbox, sandbox.state, quirks, place
        self.resources = build_resources(sandbox.state, place, self.attached)

    def attached(self, entity_id: int) -> list[WorldAttachment]:
        """What the entity's Attachments collection shows: nothing of its comments and messages."""
        files = [file for file in self._state.attachments_of(entity_id) if file.entity_id == entity_id]
        return [file for file in files if file.id not in self._quirks.hidden_from_generals]

    def resource(self, request: web.Request) -> Resource:
        """The resource that a path names; 404 if there is none."""
        collection = request.match_info["collection"]
        name = COLLECTIONS.get(collection.lower())
        if name is None:
            raise RefusedError(404, f"Resource '{collection}' not found.", name="NotFound")
        return self.resources[name]

    def rows_of(self, name: str) -> Sequence[Any]:
        """All rows of a resource, by id."""
        if name == "Attachment":
            return self._unhidden(self._state.attachments())
        others = {"Comment": self._state.comments, "Message": self._state.world.messages, **FIXED}
        if name in others:
            return others[name]
        return [entity for entity in self._state.entities() if name in {"General", TYPES[entity.kind].name}]

    def row(self, request: web.Request, resource: Resource) -> Any:
        """The row whose id is in the path; 404 if there is none, 403 if it is forbidden."""
        number = int(request.match_info["id"])
        row = self._row(resource.name, number)
        if row is None:
            message = f"{resource.name} with Id {number} not found or access is forbidden."
            raise RefusedError(404, message, name="NotFound")
        entity_id = getattr(row, "entity_id", number if self._state.entity(number) else None)
        if entity_id is not None and self._sandbox.faults.forbids(entity_id):
            raise RefusedError(403, "User has insufficient rights to perform an action.", name="Forbidden")
        return row

    def _row(self, name: str, number: int) -> Any:
        if name == "Attachment":
            return self._state.attachment(number)
        if name in {"Comment", "Message", *FIXED}:
            return next((row for row in self.rows_of(name) if row.id == number), None)
        entity = self._state.entity(number)
        return entity if entity and name in {"General", TYPES[entity.kind].name} else None

    def page(self, request: web.Request, resource: Resource, rows: Sequence[Any]) -> dict[str, Any]:
        """The page of these rows that a query requests."""
        query = lowered(request)
        view = self.view(request, resource)
        filters_or_sorts = {"where", "orderby", "orderbydesc"} & query.keys()
        if resource.name == "Attachment" and filters_or_sorts and not self._quirks.sortable:
            raise bad_request("Filtering and sorting of Attachments is not supported.")
        conditions = parse_where(query.get("where", ""))
        if resource.name == "Attachment" and "inner" not in request.match_info:
            rows = self._of_one_general(rows, conditions)
        rows, conditions = narrowed(rows, conditions)
        rows = self._sorted(query, resource, chosen(self.resources, resource, conditions, rows))
        take = min(_number(query, "take", DEFAULT_TAKE), MAX_TAKE)
        skip = _number(query, "skip", 0)
        page: dict[str, Any] = {}
        if skip > 0:
            page["Prev"] = self._link(request, take, max(0, skip - take))
        if skip + take < len(rows):
            page["Next"] = self._link(request, take, skip + take)
        page["Items"] = [self.shown(resource, row, view) for row in rows[skip : skip + take]]
        return page

    def _of_one_general(self, rows: Sequence[Any], conditions: list[Condition]) -> Sequence[Any]:
        """Only the attachments of the entity that a condition names; this makes reading uploads back fast."""
        for condition in conditions:
            of_general = [part.lower() for part in condition.path] == ["general", "id"] and condition.operator == "eq"
            if of_general and isinstance(condition.value, int):
                return self._unhidden(self._state.attachments_of(condition.value))
        return rows

    def _unhidden(self, files: list[WorldAttachment]) -> list[WorldAttachment]:
        hidden = self._quirks.hidden_from_collection
        return [file for file in files if file.id not in hidden] if hidden else files

    def _sorted(self, query: dict[str, str], resource: Resource, rows: Sequence[Any]) -> Sequence[Any]:
        descending = "orderbydesc" in query or "orderby" not in query
        key = query.get("orderby", query.get("orderbydesc", "Id"))
        if not re.fullmatch(r"[\w.]+", key):
            raise bad_request(f"Error during parameters parsing: cannot order by '{key}'.")
        path = key.split(".")
        if key.lower() != "id":
            resource.find(path[0], "order")
            rows = sorted(rows, key=lambda row: _sort_key(value_at(self.resources, resource, path, row)))
        return rows[::-1] if descending else rows

    def _link(self, request: web.Request, take: int, skip: int) -> str:
        """A link as the server builds it: without the token, and nothing in it is encoded."""
        kept = {
            name: value
            for name, value in request.query.items()
            if name.lower() not in {"take", "skip", "access_token", "token"}
        }
        pairs = [*kept.items(), ("take", str(take)), ("skip", str(skip))]
        parts = [PLURALS[COLLECTIONS[request.match_info["collection"].lower()]]]
        parts += [request.match_info[part] for part in ("id", "inner") if part in request.match_info]
        path = f"{self._place}/api/v1/" + "/".join(parts)
        return f"{path}/?" + "&".join(f"{name}={value}" for name, value in pairs)

    def view(self, request: web.Request, resource: Resource) -> View:
        """How a query wants rows to be shown."""
        query = lowered(request)
        if "include" in query and "exclude" in query:
            raise bad_request("Include and exclude cannot be used simultaneously.")
        text = query.get("include", query.get("resultinclude"))
        include = None if text is None else parse_include(text)
        check_include(self.resources, resource, include or {})
        excluded = parse_include(query["exclude"], "exclude") if "exclude" in query else {}
        check_include(self.resources, resource, excluded)
        appended = parse_include(query["append"], "append") if "append" in query else {}
        counted = tuple(self._counted(resource, name) for name in appended)
        inner = min(_number(query, "innertake", DEFAULT_TAKE), MAX_TAKE)
        return View(include, frozenset(name.lower() for name in excluded), counted, Budget(inner))

    def _counted(self, resource: Resource, name: str) -> str:
        collection, _, metric = name.partition("-")
        known, field = resource.find(collection, "append")
        if metric.lower() != "count" or not field.many or not self._quirks.counts:
            raise bad_request(f"Invalid append field '{name}'.")
        return known

    def shown(self, resource: Resource, row: Any, view: View) -> dict[str, Any]:
        """One row, as the view shows it."""
        tree = shown(self.resources, resource, row, view.include, view.budget)
        tree |= {f"{name}-Count": len(resource.fields[name].get(row)) for name in view.counted}
        return {name: value for name, value in tree.items() if name == "Id" or name.lower() not in view.excluded}


def _number(query: dict[str, str], name: str, default: int) -> int:
    problem = "Error during parameters parsing: '{}' is not a value of {}."
    return number_in(query, name, default, lambda text: bad_request(problem.format(text, name)))


def _sort_key(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else 0)
