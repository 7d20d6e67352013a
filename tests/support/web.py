"""A source with a single file, and a server that answers its download with the exact bytes of a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from migrator.model import Attachment, Cursor, Entity, EntityRef, Page
from migrator.ports import Capabilities, Sink
from migrator.wire.client import HttpClient

OWNER = EntityRef("Bug", "1")


class OneFile:
    """A source that lists one attachment of one bug, and downloads it from the server."""

    capabilities = Capabilities(streams=("all",))

    def __init__(self, http: HttpClient, size: int | None, name: str = "x.png", media_type: str = "") -> None:
        self._http = http
        self._file = Attachment("7", OWNER, name, size, media_type=media_type)

    async def check(self) -> str:
        return "fine"

    async def close(self) -> None:
        await self._http.close()

    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        return Page((Entity(OWNER, "a bug", "", "{}"),), (self._file,))

    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        return (self._file,)

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        await self._http.download("file", sink)


@contextlib.asynccontextmanager
async def sends(*answers: bytes, then: str = "close") -> AsyncIterator[str]:
    """Serve these bytes, one answer for each connection, the last one for all others; yields the base URL.

    `then` is what follows: close, stall (send nothing), dribble (a byte now and then), or flood (without end).
    """
    left, connections = list(answers), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
            while then == "dribble" and not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
            while then == "flood" and not reader.at_eof():
                writer.write(bytes(65536))
                await writer.drain()
            if then == "stall":
                await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        if connections:
            await asyncio.wait(connections, timeout=5)


def answer(body: bytes, media_type: str = "image/png", *headers: str, length: int | None = -1) -> bytes:
    """A whole response. `length` is the Content-Length: -1 is the true one, None leaves it out."""
    lines = ["HTTP/1.1 200 OK", f"Content-Type: {media_type}", *headers]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length < 0 else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body
