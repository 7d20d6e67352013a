"""How a row of a Targetprocess resource is filtered and shown, as JSON or XML.

A field declares what it refers to, so an unknown field is noticed even on an empty page.

Beware: inner collections share one budget (`innerTake`) for the whole page, not one for each parent.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, NamedTuple

from migrator.sandbox.targetprocess.query import ZONE, Condition, Include, bad_request, holds


class EntityType(NamedTuple):
    """A type of entities: its name, the name of its collection, and its id."""

    name: str
    plural: str
    id: int


TYPES = {
    "story": EntityType("UserStory", "UserStories", 4),
    "task": EntityType("Task", "Tasks", 5),
    "bug": EntityType("Bug", "Bugs", 8),
    "feature": EntityType("Feature", "Features", 9),
    "request": EntityType("Request", "Requests", 17),
    "release": EntityType("Release", "Releases", 2),
    "iteration": EntityType("Iteration", "Iterations", 3),
    "test case": EntityType("TestCase", "TestCases", 12),
    "test plan": EntityType("TestPlan", "TestPlans", 13),
    "test plan run": EntityType("TestPlanRun", "TestPlanRuns", 14),
    "impediment": EntityType("Impediment", "Impediments", 16),
    "build": EntityType("Build", "Builds", 18),
    "program": EntityType("Program", "Programs", 19),
    "team": EntityType("Team", "Teams", 20),
    "team iteration": EntityType("TeamIteration", "TeamIterations", 21),
    "epic": EntityType("Epic", "Epics", 27),
    "portfolio epic": EntityType("PortfolioEpic", "PortfolioEpics", 28),
}
"""The type of each kind of entity. A world has entities of the first five."""

PLURALS = {entity_type.name: entity_type.plural for entity_type in TYPES.values()} | {
    "Attachment": "Attachments",
    "General": "Generals",
    "Comment": "Comments",
    "Message": "Messages",
    "Project": "Projects",
    "GeneralUser": "GeneralUsers",
    "User": "Users",
    "EntityType": "EntityTypes",
    "EntityState": "EntityStates",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field: `get` returns a scalar, or the row(s) of the resource named `to`."""

    get: Callable[[Any], Any]
    to: str = ""
    many: bool = False


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource; `default` fields are shown if no include is given."""

    name: str
    fields: Mapping[str, Field]
    default: tuple[str, ...]

    def find(self, name: str, purpose: str = "include") -> tuple[str, Field]:
        """A field by name, in any case; 400 if there is none."""
        for known, field in self.fields.items():
            if known.lower() == name.lower():
                return known, field
        dto = f"Tp.Integration.Services.Rest.Dto.{self.name}Field"
        raise bad_request(f"Invalid {purpose} field '{name}'. It isn't defined in '{dto}'")


Resources = Mapping[str, Resource]


@dataclass(slots=True)
class Budget:
    """How many rows of inner collections a page may still show."""

    left: int

    def take(self, rows: Sequence[Any]) -> Sequence[Any]:
        """As many of these rows as are left."""
        taken = rows[: self.left]
        self.left -= len(taken)
        return taken


def check_include(resources: Resources, resource: Resource, include: Include, *, inner: bool = False) -> None:
    """Raise if a field is unknown, or is a collection inside a collection."""
    for name, below in include.items():
        if metric := _METRIC.fullmatch(name):
            known, field = resource.find(metric[1])
            resources[field.to].find(metric[2] or "Id")
            continue
        known, field = resource.find(name)
        if field.many and inner:
            raise bad_request(f"Inner collection '{known}' of a collection is not supported.")
        if below is not None:
            if not field.to:
                raise bad_request(f"Field '{known}' has no inner fields.")
            check_include(resources, resources[field.to], below, inner=inner or field.many)


def value_at(resources: Resources, resource: Resource, path: Sequence[str], row: Any) -> Any:
    """The value at the end of a path of fields; a reference itself counts as its id."""
    value: Any = row
    for name in path:
        _, field = resource.find(name, "where")
        value = None if value is None else field.get(value)
        resource = resources.get(field.to, resource)
    return value.id if hasattr(value, "id") else value


def chosen(resources: Resources, resource: Resource, conditions: list[Condition], rows: Sequence[Any]) -> Sequence[Any]:
    """The rows that satisfy all conditions. An unknown field is refused even if there are no rows."""
    for condition in conditions:
        holder = resource
        for name in condition.path:
            _, field = holder.find(name, "where")
            holder = resources.get(field.to, holder)
        rows = [row for row in rows if holds(condition, value_at(resources, resource, condition.path, row))]
    return rows


def shown(
    resources: Resources, resource: Resource, row: Any, include: Include | None, budget: Budget
) -> dict[str, Any]:
    """A row as a tree of dicts: the requested fields, or the default ones."""
    wanted: Include = dict.fromkeys(resource.default) if include is None else include
    tree: dict[str, Any] = {"ResourceType": resource.name, "Id": row.id}
    for name, below in wanted.items():
        if metric := _METRIC.fullmatch(name):
            tree[name] = _measured(resources, resource, metric, row)
            continue
        known, field = resource.find(name)
        value = field.get(row)
        if field.many:
            inner = resources[field.to]
            tree[known] = {"Items": [shown(resources, inner, item, below, budget) for item in budget.take(value)]}
        elif field.to and value is not None:
            tree[known] = shown(resources, resources[field.to], value, below or _brief(resources[field.to]), budget)
        else:
            tree[known] = value
    if resource.name == "Attachment" and {name.lower() for name in wanted} & {"uri", "mimetype", "size"}:
        tree |= {"PersistedMimeType": row.media_type, "PersistedSize": row.size}
        tree |= {"UniqueFileName": resource.fields["UniqueFileName"].get(row)}
    return tree


def _measured(resources: Resources, resource: Resource, metric: re.Match[str], row: Any) -> float | int | None:
    """An aggregate over an inner collection, as in `Bugs-Effort-Avg`; None if the collection is empty."""
    _, field = resource.find(metric[1])
    rows = field.get(row)
    if metric[3].lower() == "count":
        return len(rows)
    _, of_each = resources[field.to].find(metric[2])
    values = [value for inner_row in rows if (value := of_each.get(inner_row)) is not None]
    return METRICS[metric[3].lower()](values) if values else None


METRICS: Mapping[str, Callable[[list[float]], float]] = {
    "avg": lambda values: sum(values) / len(values),
    "sum": sum,
    "min": min,
    "max": max,
}
_METRIC = re.compile(r"(\w+)-(?:(\w+)-(?=(?:avg|sum|min|max)$))?(count|avg|sum|min|max)", re.IGNORECASE)


def _brief(resource: Resource) -> Include:
    names = ("Id", "Name", "FirstName", "LastName", "Login")
    return {name: None for name in names if name in resource.fields}


def as_json(tree: Any) -> str:
    """A tree as JSON, with Microsoft's dates."""
    return json.dumps(tree, ensure_ascii=False, default=_ms_date)


def _ms_date(date: datetime) -> str:
    offset = date.astimezone(ZONE).strftime("%z")
    return f"/Date({round(date.timestamp() * 1000)}{offset})/"


def as_xml(name: str, tree: Any) -> str:
    """A tree as XML: ids and names as attributes, the rest as elements, dates without a zone."""
    if tree is None:
        return f'<{name} nil="true"/>'
    if not isinstance(tree, dict):
        return f"<{name}>{escape(_plain(tree))}</{name}>"
    in_head = [key for key in ("ResourceType", "Id", "Name", "Next", "Prev") if tree.get(key) is not None]
    attributes = "".join(f' {key}="{escape(str(tree[key]))}"' for key in in_head)
    if "Items" in tree:
        inside = "".join(as_xml(item.get("ResourceType", "Item"), item) for item in tree["Items"])
    else:
        inside = "".join(as_xml(key, value) for key, value in tree.items() if key not in in_head)
    return f"<{name}{attributes}>{inside}</{name}>" if inside else f"<{name}{attributes}/>"


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(ZONE).replace(tzinfo=None).isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)


CREATED_AT = datetime(2020, 1, 1, 9, tzinfo=UTC)
"""When all entities and comments of a sandbox were created."""
