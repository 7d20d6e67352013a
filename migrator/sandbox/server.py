"""What all sandbox trackers share: a server on the loopback interface, faults and counters.

Beware: a tracker must give its upload routes the name `UPLOAD_ROUTE`. The body of any other request is read into memory
before it is handled, because its fault depends on the body.
"""

import asyncio
import re
import socket
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, ClassVar, Self
from urllib.parse import quote

from aiohttp import web

from migrator.sandbox.base64_json import json_with_content, length_of
from migrator.sandbox.faults import Faults, drop, request_key, send
from migrator.sandbox.state import TrackerState
from migrator.sandbox.uploads import DispositionParser, ReceivedFile, TooLargeError, disposition, receive
from migrator.sandbox.world import World, WorldAttachment

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

FILE_ROUTE = "file"
"""The name of routes that answer with the content of a file, and so meet more faults; a dot and more may follow."""
UPLOAD_ROUTE = "upload"
"""The name of routes that receive files; a dot and more may follow."""

SANDBOX: web.AppKey["Sandbox"] = web.AppKey("SANDBOX")

_FAULT: ContextVar[str | None] = ContextVar("fault", default=None)
"""The fault of the request that this task answers."""

LOGIN_PAGE = (
    '<!DOCTYPE html>\n<html><head><title>Log in</title></head><body><form action="login.aspx" method="post">'
    '<input name="username"/><input type="password" name="password"/></form></body></html>'
)


