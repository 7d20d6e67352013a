"""Servers that speak an old TLS, none at all, or nothing: the reason is told by both ways, with the remedy."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import warnings
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from migrator import errors
from migrator.testing import MemorySink, nowhere
from migrator.wire.auth import HeaderAuth
from migrator.wire.client import HttpClient
from migrator.wire.route import Route, TlsFiles, why_not_connected
from tests.support.program import run
from tests.support.tls import Certificates, served

VERSIONS = {"1.0": ssl.TLSVersion.TLSv1, "1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2}


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)


def old(certificates: Certificates, version: str) -> ssl.SSLContext:
    """A server that speaks this version and no other."""
    context = certificates.server()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = VERSIONS[version]
    return context


async def ok(_: web.Request) -> web.Response:
    return web.Response(body=b"ok")


async def both(base: str, route: Route) -> list[str]:
    """What came by the API's way and by that of files; or why nothing did."""
    http, bucket = HttpClient(base, HeaderAuth("X-Key", "k"), route=route, timeout=10.0), MemorySink()

    async def download() -> bytes:
        await http.download("a", bucket)
        return bytes(bucket.content)

    async def get() -> bytes:
        return (await http.get("a")).body

    came = []
    try:
        for way in (get, download):
            try:
                came.append((await way()).decode())
            except errors.ConnectError as error:
                came.append(str(error))
    finally:
        await http.close()
    return came


@contextlib.asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """A server that answers whatever comes with these bytes, and closes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(10_000)
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def route(certificates: Certificates, minimum: str = "") -> Route:
    return Route(*TlsFiles("source.tls", ca_file=certificates.ca, minimum=minimum).contexts())


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_old_tls_is_refused_with_reason_and_remedy_and_taken_on_request(certificates, version):
    async with served(ok, old(certificates, version)) as base:
        for told in await both(base, route(certificates)):
            assert "only a TLS older than 1.2" in told
            assert 'tls.minimum = "1.0"' in told
        assert await both(base, route(certificates, version)) == ["ok", "ok"]
        assert await both(base, route(certificates, "1.0")) == ["ok", "ok"]
        assert "older than 1.2" in (await both(base, route(certificates, "1.2")))[0]


async def test_minimum_above_what_a_server_speaks_is_kept_to(certificates):
    async with served(ok, old(certificates, "1.2")) as base:
        assert await both(base, route(certificates, "1.2")) == ["ok", "ok"]
        assert "ok" not in await both(base, route(certificates, "1.3"))


def test_minimum_is_for_the_tracker_alone(certificates):
    home, abroad = TlsFiles("source.tls", minimum="1.0").contexts()
    assert home.minimum_version == ssl.TLSVersion.TLSv1
    assert abroad.minimum_version >= ssl.TLSVersion.TLSv1_2 or abroad.minimum_version < 0
    assert abroad.get_ciphers() == ssl.create_default_context().get_ciphers()


ALERT = b"\x15\x03\x01\x00\x02\x02"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ALERT + b"\x46", 'it supports only a TLS older than 1.2, .*tls.minimum = "1.0"'),
        (ALERT + b"\x28", 'a client certificate .*only broken ciphers .*tls.minimum = "1.0"'),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it doesn't speak TLS there; is it http://"),
        (b"SSH-2.0-OpenSSH\r\n", "it doesn't speak TLS there; is it http://"),
        (b"", "broke off the handshake without a reason, .*only a TLS older than 1.2"),
        (b"\x16\x03\x02\x00\x04\x02\x00\x00\x00", "TLS: length mismatch"),
    ],
    ids=["protocol version", "handshake failure", "http", "ssh", "nothing", "nonsense"],
)
async def test_handshake_that_fails_is_told_in_words_by_both_ways(certificates, answer, told):
    async with saying(answer) as base:
        api, file = await both(base, route(certificates))
    assert api == file
    assert re.search(told, api)
    assert "_ssl.c" not in api


async def test_nobody_there_is_told_in_words(certificates):
    for told in await both(nowhere(), route(certificates)):
        assert told.endswith("(connection refused: nothing listens there)")


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (
            ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9)"),
            "connection refused: nothing listens there",
        ),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] again"), "connection refused"),
        (OSError(113, "x"), "No route to host"),
        (OSError("nothing that anybody knows"), "OSError"),
        (None, "NoneType"),
    ],
)
def test_reason_is_told_whatever_the_cause(cause, told):
    assert told in why_not_connected(cause)


CONFIG = """
archive = "archive"
[source]
tracker = "redmine"
url = "{url}"
auth = {{ api_key = "k" }}
[source.tls]
{tls}
[limits]
retries = 0
{limits}
"""


@pytest.mark.parametrize(("minimum", "warned"), [("1.0", True), ("1.1", True), ("1.2", False), ("1.3", False)])
async def test_each_run_warns_of_an_old_tls(tmp_path, minimum, warned):
    place = tmp_path / "c.toml"
    url = nowhere().replace("http:", "https:")
    place.write_text(CONFIG.format(url=url, tls=f'minimum = "{minimum}"', limits=""))
    for _ in range(2):
        finished = await run("backup", place)
        assert (f'warning: source.tls.minimum = "{minimum}": ' in finished.err) is warned
        assert finished.code == 4


@pytest.mark.parametrize("minimum", ["0.9", "1.4", "TLSv1", "ssl3"])
async def test_minimum_that_is_no_version_is_a_mistake_in_the_configuration(tmp_path, minimum):
    place = tmp_path / "c.toml"
    place.write_text(CONFIG.format(url="https://tracker.example", tls=f'minimum = "{minimum}"', limits=""))
    finished = await run("backup", place)
    assert finished.code == 2
    assert "source.tls.minimum" in finished.err
