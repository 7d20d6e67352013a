"""The lane that downloads travel by, against servers that send whatever bytes a test wants, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import socket
import ssl
import struct
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from migrator import errors
from migrator.testing import MemorySink
from migrator.wire.auth import HeaderAuth, Signature
from migrator.wire.client import HttpClient
from migrator.wire.h1 import pool, response
from migrator.wire.h1.pool import ConnectionPool
from migrator.wire.h1.response import MAX_BUFFERED_BYTES, MAX_HEAD_BYTES, H1Response, IncompleteBodyError, ProtocolError
from migrator.wire.rate import RateLimiter
from migrator.wire.route import DEFAULT_ROUTE, Route, TlsFiles
from migrator.wire.route import Proxy as Through
from migrator.wire.transport import MAX_CLOSE_SECONDS
from tests.fuzz import examples
from tests.support.tls import Certificates, Proxy
from tests.support.web import answer

FILE, OTHER = b"0123456789", b"another file"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MIB = 2**20

Step = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A server: its n-th connection answers its requests by the n-th script, the last one serves all others too.

    A step is bytes, or what to do with the connection; behind the last step of a script it is closed.
    """

    def __init__(self, *scripts: tuple[Step, ...]) -> None:
        self._scripts = scripts
        self.heads: list[tuple[int, str]] = []
        self.ended: list[int] = []
        self.url = ""
        self._connections = 0
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def asked(self) -> list[int]:
        """The connection of each request."""
        return [number for number, _ in self.heads]

    @contextlib.asynccontextmanager
    async def serving(self, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Peer]:
        server = await asyncio.start_server(self._talk, host, 0, ssl=context)
        name = f"[{host}]" if ":" in host else host
        self.url = f"http{'s' if context else ''}://{name}:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            if self._talks:
                await asyncio.wait(self._talks, timeout=5)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._talks.add(asyncio.current_task())
        number, self._connections = self._connections, self._connections + 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            for step in self._scripts[min(number, len(self._scripts) - 1)]:
                self.heads.append((number, (await reader.readuntil(b"\r\n\r\n")).decode()))
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                else:
                    await step(reader, writer)
        self.ended.append(number)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def client(url: str, **options: Any) -> AsyncIterator[HttpClient]:
    """Closed at the end; then no connection of its lane is left."""
    http = HttpClient(url, options.pop("signer", HeaderAuth("X-Key", "k")), **{"timeout": 5, **options})
    try:
        yield http
    finally:
        await http.close()
        assert not http._transport._reads._open
        assert http._limiter.under_way == 0


@contextlib.contextmanager
def over_aiohttp(http: HttpClient) -> Iterator[None]:
    """Everything goes over aiohttp inside, also what otherwise goes over our own connections."""
    split = http._transport
    http._exchange._transport = split._general
    try:
        yield
    finally:
        http._exchange._transport = split


async def fetched(http: HttpClient, path: str = "file") -> bytes:
    bucket = MemorySink()
    await http.download(path, bucket)
    return bytes(bucket.content)


async def fetched_from(*scripts: tuple[Step, ...], times: int = 1) -> tuple[list[bytes], Peer]:
    """What so many downloads in turn bring."""
    async with Peer(*scripts).serving() as peer, client(peer.url) as http:
        return [await fetched(http) for _ in range(times)], peer


async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def then(first: bytes, step: Callable[..., Awaitable[None]]) -> Step:
    async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await writer.drain()
        await step(reader, writer)

    return both


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


# --- bodies and their ends

BODIES = {
    "by its length": answer(FILE),
    "in chunks": CHUNKED + b"4\r\n0123\r\n6;name=value\r\n456789\r\n0\r\n\r\n",
    "in chunks, with trailers": CHUNKED + b"a\r\n0123456789\r\n0\r\nX-Trailer: t\r\nContent-Type: text/x\r\n\r\n",
    "in chunks, their sizes padded": CHUNKED + b"a  \r\n0123456789\r\n0\r\n\r\n",
    "until the connection closes": answer(FILE, length=None),
    "behind 100 and 103": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(FILE),
    "by its length, told three times": answer(FILE, "image/png", "Content-Length: 10", "content-length:10 , 10"),
    "behind 100, its length told twice": b"HTTP/1.1 100 Continue\r\n\r\n" + answer(FILE, "a/b", "Content-Length: 10"),
    "with an offer to upgrade": answer(FILE, "image/png", "Connection: upgrade", "Upgrade: h2c"),
}


