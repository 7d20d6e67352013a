"""Receives multipart uploads of any size, hashes them as they arrive, and reads them back.

Beware: file names come in three spellings (RFC 5987 `filename*`, a browser's %22, backslashes). Only a quote, a line
end or a doubled backslash is ever unescaped; every other character belongs to the name.
"""

import asyncio
import hashlib
import os
import re
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import BodyPartReader, MultipartReader, web
from typing_extensions import override

CHUNK_BYTES = 256 * 1024
MAX_IN_MEMORY_BYTES = 1024 * 1024

DispositionParser = Callable[[str], tuple[str, str | None]]
"""Parses the field name and the file name of a Content-Disposition."""

_EXTENDED = re.compile(r"""filename\*\s*=\s*utf-8''([^;\s]+)""", re.IGNORECASE)
_QUOTED = re.compile(r"""\b(filename|name)\s*=\s*"((?:\\.|[^"\\])*)\"""", re.IGNORECASE)
_BARE = re.compile(r"""\b(filename|name)\s*=\s*([^";]*[^";\s])""", re.IGNORECASE)


class TooLargeError(Exception):
    """The upload is over the tracker's limit."""


class StoredContent:
    """The bytes of an upload, written once, then read by any number of readers at once.

    From MAX_IN_MEMORY_BYTES on they are in a file without a name: nothing is left behind, however the process ends.
    """

    def __init__(self) -> None:
        self._memory, self._disk = bytearray(), -1
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Add a chunk."""
        self.size += len(chunk)
        self._memory += chunk
        if self.size > MAX_IN_MEMORY_BYTES:
            self._to_disk()

    def _to_disk(self) -> None:
        if self._disk < 0:
            with tempfile.TemporaryFile() as file:
                self._disk = os.dup(file.fileno())
            weakref.finalize(self, os.close, self._disk)
        view = memoryview(bytes(self._memory))
        while view:
            view = view[os.write(self._disk, view) :]
        self._memory.clear()

    async def chunks(self) -> AsyncIterator[bytes]:
        """All that was written, in chunks."""
        for start in range(0, self.size, CHUNK_BYTES):
            if self._disk >= 0:
                yield os.pread(self._disk, min(CHUNK_BYTES, self.size - start), start)
            else:
                yield bytes(self._memory[start : start + CHUNK_BYTES])
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file part as it arrived."""

    field: str
    name: str
    media_type: str
    size: int
    sha256: str
    content: StoredContent


def received(name: str, media_type: str, content: bytes) -> ReceivedFile:
    """A file that arrived in the memory."""
    stored = StoredContent()
    stored.write(content)
    return ReceivedFile("", name, media_type, stored.size, hashlib.sha256(content).hexdigest(), stored)


class _FlatReader(MultipartReader):
    """Treats each part as the bytes of a file, even one that claims to be multipart, which may lack a boundary."""

    @override
    def _get_part_reader(self, headers: Any) -> BodyPartReader:
        return self.part_reader_cls(
            self._boundary, headers, self._content, subtype=self._mimetype.subtype, default_charset=None
        )


async def receive(
    request: web.Request, limit: int | None, parse: DispositionParser
) -> tuple[dict[str, str], list[ReceivedFile]]:
    """The fields (by lower-case name) and files of a request; `TooLargeError` if it is over `limit` bytes."""
    if limit is not None and (request.content_length or 0) > limit + 64 * 1024:
        raise TooLargeError
    fields: dict[str, str] = {}
    files: list[ReceivedFile] = []
    # As "mixed", because of form-data aiohttp parses the names itself, and fails at a `;` in one.
    content_type = request.headers["Content-Type"].replace("form-data", "mixed", 1)
    async for part in _FlatReader({"Content-Type": content_type}, request.content):
        assert isinstance(part, BodyPartReader)  # noqa: S101 - the reader makes no others
        name, filename = parse(part.headers.get("Content-Disposition", ""))
        if filename is None:
            fields[name.lower()] = await part.text()
        else:
            files.append(await _store(part, name, filename, limit))
    return fields, files


async def receive_body(request: web.Request, limit: int | None) -> ReceivedFile:
    """The body of a request as a file without a name; `TooLargeError` if it is over `limit` bytes."""
    digest, content = hashlib.sha256(), StoredContent()
    async for chunk in request.content.iter_chunked(CHUNK_BYTES):
        if limit is not None and content.size + len(chunk) > limit:
            raise TooLargeError
        digest.update(chunk)
        content.write(chunk)
    return ReceivedFile("", "", request.content_type, content.size, digest.hexdigest(), content)


async def _store(part: BodyPartReader, field: str, name: str, limit: int | None) -> ReceivedFile:
    digest, content = hashlib.sha256(), StoredContent()
    while chunk := await part.read_chunk(CHUNK_BYTES):
        if limit is not None and content.size + len(chunk) > limit:
            raise TooLargeError
        digest.update(chunk)
        content.write(chunk)
    media_type = part.headers.get("Content-Type", "application/octet-stream").split(";")[0].strip()
    return ReceivedFile(field, name, media_type, content.size, digest.hexdigest(), content)


def disposition(header: str) -> tuple[str, str | None]:
    """The field name and the file name of a Content-Disposition, None where there is none."""
    unquoted = _QUOTED.sub("", header)
    values = {match[1].lower(): match[2] for match in _BARE.finditer(unquoted)}
    values |= {match[1].lower(): _unescaped(match[2]) for match in _QUOTED.finditer(header)}
    extended = _EXTENDED.search(unquoted)
    filename = unquote(extended[1]) if extended else values.get("filename")
    return values.get("name", ""), filename


def plain_disposition(header: str) -> tuple[str, str | None]:
    """The same, as parsed by servers that don't know `filename*` and unescape nothing."""
    values = {match[1].lower(): match[2] for match in _BARE.finditer(_QUOTED.sub("", header))}
    values |= {match[1].lower(): match[2] for match in _QUOTED.finditer(header)}
    return values.get("name", ""), values.get("filename")


def _unescaped(text: str) -> str:
    text = re.sub(r'\\(["\\])', r"\1", text)
    return re.sub("%(22|0D|0A)", lambda match: unquote(match[0]), text, flags=re.IGNORECASE)
