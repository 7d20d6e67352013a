"""The wire, against real servers on loopback: what an answer means, where credentials go, what breaks."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.test_utils import TestServer
from yarl import URL

from migrator import errors
from migrator.testing import LARGEST_CHUNK, Bytes, MemorySink, nowhere
from migrator.wire.answer import Answer
from migrator.wire.auth import HeaderAuth, QueryTokenAuth, WrapAuth, basic
from migrator.wire.client import HttpClient
from migrator.wire.failures import translate_error
from migrator.wire.rate import RateLimiter
from migrator.wire.request import Request
from migrator.wire.request_body import MultipartBody, RawBody

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
SECRET = "s3cr3t-token"


@pytest.fixture
async def serve():
    """Serve one handler for every path; gives the base URL. Many servers may run side by side."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(answer: Answering) -> str:
            app = web.Application(client_max_size=2**30)
            app.router.add_route("*", "/{path:.*}", answer)
            server = await stack.enter_async_context(TestServer(app))
            return str(server.make_url("")).rstrip("/")

        yield start


@pytest.fixture
async def raw():
    """Serve bytes as they are, then close or stall."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(answer: bytes, *, stall: bool = False) -> str:
            async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(answer)
                    await writer.drain()
                    if stall:
                        await reader.read()
                writer.close()

            server = await stack.enter_async_context(await asyncio.start_server(talk, "127.0.0.1", 0))
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield start


@pytest.fixture
async def connect():
    """Clients that are closed after the test."""
    opened: list[HttpClient] = []

    def make(base: str, signer: Any = None, **options: Any) -> HttpClient:
        opened.append(HttpClient(base, signer or HeaderAuth("X-Key", SECRET), **options))
        return opened[-1]

    yield make
    for client in opened:
        await client.close()


async def ok(request: web.Request) -> web.Response:
    return web.json_response({"path": request.raw_path, "headers": dict(request.headers)})


async def seen(answer: Answer) -> dict[str, Any]:
    return answer.json()


# --- what a status means

MEANING = {
    300: errors.RejectedError,
    400: errors.RejectedError,
    401: errors.AuthError,
    403: errors.ForbiddenError,
    404: errors.GoneError,
    405: errors.RejectedError,
    406: errors.RejectedError,
    408: errors.RetriableError,
    409: errors.RejectedError,
    410: errors.GoneError,
    411: errors.RejectedError,
    413: errors.RejectedError,
    418: errors.RejectedError,
    422: errors.RejectedError,
    423: errors.RetriableError,
    425: errors.RetriableError,
    429: errors.ThrottledError,
    500: errors.RetriableError,
    501: errors.RejectedError,
    502: errors.RetriableError,
    503: errors.ThrottledError,
    504: errors.RetriableError,
    507: errors.RetriableError,
    599: errors.RetriableError,
}


@pytest.mark.parametrize(("status", "meaning"), MEANING.items())
async def test_status_becomes_the_error_that_says_what_to_do(serve, connect, status, meaning):
    async def answer(request):
        return web.json_response({"errors": ["the reason"]}, status=status, headers={"Retry-After": "0"})

    client = connect(await serve(answer))
    for call in (lambda: client.get("a/b", {"q": "1"}), lambda: client.download("a/b", MemorySink())):
        with pytest.raises(meaning) as caught:
            await call()
        assert type(caught.value) is meaning
        assert "GET a/b" in str(caught.value)
        assert "q=1" not in str(caught.value)


async def test_reason_of_the_tracker_is_passed_on(serve, connect):
    async def answer(request):
        return web.json_response({"errors": ["Subject cannot be blank"]}, status=422)

    with pytest.raises(errors.RejectedError, match="status 422, Subject cannot be blank"):
        await connect(await serve(answer)).get("issues.json")


async def test_endless_error_body_is_not_read_to_its_end(serve, connect):
    async def answer(request):
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(bytes(65536))
        return response

    with pytest.raises(errors.RetriableError):
        await asyncio.wait_for(connect(await serve(answer)).get("a"), 5)


@pytest.mark.parametrize(("value", "seconds"), [("7", 7), ("0", 0), ("", None), ("soon", None)])
async def test_retry_after_in_seconds_is_told(serve, connect, value, seconds):
    async def answer(request):
        return web.Response(status=429, headers={"Retry-After": value})

    with pytest.raises(errors.ThrottledError) as caught:
        await connect(await serve(answer)).get("a")
    assert caught.value.retry_after == seconds


async def test_retry_after_as_a_date_is_told(serve, connect):
    async def answer(request):
        when = datetime.now(UTC) + timedelta(seconds=90)
        return web.Response(status=503, headers={"Retry-After": format_datetime(when, usegmt=True)})

    with pytest.raises(errors.ThrottledError) as caught:
        await connect(await serve(answer)).get("a")
    assert 85 <= caught.value.retry_after <= 90


async def test_slow_down_slows_every_worker_of_this_tracker(serve, connect):
    async def answer(request):
        return web.Response(status=429, headers={"Retry-After": "0"})

    pacer = RateLimiter()
    with pytest.raises(errors.ThrottledError):
        await connect(await serve(answer), pacer=pacer).get("a")
    assert pacer._spacing > 0


# --- where a request goes


async def test_base_with_a_virtual_directory_is_kept(serve, connect):
    base = await serve(ok)
    for written in (base + "/tp/v1", base + "/tp/v1/"):
        for path in ("api/x.json", "/api/x.json"):
            assert (await connect(written).get(path)).json()["path"] == "/tp/v1/api/x.json"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://127.0.0.1:99/tp/attachments/1", "attachments/1"),
        ("https://internal.example/tp/attachments/1?a=b%20c", "attachments/1?a=b%20c"),
        ("/tp/attachments/1", "attachments/1"),
        ("attachments/1", "attachments/1"),
        ("http://other.example/attachments/1", "attachments/1"),
        ("/tp/tp/x", "tp/x"),
        ("/tpx/1", "tpx/1"),
        ("http://h/tp/%C3%84%20%2F.txt", "%C3%84%20%2F.txt"),
        ("/tp/Ä ö.txt", "%C3%84%20%C3%B6.txt"),
    ],
)
def test_url_of_the_tracker_is_rebased(url, path):
    assert HttpClient("http://127.0.0.1:1/tp", HeaderAuth("a", "b")).path_of(url) == path


@pytest.mark.parametrize("url", ["http://[broken/x", "http://h:port/x", "http://h:99999/x"])
def test_url_that_is_none_is_a_wrong_body(url):
    with pytest.raises(errors.UnexpectedBodyError):
        HttpClient("http://127.0.0.1:1", HeaderAuth("a", "b")).path_of(url)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("files/a%2Fb%20c.txt", "/files/a%2Fb%20c.txt"),
        ("files/ä b.txt", "/files/%C3%A4%20b.txt"),
        ("files/%C3%A4?x=%26", "/files/%C3%A4?x=%26"),
        ("files/plus+sign", "/files/plus+sign"),
    ],
)
async def test_percent_encoded_names_arrive_as_they_were_written(serve, connect, path, sent):
    assert (await connect(await serve(ok)).get(path)).json()["path"] == sent


async def test_query_is_encoded_once(serve, connect):
    async def answer(request):
        return web.json_response(dict(request.query))

    query = {"where": "Id gt 5 & Name eq '100%'", "format": "json", "plus": "a+b"}
    assert (await connect(await serve(answer)).get("a?b=1", query)).json() == {"b": "1", **query}


# --- credentials


async def test_credentials_go_with_every_request(serve, connect):
    base = await serve(ok)
    assert (await connect(base).get("a")).json()["headers"]["X-Key"] == SECRET
    assert (await connect(base, basic("ädä", "p:w")).get("a")).json()["headers"][
        "Authorization"
    ] == "Basic w6Rkw6Q6cDp3"
    assert (await connect(base, QueryTokenAuth("token", SECRET)).get("a")).json()["path"] == f"/a?token={SECRET}"


async def test_downloads_may_have_credentials_of_their_own(serve, connect):
    keys = []

    async def answer(request):
        keys.append(request.headers.get("X-Key") or request.headers.get("X-Files"))
        return web.Response(body=b"{}")

    client = connect(await serve(answer), files=HeaderAuth("X-Files", "other"))
    await client.get("a")
    await client.download("a", MemorySink())
    assert keys == [SECRET, "other"]


@pytest.mark.parametrize("value", [SECRET + "\n", "a\r\nX-Evil: 1", "a\0"])
def test_secret_that_no_header_takes_is_a_mistake_of_the_configuration(value):
    with pytest.raises(errors.ConfigError) as caught:
        HeaderAuth("X-Key", value)
    assert value.strip() not in str(caught.value)


@pytest.mark.parametrize("signer", [HeaderAuth("X-Key", SECRET), basic("u", SECRET), QueryTokenAuth("token", SECRET)])
async def test_redirect_to_another_host_is_followed_without_credentials(serve, connect, signer):
    received = []

    async def store(request):
        received.append((request.raw_path, dict(request.headers)))
        return web.Response(body=b"the file")

    elsewhere = await serve(store)

    async def home(request):
        return web.Response(status=302, headers={"Location": f"{elsewhere}/bucket/key%20x?signature=a%2Fb"})

    bucket = MemorySink()
    await connect(await serve(home), signer).download("files/1", bucket, {"only": "here"})
    assert bytes(bucket.content) == b"the file"
    [(path, headers)] = received
    assert path == "/bucket/key%20x?signature=a%2Fb"
    assert not {"X-Key", "Authorization", "Cookie"} & headers.keys()
    assert SECRET not in str(received)


async def test_redirect_at_home_keeps_the_credentials(serve, connect):
    async def answer(request):
        if request.path == "/old":
            raise web.HTTPFound("new")
        return web.Response(text=request.headers["X-Key"])

    bucket = MemorySink()
    await connect(await serve(answer)).download("old", bucket)
    assert bucket.content.decode() == SECRET


async def test_cookies_of_the_tracker_are_not_kept(serve, connect):
    async def answer(request):
        response = web.json_response({"cookie": request.headers.get("Cookie")})
        response.set_cookie("session", "anonymous")
        return response

    # By name: cookies of bare addresses are not kept anyway.
    client = connect((await serve(answer)).replace("127.0.0.1", "localhost"))
    await client.get("a")
    assert (await client.get("a")).json() == {"cookie": None}


@pytest.mark.parametrize(
    "location",
    [
        "/login?back_url=x",
        "/Account/Login.aspx?ReturnUrl=%2f",
        "https://login.example/saml",
        "/users/sign_in",
        "/Logon",
        "/sso/start",
        "/auth",
        "/Authenticate/index",
        "/login;jsessionid=12.node1",
        "https://tracker.example/account/log-on",
    ],
)
async def test_redirect_to_a_login_page_is_no_file(serve, connect, location):
    async def answer(request):
        return web.Response(status=302, headers={"Location": location})

    client, bucket = connect(await serve(answer)), MemorySink()
    with pytest.raises(errors.LoginPageError):
        await client.download("files/1", bucket)
    with pytest.raises(errors.LoginPageError):
        await client.get("api")
    assert not bucket.started


@pytest.mark.parametrize(
    "path",
    ["/files/login.png", "/files/broken login screen.docx", "/f/sign-in.txt", "/auth/7/a.zip", "/login-bug/x.pdf"],
)
async def test_redirect_to_a_file_that_is_named_like_a_login_is_followed(serve, connect, path):
    async def answer(request):
        if request.path == "/start":
            raise web.HTTPFound(str(URL.build(path=path)))
        return web.Response(body=request.path.encode())

    bucket = MemorySink()
    await connect(await serve(answer)).download("start", bucket)
    assert bucket.content.decode() == path


@pytest.mark.parametrize(
    "location", ["", "http://[broken", "javascript:alert(1)", "ftp://h/x", "mailto:a@b", "http://"]
)
async def test_redirect_to_nowhere_is_refused(serve, connect, location):
    async def answer(request):
        return web.Response(status=302, headers={"Location": location})

    client = connect(await serve(answer))
    with pytest.raises(errors.RejectedError):
        await client.download("files/1", MemorySink())
    with pytest.raises(errors.RejectedError):
        await client.get("api")


async def test_redirect_of_an_api_call_is_not_followed(serve, connect):
    async def answer(request):
        assert request.path == "/api"
        raise web.HTTPMovedPermanently("https://tracker.example/api?key=x")

    with pytest.raises(errors.RejectedError, match=r"redirects to https://tracker.example/api; is `url` right"):
        await connect(await serve(answer)).get("api")


async def test_endless_redirects_end(serve, connect):
    async def answer(request):
        raise web.HTTPFound(request.path + "x")

    with pytest.raises(errors.RejectedError, match="redirects"):
        await connect(await serve(answer)).download("a", MemorySink())


# --- sessions


class WrapServer:
    """Sells tokens; only the newest is good."""

    def __init__(self) -> None:
        self.logins: list[dict[str, str]] = []
        self.refused = False
        self.bodies: list[bytes] = []

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/Authenticate/WRAPv0.9":
            self.logins.append(dict(await request.post()))
            await asyncio.sleep(0.02)
            if self.refused:
                return web.Response(status=401)
            return web.Response(text=f"wrap_access_token=t{len(self.logins)}&wrap_refresh_token=r")
        self.bodies.append(await request.read())
        if request.headers.get("Authorization") != f"WRAP access_token=t{len(self.logins)}":
            return web.Response(status=401)
        return web.json_response({"fine": True})


async def test_many_workers_without_a_session_log_in_once(serve, connect):
    server = WrapServer()
    client = connect(await serve(server.answer), WrapAuth("u", "p"))
    answers = await asyncio.gather(*(client.get("a") for _ in range(20)))
    assert [answer.json() for answer in answers] == [{"fine": True}] * 20
    assert len(server.logins) == 1
    assert server.logins[0]["wrap_username"] == "u"


async def test_many_workers_whose_session_ran_out_renew_it_once(serve, connect):
    server = WrapServer()
    client = connect(await serve(server.answer), WrapAuth("u", "p"))
    await client.get("a")
    server.logins.append({"by": "another"})
    await asyncio.gather(*(client.get("a") for _ in range(20)))
    assert len(server.logins) == 3
    assert server.logins[-1]["wrap_refresh_token"] == "r"


async def test_refused_password_ends_it(serve, connect):
    server = WrapServer()
    server.refused = True
    with pytest.raises(errors.AuthError) as caught:
        await connect(await serve(server.answer), WrapAuth("u", "p4ssw0rd")).get("a")
    assert "p4ssw0rd" not in str(caught.value)
    assert len(server.logins) == 1


@pytest.mark.parametrize("kind", ["multipart", "raw"])
async def test_upload_that_was_refused_for_its_session_is_sent_again_whole(serve, connect, kind):
    server = WrapServer()
    client = connect(await serve(server.answer), WrapAuth("u", "p"))
    await client.get("a")
    server.logins.append({"by": "another"})
    content = bytes(300_000)
    body = RawBody(Bytes(content)) if kind == "raw" else MultipartBody({}, "file", "a.bin", "", Bytes(content))
    assert (await client.write(Request("POST", "upload", body=body))).json() == {"fine": True}
    assert server.bodies[-1].count(b"\0") == len(content)


async def test_upload_that_ended_at_a_login_page_is_not_sent_again(serve, connect):
    uploads = []

    async def answer(request):
        if request.path.startswith("/Authenticate"):
            return web.Response(text="wrap_access_token=t&wrap_refresh_token=r")
        uploads.append(await request.read())
        return web.Response(status=302, headers={"Location": "/login"})

    client = connect(await serve(answer), WrapAuth("u", "p"))
    with pytest.raises(errors.OutcomeUnknownError):
        await client.write(Request("POST", "upload", body=RawBody(Bytes(b"a"))))
    assert uploads == [b"a"]


# --- downloads


async def test_file_comes_whole_in_pieces_with_its_facts(serve, connect):
    content = bytes(range(256)) * 20_000

    async def answer(request):
        assert request.headers["Accept-Encoding"] == "identity"
        headers = {"Content-Disposition": "attachment; filename=x"}
        return web.Response(body=content, content_type="image/png", headers=headers)

    bucket = MemorySink()
    await connect(await serve(answer)).download("a", bucket)
    assert bytes(bucket.content) == content
    assert bucket.largest <= LARGEST_CHUNK
    assert (bucket.facts.media_type, bucket.facts.length, bucket.facts.named) == ("image/png", len(content), True)


async def test_empty_file_and_file_without_a_length_come_whole(serve, connect):
    async def answer(request):
        if request.path == "/empty":
            return web.Response(body=b"")
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for letter in (b"a", b"b"):
            await response.write(letter)
        return response

    client, empty, chunked = connect(await serve(answer)), MemorySink(), MemorySink()
    await client.download("empty", empty)
    await client.download("chunked", chunked)
    assert (empty.started, bytes(empty.content), empty.facts.length) == (True, b"", 0)
    assert (bytes(chunked.content), chunked.facts.length) == (b"ab", None)


async def test_file_comes_as_it_is_and_its_coding_is_told(serve, connect):
    packed = gzip.compress(b"text")

    async def answer(request):
        return web.Response(body=packed, headers={"Content-Encoding": "X-GZIP"})

    bucket = MemorySink()
    await connect(await serve(answer)).download("a", bucket)
    assert (bytes(bucket.content), bucket.facts.coding, bucket.facts.length) == (packed, "gzip", len(packed))


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
async def test_packed_page_in_place_of_a_file_never_reaches_the_sink(serve, connect, accept):
    async def answer(request):
        page = gzip.compress(b"<!DOCTYPE html><title>Log in</title>")
        return web.Response(body=page, content_type="text/html", headers={"Content-Encoding": "gzip"})

    bucket = MemorySink()
    with pytest.raises(errors.LoginPageError, match="a login page"):
        await connect(await serve(answer)).download("a", bucket, accept=accept)
    assert not bucket.started


PACKED = {
    "gzip": gzip.compress(b'{"a": 1}', mtime=0),
    "x-gzip": gzip.compress(b'{"a": 1}', mtime=0),
    "deflate": zlib.compress(b'{"a": 1}'),
    "DEFLATE": zlib.compress(b'{"a": 1}', wbits=-15),
    "gzip, gzip": gzip.compress(b'{"a": 1}', mtime=0),
    "UTF-8": b'{"a": 1}',
    "none, identity": b'{"a": 1}',
    "gzip ": b'{"a": 1}',
    " deflate": b'{"a": 1}',
}


@pytest.mark.parametrize("coding", PACKED)
async def test_answer_is_read_however_it_is_packed_and_whatever_is_said_of_it(serve, connect, coding):
    async def answer(request):
        return web.Response(body=PACKED[coding], headers={"Content-Encoding": coding})

    client, bucket = connect(await serve(answer)), MemorySink()
    assert (await client.get("a")).json() == {"a": 1}
    await client.download("a", bucket, accept="application/json")
    assert (bytes(bucket.content), bucket.facts.coding) == (b'{"a": 1}', "")


@pytest.mark.parametrize("damage", ["cut", "changed"])
async def test_packed_answer_that_is_damaged_is_a_wrong_body(serve, connect, damage):
    packed = gzip.compress(bytes(range(256)) * 100)
    packed = packed[:-9] if damage == "cut" else packed[:40] + b"????????" + packed[48:]

    async def answer(request):
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    client = connect(await serve(answer))
    with pytest.raises(errors.UnexpectedBodyError):
        await client.get("a")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
    ids=["length", "chunked"],
)
async def test_body_that_breaks_off_is_a_wrong_body(raw, connect, answer):
    client = connect(await raw(answer))
    with pytest.raises(errors.UnexpectedBodyError):
        await client.download("a", MemorySink())
    with pytest.raises(errors.UnexpectedBodyError):
        await client.get("a")


async def test_body_that_stalls_may_be_repeated(raw, connect):
    client = connect(await raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhal", stall=True), timeout=0.1)
    with pytest.raises(errors.RetriableError, match="timed out waiting for data"):
        await client.download("a", MemorySink())


async def test_server_that_never_answers_may_be_asked_again(raw, connect):
    client = connect(await raw(b"", stall=True), timeout=0.1)
    with pytest.raises(errors.RetriableError, match="timed out waiting for data"):
        await client.get("a")


@pytest.fixture
def silent():
    """The address of a machine that lets nobody in, as behind a firewall or with more to do than it can."""
    with contextlib.ExitStack() as opened:
        door = opened.enter_context(contextlib.closing(socket.socket()))
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        for _ in range(4):  # what waits to be let in, more than there is room for
            waiting = opened.enter_context(contextlib.closing(socket.socket()))
            waiting.settimeout(0)
            waiting.connect_ex(door.getsockname())
        yield f"http://127.0.0.1:{door.getsockname()[1]}"


async def test_host_that_refuses_connections_is_unreachable_for_files_and_api(silent, connect):
    """So a run ends once patience does, and doesn't wait for each file anew."""
    client = connect(silent, timeout=0.2)
    for asked in (client.get("a"), client.download("a", MemorySink())):
        with pytest.raises(errors.ConnectError, match="no answer in time"):
            await asked


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_answer_that_is_no_http_may_be_asked_for_again(raw, connect, answer):
    with pytest.raises(errors.RetriableError):
        await connect(await raw(answer)).get("a")


