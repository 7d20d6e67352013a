"""Chooses the transport for each request: files come over our own connections, everything else over aiohttp."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property

from typing_extensions import override
from yarl import URL

from migrator.wire.h1 import ConnectionPool
from migrator.wire.route import Route
from migrator.wire.transport import OutgoingRequest, Response, Transport


def transport_to(origin: URL, route: Route, *, connections: int, timeout: float) -> Transport:
    """The transport for the requests of one tracker: aiohttp alone if there is a proxy, which `h1` doesn't support."""

    def general() -> Transport:
        from migrator.wire.aiohttp_transport import AiohttpTransport

        return AiohttpTransport(route, connections=connections, timeout=timeout)

    if route.proxy is not None:
        return general()
    files = ConnectionPool(origin, max_idle=connections, timeout=timeout, context=route.own_origin)
    return SplitTransport(general, files)


class SplitTransport(Transport):
    """Sends GETs for files of the configured origin over `files`, everything else over `general`.

    `general` is made when it is needed. A fetch worker does without it, and so without aiohttp, whose import is a third
    of a worker's start.

    Beware: some proxies state a response's length twice, which aiohttp refuses. Such a proxy does it in every response,
    so after the first of them all GETs go over `files`, which can read it (see `h1.response.with_one_length`).
    """

    def __init__(self, general: Callable[[], Transport], files: Transport) -> None:
        self._make_general, self._files = general, files
        self._all_gets = False

    @cached_property
    def _general(self) -> Transport:
        return self._make_general()

    @property
    def _is_general_made(self) -> bool:
        return "_general" in vars(self)

    @override
    def send(self, request: OutgoingRequest) -> Awaitable[Response]:
        if request.direct and request.method == "GET" and (request.file or self._all_gets):
            return self._files.send(request)
        return self._general.send(request)

    @override
    def reroutes(self, error: Exception, method: str, *, direct: bool) -> bool:
        if self._all_gets or not direct or method != "GET" or not self._is_general_made:
            return False
        from migrator.wire.aiohttp_transport import refuses_length

        if not refuses_length(error):
            return False
        self._all_gets = True
        return True

    @override
    async def close(self) -> None:
        await self._files.close()
        if self._is_general_made:
            await self._general.close()
