"""A response read from a connection: its head, then its body in chunks. Reading pauses while the reader is slower.

llhttp (through `httptools`) parses it. Each response gets its own parser, so that nothing left over from one of them,
such as a trailer or half a line, can end up in the next.

Beware: bytes after a response belong to no request; their connection is not used again. After a file, whose size is
known from elsewhere, they are ignored. A `strict` response is refused if they come with it: it may have been cut.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import Protocol, Self, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from multidict import CIMultiDict

from migrator.wire.transport import MAX_LINE_BYTES

MAX_HEAD_BYTES = 2 * MAX_LINE_BYTES
"""Limit of all lines of a response together, including trailers and preceding 1xx responses."""
_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:([^\r\n]*)", re.IGNORECASE)
MAX_BUFFERED_BYTES = 512 * 1024
"""Reading pauses when this many bytes of the body are buffered. One more block may still arrive."""


class NoResponseError(ConnectionError):
    """The connection ended before the first byte of a response."""


class ProtocolError(ConnectionError):
    """The bytes are not HTTP, or the head is malformed, too long, or an upgrade."""


class IncompleteBodyError(ConnectionError):
    """The body ended too early."""


class Connection(Protocol):
    """The connection that a response arrives on."""

    def watch(self) -> None:
        """A reader is waiting: call the response's `fail` with a `TimeoutError` unless bytes come in time."""

    def pause(self) -> None:
        """Stop reading until `resume`."""

    def resume(self) -> None:
        """Read on."""

    def release(self) -> None:
        """The response was read to its end, or is no longer needed."""