@pytest.mark.parametrize("how", BODIES)
async def test_body_comes_whole_whatever_tells_its_end(how):
    assert (await fetched_from((BODIES[how],)))[0] == [FILE]


@pytest.mark.parametrize(
    "cut",
    [
        answer(FILE, length=11),
        CHUNKED + b"a\r\n01234",
        CHUNKED + b"a\r\n0123456789\r\n",
        CHUNKED + b"a\r\n0123456789\r\n0\r\nX-Trail",
        CHUNKED + b"a\r\n0123456789\r\nnonsense\r\n",
    ],
    ids=["length", "within a chunk", "between chunks", "within a trailer", "no chunk"],
)
async def test_body_that_ends_before_its_end_is_a_wrong_body(cut):
    with pytest.raises(errors.UnexpectedBodyError, match="GET file: the body broke off"):
        await fetched_from((cut,))


async def test_connection_that_is_reset_is_no_end_of_a_body():
    async def reset(reader, writer):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await asyncio.sleep(0.05)
        writer.transport.abort()

    with pytest.raises(errors.UnexpectedBodyError, match="the body broke off"):
        await fetched_from((then(answer(FILE, length=None), reset),))


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("told", [b"", b"Content-Length: 0\r\n", b"Content-Length: 12\r\n"])
async def test_answer_that_has_no_body_ends_with_its_head(status, told):
    bare = b"HTTP/1.1 " + status + b"\r\n" + told + b"\r\n"
    for scripts, asked in (((bare, answer(FILE)),), [0, 0]), (((bare + OTHER, stall), (answer(FILE),)), [0, 1]):
        async with Peer(*scripts).serving() as peer:
            road, found = ConnectionPool(URL(peer.url), max_idle=2, timeout=5), []
            for _ in range(2):
                async with await road.get("/a", {}) as one:
                    found.append(await one.readany())
            await road.close()
        assert found == [b"", FILE]
        assert peer.asked == asked


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\n01234",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3, 5\r\n\r\n01234",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\nContent-Length: +3\r\n\r\n012",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + answer(FILE),
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 12\r\n\r\nanother file" + answer(FILE),
        b"HTTP/1.1 099 Odd\r\nContent-Length: 12\r\n\r\nanother file" + answer(FILE),
        b"GET / HTTP/1.1\r\n\r\n",
        b"<html>",
    ],
)
async def test_answer_that_cannot_be_read_may_be_asked_for_again(sent, caplog):
    bucket = MemorySink()
    async with Peer((sent,)).serving() as peer, client(peer.url) as http:
        with pytest.raises(errors.RetriableError, match=r"GET file: the connection broke \(ProtocolError\)"):
            await http.download("file", bucket)
    assert not bucket.started
    assert peer.asked == [0]
    assert caplog.records == []


@pytest.mark.parametrize(
    "flood",
    [
        b"X-Long: " + b"x" * MAX_HEAD_BYTES,
        b"X: y\r\n" * MAX_HEAD_BYTES,
        b"Set-Cookie: " + b"x" * (4 * MIB),
    ],
    ids=["long", "many", "longer than any block"],
)
async def test_head_without_measure_is_an_error(flood):
    with pytest.raises(errors.RetriableError, match="ProtocolError"):
        await fetched_from((b"HTTP/1.1 200 OK\r\n" + flood + b"\r\n\r\n",))


@pytest.mark.parametrize(
    "endless", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 " + b"x" * 100], ids=["1xx", "reason"]
)
async def test_head_that_never_ends_is_given_up(endless):
    async def flood(reader, writer):
        while True:
            writer.write(endless.replace(b"HTTP/1.1 200 ", b"") * 1000)
            await writer.drain()

    with pytest.raises(errors.RetriableError, match="ProtocolError"):
        await fetched_from((then(endless, flood),))


async def test_trailers_without_measure_are_an_error():
    async def flood(reader, writer):
        while True:
            writer.write(b"X-More: yes\r\n" * 1000)
            await writer.drain()

    with pytest.raises(errors.UnexpectedBodyError, match="the body broke off"):
        await fetched_from((then(CHUNKED + b"a\r\n0123456789\r\n0\r\n", flood),))


