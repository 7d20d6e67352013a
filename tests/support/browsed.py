"""An archive whose tracker wished us ill, and what a browser gets of it."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from migrator.errors import RejectedError
from migrator.jobs.browse import Browser
from migrator.jobs.browse.pages import CHECKED_BYTES
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import run_backup

SCRIPT = "<script>alert('evil')</script>"
TITLE = f'{SCRIPT} & "quoted" \u202e'
PICTURE_NAME = '"><img src=x onerror=alert(1)>.txt'
ODD_NAME = 'a"b;c\r\nX-Evil: 1 – grüße 日本.html'
LARGE = CHECKED_BYTES + 1


def png(width: int = 40, height: int = 30) -> bytes:
    """A real image."""
    rows = b"".join(b"\0" + bytes([90, 40 + 4 * row, 200]) * width for row in range(height))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@dataclass
class Served:
    """An archive, and the server that shows it."""

    root: Path
    tracker: MemoryTracker
    ids: dict[str, str]
    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, **how: Any) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer."""
        method, params = how.pop("method", "GET"), how.pop("params", None)
        address = URL(self.url).join(URL(path, encoded=True))
        async with self.session.request(method, address.update_query(params) if params else address, **how) as answer:
            return answer.status, {key.lower(): value for key, value in answer.headers.items()}, await answer.read()

    async def page(self, path: str, status: int = 200, **params: str) -> str:
        """The text of a page."""
        answered, _, body = await self.get(path, params=params)
        assert answered == status, body
        return body.decode()


async def hostile_archive(root: Path) -> tuple[MemoryTracker, dict[str, str]]:
    """Two snapshots and a failure. Between them a file was renamed, another deleted."""
    tracker = MemoryTracker()
    evil = tracker.add("Bug", "1", title=TITLE)
    tracker.entities[evil] = replace(tracker.entities[evil], url="javascript:alert(1)")
    good = tracker.add("Story", "2/3?x=&y", title="Login page broken")
    tracker.entities[good] = replace(tracker.entities[good], url='https://tracker.example/bug/2?a=1&b="2')
    files = {
        "picture": tracker.attach(evil, PICTURE_NAME, png(), media_type="text/plain", description=SCRIPT),
        "fake": tracker.attach(evil, "fake.png", f"<html>{SCRIPT}</html>".encode(), media_type="image/png"),
        "svg": tracker.attach(
            evil,
            "drawing.svg",
            f"<svg xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>".encode(),
            media_type="image/svg+xml",
        ),
        "odd": tracker.attach(good, ODD_NAME, f"<html>{SCRIPT}</html>".encode(), media_type="text/html"),
        "old": tracker.attach(good, "march-report.txt", "Grüße\n".encode() * 20_000, created_by=SCRIPT),
        "gone": tracker.attach(good, "withdrawn.bin", b"\0\1\2"),
        "large": tracker.attach(good, "large.bin", bytes(LARGE)),
    }
    ids = {name: file.id for name, file in files.items()}
    await run_backup(tracker, root)
    tracker.remove(ids["gone"])
    tracker.files[ids["old"]] = replace(tracker.files[ids["old"]], name="april-report.txt")
    await run_backup(tracker, root)
    ids["failed"] = tracker.attach(good, "refused.txt", b"never").id

    async def refuse(verb: str, about: str) -> None:
        if about == ids["failed"]:
            raise RejectedError(f"no: {SCRIPT}")

    tracker.on_call = refuse
    await run_backup(tracker, root)
    return tracker, ids


@asynccontextmanager
async def browsed(root: Path, folder: Path) -> AsyncIterator[str]:
    """The address of a server in this process that shows an archive; `folder` is for its copy."""
    folder.mkdir()
    stop, listening = asyncio.Event(), socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    serving = asyncio.ensure_future(Browser(root, folder).serve(listening, stop))
    try:
        yield url
    finally:
        stop.set()
        await serving
