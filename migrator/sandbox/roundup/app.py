"""A sandbox Roundup: the REST API of version 2.6 over the made-up world, with its traps.

Beware: a page past the last one tells a wrong total, a deleted file can still be downloaded, and the address that
people use answers 200 with a sentence where the content of a file is lost.
"""

import json
from collections.abc import Iterable
from typing import Any, ClassVar

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.roundup.access import Access
from migrator.sandbox.roundup.reads import Reads, not_acceptable
from migrator.sandbox.roundup.records import Records, RoundupQuirks, world_of
from migrator.sandbox.roundup.writes import Writes
from migrator.sandbox.server import FILE_ROUTE, UPLOAD_ROUTE, Handler, Sandbox, show_login
from migrator.sandbox.world import World

_ACCEPTED = ("*/*", "application/*", "application/json")
_CLASS, _ITEM = "/rest/data/{kind}", r"/rest/data/{kind}/{id:\d+}"


class RoundupSandbox(Sandbox):
    """An embedded Roundup: `RoundupSandbox(world, faults, base_path="/demo", **quirks)`.

    Its keywords are the fields of `records.RoundupQuirks`.
    """

    tracker: ClassVar[str] = "roundup"
    user: ClassVar[str] = "admin"

    def __init__(
        self, world: World, faults: Faults | None = None, *, base_path: str = "/tracker", **quirks: Any
    ) -> None:
        super().__init__(world_of(world), faults, base_path=base_path)
        self.quirks = RoundupQuirks(**quirks)
        self.access = Access(self, self.quirks)
        self.records = Records(self.state, self.user)
        self.reads = Reads(self, self.quirks, self.records, self.access)
        self.writes = Writes(self, self.quirks, self.records, self.access, self.reads)

    @override
    def kind_of(self, entity_id: int) -> str:
        """Always an issue."""
        self.state.existing_entity(entity_id)
        return "issue"

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of the API, the address of files for people, and the login page."""
        yield web.get("/login.aspx", show_login)
        yield web.get(r"/file{id:\d+}/{name:.*}", self.reads.for_people, name=FILE_ROUTE)
        for method, path, handler, name in self._handlers():
            yield web.RouteDef(method, path, self._answering(handler), {"name": name} if name else {})

    def _handlers(self) -> Iterable[tuple[str, str, Handler, str]]:
        """Method, path, handler and route name of each route."""
        reads, writes = self.reads, self.writes
        for slash in ("", "/"):
            yield "GET", f"/rest{slash}", reads.root, ""
            yield "GET", f"/rest/data{slash}", reads.classes, ""
        yield "POST", "/rest/data/file", writes.upload, UPLOAD_ROUTE
        yield "GET", _CLASS, reads.collection, ""
        yield "POST", _CLASS, writes.create, ""
        yield "GET", _ITEM, reads.element, ""
        yield "PATCH", _ITEM, writes.change, ""
        yield "DELETE", _ITEM, writes.retire, ""
        yield "GET", f"{_ITEM}/binary_content", reads.binary_content, f"{FILE_ROUTE}.binary"
        yield "*", "/{path:.*}", _nowhere, ""

    def _answering(self, handler: Handler) -> Handler:
        """A handler behind the login, whose refusals become answers."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                headers = self.access.require(request)
                _require_json(request)
                response = await handler(request)
            except RefusedError as error:
                return _refusal(error)
            if not response.prepared:
                response.headers.update(headers)
            return response

        return answer


def _require_json(request: web.Request) -> None:
    """Refuse who accepts nothing that the API answers; the content of a file has its own types."""
    accepted = request.headers.get("Accept", "")
    if request.path.endswith("/binary_content") or not accepted:
        return
    if not any(part.partition(";")[0].strip() in _ACCEPTED for part in accepted.split(",")):
        raise not_acceptable(request, _ACCEPTED)


def _refusal(error: RefusedError) -> web.Response:
    headers, text = error.details.get("headers"), error.details.get("text")
    if text is not None:
        return web.Response(text=text, status=error.status, headers=headers)
    more = {"source": error.details["source"]} if "source" in error.details else {}
    told = {"error": {"status": error.status, "msg": error.message, **more}}
    body = json.dumps(told, indent=4)
    return web.Response(text=body, status=error.status, headers=headers, content_type="application/json")


async def _nowhere(request: web.Request) -> web.StreamResponse:
    raise RefusedError(404, f"Unable to find {request.path}")