async def test_name_of_a_file_in_the_head_may_hold_any_byte_but_nul():
    named = (
        b'HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename="\x01\xff\xe4.txt"\r\nContent-Length: 1\r\n\r\nx'
    )
    async with Peer((named,)).serving() as peer, client(peer.url) as http:
        bucket = MemorySink()
        await http.download("file", bucket)
    assert bucket.facts.named


# --- one connection, many answers


async def test_connection_is_reused_and_nothing_of_an_answer_reaches_the_next():
    told_twice = "by its length, told three times"
    whole = [BODIES[how] for how in ("in chunks, with trailers", told_twice, "behind 100 and 103", "in chunks")]
    async with Peer((*whole, stall)).serving() as peer:
        road = ConnectionPool(URL(peer.url), max_idle=4, timeout=5)
        for number in range(len(whole)):
            async with await road.get("/a", {}) as found:
                assert "X-Trailer" not in found.headers
                assert ("Content-Length" in found.headers) is (number in {1, 2})
                assert await found.content.readany() + await found.content.readany() == FILE
        await road.close()
    assert peer.asked == [0] * len(whole)


@pytest.mark.parametrize(
    ("version", "header", "kept"),
    [
        (b"1.1", "X: y", True),
        (b"1.1", "Connection: close", False),
        (b"1.1", "Connection: Keep-Alive, CLOSE", False),
        (b"1.0", "X: y", False),
        (b"1.0", "Connection: keep-alive", True),
    ],
)
async def test_connection_is_kept_as_the_server_wants(version, header, kept):
    step = answer(FILE, "image/png", header).replace(b"HTTP/1.1", b"HTTP/" + version)
    found, peer = await fetched_from((step, step, stall), times=2)
    assert found == [FILE, FILE]
    assert peer.asked == ([0, 0] if kept else [0, 1])


@pytest.mark.parametrize("behind", [answer(OTHER), b"H", b"x", b"\0", b"\r\nHTTP/1.1 200 OK\r\n"])
async def test_bytes_behind_an_answer_are_never_those_of_the_next(behind):
    found, peer = await fetched_from((answer(FILE) + behind, stall), (answer(b"the next"),), times=2)
    assert found == [FILE, b"the next"]
    assert peer.asked == [0, 1]


async def test_answer_that_nobody_asked_for_is_never_the_next_one():
    async def late(reader, writer):
        await asyncio.sleep(0.02)
        writer.write(answer(OTHER))
        await reader.read()

    async with Peer((then(answer(FILE), late),), (answer(b"the next"),)).serving() as peer, client(peer.url) as http:
        assert await fetched(http) == FILE
        await eventually(lambda: peer.ended == [0])
        assert await fetched(http) == b"the next"


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 2\r\n\r\n{}",
        b"Content-Length: 2\r\nX-Kind: odd\t \r\n\r\n{}",
        b"\r\n{}",
        b"Transfer-Encoding: identity\r\n\r\n{}",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Content-Encoding: deflate\r\n\r\n" + zlib.compress(b"{}"),
        b"Content-Length: 2\r\n\r\n{}\r\n",
        b"Content-Length: 1\r\n\r\n{}",
        b"Content-Length: 3\r\n\r\n{}",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}",
    ],
)
async def test_answer_is_read_as_the_general_client_reads_it(lines):
    async with Peer((b"HTTP/1.1 200 OK\r\n" + lines,)).serving() as peer, client(peer.url) as http:
        found = []
        for transport in (contextlib.nullcontext(), over_aiohttp(http)):
            try:
                with transport:
                    answered = await http.get("a")
                kind = answered.headers.get("X-Kind", "")
                found.append((answered.body, kind.rstrip("\t ")))  # aiohttp 3.14.0 leaves blanks at the end
            except errors.MigratorError as error:
                found.append(type(error))
    assert found[0] == found[1]


async def test_new_connection_that_brings_nothing_is_replaced_once_for_an_answer():
    async with Peer((b"",), (b"",), (answer(b"{}"),)).serving() as peer, client(peer.url) as http:
        with pytest.raises(errors.RetriableError):
            await http.get("a")
        assert (await http.get("a")).body == b"{}"
    assert peer.asked == [0, 1, 2]


