"""The wire against any bytes in place of an HTTP answer: no exception but ours, and no download that was cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from hypothesis import given
from hypothesis import strategies as st

from migrator.errors import MigratorError, RetriableError
from migrator.testing import MemorySink
from migrator.wire.auth import HmacAuth, QueryTokenAuth, Signer, WrapAuth, basic
from migrator.wire.client import HttpClient
from migrator.wire.request import Request
from tests.fuzz import examples
from tests.fuzz.mutations import HEADERS, LOGIN, STATUSES
from tests.fuzz.test_fuzz_adapters import NoWaiting

SIGNERS: tuple[Signer, ...] = (basic("ann", "secret"), QueryTokenAuth("token", "secret"), HmacAuth("secret"))
BODIES = st.binary(max_size=40) | st.sampled_from(
    [b"", LOGIN, b"[1]", b'{"a": 1}', b"x" * 3000, b"<x/>", b"\x1f\x8b\x08"]
)
NAMES = st.sampled_from(["Content-Length", "Transfer-Encoding", "Content-Type", "Location", "Date", "Retry-After", "X"])
LINES = st.tuples(NAMES, st.text(max_size=8) | st.sampled_from(["3", "99999999999999999999", "chunked", "-1", "gzip"]))


def spelled(status: object, lines: list[tuple[str, str]], body: bytes, told: int | None) -> bytes:
    """An HTTP answer, in whatever state."""
    length = [] if told is None else [("Content-Length", str(max(0, len(body) + told)))]
    head = "".join(f"{name}: {value}\r\n" for name, value in [*lines, *length])
    return f"HTTP/1.1 {status} Fine\r\n{head}\r\n".encode("utf-8", "surrogatepass") + body


heads = st.builds(
    spelled,
    st.sampled_from(STATUSES) | st.integers(-1, 1200),
    st.lists(st.sampled_from(HEADERS) | LINES, max_size=3),
    BODIES,
    st.sampled_from([0, 0, 0, -1, 1, 5000, None]),
)
answers = (
    heads
    | st.binary(max_size=60)
    | st.builds(lambda head, at: head[: at % (len(head) + 1)], heads, st.integers(0, 500))
)


@asynccontextmanager
async def saying(told: list[bytes]) -> AsyncIterator[str]:
    """A server that says the n-th of these to the n-th request, the last one to all after it, and hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            await reader.readexactly(int(length[0].partition(b":")[2]) if length else 0)
            writer.write(told.pop(0) if len(told) > 1 else told[0])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def in_order(error: MigratorError) -> None:
    """It says no secret, and a wait is one that can be waited."""
    assert "secret" not in str(error)
    assert not isinstance(error, RetriableError) or error.retry_after is None or 0 <= error.retry_after <= 86_400


async def asked(told: list[bytes], signer: Signer, verb: str) -> tuple[MemorySink, bool]:
    """What came of one call, and whether it ended well."""
    bucket = MemorySink()
    async with saying([*told]) as url:
        http = HttpClient(url, signer, pacer=NoWaiting(), timeout=2)
        try:
            async with asyncio.timeout(20):
                if verb == "download":
                    await http.download("file", bucket)
                else:
                    call = Request(verb, "thing", body=None if verb == "GET" else b"{}")
                    answer = await (http.send(call) if verb == "GET" else http.write(call))
                    for read in (answer.json, answer.xml):
                        with suppress(MigratorError):
                            read()
        except MigratorError as error:
            in_order(error)
            return bucket, False
        finally:
            await http.close()
    return bucket, True


def test_any_bytes_in_place_of_an_answer_end_in_our_errors():
    ended = {True: 0, False: 0}
    with asyncio.Runner() as runner:

        @examples(250)
        @given(
            st.lists(answers, min_size=1, max_size=3),
            st.sampled_from([*SIGNERS, "wrap"]),
            st.sampled_from(["GET", "POST", "PUT", "DELETE", "download"]),
        )
        def attempt(told, signer, verb):
            signer = WrapAuth("ann", "secret") if signer == "wrap" else signer
            _, well = runner.run(asked(told, signer, verb))
            ended[well] += 1

        attempt()
    assert min(ended.values()) > 0


def test_a_download_cut_anywhere_is_never_whole():
    body = bytes(range(256)) * 4
    whole = spelled(200, [("Content-Type", "application/octet-stream")], body, 0)
    chunked = spelled(200, [("Transfer-Encoding", "chunked")], b"400\r\n" + body + b"\r\n0\r\n\r\n", None)
    with asyncio.Runner() as runner:

        @examples(60)
        @given(st.sampled_from([whole, chunked]), st.integers(0, len(whole)) | st.integers(len(whole) - 8, len(whole)))
        def attempt(answer, at):
            bucket, well = runner.run(asked([answer[:at]], SIGNERS[0], "download"))
            assert not well or bytes(bucket.content) == body

        attempt()