class H1Response:
    """A response that is arriving: `status` and `headers` once `head` has returned, then the body.

    A context manager: leaving it gives the connection back, or closes it if the body was not read to its end.
    """

    __slots__ = (
        "_connection",
        "_error",
        "_fields",
        "_fields_size",
        "_head_size",
        "_length_repeated",
        "_parser",
        "_parts",
        "_paused",
        "_raw_head",
        "_size",
        "_strict",
        "_until_close",
        "_waiter",
        "began",
        "complete",
        "headers",
        "keep_alive",
        "status",
    )

    def __init__(self, connection: Connection, *, strict: bool = False) -> None:
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.began = self.complete = False
        self.keep_alive = False
        self._connection, self._strict = connection, strict
        self._parser: HttpResponseParser | None = _parser(self)
        self._fields: list[tuple[bytes, bytes]] = []
        self._fields_size = 0  # in bytes, including trailers
        self._raw_head = bytearray()  # only kept if the head does not come in one block
        self._head_size = 0
        self._length_repeated = False
        self._until_close = self._paused = False
        self._parts: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._parser = None
        self._connection.release()

    @property
    def content(self) -> Self:
        """The body, to be read."""
        return self

    @property
    def waiting(self) -> bool:
        """Whether a reader is waiting for more."""
        return self._waiter is not None

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request: the response was read to its end, and nothing followed."""
        return self.complete and self.keep_alive and not self._paused

    async def head(self) -> None:
        """Wait until status and headers are there."""
        if not self.status:
            await self._wait()

    async def readany(self) -> bytes:
        """The bytes that are there, at least one; none at the end. `IncompleteBodyError` if the body breaks off."""
        if not self._parts and not self.complete:
            await self._wait()
        if self._error is not None:
            raise self._error
        parts, self._parts, self._size = self._parts, [], 0
        if self._paused:
            self._paused = False
            self._connection.resume()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def feed(self, block: memoryview) -> None:
        """The next bytes of the connection."""
        self.began = True
        if self._parser is None:
            self.keep_alive = False
            return
        try:
            if not self._length_repeated:
                self._parser.feed_data(block)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._length_repeated = not self.status and self._error is None and "Content-Length" in str(error)
            if not self._length_repeated:
                self._refuse()
        if not self.status:
            self._raw_head += block
            self._head_size += len(block)
            if self._length_repeated:
                self._parse_again()
            # `on_header` does not see everything: an endless reason phrase, for example.
            if self._head_size > 2 * MAX_HEAD_BYTES:
                self.fail(ProtocolError())

    def _refuse(self) -> None:  # bytes that the parser doesn't accept
        self.keep_alive = False
        if self.complete and self._strict:
            self._error = ProtocolError()
        self.fail(IncompleteBodyError() if self.status else ProtocolError())

    def _parse_again(self) -> None:
        """Parse the head again once it is complete, without the lines that only repeat the length."""
        received = bytes(self._raw_head)
        if (corrected := with_one_length(received)) is None:
            return
        self._length_repeated, self._raw_head = False, bytearray()
        if corrected == received:
            self.fail(ProtocolError())
        else:
            self._parser, self._fields, self._fields_size = _parser(self), [], 0
            self.feed(memoryview(corrected))

    def ended(self, error: Exception | None) -> None:
        """The connection was lost, which is the end of a body without length and chunks."""
        if self._until_close and error is None and self._error is None:
            self.on_message_complete()
        elif self.status:
            self.fail(IncompleteBodyError())
        elif isinstance(error, ssl.SSLError):
            self.fail(error)
        else:
            self.fail(ProtocolError() if self.began else NoResponseError())

    def fail(self, error: Exception) -> None:
        """Nothing more will come; readers get this error. A complete response is not affected."""
        if not self.complete and self._error is None:
            self._error = error
            self._parser = None
            self._wake()

    async def _wait(self) -> None:
        if self._error is None:
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            self._connection.watch()
            await waiter
        if self._error is not None:
            raise self._error

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The callbacks of the parser. If one raises, the parser drops the rest of the block.

    def on_message_begin(self) -> None:
        """The first byte of a response; a second response is an error."""
        if self.complete:
            raise ProtocolError

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of the head, or a trailer, which is only counted."""
        size = len(name) + len(value)
        self._fields_size += size
        if size > MAX_LINE_BYTES or self._fields_size > MAX_HEAD_BYTES or b"\0" in value:
            raise ProtocolError
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete; a 1xx is skipped."""
        parser = cast("HttpResponseParser", self._parser)
        status = parser.get_status_code()
        if status < 200:
            self._fields.clear()
            return
        self.headers.extend([(_text(name), _text(value.rstrip(b" \t"))) for name, value in self._fields])
        coding = _transfer_coding(self.headers.getall("Transfer-Encoding", []))
        self._until_close = not coding and "Content-Length" not in self.headers
        self.keep_alive = parser.should_keep_alive()
        self.status = status
        self._wake()

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        if not self.status:  # a 1xx has no body
            raise ProtocolError
        self._parts.append(piece)
        self._size += len(piece)
        if self._size > MAX_BUFFERED_BYTES and not self._paused:
            self._paused = True
            self._connection.pause()
        self._wake()

    def on_message_complete(self) -> None:
        """The response is complete."""
        if self.status:
            self.complete = True
            self._wake()


def with_one_length(received: bytes) -> bytes | None:
    """The beginning of a response with its length stated once; None if its head is not complete yet.

    Equal lengths come from proxies that repeat each other; they count as one (RFC 9110, 8.6), but llhttp refuses them.
    A head with different lengths is returned unchanged, and refused later.
    """
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    if head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
        rest = with_one_length(body)
        return None if rest is None else head + end + rest
    values = {value.strip() for line in _LENGTH.findall(head) for value in line.split(b",")}
    if len(values) != 1:
        return received
    length = b"\r\nContent-Length: " + values.pop()
    return b"".join([_LENGTH.sub(b"", head), length, end, body])


def _transfer_coding(lines: list[str]) -> str:
    """The transfer coding that a response declares: "chunked" or an empty string; `ProtocolError` for any other.

    One that is declared twice was applied once: such headers come from proxies that repeat each other.
    """
    codings = {coding.strip(" \t").lower() for line in lines for coding in line.split(",")}
    if len(codings) > 1 or codings - {"chunked", "identity"}:
        raise ProtocolError
    return "chunked" if "chunked" in codings else ""


def _parser(response: H1Response) -> HttpResponseParser:
    """A parser that is as lenient as aiohttp's, because file names bring all kinds of bytes into a header."""
    parser = HttpResponseParser(response)
    parser.set_dangerous_leniencies(
        lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
    )
    return parser


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")
