"""Checks one download: whether it is the file that was listed, and whether it is compressed.

A body of the listed length is the file. If the length differs, the body is judged by its first bytes and by the length
that the answer announced. If it is declared as compressed, it is judged both decoded and unchanged: the reading that
fits is the right one.

Beware: a listing with wrong sizes (0 after an import, a size from before a conversion) and a proxy that cuts bodies
look alike: the length differs from the listed one, but is the announced one. If it were always refused, such a file
could never be backed up. It is accepted, with a warning in the catalog, after MIN_EQUAL_DOWNLOADS equal downloads in a
row, because a passing fault is not that regular. Never accepted are an empty body (proxies often cut to nothing), a
body of unannounced length, and one that looks like a page or an API message.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from typing_extensions import override

from migrator.errors import LoginPageError, UnexpectedBodyError
from migrator.model import Attachment
from migrator.ports import BodyFacts, Sink
from migrator.sniffing import (
    SNIFFED_BYTES,
    expects_html,
    expects_json,
    is_error_page,
    looks_like_error,
    looks_like_html,
    page_instead,
)
from migrator.wire import DECODABLE, ContentDecoder, may_be_encoded

MIN_EQUAL_DOWNLOADS = 3
"""How many downloads in a row must bring the same bytes before a length other than the listed one is accepted."""
MAX_UNANNOUNCED_BYTES = 64 * 1024 * 1024
"""How much may come beyond the listed length, or out of a packed file of unknown length, if no length is announced."""
MAX_EXPANSION = 200
"""Beyond MAX_UNANNOUNCED_BYTES, a packed file that grows by more than this factor is taken for a bomb."""
PACKED, PLAIN = "as packed", "as it came"
"""The two readings of a body that is declared as compressed: decode it, or take it unchanged."""

_NEVER_TEXT = re.compile(
    r"image/(?:png|jpeg|gif|webp|bmp|tiff)|application/(?:zip|gzip|x-7z-compressed|vnd\.openxmlformats-.*)"
)
_UNKNOWN_TYPES = ("application/octet-stream", "binary/octet-stream")
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_PACKED_NAMES = (".gz", ".tgz", ".taz", ".svgz", ".gzip", ".z", ".dz", ".adz", ".emz", ".wmz", ".cpgz", ".vgz")
_PACKED_TYPES = ("gzip", "tgz", "x-compress", "gtar-compressed", "x-tar-compressed", "zlib", "deflate")


class _OnceMoreError(UnexpectedBodyError):
    """The file has to be downloaded once more; `verified_download` catches this and does it."""


async def verified_download(
    download: Callable[[Sink], Awaitable[None]], attachment: Attachment, sink: Sink, *, strict: bool = False
) -> None:
    """Download a file into the sink; `UnexpectedBodyError` if the body is not the file.

    It is downloaded again if it was first read the wrong way, decoded or unchanged, or does not have the listed length.
    `strict`: a body of another length is never accepted.
    """
    verifying = VerifyingSink(sink, attachment, strict=strict)
    while True:
        try:
            await download(verifying)
            verifying.finish()
        except _OnceMoreError:
            verifying.rewind()
        else:
            return


class VerifyingSink(Sink):
    """Passes a body on, decoded if it was compressed in transit, and raises as soon as it can't be the file."""

    def __init__(self, inner: Sink, attachment: Attachment, *, strict: bool = False) -> None:
        self._inner, self._attachment, self._strict = inner, attachment, strict
        self._listed = attachment.size if attachment.size is None or attachment.size >= 0 else None
        self._facts = BodyFacts()
        self._wrong_readings: set[str] = set()
        self._equal_hashes: list[bytes] = []
        self._decoder: ContentDecoder | None = None
        self._hash: Any = None
        self._limit = self._listed
        self._size = 0
        self._head = self._excess = b""

    @override
    async def start(self, facts: BodyFacts) -> None:
        self._facts = facts
        if facts.coding in DECODABLE and self._seems_packed():
            self._decoder, self._hash, self._limit = ContentDecoder(facts.coding), None, self._listed
            await self._inner.start(replace(facts, length=None, coding=""))
        else:
            self._take_as_it_comes()
            await self._inner.start(replace(facts, coding="") if facts.coding else facts)

    @override
    async def write(self, chunk: bytes) -> None:
        """Bytes beyond the limit are dropped, and soon end the download with `UnexpectedBodyError`."""
        if self._decoder is not None and not self._decoder.bytes_in and not may_be_encoded(self._facts.coding, chunk):
            self._wrong_readings.add(PACKED)
            self._take_as_it_comes()
        if self._decoder is None:
            await self._take(chunk)
            return
        try:
            for piece in self._decoder.decode(chunk):
                await self._take(piece)
                self._stop_bomb(self._decoder)
        except ValueError:
            raise self._again(PACKED) from None

    @override
    def rewind(self) -> None:
        self._size, self._head, self._excess = 0, b"", b""
        self._inner.rewind()

    @override
    def warn(self, text: str) -> None:
        self._inner.warn(text)

    def finish(self) -> None:
        """Judge the whole body: `UnexpectedBodyError` or `LoginPageError` if it is not the file."""
        size, facts, listed = self._size, self._facts, self._listed
        packed = self._decoder is not None and self._decoder.bytes_in > 0
        fits = listed is None or size == listed
        if self._decoder is not None and packed and not (self._decoder.is_whole and fits):
            raise self._again(PACKED)
        if not packed and not fits and self._may_be_packed():
            raise self._again(PLAIN)
        if listed is None or not fits:
            self._refuse_message()
        if not fits:
            self._judge_size()
        elif not packed and facts.length is not None and size != facts.length:
            raise UnexpectedBodyError(f"{size} bytes came, {facts.length} were announced")
        if is_error_page(facts, self._head, html_expected=expects_html(self._attachment)):
            raise LoginPageError(page_instead(self._head))
        if listed is None:
            self._refuse_text()
        self._warn_if_odd(packed=packed)

    def _seems_packed(self) -> bool:
        """Whether to undo the coding: the listed length decides if a length was announced, otherwise the name."""
        if self._wrong_readings:
            return PACKED not in self._wrong_readings
        if self._listed is None or self._facts.length is None:
            return not self._is_named_packed()
        return self._facts.length != self._listed

    def _may_be_packed(self) -> bool:
        return self._facts.coding in DECODABLE and PACKED not in self._wrong_readings

    def _is_named_packed(self) -> bool:
        types = f"{self._attachment.media_type} {self._facts.media_type}".lower()
        return self._attachment.name.lower().endswith(_PACKED_NAMES) or any(word in types for word in _PACKED_TYPES)

    def _take_as_it_comes(self) -> None:
        """Take the body unchanged, up to the listed length or, unless `strict`, up to another announced one."""
        listed, announced = self._listed, self._facts.length
        if announced is None and self._facts.framed:
            announced = (listed or 0) + MAX_UNANNOUNCED_BYTES
        other_length = listed is not None and announced not in {None, listed} and not self._strict
        self._decoder, self._limit = None, announced if other_length else listed
        self._hash = hashlib.sha256() if other_length else None

    async def _take(self, chunk: bytes) -> None:
        if len(self._head) < SNIFFED_BYTES:
            self._head += chunk[: SNIFFED_BYTES - len(self._head)]
        before, self._size = self._size, self._size + len(chunk)
        if self._hash is not None:
            self._hash.update(chunk)
        if self._listed is not None and self._size > self._listed and len(self._excess) < SNIFFED_BYTES:
            self._excess += chunk[max(0, self._listed - before) :][:SNIFFED_BYTES]
        if self._limit is None or self._size <= self._limit:
            await self._inner.write(chunk)
        elif self._decoder is not None or self._may_be_packed():
            raise self._again(PLAIN if self._decoder is None else PACKED)
        elif len(self._excess) >= SNIFFED_BYTES:  # before that it may still turn out to be a page
            self._refuse_excess()

    def _stop_bomb(self, decoder: ContentDecoder) -> None:
        if self._listed is None and self._size > max(MAX_UNANNOUNCED_BYTES, MAX_EXPANSION * decoder.bytes_in):
            raise self._again(PACKED)

    def _again(self, reading: str) -> _OnceMoreError:
        """The error that starts another download, to be read the other way."""
        self._wrong_readings.add(reading)
        return _OnceMoreError(f"not the file, read {reading}")

    def _judge_size(self) -> None:
        """Raise unless a body of another length than listed is accepted; see the module's docstring."""
        size, facts, listed = self._size, self._facts, self._listed
        if not size:
            raise UnexpectedBodyError(f"empty: {listed} bytes were listed")
        if self._excess.startswith(b"HTTP/1."):
            self._refuse_excess()
        announced = size if facts.framed and facts.length is None else facts.length
        if self._hash is None or size != announced or self._is_something_else():
            if self._excess:
                self._refuse_excess()
            raise UnexpectedBodyError(f"too short: {size} bytes came{self._page_note()}, {listed} were listed")
        if facts.coding and facts.coding not in DECODABLE:
            raise UnexpectedBodyError(f"compressed ({facts.coding}), although it was requested uncompressed")
        self._equal_hashes.append(self._hash.digest())
        if len(set(self._equal_hashes)) > 1:
            raise UnexpectedBodyError(f"{listed} bytes were listed, and two downloads of it differ")
        if len(self._equal_hashes) < MIN_EQUAL_DOWNLOADS:
            raise _OnceMoreError(f"{size} bytes came, {listed} were listed")

    def _is_something_else(self) -> bool:
        """Whether a body of another length looks like a message of the server instead of a file."""
        facts, named = replace(self._facts, named=False), self._facts.named
        if looks_like_html(self._head) and not (named and expects_html(self._attachment)):
            return True
        if looks_like_error(facts, self._head) and not (named and expects_json(self._attachment)):
            return True
        return not named and _is_text(facts.media_type) and not self._may_be_text(facts.media_type)

    def _may_be_text(self, media_type: str) -> bool:
        guesses = {self._listed_type(), mimetypes.guess_type(self._attachment.name)[0] or ""}
        known = guesses - {"", "application/octet-stream"}
        return any(_is_text(guess) for guess in known) if known else media_type == "text/plain"

    def _listed_type(self) -> str:
        return self._attachment.media_type.partition(";")[0].strip().lower()

    def _warn_if_odd(self, *, packed: bool) -> None:
        if self._listed is not None and self._size != self._listed:
            self.warn(f"listed with {self._listed} bytes, {self._size} came")
        if self._facts.coding and not packed and self._size != self._listed and not self._is_named_packed():
            self.warn(f"declared as compressed ({self._facts.coding}), kept as it came")

    def _refuse_excess(self) -> None:
        self._refuse_message()
        if self._excess.startswith(b"HTTP/1."):
            raise UnexpectedBodyError(f"another answer's bytes follow the {self._listed} that were listed")
        raise UnexpectedBodyError(f"too long: more than the {self._listed} bytes that were listed{self._page_note()}")

    def _refuse_message(self) -> None:
        if looks_like_error(self._facts, self._head) and not expects_json(self._attachment):
            raise UnexpectedBodyError("an error message (JSON) instead of the file")

    def _refuse_text(self) -> None:
        """Raise if the body is declared as text and is text, but the file can't be text, such as a picture."""
        facts = self._facts
        if facts.named or not _is_text(facts.media_type) or not self._head or _BINARY.search(self._head):
            return
        by_name = mimetypes.guess_type(self._attachment.name)[0] or ""
        if _NEVER_TEXT.fullmatch(by_name) and self._listed_type() in {by_name, "", *_UNKNOWN_TYPES}:
            raise UnexpectedBodyError(f"text ({facts.media_type}) instead of the file")

    def _page_note(self) -> str:
        return " (a web page)" if looks_like_html(self._head) and not expects_html(self._attachment) else ""


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/") or media_type.endswith(("json", "xml", "javascript"))
