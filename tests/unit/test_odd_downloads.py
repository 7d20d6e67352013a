"""Every tracker, its downloads answered oddly: nothing is taken for a file, and no other host speaks for it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web

from migrator import errors
from migrator.layers.verify import VerifiedSource
from migrator.model import Attachment
from migrator.ports import Source
from migrator.sandbox.world.model import World
from migrator.testing import MemorySink, crawl
from migrator.trackers import TRACKERS, adapter
from migrator.trackers.targetprocess.parse import INLINE
from migrator.wire.client import HttpClient
from tests.fuzz.servers import Plan, wrong_tracker

WORLD = World.generate(entities=6, seed=5, attachments=8, median_bytes=3000, large_bytes=0)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Odd(Plan):
    """While `change` is set, it makes of each right answer what goes out instead."""

    change: Callable[[web.Response], web.StreamResponse] | None = None

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        right = await handler(request)
        return right if self.change is None else self.change(right)


@asynccontextmanager
async def listed(tracker: str) -> AsyncIterator[tuple[Odd, Source, Attachment, bytes]]:
    """A tracker that has told of its files, and one of them."""
    plan, made = Odd(), adapter(tracker)
    async with wrong_tracker(tracker, WORLD, plan) as running:
        http = HttpClient(running.url, made.signer(running.auth), timeout=5)
        source = VerifiedSource(made.source(http, made.options()))
        files = [file for file in (await crawl(source)).attachments.values() if not file.id.startswith(INLINE)]
        file = max(files, key=lambda file: file.size or 0)
        bucket = MemorySink()
        await source.download(file, bucket)
        try:
            yield plan, source, file, bytes(bucket.content)
        finally:
            await source.close()


@pytest.mark.parametrize("tracker", sorted(TRACKERS))
@pytest.mark.parametrize("status", [201, 202, 203, 204, 205, 206, 226, 304])
async def test_status_that_is_no_file_brings_none_from_any_tracker(tracker, status):
    async with listed(tracker) as (plan, source, file, _):
        bare = status in {204, 205, 304}
        plan.change = lambda right: web.Response(
            status=status, body=b"" if bare else right.body, content_type=right.content_type
        )
        bucket = MemorySink()
        with pytest.raises(errors.MigratorError) as caught:
            await source.download(file, bucket)
    assert not bucket.started
    assert not isinstance(caught.value, errors.GoneError | errors.ForbiddenError | errors.FatalError)


@asynccontextmanager
async def elsewhere(status: int) -> AsyncIterator[str]:
    """Another host that refuses everything, or (status 0) is dead."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.2", 0)
    port = server.sockets[0].getsockname()[1]
    if not status:
        server.close()
    yield f"http://127.0.0.2:{port}"
    server.close()


@pytest.mark.parametrize("tracker", sorted(TRACKERS))
@pytest.mark.parametrize("status", [0, 400, 401, 403, 404, 405, 407, 410, 422, 429, 500, 503])
async def test_other_host_speaks_for_no_tracker(tracker, status):
    async with listed(tracker) as (plan, source, file, _), elsewhere(status) as url:
        plan.change = lambda _: web.Response(status=302, headers={"Location": f"{url}/file"})
        with pytest.raises(errors.MigratorError) as caught:
            await source.download(file, MemorySink())
    mine = (
        errors.GoneError,
        errors.ForbiddenError,
        errors.NotExposedError,
        errors.ThrottledError,
        errors.ConnectError,
        errors.FatalError,
    )
    assert not isinstance(caught.value, mine)
    assert isinstance(caught.value, errors.RejectedError if 400 <= status < 429 else errors.RetriableError)
    assert url.removeprefix("http://") in str(caught.value)


@pytest.mark.parametrize("tracker", sorted(TRACKERS))
@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "UTF-8", "none", "aws-chunked", "gzip, aws-chunked"])
async def test_file_comes_whatever_is_said_of_its_coding(tracker, coding):
    def change(right: web.Response) -> web.Response:
        body = gzip.compress(bytes(right.body)) if "gzip" in coding else bytes(right.body)
        headers = {"Content-Type": right.headers["Content-Type"], "Content-Encoding": coding}
        return web.Response(body=body, headers=headers)

    async with listed(tracker) as (plan, source, file, content):
        plan.change, bucket = change, MemorySink()
        await source.download(file, bucket)
    assert bytes(bucket.content) == content
    assert bucket.warnings == []