class Sandbox(ABC):
    """An embedded tracker: `async with TargetprocessSandbox(world) as sandbox:` serves it at `sandbox.url`.

    It can be stopped and started again. Its state stays as long as the object exists.
    """

    tracker: ClassVar[str]
    user: ClassVar[str] = "System"
    password: ClassVar[str] = "p&s+s%41:wd"  # noqa: S105 - made to be awkward to encode

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "") -> None:
        self.state = TrackerState(world, self.user)
        self.faults = faults or Faults()
        self.base_path = base_path.rstrip("/")
        self.requests: Counter[str] = Counter()
        """Requests by method and route, like `GET /api/v1/Attachments/{id}`, including those that met a fault."""
        self.downloads: Counter[int] = Counter()
        """How often a file was sent, even in part, by attachment id."""
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def world(self) -> World:
        """What the tracker held at first."""
        return self.state.world

    @property
    def url(self) -> str:
        """The base URL, with the virtual directory. Valid only while it runs."""
        return f"http://127.0.0.1:{self._port}{self.base_path}"

    @property
    def credentials(self) -> dict[str, str]:
        """The content of the configuration's [source.auth] or [target.auth]."""
        return {"username": self.user, "password": self.password}

    @property
    def target_options(self) -> dict[str, object]:
        """What the configuration's [target.options] must have, so that every file of a load is accepted."""
        return {}

    @abstractmethod
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes, without the virtual directory."""

    @abstractmethod
    def kind_of(self, entity_id: int) -> str:
        """The kind of an entity as this tracker spells it; `KeyError` if there is no such entity."""

    async def role_of(self, request: web.Request) -> str:
        """`FILE_ROUTE`, `UPLOAD_ROUTE` or another name: of the route, where a request doesn't say more."""
        return (request.match_info.route.name or "").partition(".")[0]

    async def start(self, port: int = 0, listening: socket.socket | None = None) -> None:
        """Serve on the loopback interface: at this port, at any free one for 0, or at a listening socket."""
        app = web.Application(middlewares=[_through_faults], client_max_size=sys.maxsize)
        app[SANDBOX] = self
        app.add_routes(
            web.RouteDef(route.method, self.base_path + route.path, route.handler, route.kwargs)
            for route in self.routes()
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        socket_site = listening and web.SockSite(self._runner, listening)
        await (socket_site or web.TCPSite(self._runner, "127.0.0.1", port)).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop serving and close open connections. May be called twice."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def receive(
        self, request: web.Request, parse: DispositionParser = disposition
    ) -> tuple[dict[str, str], list[ReceivedFile]]:
        """The fields (by lower-case name) and files of an upload; `TooLargeError` if it is over the limit."""
        try:
            return await receive(request, self.faults.max_upload_bytes, parse)
        except TooLargeError:
            self.faults.injected["max_upload_bytes"] += 1
            raise

    async def after_upload(self, request: web.Request, fault: str | None, answer: web.Response) -> web.Response:
        """Answer an upload that was stored: late, or not at all, according to the faults."""
        if self.faults.upload_delay_after_accept:
            self.faults.injected["upload_delay_after_accept"] += 1
            await asyncio.sleep(self.faults.upload_delay_after_accept)
        return drop(request) if fault == "lose_upload_answers" else answer

    async def send_file(
        self, request: web.Request, attachment: WorldAttachment, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Answer with the content of an attachment, subject to the faults."""
        return await self.send_body(request, attachment, self.state.chunks_of(attachment), attachment.size, headers)

    async def send_in_json(
        self,
        request: web.Request,
        attachment: WorldAttachment,
        value: Any,
        encoded: Callable[[bytes], bytes],
        headers: dict[str, str],
    ) -> web.StreamResponse:
        """Answer with a value that has the content of an attachment in place of `CONTENT`, subject to the faults."""
        size = await length_of(json_with_content(value, self.state.chunks_of(attachment), encoded))
        pieces = json_with_content(value, self.state.chunks_of(attachment), encoded)
        return await self.send_body(request, attachment, pieces, size, headers)

    async def send_body(
        self,
        request: web.Request,
        attachment: WorldAttachment,
        chunks: AsyncIterator[bytes],
        size: int,
        headers: dict[str, str],
    ) -> web.StreamResponse:
        """Answer with `size` bytes in which an attachment is encoded, subject to the faults."""
        if status := self.faults.refusal(attachment.id):
            return web.Response(status=status, text=f"refused with {status}")
        self.downloads[attachment.id] += 1
        return await send(request, chunks, size, headers, _FAULT.get(), self.faults.stall_seconds)

    def template(self, request: web.Request) -> str:
        """The route of a request, as a key of `requests`."""
        resource = request.match_info.route.resource
        canonical = (resource.canonical if resource else request.path).removeprefix(self.base_path)
        return re.sub(r"\{(p_\w+)\}", lambda match: _PATHS[match[1]], canonical)


def in_any_case(path: str) -> str:
    """A route pattern for this path in any letter case and after any number of slashes, as IIS accepts it."""
    name = "p_" + re.sub(r"\W", "_", path)
    _PATHS[name] = path
    return f"/{{{name}:/*(?i:{re.escape(path)})}}"


_PATHS: dict[str, str] = {}
"""The paths as their vendor spells them, by the names that they have in route patterns."""


def to_login(sandbox: Sandbox) -> web.Response:
    """Redirect to the login page, as a site does with a browser that is not logged in."""
    return web.Response(status=302, headers={"Location": f"{sandbox.base_path}/login.aspx?ReturnUrl=%2f"})


async def show_login(_: web.Request) -> web.Response:
    """Show the login page."""
    return web.Response(text=LOGIN_PAGE, content_type="text/html")


def attachment_disposition(name: str) -> str:
    """A Content-Disposition with both forms of the file name."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


@web.middleware
async def _through_faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    sandbox = request.app[SANDBOX]
    if request.match_info.http_exception is not None:
        return await handler(request)
    sandbox.requests[f"{request.method} {sandbox.template(request)}"] += 1
    if sandbox.faults.latency:
        sandbox.faults.injected["latency"] += 1
        await asyncio.sleep(sandbox.faults.latency)
    role = await sandbox.role_of(request)
    if role == UPLOAD_ROUTE:
        return await handler(request)
    return await with_faults(request, handler, sandbox, file=role == FILE_ROUTE)


async def with_faults(
    request: web.Request, handler: Handler, sandbox: Sandbox, *, file: bool = False
) -> web.StreamResponse:
    """Answer a request that is no upload, subject to the faults.

    For the handler of an upload route that is used for everything else, too.
    """
    fault = sandbox.faults.of_request(await request_key(request), file=file)
    if fault in {"error_500", "unavailable", "throttled"}:
        return sandbox.faults.refuse(fault)
    if fault == "dropped":
        return drop(request)
    if fault == "login_page":
        return await show_login(request)
    if fault == "redirected":
        return to_login(sandbox)
    _FAULT.set(fault)
    response = await handler(request)
    if fault == "truncated" and isinstance(response, web.Response) and response.status == 200:
        return await _cut(request, response)
    return response


async def _cut(request: web.Request, response: web.Response) -> web.StreamResponse:
    body = response.body if isinstance(response.body, bytes) else b""

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    return await send(request, chunks(), len(body), {"Content-Type": response.headers["Content-Type"]}, "truncated")