@pytest.mark.parametrize("name", ["accept", "ACCEPT-ENCODING", "user-agent"])
async def test_header_of_a_request_replaces_the_default_one(name):
    async with Peer((answer(b"{}"),)).serving() as peer, client(peer.url, signer=HeaderAuth(name, "x")) as http:
        await http.get("a")
    [(_, head)] = peer.heads
    assert [line for line in head.split("\r\n") if line.lower().startswith(f"{name.lower()}:")] == [f"{name}: x"]


async def test_server_that_closed_a_kept_connection_is_asked_over_a_new_one():
    async with Peer((answer(FILE),)).serving() as peer, client(peer.url) as http:
        assert await fetched(http) == FILE
        await eventually(lambda: not http._transport._reads._open)
        assert http._transport._reads._idle == []
        assert await fetched(http) == FILE
    assert peer.asked == [0, 1]


async def test_server_that_closes_a_kept_connection_is_asked_once_more():
    async def close(reader, writer):
        pass

    found, peer = await fetched_from((answer(FILE), close), (answer(OTHER),), times=2)
    assert found == [FILE, OTHER]
    assert peer.asked == [0, 0, 1]
    with pytest.raises(errors.RetriableError, match=r"the connection broke \(NoResponseError\)"):
        await fetched_from((close,))


async def test_request_that_was_answered_by_a_single_byte_is_not_sent_again():
    async with Peer((answer(FILE), b"H"), (answer(OTHER),)).serving() as peer, client(peer.url) as http:
        assert await fetched(http) == FILE
        with pytest.raises(errors.RetriableError):
            await fetched(http)
        assert peer.asked == [0, 0]


async def test_new_connection_that_breaks_is_not_tried_again():
    async def close(reader, writer):
        pass

    async with Peer((answer(FILE), close), (close,)).serving() as peer, client(peer.url) as http:
        await fetched(http)
        with pytest.raises(errors.RetriableError):
            await fetched(http)
    assert peer.asked == [0, 0, 1]


async def test_connection_that_was_idle_too_long_is_not_used_again(monkeypatch):
    monkeypatch.setattr(pool, "MAX_IDLE_SECONDS", 0.0)
    found, peer = await fetched_from((answer(FILE), answer(FILE)), times=2)
    assert found == [FILE, FILE]
    assert peer.asked == [0, 1]


async def test_no_more_idle_connections_are_kept_than_may_be_open():
    async with Peer((answer(FILE), stall)).serving() as peer:
        road = ConnectionPool(URL(peer.url), max_idle=2, timeout=5)
        answers = await asyncio.gather(*(road.get("/a", {}) for _ in range(5)))
        for found in answers:
            async with found:
                assert await found.content.readany() == FILE
                assert await found.content.readany() == b""
        await eventually(lambda: len(peer.ended) == 3)
        assert len(road._idle) == len(road._open) == 2
        await road.close()
        await road.close()


# --- what is left behind


class Full(MemorySink):
    async def write(self, chunk: bytes) -> None:
        raise errors.StorageError("full")


async def test_body_that_nobody_wants_any_more_costs_its_connection():
    half = then(answer(bytes(1000), length=MIB), stall)
    async with Peer((half,), (answer(OTHER),)).serving() as peer, client(peer.url, timeout=30) as http:
        with pytest.raises(errors.StorageError):
            await http.download("file", Full())
        await eventually(lambda: peer.ended == [0])
        assert await fetched(http) == OTHER
    assert peer.asked == [0, 1]


async def test_connection_whose_reading_was_held_back_is_not_used_again():
    async with Peer((answer(bytes(MAX_BUFFERED_BYTES + 1)), stall), (answer(OTHER),)).serving() as peer:
        road = ConnectionPool(URL(peer.url), max_idle=2, timeout=5)
        async with await road.get("/a", {}) as found:
            await eventually(lambda: found.complete)
        async with await road.get("/a", {}) as found:
            assert await found.content.readany() == OTHER
        await road.close()
    assert peer.asked == [0, 1]


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(65536))
        await writer.drain()


