"""A sandbox TeamPulse's lists and lookups: which rows there are, which a path names, and pages of them.

Every list is sorted by id. Records are built only of the rows on the page.

Beware: each attachment belongs to a work item, so the world's unlinked attachments do not exist here.
"""

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.query import in_id_range, number_in
from migrator.sandbox.server import Sandbox
from migrator.sandbox.state import CommentRow
from migrator.sandbox.teampulse.odata import Filter, bad_query, flat, parse_filter, parse_order, sort_key
from migrator.sandbox.teampulse.web import TeamPulseQuirks
from migrator.sandbox.world import WorldAttachment, WorldEntity

Row = Any
Record = dict[str, Any]


class Lookup:
    """The rows that exist, and those that a path names: 404 if there is none, 403 if it is forbidden."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox, self._state = sandbox, sandbox.state
        self._removed: set[int] = set()
        self._visible: tuple[tuple[int, int], list[WorldAttachment]] = ((-1, 0), [])

    def remove(self, entity: WorldEntity) -> None:
        """Delete a work item, and so hide its attachments."""
        self._removed.add(entity.id)

    def work_items(self) -> list[WorldEntity]:
        """All work items, by id."""
        return [entity for entity in self._state.entities() if entity.id not in self._removed]

    def attachments(self) -> list[WorldAttachment]:
        """The attachments of all work items, by id; cached until something changes."""
        version = (self._state.changes, len(self._removed))
        if self._visible[0] != version:
            hidden = {None, *self._removed}
            files = [file for file in self._state.attachments() if self._state.world.owner_of(file) not in hidden]
            self._visible = (version, files)
        return self._visible[1]

    def work_item(self, request: web.Request) -> WorldEntity:
        """The work item that a path names."""
        number = int(request.match_info["id"])
        entity = self._state.entity(number)
        if entity is None or number in self._removed:
            raise RefusedError(404, message=f"Work item {number} was not found.")
        self._permit(number)
        return entity

    def attachment(self, request: web.Request) -> WorldAttachment:
        """The attachment that a path names."""
        file = self._state.attachment(int(request.match_info["id"]))
        owner = None if file is None else self._state.world.owner_of(file)
        if file is None or owner is None or owner in self._removed:
            raise RefusedError(404, message="The attachment was not found.")
        self._permit(owner)
        return file

    def comment(self, request: web.Request) -> CommentRow:
        """The comment that a path names."""
        number = int(request.match_info["id"])
        for comment in self._state.comments:
            if comment.id == number:
                return comment
        raise RefusedError(404, message=f"Comment {number} was not found.")

    def _permit(self, number: int) -> None:
        if self._sandbox.faults.forbids(number):
            raise RefusedError(403, message="You have no access to this work item.")


class Lists:
    """Pages of rows, filtered and sorted as a query wants."""

    def __init__(self, quirks: TeamPulseQuirks) -> None:
        self._quirks = quirks

    def page(
        self, request: web.Request, rows: Sequence[Row], record: Callable[[Row], Record], known: frozenset[str]
    ) -> web.Response:
        """The page of these rows that a query requests, by default the newest ones; `known` are their fields."""
        query = {name.lower(): value for name, value in request.query.items()}
        if "$orderby" in query and not self._quirks.sortable:
            raise bad_query("$orderby", "Ordering is not supported.")
        order = parse_order(query.get("$orderby", "id desc"), known)
        rows = _filtered(rows, record, parse_filter(query["$filter"], known) if "$filter" in query else None)
        rows = _ordered(rows, record, order)
        top = min(_number(query, "$top", self._quirks.top_cap), self._quirks.top_cap)
        skip = _number(query, "$skip", 0)
        results = [record(row) for row in rows[skip : skip + top]]
        total = len(results) if self._quirks.totals_of_page else len(rows)
        totals = {
            "totalResults": total,
            "top": top if "$top" in query else None,
            "skip": skip if "$skip" in query else None,
        }
        return web.json_response({**totals, "results": results})


def _number(query: dict[str, str], name: str, default: int) -> int:
    return number_in(query, name, default, lambda text: bad_query(name, f"'{text}' is not a number."))


def _filtered(rows: Sequence[Row], record: Callable[[Row], Record], wanted: Filter | None) -> Sequence[Row]:
    if wanted is None:
        return rows
    if wanted.id_range is None:
        return [row for row in rows if wanted.test(flat(record(row)))]
    return in_id_range(rows, *wanted.id_range)


def _ordered(rows: Sequence[Row], record: Callable[[Row], Record], order: list[tuple[str, bool]]) -> Sequence[Row]:
    if order[0][0] == "id":
        return rows[::-1] if order[0][1] else rows
    for name, descending in reversed(order):
        rows = sorted(rows, key=lambda row: sort_key(flat(record(row))[name]), reverse=descending)
    return rows
