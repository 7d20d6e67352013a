"""Receives multipart uploads into files of a temporary folder, and reads them back.

A file is written to disk and hashed as it arrives, so its size does not matter.

Beware: file names come in three spellings (RFC 5987 `filename*`, a browser's %22, backslashes). Only a quote, a line
end or a doubled backslash is ever unescaped; every other character belongs to the name.
"""

import asyncio
import hashlib
import re
import shutil
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import BodyPartReader, MultipartReader, web
from typing_extensions import override

CHUNK = 256 * 1024

Named = Callable[[str], tuple[str, str | None]]
"""Parses the field name and the file name of a Content-Disposition."""

_EXTENDED = re.compile(r"""filename\*\s*=\s*utf-8''([^;\s]+)""", re.IGNORECASE)
_QUOTED = re.compile(r"""\b(filename|name)\s*=\s*"((?:\\.|[^"\\])*)\"""", re.IGNORECASE)
_BARE = re.compile(r"""\b(filename|name)\s*=\s*([^";]*[^";\s])""", re.IGNORECASE)


class TooLargeError(Exception):
    """The upload is over the tracker's limit."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file part as it arrived, with its bytes at `path`."""

    field: str
    name: str
    media_type: str
    size: int
    sha256: str
    path: Path


class _FlatReader(MultipartReader):
    """Treats each part as the bytes of a file, even one that claims to be multipart, which may lack a boundary."""

    @override
    def _get_part_reader(self, headers: Any) -> BodyPartReader:
        return self.part_reader_cls(
            self._boundary, headers, self._content, subtype=self._mimetype.subtype, default_charset=None
        )


class UploadStore:
    """A temporary folder for uploaded bytes; it is deleted with this object."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="migrator-sandbox-"))
        self._count = 0
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    async def receive(
        self, request: web.Request, limit: int | None, named: Named | None = None
    ) -> tuple[dict[str, str], list[ReceivedFile]]:
        """Read a request into (fields by lower-case name, files); `TooLargeError` if it is over `limit`."""
        named = named or disposition
        if limit is not None and (request.content_length or 0) > limit + 64 * 1024:
            raise TooLargeError
        fields: dict[str, str] = {}
        files: list[ReceivedFile] = []
        # As "mixed", because for form-data aiohttp parses the names as well, and fails at a `;` in one.
        kind = request.headers["Content-Type"].replace("form-data", "mixed", 1)
        async for part in _FlatReader({"Content-Type": kind}, request.content):
            assert isinstance(part, BodyPartReader)  # noqa: S101 - the reader makes no others
            name, filename = named(part.headers.get("Content-Disposition", ""))
            if filename is None:
                fields[name.lower()] = await part.text()
            else:
                files.append(await self._store(part, name, filename, limit))
        return fields, files

    async def _store(self, part: BodyPartReader, field: str, name: str, limit: int | None) -> ReceivedFile:
        self._count += 1
        path = self.folder / str(self._count)
        digest = hashlib.sha256()
        size = 0
        with path.open("wb") as file:
            while chunk := await part.read_chunk(CHUNK):
                size += len(chunk)
                if limit is not None and size > limit:
                    raise TooLargeError
                digest.update(chunk)
                file.write(chunk)
        media_type = part.headers.get("Content-Type", "application/octet-stream").split(";")[0].strip()
        return ReceivedFile(field, name, media_type, size, digest.hexdigest(), path)


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


async def chunks_of(path: Path) -> AsyncIterator[bytes]:
    """The bytes of a file, in chunks."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
            await asyncio.sleep(0)
