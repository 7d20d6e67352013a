"""`Content-Encoding`: which of its values are real, and how gzip and deflate are decoded in constant memory.

The header is only a hint. Servers write `UTF-8`, `none` or `aws-chunked` there, and `gzip` both for what they
compressed in transit and for a file that is a .gz itself. Whether a body was compressed has to be judged by its
length.

Beware: "deflate" is the zlib format (RFC 9110, 8.4.1.2), but some servers send the bare stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

from typing_extensions import override

from migrator.errors import UnexpectedBodyError
from migrator.wire.reading import Readable, StallGuard, read_at_least
from migrator.wire.transport import Response

MAX_PIECE_BYTES = 256 * 1024
"""How many decoded bytes are produced at once: a small chunk may expand to gigabytes."""
DECODABLE = frozenset({"gzip", "deflate"})
"""The codings that can be decoded here."""
_NOT_DECODABLE = frozenset({"br", "zstd", "compress", "dcb", "dcz", "exi", "pack200-gzip"})
_GZIP = b"\x1f\x8b\x08"


def coding_of(headers: Mapping[str, str]) -> str:
    """The coding that a response declares: one of DECODABLE, another one, several with commas, or an empty string.

    Words that are not in IANA's "HTTP Content Coding Registry" are ignored. A coding that is declared twice was applied
    once: such headers come from proxies that repeat each other.
    """
    if "Content-Encoding" not in headers:
        return ""
    lines = ",".join(value for name, value in headers.items() if name.lower() == "content-encoding")
    codings = (coding.strip().lower().removeprefix("x-") for coding in lines.split(","))
    return ", ".join(dict.fromkeys(coding for coding in codings if coding in DECODABLE | _NOT_DECODABLE))


class ContentDecoder:
    """Decodes a body chunk by chunk; `ValueError` if it is not in this coding.

    `bytes_in` counts what was fed in; `is_whole`: that is a complete compressed stream.
    """

    def __init__(self, coding: str) -> None:
        self._coding, self._first = coding, b""
        self._stream = zlib.decompressobj(31)
        self.bytes_in = 0
        self.is_whole = self._begun = False

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """The decoded bytes of a chunk, in pieces of at most MAX_PIECE_BYTES."""
        self.bytes_in += len(chunk)
        if not self._begun:
            self._first += chunk
            if len(self._first) < len(_GZIP):
                return
            chunk = self._first
            self._begin()
        while chunk:
            try:
                piece = self._stream.decompress(chunk, MAX_PIECE_BYTES)
            except zlib.error as error:
                raise ValueError(str(error)) from None
            if piece:
                yield piece
            chunk = self._remaining(self._stream.unconsumed_tail)

    def _begin(self) -> None:
        self._begun = True
        if self._coding == "deflate":
            method, check = self._first[0] & 15, int.from_bytes(self._first[:2], "big")
            has_zlib_header = method == 8 and check % 31 == 0  # RFC 1950, 2.2
            self._stream = zlib.decompressobj(15 if has_zlib_header else -15)
        elif not self._first.startswith(_GZIP):
            raise ValueError("not gzip")

    def _remaining(self, rest: bytes) -> bytes:
        """What is left of the chunk. A .gz may consist of several, one after the other (RFC 1952, 2.2)."""
        self.is_whole = self._stream.eof
        if not self.is_whole or not self._stream.unused_data:
            return rest
        rest = self._stream.unused_data
        if self._coding != "gzip" or not rest.startswith(_GZIP[: len(rest)]):
            raise ValueError("more than what is packed")
        self.is_whole, self._stream = False, zlib.decompressobj(31)
        return rest


def may_be_encoded(coding: str, first: bytes) -> bool:
    """Whether a body with this beginning, of at least three bytes, may be in the coding that its header declares."""
    if coding == "gzip":
        return first.startswith(_GZIP[: len(first)])
    try:
        next(ContentDecoder(coding).decode(first), b"")
    except ValueError:
        return False
    return coding in DECODABLE


def decoded_head(coding: str, first: bytes, size: int) -> bytes:
    """The first bytes of a body: at most `size` decoded ones, or `first` unchanged if it can't be decoded."""
    if coding not in DECODABLE:
        return first
    try:
        return next(ContentDecoder(coding).decode(first), b"")[:size] or first
    except ValueError:
        return first


class DecodedBody(Readable):
    """The body of an answer, decoded if it really is in the coding that its header declares, else unchanged."""

    def __init__(self, body: StallGuard, coding: str, subject: str) -> None:
        self._body, self._coding, self._subject = body, coding, subject
        self._decoder: ContentDecoder | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._begun = False

    @override
    async def readany(self) -> bytes:
        """`UnexpectedBodyError` if it breaks off."""
        try:
            return await (self._more() if self._begun else self._begin())
        except ValueError:
            raise UnexpectedBodyError(
                f"{self._subject}: declared as compressed ({self._coding}), but it can't be decompressed"
            ) from None

    async def read_at_least(self, size: int) -> bytes:
        """At least `size` bytes; fewer only at the end of the body, and none after it."""
        return await read_at_least(self, size)

    async def _begin(self) -> bytes:
        self._begun = True
        first = await self._body.read_at_least(len(_GZIP))
        if not may_be_encoded(self._coding, first):
            return first
        self._decoder = ContentDecoder(self._coding)
        self._pieces = self._decoder.decode(first)
        return await self._more()

    async def _more(self) -> bytes:
        if self._decoder is None:
            return await self._body.readany()
        while True:
            if piece := next(self._pieces, b""):
                return piece
            if not (chunk := await self._body.readany()):
                break
            self._pieces = self._decoder.decode(chunk)
        if not self._decoder.is_whole:
            raise UnexpectedBodyError(f"{self._subject}: the body broke off")
        return b""


def body_of_answer(response: Response, timeout: float, subject: str) -> StallGuard | DecodedBody:
    """The body of an API's answer, decoded where its header declares a coding; that of a file is read unchanged."""
    body, coding = StallGuard(response.content, timeout, subject), coding_of(response.headers)
    return DecodedBody(body, coding, subject) if coding in DECODABLE else body
