"""A sandbox Kiwi TCMS: the JSON-RPC of version 12.4 over the made-up world, with its traps.

Beware: files are public, and their list tells neither name nor size. An upload is answered with null, whatever name the
file got; a file that is refused, for a few bytes of its content perhaps, is answered with status 200 as well.
"""

from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import unquote

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.faults import Faults
from migrator.sandbox.kiwi.records import KiwiQuirks, Records, kind_of, world_of
from migrator.sandbox.kiwi.rpc import Rpc, page
from migrator.sandbox.server import FILE_ROUTE, UPLOAD_ROUTE, Sandbox, show_login
from migrator.sandbox.world import World


class KiwiSandbox(Sandbox):
    """An embedded Kiwi TCMS: `KiwiSandbox(world, faults, **quirks)`.

    Its keywords are the fields of `records.KiwiQuirks`.
    """

    tracker: ClassVar[str] = "kiwi"
    user: ClassVar[str] = "admin"

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world_of(world), faults, base_path=base_path)
        self.quirks = KiwiQuirks(**quirks)
        self.records = Records(self.state, self.user)
        self.rpc = Rpc(self, self.quirks, self.records)

    @override
    def kind_of(self, entity_id: int) -> str:
        """A test case or a test plan."""
        return kind_of(self.state.existing_entity(entity_id))

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The address of all calls, those of the files, and the login page."""
        yield web.get("/login.aspx", show_login)
        yield web.post("/json-rpc/", self.rpc.handle, name=UPLOAD_ROUTE)
        yield web.get("/json-rpc/", _post_only)
        yield web.route("*", "/json-rpc", _with_slash)
        yield web.get("/uploads/{path:.*}", self._download, name=FILE_ROUTE)
        yield web.route("*", "/{path:.*}", _nowhere)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """The content of a file, for everybody, and whatever it is as a text."""
        path = unquote(request.rel_url.raw_path.partition("/uploads/")[2])
        file = self.records.file_at(path)
        if file is None:
            return page("404 Not Found", 404)
        return await self.send_file(request, file, {"Content-Type": "text/plain", "Accept-Ranges": "bytes"})


async def _post_only(_: web.Request) -> web.Response:
    return web.Response(status=405, headers={"Allow": "POST, OPTIONS"}, content_type="text/html")


async def _with_slash(request: web.Request) -> web.Response:
    return web.Response(status=301, headers={"Location": f"{request.path}/"}, content_type="text/html")


async def _nowhere(_: web.Request) -> web.Response:
    return page("404 Not Found", 404)
