"""How a body is read off the wire: bounded, in pieces, and not for ever.

The one idea: whoever reads says how much and how slow is too much.
The one trap: a tracker that sends a byte now and then never runs into the timeout, which is for silence. What counts
is the time spent waiting for the tracker: a bandwidth limit of our own makes nobody slow.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Protocol

from migrator.answers import SNIFF
from migrator.errors import Retriable

CHUNK = 256 * 1024
SLOWEST = 128
"""Bytes a second: less than that over a whole `timeout` of waiting is as good as nothing."""


class Readable(Protocol):
    """A body under way."""

    async def readany(self) -> bytes:
        """What is there, at least a byte; nothing at its end."""


async def steady(content: Readable, patience: float, what: str) -> AsyncIterator[bytes]:
    """The body as it comes; `Retriable` once `patience` seconds of waiting brought less than SLOWEST bytes each."""
    waited, came = 0.0, 0
    while True:
        began = time.monotonic()
        chunk = await content.readany()
        if not chunk:
            return
        waited, came = waited + time.monotonic() - began, came + len(chunk)
        if waited > patience:
            if came < SLOWEST * waited:
                raise Retriable(f"{what}: too slow: less than {SLOWEST} bytes a second")
            waited, came = 0.0, 0
        yield chunk


async def limited(body: AsyncIterator[bytes], limit: int) -> tuple[bytes, bool]:
    """What came up to a limit, or a little more, and whether that is all of it."""
    parts: list[bytes] = []
    size = 0
    async for chunk in body:
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            return b"".join(parts), False
    return b"".join(parts), True


async def gathered(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body in pieces of CHUNK bytes or a little more; the first holds at least SNIFF bytes if there are any."""
    parts: list[bytes] = []
    size, wanted = 0, SNIFF
    async for chunk in body:
        parts.append(chunk)
        size += len(chunk)
        if size >= wanted:
            yield b"".join(parts)
            parts, size, wanted = [], 0, CHUNK
    if parts:
        yield b"".join(parts)
