"""The records of a sandbox Kiwi TCMS: products, test cases, test plans, and the list of their files.

Shaped after recordings of a running Kiwi TCMS 12.4. Everything that the made-up world holds is in one product.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.kiwi.files import folder_of, stored_name
from migrator.sandbox.query import in_id_range
from migrator.sandbox.state import TrackerState
from migrator.sandbox.uploads import ReceivedFile
from migrator.sandbox.world import PEOPLE, World, WorldAttachment, WorldEntity

PRODUCT = "Sandbox"
CASE, PLAN = "TestCase", "TestPlan"
_PLANS = "feature"
"""The kind of the world whose entities are test plans; the others are test cases."""
_STATES = ("PROPOSED", "CONFIRMED", "DISABLED", "NEED_UPDATE")
_RANGES = {"pk__gt": "gt", "pk__gte": "ge", "pk__lt": "lt", "pk__lte": "le", "pk": "eq", "id": "eq"}
_CHOICES = {
    CASE: (
        "arguments, author, author_id, case_status, case_status_id, category, category_id, component, create_date, "
        "default_tester, default_tester_id, email_settings, executions, expected_duration, extra_link, id, "
        "is_automated, notes, plan, priority, priority_id, property, requirement, reviewer, reviewer_id, script, "
        "setup_duration, summary, tag, testcasecomponent, testcaseplan, testcasetag, testing_duration, text"
    ),
    PLAN: "author, create_date, extra_link, id, is_active, name, parent, product, product_version, text, type",
}
_FOUNDED = datetime(2014, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class KiwiQuirks:
    """How real servers differ. May be changed while the sandbox runs."""

    address: str = ""  # the scheme and host in the addresses of files; empty: those by which it is reached
    session_seconds: float = 86_400  # how long a login lasts
    max_request_bytes: int = 2_621_440  # what a request may hold, without what a proxy before it refuses
    forbidden: set[str] = field(default_factory=set)  # methods that the account has no permission for
    keeps_deleted: bool = False  # a deletion says that it succeeded, and does nothing
    locked: int = 0  # so many requests find the database locked
    broken: dict[str, list[str]] = field(default_factory=dict)  # errors of a method's next calls, after its work
    miscounted: int = 0  # so many test cases more are counted than there are
    delays: list[float] = field(default_factory=list)  # seconds before the next answers, the last one first


def world_of(world: World) -> World:
    """The world as Kiwi can hold it: without files that it refuses or that nothing owns, under names that it keeps."""
    files, taken = list[WorldAttachment](), set[str]()
    for file in world.attachments:
        owner = world.owner_of(file)
        if owner is None or not file.size or ".exe" in file.name or file.media_type == "text/html":
            continue
        entity = world.entity(owner)
        assert entity is not None  # noqa: S101 - an owner is an entity of this world
        folder = folder_of(kind_of(entity), owner)
        name = stored_name(file.name.replace("\\", "/").rpartition("/")[2], folder, taken, random.Random(file.id))
        taken.add(folder + name)
        known = replace(file, entity_id=owner, comment_id=None, message_id=None, name=name, description=None)
        files.append(replace(known, author=username(file.author)))
    return replace(world, attachments=tuple(files), messages=())


def kind_of(entity: WorldEntity) -> str:
    """Whether an entity is a test case or a test plan. One that was created has that as its kind."""
    return PLAN if entity.kind in {_PLANS, PLAN} else CASE


def username(person: str) -> str:
    """The name of an account: without what Django doesn't allow in it."""
    return re.sub(r"[^\w.@+-]", "", person.replace(" ", "."))


