"""Chooses the transport for each request: reads of the tracker go over our own connections, the rest over aiohttp.

aiohttp is imported when it is needed: when something is written, or read from another host. Its import takes as long as
all of ours, not least because it reads the certificates of the machine, and a backup and its fetch workers mostly do
without it.
"""

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
    reads = ConnectionPool(origin, max_idle=connections, timeout=timeout, context=route.own_origin)
    return SplitTransport(general, reads)


class SplitTransport(Transport):
    """Sends GETs of the configured origin over `reads`, everything else over what `make_general` makes."""

    def __init__(self, make_general: Callable[[], Transport], reads: Transport) -> None:
        self._make_general, self._reads = make_general, reads

    @cached_property
    def _general(self) -> Transport:
        return self._make_general()

    @override
    def send(self, request: OutgoingRequest) -> Awaitable[Response]:
        if request.direct and request.method == "GET" and request.body is None:
            return self._reads.send(request)
        return self._general.send(request)

    @override
    async def close(self) -> None:
        await self._reads.close()
        if "_general" in vars(self):
            await self._general.close()
