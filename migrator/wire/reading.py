"""Reads a body in chunks, up to a maximum size, and only as long as it comes fast enough.

Beware: the timeout only detects silence, and a tracker that sends a byte now and then is never silent; so speed is
checked too. Only time spent waiting for the tracker counts; our own bandwidth limit must not make it look slow.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Protocol

from typing_extensions import override

from migrator.errors import RetriableError

CHUNK_BYTES = 256 * 1024
MIN_BYTES_PER_SECOND = 128
"""A body that is slower than this over a whole `timeout` of waiting has stalled."""


class Readable(Protocol):
    """A body that is still arriving."""

    @abstractmethod
    async def readany(self) -> bytes:
        """The bytes that have arrived, after waiting for at least one; empty at the end."""


class StallGuard(Readable):
    """Passes a body on unchanged; `RetriableError` once it was too slow for `timeout` seconds of waiting."""

    def __init__(self, content: Readable, timeout: float, subject: str) -> None:
        self._content, self._timeout, self._subject = content, timeout, subject
        self._waited, self._received = 0.0, 0

    @override
    async def readany(self) -> bytes:
        began = time.monotonic()
        chunk = await self._content.readany()
        self._waited += time.monotonic() - began
        self._received += len(chunk)
        if chunk and self._waited > self._timeout:
            if self._received < MIN_BYTES_PER_SECOND * self._waited:
                raise RetriableError(f"{self._subject}: too slow: less than {MIN_BYTES_PER_SECOND} bytes a second")
            self._waited, self._received = 0.0, 0
        return chunk

    async def read_at_least(self, size: int) -> bytes:
        """At least `size` bytes; fewer only at the end of the body, and none after it."""
        return await read_at_least(self, size)


async def read_at_least(body: Readable, size: int) -> bytes:
    """At least `size` bytes of a body; fewer only at its end, and none after it."""
    chunk = await body.readany()
    if not chunk or len(chunk) >= size:
        return chunk
    parts, received = [chunk], len(chunk)
    while received < size and (chunk := await body.readany()):
        parts.append(chunk)
        received += len(chunk)
    return b"".join(parts)


async def read_up_to(body: Readable, limit: int) -> tuple[bytes, bool]:
    """A body up to a limit, or a little more, and whether it is the whole body."""
    parts: list[bytes] = []
    size = 0
    while chunk := await body.readany():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            return b"".join(parts), False
    return b"".join(parts), True
