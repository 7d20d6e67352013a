"""A tracker far away: passes bytes between two ports and holds back what goes to the server for 50 ms."""

from __future__ import annotations

import asyncio
import sys

DELAY = 0.05


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    loop = asyncio.get_running_loop()
    while chunk := await reader.read(65536):
        if delay:
            loop.call_later(delay, writer.write, chunk)
        else:
            writer.write(chunk)
            await writer.drain()
    loop.call_later(delay, writer.close)


async def _serve(port: int, behind: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection("127.0.0.1", behind)
        await asyncio.gather(_pass_on(reader, to, DELAY), _pass_on(there, writer, 0.0), return_exceptions=True)

    async with await asyncio.start_server(connected, "127.0.0.1", port) as server:
        await server.serve_forever()


asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
