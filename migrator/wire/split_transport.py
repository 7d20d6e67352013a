"""Chooses the transport for each request: files come over our own connections, everything else over aiohttp."""

from __future__ import annotations

from collections.abc import Awaitable

from typing_extensions import override
from yarl import URL

from migrator.wire.aiohttp_transport import AiohttpTransport, refuses_length
from migrator.wire.h1 import ConnectionPool
from migrator.wire.route import Route
from migrator.wire.transport import OutgoingRequest, Response, Transport


def transport_to(origin: URL, route: Route, *, connections: int, timeout: float) -> Transport:
    """The transport for the requests of one tracker: aiohttp alone if there is a proxy, which `h1` doesn't support."""
    general = AiohttpTransport(route, connections=connections, timeout=timeout)
    if route.proxy is not None:
        return general
    files = ConnectionPool(origin, max_idle=connections, timeout=timeout, context=route.own_origin)
    return SplitTransport(general, files)


class SplitTransport(Transport):
    """Sends GETs for files of the configured origin over `files`, everything else over `general`.

    Beware: some proxies state a response's length twice, which aiohttp refuses. Such a proxy does it in every response,
    so after the first of them all GETs go over `files`, which can read it (see `h1.response.with_one_length`).
    """

    def __init__(self, general: Transport, files: Transport) -> None:
        self._general, self._files = general, files
        self._all_gets = False

    @override
    def send(self, request: OutgoingRequest) -> Awaitable[Response]:
        if request.direct and request.method == "GET" and (request.file or self._all_gets):
            return self._files.send(request)
        return self._general.send(request)

    @override
    def reroutes(self, error: Exception, method: str, *, direct: bool) -> bool:
        if self._all_gets or not direct or method != "GET" or not refuses_length(error):
            return False
        self._all_gets = True
        return True

    @override
    async def close(self) -> None:
        await self._files.close()
        await self._general.close()