@pytest.mark.parametrize(
    "step", [stall, then(answer(FILE, length=MIB), stall), then(answer(b"", length=None), endless)]
)
async def test_download_that_is_cancelled_leaves_nothing_open(step):
    async with Peer((step,), (answer(OTHER),)).serving() as peer, client(peer.url, timeout=30) as http:
        task = asyncio.create_task(fetched(http))
        await eventually(lambda: bool(peer.heads))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert http._limiter.under_way == 0
        await eventually(lambda: not http._transport._reads._open and peer.ended == [0])
        assert await fetched(http) == OTHER


async def test_download_that_is_cancelled_while_it_connects_leaves_nothing_open():
    silent = socket.create_server(("127.0.0.1", 0))  # takes connections, and never says a word of TLS
    async with client(f"https://127.0.0.1:{silent.getsockname()[1]}") as http:
        for pause in (0, 0.001, 0.05):
            task = asyncio.create_task(fetched(http))
            await asyncio.sleep(pause)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert http._limiter.under_way == 0
    silent.close()
    gc.collect()


# --- time and memory


@pytest.mark.parametrize(
    "begins",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 100 Continue\r\n\r\n", answer(FILE, length=100), CHUNKED + b"1;"],
    ids=["nothing", "half a head", "100", "half a body", "half a chunk's size"],
)
@pytest.mark.parametrize("drips", [False, True])
async def test_tracker_that_brings_nothing_for_too_long_is_given_up(begins, drips):
    async def drip(reader, writer):
        while not reader.at_eof():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with Peer((then(begins, drip if drips else stall),)).serving() as peer, client(peer.url, timeout=0.2) as http:
        complaints = []
        http._limiter.on_overload = complaints.append
        with pytest.raises(errors.RetriableError) as caught:
            await fetched(http)
    slow_body = drips and b"\r\n\r\n" in begins and b"200" in begins and b"chunked" not in begins
    told = "ProtocolError|timed out waiting for data" if drips else "timed out waiting for data$"
    assert caught.match("too slow" if slow_body else told)
    assert bool(complaints) is ("timed out" in str(caught.value))


async def test_time_that_is_spent_on_our_side_is_not_the_trackers():
    class Slow(MemorySink):
        async def write(self, chunk: bytes) -> None:
            await asyncio.sleep(0.15)
            await super().write(chunk)

    body = bytes(3 * MIB)
    async with Peer((answer(body),)).serving() as peer, client(peer.url, timeout=0.1) as http:
        bucket = Slow()
        await http.download("file", bucket)
    assert bucket.content == body


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_body_is_not_read_faster_than_it_is_taken(tmp_path, secure):
    made, sent, most, whole = Certificates(tmp_path), 0, 0, 64 * MIB

    async def big(reader, writer):
        nonlocal sent
        writer.write(answer(b"", length=whole))
        while sent < whole:
            writer.write(bytes(MIB))
            await writer.drain()
            sent += MIB

    class Stuck(MemorySink):
        async def write(self, chunk: bytes) -> None:
            nonlocal most
            if not most:
                await asyncio.sleep(0.2)
                most = sent
                [connection] = http._transport._reads._open
                assert connection._response._size <= MIB
            self.largest += len(chunk)

    route = Route(*TlsFiles("source.tls", ca_file=made.ca).contexts()) if secure else DEFAULT_ROUTE
    async with (
        Peer((big,)).serving(made.server() if secure else None) as peer,
        client(peer.url, route=route) as http,
    ):
        bucket = Stuck()
        await http.download("file", bucket)
    assert bucket.largest == whole
    assert most < whole // 2, "the rest lies in buffers of the system"


async def test_bandwidth_of_our_own_holds_the_server_back():
    body = bytes(3 * MIB)
    pacer = RateLimiter(bytes_per_second=100 * MIB)
    async with Peer((answer(body),)).serving() as peer, client(peer.url, pacer=pacer) as http:
        assert await fetched(http) == body


# --- what is sent