async def test_nobody_listening_is_a_failed_connection(connect):
    with pytest.raises(errors.ConnectError):
        await connect(nowhere()).get("a")


async def test_tls_where_there_is_none_is_a_failed_connection(serve, connect):
    base = (await serve(ok)).replace("http:", "https:")
    with pytest.raises(errors.ConnectError):
        await connect(base).get("a")


async def test_page_in_place_of_a_file_never_reaches_the_sink(serve, connect):
    async def answer(request):
        return web.Response(text="<!DOCTYPE html><title>Log in</title>", content_type="text/html")

    client, bucket = connect(await serve(answer)), MemorySink()
    with pytest.raises(errors.LoginPageError):
        await client.download("a", bucket)
    assert not bucket.started
    await client.download("a", bucket, html_expected=True)
    assert bucket.content.startswith(b"<!DOCTYPE")


async def test_failure_of_the_sink_comes_through_unchanged(serve, connect):
    async def answer(request):
        return web.Response(body=bytes(100))

    class Full(MemorySink):
        async def write(self, chunk: bytes) -> None:
            raise errors.StorageError("full")

    with pytest.raises(errors.StorageError):
        await connect(await serve(answer)).download("a", Full())


# --- writes


async def test_file_alone_is_streamed_with_its_length(serve, connect):
    got = []

    async def answer(request):
        got.append((request.headers["Content-Type"], request.headers.get("Content-Length"), await request.read()))
        assert "Transfer-Encoding" not in request.headers
        return web.json_response({})

    client, content = connect(await serve(answer)), bytes(range(256)) * 9000
    for data in (content, b""):
        await client.send(Request("POST", "a", body=RawBody(Bytes(data))))
    assert got == [("application/octet-stream", str(len(data)), data) for data in (content, b"")]


