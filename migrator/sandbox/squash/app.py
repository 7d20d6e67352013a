"""A sandbox Squash TM: the REST plugin over the made-up world, with the quirks that its clients report.

Beware: seven kinds have a list of all; the others are found only below their parent.
"""

import base64
from collections.abc import Iterable
from typing import Any, ClassVar

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.server import FILE_ROUTE, UPLOAD_ROUTE, Handler, Sandbox
from migrator.sandbox.squash.reads import Reads
from migrator.sandbox.squash.records import Lookup, Records
from migrator.sandbox.squash.tree import KINDS, Tree, world_of
from migrator.sandbox.squash.web import API, Access, Pages, SquashQuirks
from migrator.sandbox.squash.writes import Writes
from migrator.sandbox.world import World

_LISTED = ("requirement-folders", "test-case-folders", "test-cases", "campaign-folders", "campaigns", "projects")
_CHILDREN = (
    ("test-cases", "steps", "test-steps"),
    ("campaigns", "iterations", "iterations"),
    ("iterations", "test-suites", "test-suites"),
    ("executions", "execution-steps", "execution-steps"),
)
_ITEM = r"/{id:\d+}"


class SquashSandbox(Sandbox):
    """An embedded Squash TM: `SquashSandbox(world, faults, base_path="/squash", **quirks)`.

    Its keywords are the fields of `web.SquashQuirks`.
    """

    tracker: ClassVar[str] = "squash"
    user: ClassVar[str] = "admin"
    token: ClassVar[str] = "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhZG1pbiJ9.c2FuZGJveC_-c2lnbmF0dXJl"  # noqa: S105

    def __init__(
        self, world: World, faults: Faults | None = None, *, base_path: str = "/squash", **quirks: Any
    ) -> None:
        super().__init__(world_of(world), faults, base_path=base_path)
        self.quirks = SquashQuirks(**quirks)
        self.tree = Tree(self.world.entities, own_numbers=self.quirks.own_numbers)
        self.access = Access(self.user, self.password, self.token, self.quirks)
        self.lookup = Lookup(self, self.tree)
        self.records = Records(self, self.quirks, self.tree, self.lookup)
        self.pages = Pages(self, self.quirks)
        self.reads = Reads(self, self.quirks, self.tree, self.lookup, self.records, self.pages)
        self.writes = Writes(self, self.quirks, self.lookup, self.records)

    @property
    @override
    def credentials(self) -> dict[str, str]:
        """The content of the configuration's [source.auth] or [target.auth]."""
        return {"token": self.token}

    @property
    def wrapped_token(self) -> str:
        """The token as the web pages show it: base64-encoded once more."""
        return base64.b64encode(self.token.encode()).decode()

    @override
    def kind_of(self, entity_id: int) -> str:
        """The kind of an entity."""
        return self.tree.of_entity[entity_id].kind

    def number_of(self, entity_id: int) -> int:
        """An entity's id within its kind; the same as its own id unless each kind counts separately."""
        return self.tree.of_entity[entity_id].number

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of the API."""
        for method, path, handler, name in self.handlers():
            yield web.RouteDef(method, API + path, self.answering(handler), {"name": name} if name else {})

    def answering(self, handler: Handler) -> Handler:
        """A handler that authenticates first, and turns refusals into answers."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if challenge := self.access.challenge(request):
                return challenge
            try:
                self.access.permit(request)
                return await handler(request)
            except RefusedError as error:
                return web.json_response(error.body, status=error.status)

        return answer

    def handlers(self) -> Iterable[tuple[str, str, Handler, str]]:
        """Method, path, handler and route name of each route."""
        reads, writes = self.reads, self.writes
        for kind in _LISTED:
            yield "GET", f"/{kind}", reads.everything(kind), ""
        yield "GET", "/requirements", reads.requirements, ""
        for path in ("/requirements", "/high-level-requirements"):
            yield "GET", path + _ITEM, reads.requirement, ""
        for kind, path, child_kind in _CHILDREN:
            yield "GET", f"/{kind}{_ITEM}/{path}", reads.children(kind, path, child_kind), ""
        yield "GET", f"/iterations{_ITEM}/test-plan", reads.test_plan, ""
        yield "GET", r"/{items:(?:iteration-)?test-plan-items}" + _ITEM + "/executions", reads.executions, ""
        yield "GET", f"/attachments{_ITEM}", reads.file, ""
        yield "GET", f"/attachments{_ITEM}/content", reads.content, FILE_ROUTE
        yield "PATCH", f"/attachments{_ITEM}", writes.rename, ""
        for kind in KINDS:
            yield "GET", f"/{kind}{_ITEM}", reads.single(kind), ""
            yield "GET", f"/{kind}{_ITEM}/attachments", reads.files(kind), ""
            for slash in ("", "/"):
                path = f"/{kind}{_ITEM}/attachments{slash}"
                yield "POST", path, writes.upload_to(kind), f"{UPLOAD_ROUTE}.{kind}{'.slash' * bool(slash)}"
                yield "DELETE", path, writes.delete_from(kind), ""
