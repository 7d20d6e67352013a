"""Reads a body off the network: in chunks, with a maximum size, and not for ever.

The caller says how large and how slow is too much.

Beware: a tracker that sends a byte now and then never runs into the timeout, which only detects silence, so speed is
checked too. Only time spent waiting for the tracker counts; our own bandwidth limit must not make it look slow.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Protocol

from typing_extensions import override

from migrator.errors import RetriableError

CHUNK = 256 * 1024
SLOWEST = 128
"""Bytes a second: less than that over a whole `timeout` of waiting is as good as nothing."""


class Readable(Protocol):
    """A body under way."""

    @abstractmethod
    async def readany(self) -> bytes:
        """What is there, at least a byte; nothing at its end."""


class StallGuard(Readable):
    """A body as it comes; `RetriableError` once `patience` seconds of waiting brought less than SLOWEST bytes each."""

    def __init__(self, content: Readable, patience: float, what: str) -> None:
        self._content, self._patience, self._what = content, patience, what
        self._waited, self._came = 0.0, 0

    @override
    async def readany(self) -> bytes:
        began = time.monotonic()
        chunk = await self._content.readany()
        self._waited += time.monotonic() - began
        self._came += len(chunk)
        if chunk and self._waited > self._patience:
            if self._came < SLOWEST * self._waited:
                raise RetriableError(f"{self._what}: too slow: less than {SLOWEST} bytes a second")
            self._waited, self._came = 0.0, 0
        return chunk

    async def more(self, wanted: int) -> bytes:
        """At least `wanted` bytes; fewer only at the end of the body, and none after it."""
        return await gathered(self, wanted)


async def gathered(body: Readable, wanted: int) -> bytes:
    """At least `wanted` bytes of a body; fewer only at its end, and none after it."""
    chunk = await body.readany()
    if not chunk or len(chunk) >= wanted:
        return chunk
    parts, size = [chunk], len(chunk)
    while size < wanted and (chunk := await body.readany()):
        parts.append(chunk)
        size += len(chunk)
    return b"".join(parts)


async def limited(body: Readable, limit: int) -> tuple[bytes, bool]:
    """What came up to a limit, or a little more, and whether that is all of it."""
    parts: list[bytes] = []
    size = 0
    while chunk := await body.readany():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            return b"".join(parts), False
    return b"".join(parts), True
