"""The requests that read from a sandbox Request Tracker.

Beware: a list of files of a ticket that does not exist, or that may not be seen, is no error but empty. And an
attachment that does not exist is an error of the server.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from migrator.sandbox.base64_json import CONTENT, in_lines
from migrator.sandbox.errors import RefusedError
from migrator.sandbox.rt.access import Access, as_json, page_of
from migrator.sandbox.rt.records import Records
from migrator.sandbox.rt.ticket_sql import search
from migrator.sandbox.rt.tickets import QUEUES, Message, Part, RtQuirks, Tickets
from migrator.sandbox.server import Sandbox

VERSION = {"Version": "5.0.3", "Plugins": []}


class Reads:
    """The handlers of requests that read."""

    def __init__(self, sandbox: Sandbox, quirks: RtQuirks, tickets: Tickets, records: Records, access: Access) -> None:
        self._sandbox, self._state, self._quirks = sandbox, sandbox.state, quirks
        self._tickets, self._records, self._access = tickets, records, access

    async def version(self, _: web.Request) -> web.StreamResponse:
        """The version of RT."""
        return as_json(VERSION)

    async def queue(self, request: web.Request) -> web.StreamResponse:
        """A queue by its name or number."""
        return as_json(self._records.queue(queue_in(request.match_info["name"]), self._access.place(request)))

    async def queues(self, request: web.Request) -> web.StreamResponse:
        """All queues."""
        place = self._access.place(request)
        return page_of(request, "queue", [*QUEUES], lambda n: self._records.queue(n, place), self._quirks, counts=True)

    async def search(self, request: web.Request) -> web.StreamResponse:
        """The tickets that a query finds; without one, none. Any status but deleted is found."""
        condition = search(request.query.get("query", ""), self._records.searchable)
        found = [one for one in self._state.entities() if condition(self._records.searched(one))]
        counts, place = self._quirks.sql_acl, self._access.place(request)
        seen = [one for one in found if one.id not in self._sandbox.faults.forbidden_entities]
        return page_of(request, "ticket", seen, lambda t: self._records.ticket(t, place), self._quirks, counts=counts)

    async def ticket(self, request: web.Request) -> web.StreamResponse:
        """One ticket."""
        ticket = self._access.ticket(request)
        tag = f'"{self._tickets.transactions_of(ticket.id)[-1].id}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        return as_json(self._records.ticket(ticket, self._access.place(request)), ETag=tag)

    async def history(self, request: web.Request) -> web.StreamResponse:
        """The transactions of a ticket."""
        number, place = int(request.match_info["id"]), self._access.place(request)
        found = [] if self._sandbox.faults.forbids(number) else self._tickets.transactions_of(number)
        records = [self._records.transaction(one, place) for one in found]
        return self._page(request, "transaction", records, counts=self._quirks.superuser)

    async def transactions(self, request: web.Request) -> web.StreamResponse:
        """The transactions of all tickets that a query finds."""
        place = self._access.place(request)
        records = [self._records.transaction(one, place) for one in self._tickets.transactions.values()]
        condition = search(request.query.get("query", ""), frozenset({"id", "Type", "Created", "OldValue", "NewValue"}))
        found = [record for record in records if condition(record)]
        return page_of(request, "transaction", found, lambda one: one, self._quirks, counts=self._quirks.superuser)

    async def transaction(self, request: web.Request) -> web.StreamResponse:
        """One transaction."""
        one = self._tickets.transactions.get(int(request.match_info["id"]))
        if one is None:
            raise RefusedError(500, "Internal Server Error")
        place = self._access.place(request)
        record = {name: value for name, value in self._records.transaction(one, place).items() if value != ""}
        parts = self._tickets.parts_of(one.id)
        links = [{"ref": "attachment", "_url": f"{place}/attachment/{part.id}"} for part in parts]
        return as_json({**record, "_hyperlinks": links})

    async def files_of_ticket(self, request: web.Request) -> web.StreamResponse:
        """The messages and files of a ticket."""
        number = int(request.match_info["id"])
        hidden = self._state.entity(number) is None or self._sandbox.faults.forbids(number)
        return self._parts(request, [] if hidden else self._tickets.parts_on(number))

    async def files_of_transaction(self, request: web.Request) -> web.StreamResponse:
        """The messages and files of a transaction."""
        number = int(request.match_info["id"])
        if number not in self._tickets.transactions:
            raise RefusedError(500, text="Internal Server Error")
        return self._parts(request, self._tickets.parts_of(number))

    def _parts(self, request: web.Request, parts: Sequence[Part]) -> web.StreamResponse:
        if "Parent" in request.query.get("fields", "").split(","):
            raise RefusedError(500, text="")
        place = self._access.place(request)
        records = [self._records.part(part, place) for part in parts]
        return self._page(request, "attachment", records, counts=self._quirks.superuser)

    async def file_fields(self, request: web.Request) -> web.StreamResponse:
        """The custom fields that hold files."""
        fields = [{"id": n, "Name": name, "Type": "Binary"} for n, name in enumerate(self._quirks.file_fields, 1)]
        return self._page(request, "customfield", fields, counts=True)

    def _page(
        self, request: web.Request, kind: str, records: Sequence[dict[str, Any]], *, counts: bool
    ) -> web.StreamResponse:
        """A page of those that meet the conditions, which stand in the query as JSON."""
        found = [record for record in records if _meets(record, request.query.get("query", ""))]
        return page_of(request, kind, found, lambda record: record, self._quirks, counts=counts)

    async def attachment(self, request: web.Request) -> web.StreamResponse:
        """A message or a file, with its content as base64."""
        part = self._tickets.part(int(request.match_info["id"]))
        if part is None:
            raise RefusedError(500, "Internal Server Error")
        ticket = self._tickets.transaction_of(part).ticket
        if part.id in self._quirks.hidden or self._sandbox.faults.forbids(ticket):
            raise RefusedError(403, "Forbidden")
        record = self._records.whole_part(part, self._access.place(request))
        if isinstance(part, Message):
            text = None if part.content is None else in_lines(part.content).decode().replace("\\n", "\n")
            return as_json({**record, "Content": text})
        if request.method == "HEAD":  # a real one has no length for it either
            return web.Response(content_type="application/json", headers={"Content-Length": "0"})
        headers = {"Content-Type": 'application/json; charset="utf-8"'}
        return await self._sandbox.send_in_json(request, part, {**record, "Content": CONTENT}, in_lines, headers)


def queue_in(name: str) -> int:
    """The number of a queue by its name or number."""
    for number, known in QUEUES.items():
        if name in {known, str(number)}:
            return number
    raise RefusedError(404, "Not Found")


def _meets(record: Mapping[str, Any], text: str) -> bool:
    """Whether a record meets the conditions of a query. One that can't be read has none."""
    try:
        conditions = json.loads(text or "[]")
    except ValueError:
        return True
    results = [(_holds(record, one), one.get("entry_aggregator", "AND")) for one in conditions]
    if any(aggregator == "OR" for _, aggregator in results):
        return any(result for result, _ in results)
    return all(result for result, _ in results)


def _holds(record: Mapping[str, Any], condition: Mapping[str, str]) -> bool:
    value, wanted = str(record.get(condition["field"], "")).lower(), condition["value"].lower()
    operator = condition.get("operator", "=").upper()
    if operator.endswith("LIKE"):
        return (wanted in value) is (operator == "LIKE")
    return (value == wanted) is (operator == "=")
