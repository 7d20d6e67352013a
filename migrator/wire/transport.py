"""What carries a request: the `Transport` protocol, and the `Response` that each transport returns.

Two implement it: `aiohttp_transport` can send everything, `h1` only GETs, and those faster. `split_transport`
chooses between them; everything else in this package knows only the protocol.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, Awaitable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from yarl import URL

from migrator import __version__
from migrator.wire.auth import UNSIGNED, Signature
from migrator.wire.reading import Readable

DEFAULT_HEADERS = {"User-Agent": f"migrator/{__version__}", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
"""The headers that each transport adds to a request, unless the request has its own."""
MAX_LINE_BYTES = 64 * 1024
"""Limit of one line in the head of a response; a sign-on in front of a tracker sends long ones."""
MAX_CONNECT_SECONDS = 30.0
MAX_CLOSE_SECONDS = 3.0
"""How long connections get to close; those that have not reported their end by then are dropped."""


@dataclass(slots=True)
class OutgoingRequest:
    """A request, signed and complete. Its body is as long as `Content-Length` says.

    file    the response is a file, to be streamed
    own     it goes to the tracker, whose certificates are configured, and not to another host
    direct  it goes to the very origin that was configured
    """

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | AsyncIterable[bytes] | None = None
    signature: Signature = UNSIGNED
    file: bool = False
    own: bool = True
    direct: bool = True


class Response(Protocol):
    """A response whose head has arrived and whose body is still to be read. A context manager."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; upper and lower case in their names are equal."""

    @property
    def content(self) -> Readable:
        """The body."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Transport(Protocol):
    """Sends requests over connections that it keeps. Creating one does no I/O.

    Redirects are not followed, codings are not undone, and only safe requests (RFC 9110, 9.2.1) may be sent twice.
    It raises the errors that `failures.translate_error` translates.
    """

    @abstractmethod
    def send(self, request: OutgoingRequest) -> Awaitable[Response]:
        """The response, as soon as its head is there. Nothing is sent before this is awaited."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections, within MAX_CLOSE_SECONDS; may be called twice."""