class Given(HeaderAuth):
    """A signer of these headers, checked by nobody."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._given = headers

    async def sign(self, request: Any) -> Signature:
        return Signature(headers=self._given)


@pytest.mark.parametrize(
    "path",
    [
        "file",
        "",
        "a?",
        "a?b",
        "a?b=1&c=%26&d=a+b",
        "a%20b c",
        "ä%20ö",
        "ä ö.txt",
        "a/../b/./c",
        "a//b",
        "a#b",
        "a%zz",
        "a%2Fb%2f",
        "it's (1) [2] {3} ~!$&*,;=:@|^`\"<>.txt",
        "日本 😀.txt",
        "a%0D%0Ab",
    ],
)
async def test_request_is_byte_for_byte_what_the_general_client_sends(path):
    signer = Given({"X-Key": "ä€ \t\xff"})
    async with Peer((answer(b"{}"), stall)).serving() as peer, client(peer.url, signer=signer) as http:
        for query in ({}, {"q": "ä &=?+/#%", "": "", "n": "1"}):
            for call in (lambda: http.download(path, MemorySink(), query), lambda: http.get(path, query)):  # noqa: B023
                with over_aiohttp(http):
                    await call()
                await http.close()
                await call()
                await http.close()
                general, ours = (head.split("\r\n") for _, head in peer.heads[-2:])
                assert ours[0] == general[0]
                assert sorted(ours) == sorted(general)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://tracker.example", "tracker.example"),
        ("http://tracker.example:80", "tracker.example"),
        ("https://tracker.example:443", "tracker.example"),
        ("http://tracker.example:443", "tracker.example:443"),
        ("https://[::1]", "[::1]"),
        ("https://[::1]:8443", "[::1]:8443"),
        ("https://bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_host_is_told_as_the_origin_says(origin, host):
    request = ConnectionPool(URL(origin), max_idle=1, timeout=1)._encoded("/", {})
    assert f"\r\nHost: {host}\r\n".encode() in request


async def test_address_in_six_is_reached():
    try:
        async with Peer((answer(FILE),)).serving(host="::1") as peer, client(peer.url) as http:
            assert await fetched(http) == FILE
    except OSError:
        pytest.skip("no IPv6 here")
    assert f"Host: {peer.url.removeprefix('http://')}\r\n" in peer.heads[0][1]


@pytest.mark.parametrize(
    ("path", "sent"),
    [("a%20\0b", "/a%20%00b"), ("a\x7f", "/a%7F"), ("a%zz\x1b", "/a%25zz%1B"), ("a\r\nb", "/a%0D%0Ab")],
)
@pytest.mark.parametrize("how", ["download", "get"])
async def test_control_character_in_an_address_is_sent_encoded(path, sent, how):
    async with Peer((answer(FILE),)).serving() as peer, client(peer.url) as http:
        await (http.download(path, MemorySink()) if how == "download" else http.get(path))
    assert peer.heads[0][1].startswith(f"GET {sent} HTTP/1.1\r\n")


@pytest.mark.parametrize("target", ["/a\0b", "/a\r\nX-Evil: 1", "/a\x7f"])
async def test_address_that_would_end_the_line_is_never_sent(target):
    async with Peer((answer(FILE),)).serving() as peer:
        with pytest.raises(ValueError, match="a control character"):
            await ConnectionPool(URL(peer.url), max_idle=1, timeout=5).get(target, {})
    assert peer.heads == []


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\0"])
@pytest.mark.parametrize("where", ["name", "value"])
async def test_header_cannot_begin_another_one(end, where):
    evil = {f"X{end}Evil: 1\r\nY": "z"} if where == "name" else {"X": f"y{end}Evil: 1"}
    async with Peer((answer(FILE),)).serving() as peer, client(peer.url, signer=Given(evil)) as http:
        with pytest.raises(errors.RejectedError):
            await http.download("a", MemorySink())
    assert peer.heads == []


# --- no connection, no trust


async def told(http: HttpClient) -> list[str]:
    """What our own connections and aiohttp say of the same trouble."""
    said = []
    for transport in (contextlib.nullcontext(), over_aiohttp(http)):
        with transport, pytest.raises(errors.ConnectError) as caught:
            await http.get("a")
        said.append(str(caught.value))
    return said


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://localhost:1", "http://nobody.invalid", "https://[::1]:1"]
)
async def test_nobody_there_is_told_in_the_same_words_by_both_ways(url):
    async with client(url) as http:
        ours, general = await told(http)
    assert ours == general
    assert "no connection to" in ours


@pytest.mark.parametrize("shown", [{}, {"expired": True}, {"host": "other.example"}])
async def test_invalid_certificate_is_told_in_the_same_words_by_both_transports(tmp_path, shown):
    made = Certificates(tmp_path)
    route = Route(*TlsFiles("source.tls", ca_file=made.ca).contexts()) if shown else DEFAULT_ROUTE
    async with Peer((answer(FILE),)).serving(made.server(**shown)) as peer, client(peer.url, route=route) as http:
        ours, general = await told(http)
    assert ours == general
    assert "its certificate is not trusted: " in ours
    assert peer.heads == []


async def test_file_comes_over_tls_and_the_connection_is_kept(tmp_path):
    made = Certificates(tmp_path)
    certificate, key = made.client()
    route = Route(*TlsFiles("t", ca_file=made.ca, client_cert=certificate, client_key=key).contexts())
    body = bytes(range(256)) * 5000
    script = (answer(body), answer(FILE), answer(OTHER, length=None))
    async with Peer(script).serving(made.server(demands=True)) as peer, client(peer.url, route=route) as http:
        assert [await fetched(http) for _ in script] == [body, FILE, OTHER]
    assert peer.asked == [0, 0, 0]
    gc.collect()


@contextlib.contextmanager
def demanding(context: ssl.SSLContext) -> Iterator[str]:
    """A server that talks to one client with a certificate only, and says so: asyncio's hangs up without a word."""

    def talk() -> None:
        plain, _ = listening.accept()
        talking = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        with contextlib.suppress(ssl.SSLError):
            talking.do_handshake()
        with socket.socket(fileno=talking.detach()) as plain:
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(65536):  # closed with something unread, it would be reset, and the word be lost
                pass

    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=talk)
    thread.start()
    yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    thread.join(5)
    listening.close()


