"""Requests over aiohttp: any method, any body, any host, with or without a proxy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from migrator.wire.resolver import resolve
from migrator.wire.route import Route
from migrator.wire.transport import (
    DEFAULT_HEADERS,
    MAX_CLOSE_SECONDS,
    MAX_CONNECT_SECONDS,
    MAX_LINE_BYTES,
    OutgoingRequest,
    Response,
    Transport,
)

MAX_HEAD_LINES = 4096
"""Limit of lines in the head of a response; aiohttp doesn't limit their bytes in total."""
_REPEATED_METHODS = frozenset({"PUT", "DELETE"})
"""Writes that aiohttp repeats by itself unless it is stopped."""


class AiohttpTransport(Transport):
    """A session of aiohttp, opened by the first request. `timeout` is in seconds without a byte."""

    def __init__(self, route: Route, *, connections: int, timeout: float) -> None:
        self._route, self._connections = route, connections
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=min(timeout, MAX_CONNECT_SECONDS), sock_read=timeout
        )
        self._session: aiohttp.ClientSession | None = None

    @override
    def send(self, request: OutgoingRequest) -> Awaitable[Response]:
        options = self._options(own=request.own)
        if request.method in _REPEATED_METHODS:
            options["middlewares"] = (Once(),)
        if request.body is not None and not isinstance(request.body, bytes):
            return self._streamed(request, request.body, options)
        return self._open().request(
            request.method, request.url, data=request.body, headers=request.headers, allow_redirects=False, **options
        )

    @override
    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(MAX_CLOSE_SECONDS):
                    await session.close()

    async def _streamed(
        self, request: OutgoingRequest, body: AsyncIterable[bytes], options: dict[str, Any]
    ) -> Response:
        """The response; `TimeoutError` if the tracker stops reading the body, for which aiohttp has no timeout."""
        async with asyncio.timeout(None) as silence:
            data = self._watched(body, silence)
            return await self._open().request(
                request.method, request.url, data=data, headers=request.headers, allow_redirects=False, **options
            )

    async def _watched(self, body: AsyncIterable[bytes], silence: asyncio.Timeout) -> AsyncIterator[bytes]:
        """The chunks of a body. The timeout runs while a chunk is being sent, not while the next one is read."""
        loop, timeout = asyncio.get_running_loop(), self._timeout.sock_read or 0.0
        async for chunk in body:
            with suppress(RuntimeError):  # the response came before the whole body was sent
                silence.reschedule(loop.time() + timeout)
            yield chunk
            with suppress(RuntimeError):
                silence.reschedule(None)

    def _options(self, *, own: bool) -> dict[str, Any]:
        """Certificates and proxy for the tracker itself or for another host."""
        context, proxy = self._route.own_origin if own else self._route.other_origins, self._route.proxy
        options: dict[str, Any] = {} if context is None else {"ssl": context}
        if proxy is not None:
            options["proxy"] = proxy.url
            if proxy.username:
                options["proxy_headers"] = proxy.headers
        return options

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ttl_dns_cache=300, resolver=Resolver()),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                headers=DEFAULT_HEADERS,
                auto_decompress=False,
                max_line_size=MAX_LINE_BYTES,
                max_field_size=MAX_LINE_BYTES,
                max_headers=MAX_HEAD_LINES,
            )
        return self._session


class Once:
    """An aiohttp middleware for one request that must be sent only once.

    aiohttp sends PUT and DELETE again by itself when a kept connection breaks, as RFC 9110, 9.2.2, allows for
    idempotent methods. But only a look at the tracker shows whether it took the first one.
    """

    def __init__(self) -> None:
        self._failed: aiohttp.ClientError | None = None

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """The response. Called a second time, it raises the error of the first."""
        if self._failed is not None:
            raise self._failed
        try:
            return await handler(request)
        except aiohttp.ClientError as error:
            self._failed = error
            raise


class Resolver(AbstractResolver):
    """The resolver of aiohttp's sessions."""

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=_host(address), port=port, family=kind, proto=protocol, flags=numeric)
            for kind, _, protocol, _, address in await resolve(host, port, family)
        ]

    @override
    async def close(self) -> None:
        """Nothing is kept."""


def _host(address: tuple[Any, ...]) -> str:
    """The host of a socket address; a link-local one of IPv6 needs its scope."""
    return (
        f"{address[0]}%{address[3]}" if len(address) > 3 and address[3] and "%" not in address[0] else str(address[0])
    )
