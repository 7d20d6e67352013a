"""GETs to one origin over pooled connections: downloads, and what is read of the API.

They need no general client: the request is a few lines, and `response` reads what comes back.

Beware: the server may close an idle connection at the moment it is used again. A GET that got no byte of a response is
sent once more over a new connection; anything else is left to the retry layer.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import cast

from aiohappyeyeballs import start_connection
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from migrator.wire.h1.response import H1Response, NoResponseError
from migrator.wire.resolver import resolve
from migrator.wire.transport import (
    DEFAULT_HEADERS,
    MAX_CLOSE_SECONDS,
    MAX_CONNECT_SECONDS,
    OutgoingRequest,
    Transport,
)

MAX_IDLE_SECONDS = 15.0
"""Seconds after which an idle connection is not used again."""
READ_BYTES = 256 * 1024
"""How much is read from a connection at once."""
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class NoConnectionError(ConnectionError):
    """There is no connection; `__cause__` says why."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port


class ConnectionPool(Transport):
    """GETs to one origin. Building it does no I/O.

    `timeout` is the maximum wait in seconds for the head of a response and for each further read; connecting is limited
    to MAX_CONNECT_SECONDS, too. At most `max_idle` idle connections are kept; the caller limits those in use.
    """

    def __init__(self, origin: URL, *, max_idle: int, timeout: float, context: ssl.SSLContext | None = None) -> None:
        self.timeout = timeout
        self._origin, self._max_idle, self._context = origin, max_idle, context
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()

    @override
    def send(self, request: OutgoingRequest) -> Awaitable[H1Response]:
        headers = CIMultiDict(DEFAULT_HEADERS)
        headers.update(request.headers)
        return self.get(request.url.raw_path_qs, headers, file=request.file)

    async def get(self, target: str, headers: Mapping[str, str], *, file: bool = True) -> H1Response:
        """The response, once its head is there. `target` is an encoded path and query, and is sent unchanged.

        Anything but a `file` is also requested once more if a new connection brings nothing, and refused if more bytes
        follow it: nothing else tells how long it should be.
        """
        request = self._encoded(target, headers)
        idle = self._take_idle()
        if idle is not None or not file:
            with suppress(NoResponseError):  # the server closed it, an idle one perhaps long ago
                return await _response_to(request, idle or await self._connect(), strict=not file)
        return await _response_to(request, await self._connect(), strict=not file)

    @override
    async def close(self) -> None:
        opened = tuple(self._open)
        for connection in opened:
            connection.close()
        if opened:
            await asyncio.wait([connection.lost for connection in opened], timeout=MAX_CLOSE_SECONDS)
        for connection in opened:
            connection.forget()

    def keep(self, connection: _Connection) -> None:
        """Keep an idle connection for another request, or close it if there are enough."""
        if len(self._idle) < self._max_idle:
            self._idle.append(connection)
        else:
            connection.close()

    def opened(self, connection: _Connection) -> None:
        """A connection was made."""
        self._open.add(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection was lost."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _encoded(self, target: str, headers: Mapping[str, str]) -> bytes:
        lines = [f"GET {target} HTTP/1.1", f"Host: {self._origin.host_port_subcomponent}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if _CONTROL_CHARACTER.search("".join(lines)):
            raise ValueError("a control character in a header or address: it would end the line that it goes into")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _take_idle(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.active_at < MAX_IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        host, port = self._origin.raw_host or "", self._origin.port or 0
        tls = self._tls()
        name = host.rstrip(".") if tls else None
        try:
            async with asyncio.timeout(min(self.timeout, MAX_CONNECT_SECONDS)):
                addresses = await resolve(host, port)
                # Not by `create_connection` alone: that of uvloop tries one address after the other.
                plain_socket = await start_connection(addresses, happy_eyeballs_delay=0.25, interleave=1)
                connection = _Connection(self, loop)
                try:
                    await loop.create_connection(lambda: connection, sock=plain_socket, ssl=tls, server_hostname=name)
                except BaseException:
                    connection.forget()
                    raise
        except OSError as error:
            raise NoConnectionError(host, port) from error
        return connection

    def _tls(self) -> ssl.SSLContext | None:
        if self._origin.scheme != "https":
            return None
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context


async def _response_to(request: bytes, connection: _Connection, *, strict: bool) -> H1Response:
    response = connection.send(request, strict=strict)
    try:
        await response.head()
    except BaseException:
        connection.close()
        raise
    return response


class _Connection(asyncio.BufferedProtocol):
    """One connection, with at most one request under way."""

    def __init__(self, pool: ConnectionPool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool, self._loop = pool, loop
        self._block = memoryview(bytearray(READ_BYTES))
        self._response: H1Response | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._made = False
        self.active_at = 0.0  # when the last wait for bytes began, or the connection became idle
        self.lost = loop.create_future()

    @property
    def usable(self) -> bool:
        return not self._transport.is_closing()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._made = cast("asyncio.Transport", transport), True
        self._pool.opened(self)

    def send(self, request: bytes, *, strict: bool) -> H1Response:
        self._response = response = H1Response(self, strict=strict)
        self._transport.write(request)
        return response

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._block

    @override
    def buffer_updated(self, nbytes: int) -> None:
        if self._response is None:
            self.close()  # nothing was requested
        else:
            self._response.feed(self._block[:nbytes])

    def forget(self) -> None:
        """Treat the connection as lost: uvloop doesn't call `connection_lost` if `create_connection` is cancelled."""
        if not self.lost.done():
            if self._made:
                self._transport.abort()
            self.connection_lost(ConnectionAbortedError())

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lost(self)
        self._stop_timer()
        if self._response is not None:
            self._response.ended(exc)
        if not self.lost.done():
            self.lost.set_result(None)

    def watch(self) -> None:
        # One timer serves many waits: a timer for each of them would cost more than the wait.
        self.active_at = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._pool.timeout, self._check_timeout)

    def pause(self) -> None:
        self._transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def release(self) -> None:
        response, self._response = self._response, None
        if response is not None and response.reusable and self.usable:
            self.active_at = self._loop.time()
            self._pool.keep(self)
        else:
            self.close()

    def close(self) -> None:
        """Close at once, whatever is still to come."""
        self._transport.abort()

    def _check_timeout(self) -> None:
        self._timer = None
        if self._response is None or not self._response.waiting:
            return
        left = self.active_at + self._pool.timeout - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_timeout)
        else:
            self._response.fail(TimeoutError())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
