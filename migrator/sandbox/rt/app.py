"""A sandbox Request Tracker: REST 2.0 of version 5.0 over the made-up world, with its traps."""

from collections.abc import Iterable
from typing import Any, ClassVar

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.faults import Faults
from migrator.sandbox.rt.access import API, Access, as_json
from migrator.sandbox.rt.reads import Reads
from migrator.sandbox.rt.records import Records
from migrator.sandbox.rt.tickets import RtQuirks, Tickets, world_of
from migrator.sandbox.rt.writes import Writes
from migrator.sandbox.server import FILE_ROUTE, UPLOAD_ROUTE, Handler, Sandbox, show_login
from migrator.sandbox.world import World

_ITEM = r"/{id:\d+}"


class RtSandbox(Sandbox):
    """An embedded Request Tracker: `RtSandbox(world, faults, base_path="/rt", **quirks)`.

    Its keywords are the fields of `tickets.RtQuirks`.
    """

    tracker: ClassVar[str] = "rt"
    user: ClassVar[str] = "root"
    token: ClassVar[str] = "1-14-c5ab7bb6d0e84f2a9b3d5e7f90112233"  # noqa: S105 - an embedded tracker's

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world_of(world), faults, base_path=base_path)
        self.quirks = RtQuirks(**quirks)
        self.tickets = Tickets(self.state, self.user, self.quirks)
        self.access = Access(self, self.token)
        self.reads = Reads(self, self.quirks, self.tickets, Records(self.state, self.user, self.tickets), self.access)
        self.writes = Writes(self, self.quirks, self.tickets, self.access)

    @property
    @override
    def credentials(self) -> dict[str, str]:
        """The content of the configuration's [source.auth] or [target.auth]."""
        return {"token": self.token}

    @override
    def kind_of(self, entity_id: int) -> str:
        """Always a ticket."""
        self.state.existing_entity(entity_id)
        return "Ticket"

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of the API, and the login pages."""
        for path in ("/NoAuth/Login.html", "/login.aspx"):
            yield web.get(path, show_login)
        for method, path, handler, name in self._handlers():
            route = {"name": name} if name else {}
            yield web.RouteDef(method, API + path, self.access.answering(handler), route)
        for path in {path for _, path, *_ in self._handlers()}:
            yield web.RouteDef("*", API + path, self.access.answering(_not_allowed), {})
        yield web.RouteDef("*", "/{path:.*}", self.access.answering(_nowhere), {})

    def _handlers(self) -> Iterable[tuple[str, str, Handler, str]]:
        """Method, path, handler and route name of each route."""
        reads, writes = self.reads, self.writes
        yield "GET", "/rt", reads.version, ""
        yield "GET", "/queues/all", reads.queues, ""
        yield "GET", "/queue/{name}", reads.queue, ""
        yield "GET", "/customfields", reads.file_fields, ""
        yield "GET", "/tickets", reads.search, ""
        yield "GET", "/transactions", reads.transactions, ""
        yield "GET", f"/ticket{_ITEM}", reads.ticket, ""
        yield "GET", f"/ticket{_ITEM}/history", reads.history, ""
        yield "GET", f"/ticket{_ITEM}/attachments", reads.files_of_ticket, ""
        yield "GET", f"/transaction{_ITEM}", reads.transaction, ""
        yield "GET", f"/transaction{_ITEM}/attachments", reads.files_of_transaction, ""
        yield "GET", f"/attachment{_ITEM}", reads.attachment, FILE_ROUTE
        yield "HEAD", f"/attachment{_ITEM}", reads.attachment, f"{FILE_ROUTE}.head"
        yield "POST", "/ticket", writes.create, ""
        yield "POST", f"/ticket{_ITEM}/comment", writes.comment, UPLOAD_ROUTE
        yield "POST", f"/ticket{_ITEM}/correspond", writes.comment, f"{UPLOAD_ROUTE}.reply"


async def _not_allowed(_: web.Request) -> web.StreamResponse:
    return as_json({"message": "Method Not Allowed"}, 405)


async def _nowhere(_: web.Request) -> web.StreamResponse:
    return as_json({"message": "Not Found"}, 404)
