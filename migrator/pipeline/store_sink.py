"""Receives a download for the archive, in memory while it is small."""

from __future__ import annotations

import asyncio
import hashlib

from typing_extensions import override

from migrator.model import Blob
from migrator.ports import BodyFacts, Sink
from migrator.progress import Progress
from migrator.store import Archive, IncomingBlob, Receiving

MAX_IN_MEMORY_BYTES = 256 * 1024
"""A download that is larger is written to a file while it arrives."""


class StoreSink(Sink):
    """Receives a download: in memory while it is small, else in a file of its own."""

    def __init__(self, archive: Archive, progress: Progress) -> None:
        self._archive, self._progress = archive, progress
        self._parts: list[bytes] = []
        self._size = 0
        self._file: Receiving | None = None
        self.warning: str | None = None

    @override
    async def start(self, facts: BodyFacts) -> None:
        pass

    @override
    async def write(self, chunk: bytes) -> None:
        self._progress.transferred(len(chunk))
        self._size += len(chunk)
        if self._file is None and self._size > MAX_IN_MEMORY_BYTES:
            self._file = self._archive.receiving()
            for part in self._parts:
                await self._file.write(part)
            self._parts.clear()
        if self._file is not None:
            await self._file.write(chunk)
        else:
            self._parts.append(chunk)

    @override
    def rewind(self) -> None:
        self.discard()
        self._parts, self._size, self.warning = [], 0, None

    @override
    def warn(self, text: str) -> None:
        self.warning = text if self.warning is None else f"{self.warning}; {text}"

    def discard(self) -> None:
        """Delete what was received."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    async def finish(self) -> IncomingBlob:
        """The whole file."""
        if self._file is not None:
            received = await asyncio.to_thread(self._file.finish)
            self._file = None
            return received
        body = b"".join(self._parts)
        return IncomingBlob(Blob(hashlib.sha256(body).hexdigest(), len(body)), body)
