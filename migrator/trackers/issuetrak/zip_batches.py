"""Issuetrak's ZIP route: all files of one issue in one request, for issues with many small files.

It only saves requests. If anything about an archive is odd (missing, damaged, without an entry, an entry larger than
listed), its files are fetched one by one as if the route did not exist.

Beware: a ZIP may unpack to any size, so an entry is never read further than one byte beyond its listed size.
"""

from __future__ import annotations

import asyncio
import base64
import io
import zipfile
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.errors import ItemFailedError, UnexpectedBodyError
from migrator.model import Attachment, EntityRef
from migrator.ports import BodyFacts, Sink
from migrator.trackers.issuetrak.parse import collection_in
from migrator.trackers.lenient import as_object, as_objects, integer, text
from migrator.wire import CHUNK_BYTES

FEWEST = 4  # files of an issue that are worth it
MOST_BYTES = 2_000_000  # of all files of an issue together: they are held in memory
MOST_KEPT = 8  # archives in memory at once
MOST_PLANNED = 2000

_ODD = (zipfile.BadZipFile, zlib.error, KeyError, RuntimeError, EOFError, OSError, ValueError)

Fetch = Callable[[EntityRef], Awaitable[Mapping[str, Any]]]
"""Asks for the archive of an issue: the answer of the route."""


class ZipBatch:
    """The entries of one archive, by the id of their attachment."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        """`UnexpectedBodyError` if the answer makes no sense."""
        self._names = {
            str(integer(found.get("AttachmentID"))): name
            for found in collection_in(as_object(answer.get("QueryResults")))
            for name in entry_names(found)
        }
        try:
            packed = base64.b64decode(text(answer.get("CompressedAttachmentsContent")), validate=True)
            self._archive = zipfile.ZipFile(io.BytesIO(packed))
        except _ODD:
            raise UnexpectedBodyError("the answer holds no ZIP archive") from None

    def content(self, id_: str, size: int) -> bytes | None:
        """The file, if it is there and of exactly this size."""
        try:
            with self._archive.open(self._names[id_]) as entry:
                content = entry.read(size + 1)
        except _ODD:
            return None
        return content if len(content) == size else None


@dataclass(slots=True)
class _Plan:
    """What is still to be given out of one archive, and the archive once it is there."""

    waiting: set[str]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    unpacked: ZipBatch | None = None


class ZipBatches:
    """Files that come by archive; each is given out once, so that a second try fetches it alone."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._plans: dict[EntityRef, _Plan] = {}

    def plan(self, owner: EntityRef, files: tuple[Attachment, ...]) -> None:
        """Take note of an issue's files, if an archive of them is worth it."""
        sizes = [file.size for file in files if file.size is not None]
        if len(files) >= FEWEST and len(sizes) == len(files) and sum(sizes) <= MOST_BYTES:
            self._plans[owner] = _Plan({file.id for file in files})
        # What is unchanged since an earlier run is never asked for.
        while len(self._plans) > MOST_PLANNED:
            self._forget(*next(iter(self._plans.items())))

    async def give(self, attachment: Attachment, sink: Sink) -> bool:
        """Write a file into the sink, if it came by archive; False: nothing was written, fetch it alone."""
        content = await self.take(attachment)
        if content is None:
            return False
        await sink.start(BodyFacts(length=len(content), named=True))
        for at in range(0, len(content), CHUNK_BYTES):
            await sink.write(content[at : at + CHUNK_BYTES])
        return True

    async def take(self, attachment: Attachment) -> bytes | None:
        """A file by archive; None: fetch it alone."""
        plan = self._plans.get(attachment.owner)
        if plan is None or attachment.size is None:
            return None
        async with plan.turn:
            if attachment.id not in plan.waiting:
                return None
            plan.waiting.discard(attachment.id)
            unpacked = plan.unpacked or await self._open(attachment.owner, plan)
            content = unpacked.content(attachment.id, attachment.size) if unpacked else None
            if not plan.waiting:
                self._forget(attachment.owner, plan)
            return content

    async def _open(self, owner: EntityRef, plan: _Plan) -> ZipBatch | None:
        try:
            plan.unpacked = ZipBatch(await self._fetch(owner))
        except ItemFailedError:
            self._forget(owner, plan)
            return None
        others = [(whose, other) for whose, other in self._plans.items() if other.unpacked and other is not plan]
        for oldest, old in others[: max(0, len(others) + 1 - MOST_KEPT)]:
            self._forget(oldest, old)
        return plan.unpacked

    def _forget(self, owner: EntityRef, plan: _Plan) -> None:
        plan.waiting.clear()
        plan.unpacked = None
        if self._plans.get(owner) is plan:
            del self._plans[owner]


def entry_names(found: Mapping[str, Any]) -> list[str]:
    """The name of a record's entry in the archive, if it has one."""
    pairs = as_objects(found.get("ExtensionData"))
    return [text(pair.get("Value")) for pair in pairs if pair.get("Key") == "CompressedEntryName"][:1]
