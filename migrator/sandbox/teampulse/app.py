"""A sandbox TeamPulse: API version 1 over the made-up world, with the quirks that its clients report."""

from collections.abc import Iterable
from typing import Any, ClassVar

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.server import UPLOAD_ROUTE, Handler, Sandbox, in_any_case
from migrator.sandbox.teampulse.lists import Lists, Lookup
from migrator.sandbox.teampulse.reads import Reads
from migrator.sandbox.teampulse.records import COLLECTIONS, KINDS, Records
from migrator.sandbox.teampulse.web import FilePages, TeamPulseQuirks, WrapLogin
from migrator.sandbox.teampulse.writes import Writes
from migrator.sandbox.world import World

_PROJECT_COLLECTIONS = ("areas", "iterations", "teams", "timeentrytypes")


class TeamPulseSandbox(Sandbox):
    """An embedded TeamPulse: `TeamPulseSandbox(world, faults, base_path="/tp", **quirks)`.

    Its keywords are the fields of `web.TeamPulseQuirks`.
    """

    tracker = "teampulse"
    user: ClassVar[str] = "ann"
    cookie: ClassVar[str] = ".ASPXAUTH=0A1B2C3D4E"
    internal_host: ClassVar[str] = "http://teampulse-internal"

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world, faults, base_path=base_path)
        self.quirks = TeamPulseQuirks(**quirks)
        place = f"{self.internal_host}{self.base_path}"
        self.login = WrapLogin(self.user, self.password, self.cookie, place, self.quirks)
        self.file_pages = FilePages(self, self.login)
        self.records = Records(self.state, self.quirks, place)
        self.lookup = Lookup(self)
        self.lists = Lists(self.quirks)
        self.reads = Reads(self.state, self.quirks, self.records, self.lookup, self.lists)
        self.writes = Writes(self, self.quirks, self.records, self.lookup)

    @override
    def kind_of(self, entity_id: int) -> str:
        """The type of a work item."""
        kind = self.state.existing_entity(entity_id).kind
        return KINDS.get(kind, kind)

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of the API, with and without its version, and those of login and files."""
        yield from self.login.routes()
        yield from self.file_pages.routes()
        for prefix in ("api/v1", "api"):
            api, name = in_any_case(prefix), f"{UPLOAD_ROUTE}.{prefix.replace('/', '.')}"
            for method, path, handler in (*self._reads(), *self._writes()):
                yield web.RouteDef(method, api + path, self.answering(handler), {})
            upload = self.answering(self.writes.upload)
            yield web.post(api + r"/workitems/{id:\d+}/attachments", upload, name=name)

    def answering(self, handler: Handler) -> Handler:
        """A handler that demands a login first, and turns refusals into answers."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if not self.login.authenticated(request):
                return self.login.challenge()
            self.login.spend(request)
            try:
                return await handler(request)
            except RefusedError as error:
                return web.json_response(error.body, status=error.status)

        return answer

    def _reads(self) -> Iterable[tuple[str, str, Handler]]:
        item, reads = r"/{id:\d+}", self.reads
        yield "GET", "/users/me", reads.me
        yield "GET", f"/users{item}", reads.user
        yield "GET", "/projects", reads.projects
        yield "GET", f"/projects{item}", reads.project
        yield "GET", "/workitems", reads.work_items
        yield "GET", f"/workitems{item}", reads.work_item
        yield "GET", f"/workitems{item}/attachments", reads.attachments_of_work_item
        yield "GET", f"/workitems{item}/comments", reads.comments_of_work_item
        yield "GET", f"/workitems{item}/tasks", reads.tasks
        yield "GET", "/attachments", reads.attachments
        yield "GET", f"/attachments{item}", reads.attachment
        yield "GET", "/comments", reads.comments
        yield "GET", f"/comments{item}", reads.comment
        yield "GET", f"/comments{item}/attachments", reads.attachments_of_comment
        for name in COLLECTIONS:
            yield "GET", f"/{name}", reads.collection(name)
        for name in _PROJECT_COLLECTIONS:
            yield "GET", f"/projects{item}/{name}", reads.collection(name)

    def _writes(self) -> Iterable[tuple[str, str, Handler]]:
        item, writes = r"/{id:\d+}", self.writes
        yield "POST", "/workitems", writes.create_work_item
        yield "PUT", f"/workitems{item}", writes.change_work_item
        yield "DELETE", f"/workitems{item}", writes.delete_work_item
        yield "PUT", f"/attachments{item}", writes.describe_attachment
        yield "DELETE", f"/attachments{item}", writes.delete_attachment
        yield "DELETE", f"/attachment{item}", writes.delete_attachment  # as the heading of the vendor's page spells it
        yield "POST", "/comments", writes.create_comment
        yield "DELETE", f"/comments{item}", writes.delete_comment
