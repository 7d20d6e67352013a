"""`Content-Encoding`: which of its values are real, and how gzip and deflate are undone in constant memory.

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
from migrator.wire.reading import Readable, StallGuard, gathered
from migrator.wire.transport import Response

PIECE = 256 * 1024
"""Maximum number of bytes that come out at once."""
UNDONE = frozenset({"gzip", "deflate"})
"""The codings that can be undone here."""
_OTHERS = frozenset({"br", "zstd", "compress", "dcb", "dcz", "exi", "pack200-gzip"})
_GZIP = b"\x1f\x8b\x08"


def coding_of(headers: Mapping[str, str]) -> str:
    """The coding that an answer tells of: one of UNDONE, another that is real, or nothing.

    Words that are none (IANA's "HTTP Content Coding Registry") say nothing, and a coding that is told twice was not
    applied twice: such lines come from proxies that repeat each other.
    """
    if "Content-Encoding" not in headers:
        return ""
    lines = ",".join(value for name, value in headers.items() if name.lower() == "content-encoding")
    words = (word.strip().lower().removeprefix("x-") for word in lines.split(","))
    return ", ".join(dict.fromkeys(word for word in words if word in UNDONE | _OTHERS))


class Undoing:
    """Undoes a coding piece by piece. `whole`: what came so far is something packed, from its first byte to its last.

    `ValueError` where what comes is not packed so.
    """

    def __init__(self, coding: str) -> None:
        self._coding, self._first = coding, b""
        self._stream = zlib.decompressobj(31)
        self.came = 0
        self.whole = self._begun = False

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What these bytes become, in pieces of at most PIECE bytes."""
        self.came += len(chunk)
        if not self._begun:
            self._first += chunk
            if len(self._first) < len(_GZIP):
                return
            chunk = self._first
            self._begin()
        while chunk:
            try:
                piece = self._stream.decompress(chunk, PIECE)
            except zlib.error as error:
                raise ValueError(str(error)) from None
            if piece:
                yield piece
            chunk = self._next(self._stream.unconsumed_tail)

    def _begin(self) -> None:
        self._begun = True
        if self._coding == "deflate":
            kind, check = self._first[0], int.from_bytes(self._first[:2], "big")
            self._stream = zlib.decompressobj(15 if kind & 15 == 8 and not check % 31 else -15)
        elif not self._first.startswith(_GZIP):
            raise ValueError("not gzip")

    def _next(self, rest: bytes) -> bytes:
        """What is left to be read; a .gz may be several, one behind the other (RFC 1952, 2.2)."""
        self.whole = self._stream.eof
        if not self.whole or not self._stream.unused_data:
            return rest
        rest = self._stream.unused_data
        if self._coding != "gzip" or not rest.startswith(_GZIP[: len(rest)]):
            raise ValueError("more than what is packed")
        self.whole, self._stream = False, zlib.decompressobj(31)
        return rest


def is_begun(coding: str, first: bytes) -> bool:
    """Whether a body that begins so, with three bytes at least, may be packed as its header says."""
    if coding == "gzip":
        return first.startswith(_GZIP[: len(first)])
    try:
        next(Undoing(coding).pieces(first), b"")
    except ValueError:
        return False
    return coding in UNDONE


def shown(coding: str, first: bytes, most: int) -> bytes:
    """The first bytes of what a body holds, to be looked at: undone where that goes, else as they came."""
    try:
        return (next(Undoing(coding).pieces(first), b"")[:most] if coding in UNDONE else b"") or first
    except ValueError:
        return first


class Unpacked(Readable):
    """A body that is no file but an answer, which may travel packed. Where it is not packed, it stays as it is."""

    def __init__(self, body: StallGuard, coding: str, what: str) -> None:
        self._body, self._coding, self._what = body, coding, what
        self._undoing: Undoing | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._begun = False

    @override
    async def readany(self) -> bytes:
        """`UnexpectedBodyError` where it breaks off."""
        try:
            return await (self._more() if self._begun else self._begin())
        except ValueError:
            raise UnexpectedBodyError(
                f"{self._what}: said to be compressed ({self._coding}), and can't be read so"
            ) from None

    async def more(self, wanted: int) -> bytes:
        """At least so many bytes; fewer only at the end of the body, and none after it."""
        return await gathered(self, wanted)

    async def _begin(self) -> bytes:
        self._begun = True
        first = await self._body.more(len(_GZIP))
        if not is_begun(self._coding, first):
            return first
        self._undoing = Undoing(self._coding)
        self._pieces = self._undoing.pieces(first)
        return await self._more()

    async def _more(self) -> bytes:
        if self._undoing is None:
            return await self._body.readany()
        while True:
            if piece := next(self._pieces, b""):
                return piece
            if not (chunk := await self._body.readany()):
                break
            self._pieces = self._undoing.pieces(chunk)
        if not self._undoing.whole:
            raise UnexpectedBodyError(f"{self._what}: the body broke off")
        return b""


def body_of_answer(response: Response, timeout: float, what: str) -> StallGuard | Unpacked:
    """The body of a response that is not a file, without the coding that it travels in."""
    body, coding = StallGuard(response.content, timeout, what), coding_of(response.headers)
    return Unpacked(body, coding, what) if coding in UNDONE else body
