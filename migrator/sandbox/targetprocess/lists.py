"""Targetprocess's lists: which rows a collection has, and how a page of them is filtered, sorted and shown.

A collection is a sequence of rows of any type, sorted by id.

Beware: a list may be incomplete (`hidden_from_collection`), as the vendor warns.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.targetprocess.files import TargetprocessFiles, lowered
from migrator.sandbox.targetprocess.query import (
    BadRequestError,
    Condition,
    Include,
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

DEFAULT_TAKE = 25
MOST_TAKE = 1000
FIXED: Mapping[str, Sequence[Any]] = {
    "Project": PROJECTS,
    "EntityState": STATES,
    "EntityType": sorted(ENTITY_TYPES, key=lambda row: row.id),
    "User": sorted(EVERYBODY, key=lambda row: row.id),
    "GeneralUser": sorted(EVERYBODY, key=lambda row: row.id),
}
"""What is the same in every sandbox, by resource."""


@dataclass(frozen=True, slots=True)
class View:
    """How rows are to be shown."""

    include: Include | None
    excluded: frozenset[str]
    counted: tuple[str, ...]
    budget: Budget


class TargetprocessLists:
    """The lists of a sandbox Targetprocess: finds the rows that a request names, and shows them."""

    def __init__(self, sandbox: TargetprocessFiles) -> None:
        self._sandbox = sandbox
        self.resources = build_resources(sandbox)
        self.by_collection = {plural.lower(): name for name, plural in PLURALS.items()}
        self.by_collection |= {name.lower(): name for name in PLURALS}

    def resource(self, request: web.Request, part: str = "collection") -> Resource:
        """The resource that a path names; 404 if there is none."""
        given = request.match_info[part]
        name = self.by_collection.get(given.lower())
        if name is None:
            raise RefusedError(404, f"Resource '{given}' not found.", name="NotFound")
        return self.resources[name]

    def rows_of(self, name: str) -> Sequence[Any]:
        """All rows of a resource, by id."""
        if name == "Attachment":
            hidden = self._sandbox.quirks.hidden_from_collection
            files = self._sandbox.state.attachments()
            return [file for file in files if file.id not in hidden] if hidden else files
        others = {"Comment": self._sandbox.state.comments, "Message": self._sandbox.state.world.messages, **FIXED}
        if name in others:
            return others[name]
        return [entity for entity in self._sandbox.state.entities() if name in {"General", TYPES[entity.kind][0]}]

    def row(self, request: web.Request, resource: Resource) -> Any:
        """The row whose id is in the path; 404 if there is none, 403 if it is forbidden."""
        number = int(request.match_info["id"])
        row = self._found(resource.name, number)
        if row is None:
            message = f"{resource.name} with Id {number} not found or access is forbidden."
            raise RefusedError(404, message, name="NotFound")
        entity_id = getattr(row, "entity_id", number if self._sandbox.state.entity(number) else None)
        if entity_id is not None and self._sandbox.faults.forbids(entity_id):
            raise RefusedError(403, "User has insufficient rights to perform an action.", name="Forbidden")
        return row

    def _found(self, name: str, number: int) -> Any:
        if name == "Attachment":
            return self._sandbox.state.attachment(number)
        if name in {"Comment", "Message", *FIXED}:
            return next((row for row in self.rows_of(name) if row.id == number), None)
        entity = self._sandbox.state.entity(number)
        return entity if entity and name in {"General", TYPES[entity.kind][0]} else None

    def page(self, request: web.Request, resource: Resource, rows: Sequence[Any]) -> dict[str, Any]:
        """The page of these rows that a query requests."""
        query = lowered(request)
        view = self.view(request, resource)
        if (
            resource.name == "Attachment"
            and not self._sandbox.quirks.sortable
            and {"where", "orderby", "orderbydesc"} & query.keys()
        ):
            raise BadRequestError("Filtering and sorting of Attachments is not supported.")
        conditions = parse_where(query.get("where", ""))
        if resource.name == "Attachment" and "inner" not in request.match_info:
            rows = self._of_one_general(rows, conditions)
        rows, conditions = narrowed(rows, conditions)
        rows = self._sorted(query, resource, chosen(self.resources, resource, conditions, rows))
        take = min(_whole(query, "take", DEFAULT_TAKE), MOST_TAKE)
        skip = _whole(query, "skip", 0)
        page: dict[str, Any] = {}
        if skip > 0:
            page["Prev"] = self._link(request, take, max(0, skip - take))
        if skip + take < len(rows):
            page["Next"] = self._link(request, take, skip + take)
        page["Items"] = [self.shown(resource, row, view) for row in rows[skip : skip + take]]
        return page

    def _of_one_general(self, rows: Sequence[Any], conditions: list[Condition]) -> Sequence[Any]:
        """Only the attachments of the entity that a condition names; makes reading uploads back fast."""
        for condition in conditions:
            of_general = [part.lower() for part in condition.path] == ["general", "id"] and condition.operator == "eq"
            if of_general and isinstance(condition.value, int):
                hidden = self._sandbox.quirks.hidden_from_collection
                return [file for file in self._sandbox.state.attachments_of(condition.value) if file.id not in hidden]
        return rows

    def _sorted(self, query: dict[str, str], resource: Resource, rows: Sequence[Any]) -> Sequence[Any]:
        descending = "orderbydesc" in query or "orderby" not in query
        key = query.get("orderby", query.get("orderbydesc", "Id"))
        if not re.fullmatch(r"[\w.]+", key):
            raise BadRequestError(f"Error during parameters parsing: cannot order by '{key}'.")
        path = key.split(".")
        if key.lower() != "id":
            resource.find(path[0], "order")
            rows = sorted(rows, key=lambda row: _sortable(value_at(self.resources, resource, path, row)))
        return rows[::-1] if descending else rows

    def _link(self, request: web.Request, take: int, skip: int) -> str:
        """A link as the server builds it: with the host that it believes in, no token, nothing encoded."""
        kept = {
            name: value
            for name, value in request.query.items()
            if name.lower() not in {"take", "skip", "access_token", "token"}
        }
        pairs = [*kept.items(), ("take", str(take)), ("skip", str(skip))]
        parts = [PLURALS[self.by_collection[request.match_info["collection"].lower()]]]
        parts += [request.match_info[part] for part in ("id", "inner") if part in request.match_info]
        path = f"{self._sandbox.base_path}/api/v1/" + "/".join(parts)
        return f"{self._sandbox.internal_host}{path}/?" + "&".join(f"{name}={value}" for name, value in pairs)

    def view(self, request: web.Request, resource: Resource) -> View:
        """How a query wants rows to be shown."""
        query = lowered(request)
        if "include" in query and "exclude" in query:
            raise BadRequestError("Include and exclude cannot be used simultaneously.")
        text = query.get("include", query.get("resultinclude"))
        include = None if text is None else parse_include(text)
        check_include(self.resources, resource, include or {})
        excluded = parse_include(query["exclude"], "exclude") if "exclude" in query else {}
        check_include(self.resources, resource, excluded)
        appended = parse_include(query["append"], "append") if "append" in query else {}
        counted = tuple(self._counted(resource, name) for name in appended)
        inner = min(_whole(query, "innertake", DEFAULT_TAKE), MOST_TAKE)
        return View(include, frozenset(name.lower() for name in excluded), counted, Budget(inner))

    def _counted(self, resource: Resource, name: str) -> str:
        collection, _, what = name.partition("-")
        known, field = resource.find(collection, "append")
        if what.lower() != "count" or not field.many or not self._sandbox.quirks.counts:
            raise BadRequestError(f"Invalid append field '{name}'.")
        return known

    def shown(self, resource: Resource, row: Any, view: View) -> dict[str, Any]:
        """One row, as the view shows it."""
        tree = shown(self.resources, resource, row, view.include, view.budget)
        tree |= {f"{name}-Count": len(resource.fields[name].get(row)) for name in view.counted}
        return {name: value for name, value in tree.items() if name == "Id" or name.lower() not in view.excluded}


def _whole(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal():
        raise BadRequestError(f"Error during parameters parsing: '{text}' is no value of {name}.")
    return int(text)


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else 0)
