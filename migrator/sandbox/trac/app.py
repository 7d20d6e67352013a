"""A sandbox Trac: JSON-RPC of the XmlRpcPlugin 1.1.9 on Trac 1.6 over the made-up world, with its traps.

Beware: an error is an answer of status 200. Only a wrong password is refused with a status of its own.
"""

import base64
import json
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, ClassVar

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.base64_json import CONTENT, in_lines
from migrator.sandbox.faults import Faults
from migrator.sandbox.server import FILE_ROUTE, UPLOAD_ROUTE, Sandbox, show_login
from migrator.sandbox.trac.methods import UNREADABLE, Methods, forbidden, params_of, refusal, size_of
from migrator.sandbox.trac.query import failed
from migrator.sandbox.trac.records import Records, TracQuirks, world_of
from migrator.sandbox.world import World, WorldAttachment

ROLES = {"ticket.getAttachment": FILE_ROUTE, "ticket.putAttachment": UPLOAD_ROUTE}
"""The methods that send or receive a file. All methods have the same address."""

_CALL: ContextVar[dict[str, Any]] = ContextVar("call")
"""The call in the request that this task answers."""


class TracSandbox(Sandbox):
    """An embedded Trac: `TracSandbox(world, faults, base_path="/trac", **quirks)`.

    Its keywords are the fields of `records.TracQuirks`.
    """

    tracker: ClassVar[str] = "trac"
    user: ClassVar[str] = "admin"

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world_of(world), faults, base_path=base_path)
        self.state.dates_files = False
        self.quirks = TracQuirks(**quirks)
        self.records = Records(self.state, self.user)
        self.methods = Methods(self, self.quirks, self.records)

    @override
    def kind_of(self, entity_id: int) -> str:
        """Always a ticket."""
        self.state.existing_entity(entity_id)
        return "ticket"

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """One for all methods, one for visitors, and the login pages."""
        for path in ("/login", "/login.aspx"):
            yield web.get(path, show_login)
        yield web.post("/login/rpc", self.call)
        yield web.post("/rpc", self.visit)

    @override
    async def role_of(self, request: web.Request) -> str:
        """What the method does. An account that is refused has none."""
        call = await _call_in(request)
        _CALL.set(call)
        return ROLES.get(call.get("method", ""), "") if self._knows(request) else ""

    def _knows(self, request: web.Request) -> bool:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        return scheme == "Basic" and base64.b64decode(value).decode() == f"{self.user}:{self.password}"

    async def visit(self, _: web.Request) -> web.StreamResponse:
        """A call without a login: visitors lack the permission."""
        return web.json_response(refusal(forbidden("XML_RPC"), _CALL.get().get("id")))

    async def call(self, request: web.Request) -> web.StreamResponse:
        """A call."""
        if not self._knows(request):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="Trac"'})
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType
        call = _CALL.get()
        if "broken" in call:
            return web.json_response(refusal(failed(call["broken"], UNREADABLE), None))
        if call.get("method") == "ticket.putAttachment":
            return await self._take(request, call)
        answer = self.methods.answer(call)
        if isinstance(file := answer["result"], WorldAttachment):
            answer["result"] = {"__jsonclass__": ["binary", CONTENT]}
            return await self.send_in_json(request, file, answer, in_lines, {"Content-Type": "application/json"})
        for one in answer["result"] if call.get("method") == "system.multicall" else ():
            if isinstance(file := one["result"], WorldAttachment):
                content = b"".join([chunk async for chunk in self.state.chunks_of(file)])
                one["result"] = {"__jsonclass__": ["binary", base64.encodebytes(content).decode()]}
        return web.json_response(answer)

    async def _take(self, request: web.Request, call: dict[str, Any]) -> web.StreamResponse:
        """A call that brings a file."""
        ticket, name = [*params_of(call), None, None][:2]
        limit = self.faults.max_upload_bytes
        if limit is not None and size_of(call) > limit:
            self.faults.injected["max_upload_bytes"] += 1
            return web.Response(status=413, text="Request Entity Too Large")
        fault = self.faults.of_upload(ticket if isinstance(ticket, int) else None, str(name))
        if fault == "fail_uploads":
            return self.faults.refuse(fault)
        return await self.after_upload(request, fault, web.json_response(self.methods.answer(call)))


def _known_class(value: dict[str, Any]) -> dict[str, Any]:
    kind = value.get("__jsonclass__", ["binary"])[0]
    if kind not in {"binary", "datetime"}:
        raise ValueError(f"Unknown __jsonclass__: {kind}")
    return value


async def _call_in(request: web.Request) -> dict[str, Any]:
    """The call in a request; one that says what is `broken` if it is none."""
    try:
        call = json.loads(await request.read(), object_hook=_known_class)
    except ValueError as error:
        return {"broken": str(error)}
    return call if isinstance(call, dict) else {"broken": "JSON object is not a dict"}