async def test_server_that_wants_a_certificate_of_ours_is_understood(tmp_path):
    made = Certificates(tmp_path)
    route = Route(*TlsFiles("t", ca_file=made.ca).contexts())
    with demanding(made.server(demands=True)) as url:
        async with client(url, route=route) as http:
            with pytest.raises(errors.ConnectError, match=r"requires one; see `tls\.client_cert`"):
                await fetched(http)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_server_that_wants_a_certificate_of_ours_gets_no_request_without(tmp_path, version):
    made = Certificates(tmp_path)
    context = made.server(demands=True)
    context.maximum_version = version
    route = Route(*TlsFiles("t", ca_file=made.ca).contexts())
    async with Peer((answer(FILE),)).serving(context) as peer, client(peer.url, route=route) as http:
        with pytest.raises(errors.RetriableError):
            await fetched(http)
    assert peer.heads == []


async def test_file_goes_through_the_proxy_where_there_is_one():
    async with Peer((answer(FILE),)).serving() as peer, Proxy() as proxy:
        http = HttpClient(peer.url, HeaderAuth("X-Key", "k"), route=Route(proxy=Through(proxy.url)))
        assert await fetched(http) == FILE
        await http.close()
    assert proxy.heads[0].startswith(f"GET {peer.url}/file ")


# --- pieces


class Anywhere:
    """A way without a connection."""

    def watch(self) -> None:
        raise AssertionError("all of it came")

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def release(self) -> None: ...


async def read(pieces: list[bytes], how: Exception | None) -> tuple[Any, ...]:
    """All that can be told of an answer that comes in these pieces, before the connection ends."""
    found = H1Response(Anywhere())
    for piece in pieces:
        found.feed(memoryview(piece))
    found.ended(how)
    error, body = "", b""
    try:
        while piece := await found.readany():
            body += piece
    except (IncompleteBodyError, ProtocolError, response.NoResponseError) as caught:
        error, body = type(caught).__name__, b""
    return found.status, [*found.headers.items()], body, error, found.reusable


WHOLE = st.sampled_from([*BODIES.values(), answer(b""), b"HTTP/1.1 204 None\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\nold"])
BEHIND = st.sampled_from([b"\r\n", b"HTTP/1.1 101 No\r\n\r\n", b"x"]) | st.binary(max_size=5)
SENT = st.builds(
    lambda before, whole, behind, cut: (before + whole + behind)[: len(before + whole) - cut if cut else None],
    st.just(b"") | BEHIND,
    WHOLE,
    st.just(b"") | BEHIND | WHOLE,
    st.just(0) | st.integers(1, 30),
)