class Slow(Bytes):
    """Is read slower than any timeout."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in super().__aiter__():
            await asyncio.sleep(0.15)
            yield piece


async def test_write_that_the_tracker_stops_taking_ends(connect):
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        await stopped.wait()
        writer.close()

    stopped = asyncio.Event()
    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        client = connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=0.2)
        with pytest.raises(errors.OutcomeUnknownError, match="timed out waiting for data"):
            await asyncio.wait_for(client.write(Request("POST", "a", body=RawBody(Bytes(bytes(50_000_000))))), 10)
        await client.close()
        stopped.set()


async def test_time_that_a_write_spends_on_our_side_is_not_the_trackers(serve, connect):
    async def answer(request):
        return web.Response(body=await request.read())

    client = connect(await serve(answer), timeout=0.1)
    assert (await client.write(Request("POST", "a", body=RawBody(Slow(b"abc", 1))))).body == b"abc"


async def test_answer_that_comes_before_the_body_was_sent_is_the_answer(connect):
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"{}")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        client = connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(errors.RejectedError, match="status 413"):
            await client.write(Request("POST", "a", body=RawBody(Slow(bytes(10), 1))))
        await client.close()


async def test_write_whose_answer_broke_off_is_unanswered(raw, connect):
    for answer in (
        b"",
        b"HTTP/1.1 201 Created\r\nContent-Length: 50\r\n\r\n{",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    ):
        client = connect(await raw(answer))
        with pytest.raises(errors.OutcomeUnknownError):
            await client.write(Request("POST", "a", body=b"{}"))


@pytest.mark.parametrize(
    ("status", "meaning"), [(429, errors.ThrottledError), (401, errors.AuthError), (422, errors.RejectedError)]
)
async def test_write_that_was_refused_did_not_happen(serve, connect, status, meaning):
    async def answer(request):
        await request.read()
        return web.Response(status=status)

    with pytest.raises(meaning) as caught:
        await connect(await serve(answer)).write(Request("POST", "a", body=RawBody(Bytes(b"x"))))
    assert not isinstance(caught.value, errors.OutcomeUnknownError)


@pytest.mark.parametrize(("status", "finished"), [(500, True), (503, True), (502, False), (504, False)])
async def test_write_that_failed_says_whether_the_tracker_may_still_be_at_it(serve, connect, status, finished):
    async def answer(request):
        await request.read()
        return web.Response(status=status)

    with pytest.raises(errors.OutcomeUnknownError) as caught:
        await connect(await serve(answer)).write(Request("POST", "a", body=RawBody(Bytes(b"x"))))
    assert caught.value.finished is finished


async def test_write_without_a_connection_did_not_happen(connect):
    with pytest.raises(errors.ConnectError):
        await connect(nowhere()).write(Request("POST", "a", body=b"{}"))


async def test_answer_that_is_no_json_is_a_wrong_body(serve, connect):
    async def answer(request):
        return web.Response(text="[" * 100_000)

    with pytest.raises(errors.UnexpectedBodyError):
        (await connect(await serve(answer)).get("a")).json()


async def test_half_a_character_does_not_poison_what_is_stored(serve, connect):
    async def answer(request):
        return web.Response(text=r'{"whole": "\uD83D\uDE00", "cut": "a\ud83d", "same": "\\ud800"}')

    found = (await connect(await serve(answer)).get("a")).json()
    assert found["whole"] == "😀"
    assert found["same"] == r"\ud800"
    assert found["cut"].encode() == "a\ufffd\ufffd\ufffd".encode()


# --- secrets and endings


async def test_secret_is_in_no_message_even_if_the_tracker_repeats_it(serve, raw, connect):
    async def echo(request):
        status = int(request.path.strip("/"))
        message = f"not for {request.rel_url} {dict(request.headers)}"
        return web.json_response({"message": message}, status=status, headers={"Retry-After": "0"})

    base, broken = await serve(echo), await raw(b"")
    messages = []
    for signer in (QueryTokenAuth("token", SECRET), HeaderAuth("X-Key", SECRET), basic("user", SECRET)):
        for url, path in [(base, str(status)) for status in MEANING] + [(broken, "a"), (nowhere(), "a")]:
            client = connect(url, signer)
            for call in (client.get(path), client.download(path, MemorySink()), client.write(Request("POST", path))):
                with pytest.raises(errors.MigratorError) as caught:
                    await call
                messages.append(f"{caught.value}{caught.value.__cause__ or ''}")
    assert not [message for message in messages if SECRET in message or "dXNlcjpzM2NyM3QtdG9rZW4=" in message]
    assert any("not for" in message for message in messages)


def family(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*(family(child) for child in kind.__subclasses__()))


def made(kind: type[Any]) -> Exception:
    """An instance of any of aiohttp's errors, with a secret wherever it takes a text."""
    key = ConnectionKey("host", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
    url, refused = f"http://h/?token={SECRET}", OSError(111, "refused")
    if issubclass(kind, aiohttp.ClientConnectorCertificateError):
        return kind(key, ssl.SSLCertVerificationError(1, f"self-signed {url}"))
    if issubclass(kind, UnixClientConnectorError):
        return kind("/socket", key, refused)
    if issubclass(kind, aiohttp.ClientConnectorError):
        return kind(key, refused)
    if issubclass(kind, aiohttp.ClientResponseError):
        return kind(SimpleNamespace(real_url=url), (), status=500, message=url)
    if issubclass(kind, aiohttp.ServerFingerprintMismatch):
        return kind(b"a", b"b", "host", 443)
    return kind(url)


FAMILY = sorted(
    family(aiohttp.ClientError) | {TimeoutError, ConnectionResetError, ssl.SSLError}, key=lambda k: k.__name__
)


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_every_error_of_the_wire_has_a_meaning_and_no_secret(kind):
    error = translate_error(made(kind), "GET a")
    assert isinstance(error, errors.ItemFailedError)
    assert SECRET not in str(error)
    assert str(error).startswith("GET a: ")


def test_family_of_errors_is_the_whole_of_it():
    assert len(FAMILY) > 15


async def test_building_and_closing_do_no_io(monkeypatch):
    def refuse(*args: Any) -> None:
        raise AssertionError("no socket is opened")

    monkeypatch.setattr(socket, "socket", refuse)
    client = HttpClient("http://tracker.example/x", HeaderAuth("a", "b"))
    await client.close()
    await client.close()


async def test_client_opens_again_after_it_was_closed(serve, connect):
    client = connect(await serve(ok))
    await client.get("a")
    await client.close()
    assert (await client.get("a")).status == 200


async def test_no_more_connections_than_allowed_are_open(serve, connect):
    running, most = 0, 0

    async def answer(request):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return web.Response()

    client = connect(await serve(answer), connections=3)
    await asyncio.gather(*(client.get("a") for _ in range(12)))
    assert most == 3


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65536


async def test_answer_without_end_is_refused(serve, connect, monkeypatch):
    async def answer(request):
        with contextlib.suppress(ConnectionError):
            return web.Response(body=endless())

    monkeypatch.setattr("migrator.wire.client.MAX_ANSWER_BYTES", 1_000_000)
    with pytest.raises(errors.RejectedError, match="larger than"):
        await connect(await serve(answer)).get("a")
