"""Issuetrak's ZIP route: all files of one issue in one request, for issues with many small files.

The route only saves requests. If anything about a ZIP is odd (it is missing, damaged, lacks an entry, or has an entry
larger than listed), its files are fetched one by one as if the route did not exist.

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

MIN_FILES = 4
"""Issues with fewer files are not worth a ZIP."""
MAX_ZIP_BYTES = 2_000_000
"""The most bytes of all files of an issue together, because they are held in memory."""
MAX_OPEN_ZIPS = 8
"""The most ZIPs in memory at once."""
MAX_PLANNED = 2000
"""The most issues with a plan. Files that are unchanged since an earlier run are never fetched, so plans remain."""

# What `zipfile` and `base64` raise for damaged data.
_DAMAGE_ERRORS = (zipfile.BadZipFile, zlib.error, KeyError, RuntimeError, EOFError, OSError, ValueError)

Fetch = Callable[[EntityRef], Awaitable[Mapping[str, Any]]]
"""Requests the ZIP of an issue."""


class ZipBatch:
    """The files of one ZIP, by the id of their attachment."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        """`UnexpectedBodyError` if the answer holds no ZIP."""
        self._names = {
            str(integer(record.get("AttachmentID"))): name
            for record in collection_in(as_object(answer.get("QueryResults")))
            for name in entry_names(record)
        }
        try:
            packed = base64.b64decode(text(answer.get("CompressedAttachmentsContent")), validate=True)
            self._zip = zipfile.ZipFile(io.BytesIO(packed))
        except _DAMAGE_ERRORS:
            raise UnexpectedBodyError("the answer is not a ZIP archive") from None

    def content(self, file_id: str, size: int) -> bytes | None:
        """The content of a file; None if the ZIP lacks it or its size is not exactly this."""
        try:
            with self._zip.open(self._names[file_id]) as entry:
                content = entry.read(size + 1)
        except _DAMAGE_ERRORS:
            return None
        return content if len(content) == size else None


@dataclass(slots=True)
class _Plan:
    """The files of one issue that may still be taken from its ZIP, and the ZIP once it is fetched."""

    waiting: set[str]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    unpacked: ZipBatch | None = None


class ZipBatches:
    """Files that are fetched by ZIP. Each is given out once, so that a second attempt fetches it alone."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._plans: dict[EntityRef, _Plan] = {}

    def plan(self, owner: EntityRef, files: tuple[Attachment, ...]) -> None:
        """Plan to fetch the files of an issue by ZIP, if that is worth it."""
        sizes = [file.size for file in files if file.size is not None]
        if len(files) >= MIN_FILES and len(sizes) == len(files) and sum(sizes) <= MAX_ZIP_BYTES:
            self._plans[owner] = _Plan({file.id for file in files})
        while len(self._plans) > MAX_PLANNED:
            self._forget(*next(iter(self._plans.items())))

    async def write(self, attachment: Attachment, sink: Sink) -> bool:
        """Write a file into the sink, if it came by ZIP; False if nothing was written and it is to be fetched alone."""
        content = await self.take(attachment)
        if content is None:
            return False
        await sink.start(BodyFacts(length=len(content), named=True))
        for start in range(0, len(content), CHUNK_BYTES):
            await sink.write(content[start : start + CHUNK_BYTES])
        return True

    async def take(self, attachment: Attachment) -> bytes | None:
        """The content of a file by ZIP; None if it is to be fetched alone."""
        plan = self._plans.get(attachment.owner)
        if plan is None or attachment.size is None:
            return None
        async with plan.lock:
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
        others = [(issue, other) for issue, other in self._plans.items() if other.unpacked and other is not plan]
        for issue, oldest in others[: max(0, len(others) + 1 - MAX_OPEN_ZIPS)]:
            self._forget(issue, oldest)
        return plan.unpacked

    def _forget(self, owner: EntityRef, plan: _Plan) -> None:
        plan.waiting.clear()
        plan.unpacked = None
        if self._plans.get(owner) is plan:
            del self._plans[owner]


def entry_names(record: Mapping[str, Any]) -> list[str]:
    """The name of a record's entry in the ZIP, if it has one."""
    pairs = as_objects(record.get("ExtensionData"))
    return [text(pair.get("Value")) for pair in pairs if pair.get("Key") == "CompressedEntryName"][:1]