def test_answer_is_the_same_in_whatever_pieces_it_comes():
    seen = set()
    with asyncio.Runner() as runner:

        @examples(150)
        @given(SENT, st.lists(st.integers(0, 400), max_size=6), st.sampled_from([None, ConnectionResetError()]))
        def attempt(sent, cuts, how):
            whole = runner.run(read([sent], how))
            at = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
            pieces = [sent[a:b] for a, b in itertools.pairwise(at)]
            assert runner.run(read(pieces or [sent], how)) == whole
            assert runner.run(read([sent[i : i + 1] for i in range(len(sent))] or [sent], how)) == whole
            seen.add((whole[0], whole[3], whole[4]))

        attempt()
    assert {(200, "", True), (200, "", False), (200, "IncompleteBodyError", False), (0, "ProtocolError", False)} <= seen


# --- the end of it


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_connection_cancelled_just_after_it_was_made_blocks_nobody(tmp_path, secure):
    made = Certificates(tmp_path)
    route = Route(*TlsFiles("t", ca_file=made.ca).contexts()) if secure else DEFAULT_ROUTE
    async with Peer((stall,)).serving(made.server() if secure else None) as peer:
        road = ConnectionPool(URL(peer.url), max_idle=4, timeout=5, context=route.own_origin)
        opened = road.opened

        def opened_and_cancelled(connection):
            opened(connection)
            task.cancel()

        road.opened = opened_and_cancelled
        task = asyncio.ensure_future(road.get("/x", {}))
        await asyncio.wait({task})
        assert task.cancelled()
        assert not road._open
        async with asyncio.timeout(MAX_CLOSE_SECONDS / 2):
            await road.close()


HANGING = """
import asyncio, socket, sys, time
import uvloop
from migrator.wire.auth import HeaderAuth
from migrator.wire.client import HttpClient
from migrator.testing import MemorySink

async def main():
    http = HttpClient("http://tracker.example", HeaderAuth("X-Key", "k"))
    for call in (http.download("a", MemorySink()), http.get("a")):
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.wait({task})
    await http.close()

looks = socket.getaddrinfo

def hangs(host, *args, flags=0, **how):
    if flags & socket.AI_NUMERICHOST:
        return looks(host, *args, flags=flags, **how)
    print("asked", flush=True)
    time.sleep(60)

socket.getaddrinfo = hangs
factories = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
with asyncio.Runner(loop_factory=factories[sys.argv[1]]) as runner:
    runner.run(main())
"""


async def test_program_does_not_wait_for_a_name_server_that_is_away():
    kind = "uvloop" if type(asyncio.get_running_loop()).__module__.startswith("uvloop") else "asyncio"
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGING, kind, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(15):
            out, err = await program.communicate()
    except TimeoutError:
        program.kill()
        await program.communicate()
        raise
    assert (out.split(), err, program.returncode) == ([b"asked"] * 2, b"", 0)


async def test_connection_of_whose_end_nobody_tells_is_forgotten(monkeypatch):
    monkeypatch.setattr(pool, "MAX_CLOSE_SECONDS", 0.05)
    async with Peer((answer(FILE), stall)).serving() as peer:
        road = ConnectionPool(URL(peer.url), max_idle=4, timeout=5)
        async with await road.get("/x", {}) as found:
            assert await found.readany() == FILE
        [connection] = road._open
        monkeypatch.setattr(type(connection), "close", lambda self: None)
        async with asyncio.timeout(5):
            await road.close()
        assert not road._open
        assert connection._transport.is_closing()


async def test_session_of_whose_end_nobody_tells_is_forgotten(monkeypatch):
    async def never(self):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr("migrator.wire.aiohttp_transport.MAX_CLOSE_SECONDS", 0.05)
    async with Peer((answer(b"{}"),)).serving() as peer:
        http = HttpClient(peer.url, HeaderAuth("X-Key", "k"))
        with over_aiohttp(http):
            await http.get("a")
        session = http._transport._general._session
        with monkeypatch.context() as patched:
            patched.setattr(type(session), "close", never)
            async with asyncio.timeout(5):
                await http.close()
        await session.close()