class Records:
    """Records as the API shows them, and the place of each file."""

    def __init__(self, state: TrackerState, user: str) -> None:
        self.state, self._user = state, user
        self._accounts = ("", user, *map(username, PEOPLE))
        self.products = [PRODUCT]
        self._fields: dict[int, dict[str, Any]] = {}
        self._rng = random.Random()

    def place(self, file: WorldAttachment) -> str:
        """The path of a file."""
        entity = self.state.existing_entity(self.state.world.owner_of(file) or 0)
        return folder_of(kind_of(entity), entity.id) + file.name

    def file_at(self, path: str) -> WorldAttachment | None:
        """The file with this path, if it is still there."""
        number = path.rpartition("/")[0].rpartition("/")[2]
        entity = self.state.entity(int(number)) if number.isdecimal() else None
        files = self.state.attachments_of(entity.id) if entity else []
        return next((file for file in files if self.place(file) == path), None)

    def keep(self, kind: str, number: int, file: ReceivedFile) -> None:
        """Store a file under the name that it gets."""
        folder = folder_of(kind, number)
        taken = {folder + other.name for other in self.state.attachments_of(number)}
        name = stored_name(file.name, folder, taken, self._rng)
        self.state.keep(replace(file, name=name), number, None)

    def entity(self, kind: str, number: int) -> WorldEntity | None:
        """A test case or plan; None if there is none."""
        entity = self.state.entity(number)
        return entity if entity and kind_of(entity) == kind else None

    def found(self, kind: str, query: dict[str, Any]) -> list[WorldEntity]:
        """The test cases or plans that meet all conditions, by id."""
        rows: Iterable[WorldEntity] = self.state.entities()
        for name, value in query.items():
            if name in _RANGES:
                rows = in_id_range(list(rows), _RANGES[name], int(value))
            elif name == "text__contains":
                rows = [row for row in rows if value in row.text]
            elif name in {"product", "category__product"}:
                rows = [row for row in rows if self._fields_of(row)["product"] == value]
            else:
                message = f"Cannot resolve keyword '{name}' into field. Choices are: {_CHOICES[kind]}"
                raise RefusedError(200, message)
        return [row for row in rows if kind_of(row) == kind]

    def _fields_of(self, entity: WorldEntity) -> dict[str, Any]:
        return self._fields.get(entity.id, {"product": 1, "category": 1, "priority": 1, "case_status": 2})

    def shown(self, entity: WorldEntity) -> dict[str, Any]:
        """A test case or plan as a list shows it."""
        return self._case(entity) if kind_of(entity) == CASE else self._plan(entity)

    def _case(self, case: WorldEntity) -> dict[str, Any]:
        fields = self._fields_of(case)
        return {
            "id": case.id,
            "create_date": stamp(_FOUNDED),
            "is_automated": False,
            "script": "",
            "arguments": "",
            "extra_link": None,
            "summary": case.title,
            "requirement": None,
            "notes": "",
            "text": case.text,
            "case_status": fields["case_status"],
            "case_status__name": _STATES[fields["case_status"] - 1],
            "category": fields["category"],
            "category__name": "--default--",
            "priority": fields["priority"],
            "priority__value": f"P{fields['priority']}",
            "author": 2,
            "author__username": self._user,
            "default_tester": None,
            "default_tester__username": None,
            "reviewer": None,
            "reviewer__username": None,
            "setup_duration": None,
            "testing_duration": None,
            "expected_duration": 0.0,
        }

    def _plan(self, plan: WorldEntity) -> dict[str, Any]:
        product = self._fields_of(plan)["product"]
        return {
            "id": plan.id,
            "name": plan.title,
            "text": plan.text,
            "create_date": stamp(_FOUNDED),
            "is_active": True,
            "extra_link": None,
            "product_version": product,
            "product_version__value": "unspecified",
            "product": product,
            "product__name": self.products[product - 1],
            "author": 2,
            "author__username": self._user,
            "type": 1,
            "type__name": "Unit",
            "parent": None,
            "children__count": 0,
        }

    def as_created(self, entity: WorldEntity) -> dict[str, Any]:
        """The same as the answer to its creation shows it: without what is found by a link."""
        case = {"setup_duration": "None", "testing_duration": "None"} if kind_of(entity) == CASE else {}
        shown = {name: value for name, value in self.shown(entity).items() if "__" not in name}
        shown.pop("expected_duration", None)
        return shown | case

    def create(self, kind: str, title: str, values: dict[str, Any]) -> WorldEntity:
        """Create a test case or plan."""
        entity = self.state.create_entity(kind, title, str(values.get("text") or ""))
        self._fields[entity.id] = values
        return entity

    def files(self, entity: WorldEntity, address: str) -> list[dict[str, Any]]:
        """The list of the files of a test case or plan, the newest first, with neither names nor sizes."""
        return [self._file(file, address) for file in reversed(self.state.attachments_of(entity.id))]

    def _file(self, file: WorldAttachment, address: str) -> dict[str, Any]:
        owner = self._accounts.index(file.author) if file.author in self._accounts else 1
        return {
            "pk": file.id,
            "url": f"{address}/uploads/{quote(self.place(file))}",
            "owner_pk": owner + 1,
            "owner_username": file.author,
            "date": stamp(file.created_at),
        }


def stamp(moment: datetime) -> str:
    """A date as Kiwi writes it: without a zone, because it has one for everything."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}"
