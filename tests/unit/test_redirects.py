"""Where redirects lead: what other hosts say, who is the tracker itself, how addresses are spelled, and cookies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import ClientTimeout
from yarl import URL

from migrator import errors
from migrator.testing import MemorySink, nowhere
from migrator.wire.addresses import is_own, is_same_origin, parsed_url
from migrator.wire.auth import HeaderAuth, WrapAuth
from migrator.wire.client import HttpClient
from migrator.wire.rate import RateLimiter
from migrator.wire.redirects import Hop
from migrator.wire.request import Request
from tests.support.tls import Certificates

FILE = b"the file itself"
PAGE = b"<!DOCTYPE html><html><title>Log in</title><input type=password></html>"


@dataclass
class Site:
    """A server that keeps the heads of requests, and answers with the bytes that `say` makes of the address."""

    say: Callable[[str], bytes]
    heads: list[str] = field(default_factory=list)
    url: str = ""

    @contextlib.asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", **how: object) -> AsyncIterator[Site]:
        server = await asyncio.start_server(self._talk, host, 0, **how)
        scheme = "https" if how else "http"
        self.url = f"{scheme}://{host}:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
            await reader.readexactly(int(length or 0))
            self.heads.append(head)
            writer.write(self.say(head.split(" ")[1]))
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    @property
    def targets(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]


def reply(status: int, body: bytes = b"", *lines: str | bytes) -> bytes:
    told = [line if isinstance(line, bytes) else line.encode() for line in (*lines, f"Content-Length: {len(body)}")]
    return b"\r\n".join([b"HTTP/1.1 %d Fine" % status, *told, b"Connection: close", b"", b""]) + body


def to(location: str | bytes, status: int = 302, *lines: str) -> bytes:
    raw = location if isinstance(location, bytes) else location.encode()
    return reply(status, b"", b"Location: " + raw, *lines)


@contextlib.asynccontextmanager
async def client(url: str, signer: object = None, **how: object) -> AsyncIterator[HttpClient]:
    http = HttpClient(url, signer or HeaderAuth("X-Key", "k3y"), timeout=5, **how)
    try:
        yield http
    finally:
        await http.close()


# --- what others say

REFUSALS = [400, 401, 403, 404, 405, 407, 410, 416, 451, 501]
PASSING = [408, 425, 429, 500, 502, 503, 504]


@pytest.mark.parametrize("status", [*REFUSALS, *PASSING])
async def test_other_host_speaks_for_itself_alone(status):
    pacer = RateLimiter()
    wait = ("Retry-After: 7",) if status in PASSING else ()  # with one a 403 is passing, too
    told = reply(status, b'{"message": "go away"}', *wait, "WWW-Authenticate: Basic")
    async with (
        Site(lambda _: told).serving("127.0.0.2") as other,
        Site(lambda _: to(other.url + "/x")).serving() as home,
        client(home.url, pacer=pacer) as http,
    ):
        with pytest.raises(errors.MigratorError) as caught:
            await http.download("file", MemorySink())
        assert http._limiter.limit == 4
    assert type(caught.value) is (errors.RejectedError if status in REFUSALS else errors.RetriableError)
    assert caught.value.status is None
    assert str(caught.value) == (
        f"GET file, redirected to {other.url.removeprefix('http://')}: status {status}, go away"
    )
    assert pacer._spacing == 0
    if status in PASSING:
        assert caught.value.retry_after == 7


async def test_other_host_that_throttles_is_asked_again_and_slows_nobody_else():
    pacer, told = RateLimiter(), reply(403, b"", "Retry-After: 7")
    async with (
        Site(lambda _: told).serving("127.0.0.2") as other,
        Site(lambda _: to(other.url + "/x")).serving() as home,
        client(home.url, pacer=pacer) as http,
    ):
        with pytest.raises(errors.RetriableError) as caught:
            await http.download("file", MemorySink())
    assert (type(caught.value), caught.value.retry_after, pacer._spacing) == (errors.RetriableError, 7, 0)


@pytest.mark.parametrize("trouble", ["dead", "no name", "no trust", "silent", "cut", "nonsense"])
async def test_other_host_that_cannot_be_asked_is_not_the_tracker(tmp_path, trouble):
    silent = socket.create_server(("127.0.0.2", 0))
    places = {
        "dead": nowhere(),
        "no name": "http://nobody.invalid",
        "silent": f"http://127.0.0.2:{silent.getsockname()[1]}",
    }
    says = {"cut": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "nonsense": b"what?\r\n\r\n"}
    secure = {"ssl": Certificates(tmp_path).server()} if trouble == "no trust" else {}
    async with Site(lambda _: says.get(trouble, b"")).serving("127.0.0.2", **secure) as other:
        there = places.get(trouble, other.url)
        async with Site(lambda _: to(there + "/x")).serving() as home, client(home.url) as http:
            http._transport._general._timeout = ClientTimeout(total=None, sock_connect=2, sock_read=0.2)
            with pytest.raises(errors.RetriableError) as caught:
                await http.download("file", MemorySink())
            assert http._limiter.limit == 4
    silent.close()
    assert type(caught.value) is (errors.UnexpectedBodyError if trouble == "cut" else errors.RetriableError)
    assert f"redirected to {there.partition('://')[2]}: " in str(caught.value)


async def test_redirect_from_another_host_back_to_the_tracker_is_not_followed():
    async with contextlib.AsyncExitStack() as stack:
        home = await stack.enter_async_context(
            Site(lambda path: to(f"{other.url}/x") if path == "/file" else reply(404)).serving()
        )
        other = await stack.enter_async_context(Site(lambda _: to(f"{home.url}/else")).serving("127.0.0.2"))
        http = await stack.enter_async_context(client(home.url))
        with pytest.raises(errors.RejectedError) as caught:
            await http.download("file", MemorySink())
    assert type(caught.value) is errors.RejectedError


@pytest.mark.parametrize(
    ("status", "meaning"), [(404, errors.GoneError), (403, errors.ForbiddenError), (401, errors.AuthError)]
)
async def test_tracker_that_redirects_to_itself_still_speaks_for_itself(status, meaning):
    def say(target):
        return to("/else") if target == "/file" else reply(status)

    async with Site(say).serving() as home, client(home.url) as http:
        with pytest.raises(meaning):
            await http.download("file", MemorySink())


# --- login pages


@pytest.mark.parametrize("path", ["/auth/7", "/sso", "/login.php?file=7", "/users/sign_in", "/oauth/authorize"])
@pytest.mark.parametrize("foreign", [False, True])
async def test_word_in_an_address_makes_no_login_page_of_a_file(path, foreign):
    async with Site(lambda _: reply(200, FILE)).serving("127.0.0.2") as other:

        def say(target):
            return reply(200, FILE) if target == path else to((other.url if foreign else "") + path)

        async with Site(say).serving() as home, client(home.url) as http:
            bucket = MemorySink()
            await http.download("file", bucket)
    assert bucket.content == FILE
    assert [("X-Key" in head) for head in other.heads] == [False] * foreign


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("path", ["/auth/7", "/x"])
@pytest.mark.parametrize("status", [200, 401, 404])
async def test_login_page_is_no_file_wherever_the_redirect_leads(path, foreign, status):
    page = reply(status, PAGE, "Content-Type: text/html")
    async with Site(lambda _: page).serving("127.0.0.2") as other:
        there = (other.url if foreign else "") + path
        async with (
            Site(lambda target: page if target == path else to(there)).serving() as home,
            client(home.url) as http,
        ):
            bucket = MemorySink()
            with pytest.raises(errors.MigratorError) as caught:
                await http.download("file", bucket)
    assert not bucket.started
    if status == 200 or path == "/auth/7":
        assert type(caught.value) is errors.LoginPageError
    assert not (foreign and isinstance(caught.value, errors.AuthError | errors.GoneError))


@pytest.mark.parametrize("there", ["/login", "http://127.0.0.2:1/login", "https://sso.invalid/x"])
async def test_redirect_to_a_login_page_means_log_in_again_once(there):
    logins = 0

    def say(target):
        nonlocal logins
        if target.startswith("/Authenticate"):
            logins += 1
            return reply(200, b"wrap_access_token=t%d&wrap_refresh_token=r" % logins)
        if target == "/login":
            return reply(200, PAGE, "Content-Type: text/html")
        return reply(200, FILE) if logins > 1 else to(there)

    signer = WrapAuth("ann", "secret")
    signer._accepted = True
    async with Site(say).serving() as home, client(home.url, signer) as http:
        bucket = MemorySink()
        await http.download("file", bucket)
    assert (bytes(bucket.content), logins) == (FILE, 2)


async def test_tracker_under_a_path_or_name_like_a_login_is_taken_at_its_word():
    def say(target):
        return to("/auth/else") if target == "/auth/file" else reply(404)

    async with Site(say).serving() as home, client(home.url + "/auth") as http:
        with pytest.raises(errors.GoneError):
            await http.download("file", MemorySink())
        with pytest.raises(errors.RejectedError, match="is `url` right"):
            await http.get("file")


# --- who is the tracker


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://tracker.example", "http://TRACKER.example:80/x", True),
        ("https://tracker.example", "HTTPS://tracker.example:443/x", True),
        ("https://tracker.example:8443", "https://tracker.example./x", False),
        ("https://tracker.example", "https://tracker.example./x", True),
        ("https://bücher.example", "https://xn--bcher-kva.example/x", True),
        ("https://xn--bcher-kva.example", "https://BÜCHER.example/x", True),
        ("http://[::1]:80", "http://[0:0:0:0:0:0:0:1]/x", True),
        ("http://tracker.example", "http://tracker.example:8080/x", False),
        ("http://tracker.example", "http://files.tracker.example/x", False),
        ("http://tracker.example", "http://tracker.example.evil.example/x", False),
        ("http://tracker.example", "http://tracker.example@evil.example/x", False),
    ],
)
def test_origins_are_compared_by_the_standard(one, other, same):
    assert is_same_origin(URL(one), parsed_url(other)) is same
    assert is_own(URL(one), parsed_url(other)) is same


@pytest.mark.parametrize(
    ("one", "other", "own"),
    [
        ("http://tracker.example", "https://tracker.example/x", True),
        ("http://Tracker.example:80", "https://tracker.example.:443/x", True),
        ("https://tracker.example", "http://tracker.example/x", False),
        ("http://tracker.example:3000", "https://tracker.example:3000/x", False),
        ("http://tracker.example", "https://tracker.example:8443/x", False),
        ("http://tracker.example", "https://other.example/x", False),
    ],
)
def test_credentials_follow_to_https_of_the_same_host_and_never_back(one, other, own):
    assert is_own(URL(one), parsed_url(other)) is own
    hop = Hop(URL(one + "/file"), {}, "GET file").next(URL(one), other)
    assert (hop.own, hop.direct, hop.foreign) == (own, False, not own)


@pytest.mark.parametrize(
    "spelled",
    [
        "http://LOCALHOST:{port}/else",
        "http://localhost.:{port}/else",
        "//localhost:{port}/else",
        "http://u:p@localhost:{port}/else",
    ],
)
async def test_redirect_to_the_tracker_in_another_spelling_keeps_the_credentials(spelled):
    def say(target):
        return reply(200, FILE) if target == "/else" else to(spelled.format(port=port))

    async with Site(say).serving("localhost") as home:
        port = URL(home.url).port
        async with client(home.url) as http:
            bucket = MemorySink()
            await http.download("file", bucket)
    assert bucket.content == FILE
    assert all("X-Key: k3y" in head and f"Host: localhost:{port}\r\n" in head for head in home.heads)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("port", ["", ":80", ":443", ":8080"])
def test_redirect_without_a_scheme_keeps_its_port(scheme, port):
    there = Hop(URL(f"{scheme}://tracker.example/file"), {}, "GET file").next(
        URL(f"{scheme}://tracker.example"), f"//files.example{port}/x"
    )
    wanted = URL(f"{scheme}://files.example{port}/x")
    assert is_same_origin(there.url, wanted)
    assert there.url.raw_path == "/x"


# --- how addresses are spelled

SPELLINGS: list[tuple[str | bytes, str]] = [
    ("/a b/ä.txt?n=ü x", "/a%20b/%C3%A4.txt?n=%C3%BC%20x"),
    (b"/\xe4 b", "/%E4%20b"),
    ("/a%20b%2fc%C3%a4?x=%26%2F", "/a%20b%2fc%C3%a4?x=%26%2F"),
    ("/100%.png", "/100%25.png"),
    ("/50%ok%20.png?p=5%", "/50%25ok%20.png?p=5%25"),
    ("/a+b&c=d;e,f@g:h!$'()*~", "/a+b&c=d;e,f@g:h!$'()*~"),
    ('/[1]{2}|3^`"<>\\', "/%5B1%5D%7B2%7D%7C3%5E%60%22%3C%3E%5C"),
    ("/x?a[]=1|2&b=%5B", "/x?a[]=1|2&b=%5B"),
    ("/x#part two", "/x"),
    ("  /x  ", "/x"),
    ("else?a=b c", "/tp/else?a=b%20c"),
    ("?only=query", "/tp/file?only=query"),
]


@pytest.mark.parametrize(("location", "sent"), SPELLINGS)
@pytest.mark.parametrize("foreign", [False, True])
async def test_address_of_a_redirect_is_sent_encoded_and_only_once(location, sent, foreign):
    raw = location if isinstance(location, bytes) else location.encode()
    if foreign and not raw.startswith(b"/"):
        pytest.skip("relative to the tracker")
    async with Site(lambda _: reply(200, FILE)).serving("127.0.0.2") as other:
        raw = other.url.encode() + raw if foreign else raw

        def say(target):
            return reply(200, FILE) if home.heads[1:] else to(raw)

        async with Site(say).serving() as home, client(home.url + "/tp") as http:
            bucket = MemorySink()
            await http.download("file", bucket)
    assert bucket.content == FILE
    assert (other if foreign else home).targets[-1] == sent


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("http://h/tp/100% sure.png", "100%25%20sure.png"),
        ("/tp/50%off %20 ä.png?x=1%", "50%25off%20%20%20%C3%A4.png?x=1%25"),
        ("https://bücher.example/tp/a%2Fb", "a%2Fb"),
        ("/tp/a\udce4b", "a%E4b"),
        ("/tp/\ud800", "%3F"),
    ],
)
async def test_percent_sign_in_an_address_of_the_tracker_is_sent_encoded(written, path):
    async with Site(lambda _: reply(200, FILE)).serving() as home, client(home.url + "/tp") as http:
        assert http.path_of(written) == path
        await http.download(http.path_of(written), MemorySink())
        await http.get(http.path_of(written))
    assert home.targets == [f"/tp/{path}"] * 2


# --- cookies


def balanced(cookie: str, answered: bytes, status: int = 302) -> Callable[[str], bytes]:
    """A load balancer that lets nobody through without its cookie."""

    def say(target):
        if f"{cookie}" in (site[0].heads[-1].partition("Cookie: ")[2].partition("\r\n")[0]):
            return answered
        return to(target, status, f"Set-Cookie: {cookie}; Path=/; HttpOnly")

    site: list[Site] = []
    say.site = site
    return say


@contextlib.asynccontextmanager
async def behind(cookie: str, answered: bytes, status: int = 302) -> AsyncIterator[Site]:
    say = balanced(cookie, answered, status)
    async with Site(say).serving() as site:
        say.site.append(site)
        yield site


@pytest.mark.parametrize("verb", ["download", "get"])
async def test_cookie_set_by_a_redirect_to_the_same_address_is_sent_from_then_on(verb):
    async with behind("route=a1", reply(200, b"{}")) as home, client(home.url) as http:
        for _ in range(2):
            await (http.download("a?x=1", MemorySink()) if verb == "download" else http.get("a", {"x": "1"}))
        await http.get("b")
        await http.download("c", MemorySink())
    assert home.targets == ["/a?x=1", "/a?x=1", "/a?x=1", "/b", "/c"]


async def test_cookie_does_not_replace_one_of_the_credentials():
    async with (
        behind("route=a1", reply(200, b"{}")) as home,
        client(home.url, HeaderAuth("Cookie", "sid=me; x=1")) as http,
    ):
        http._exchange._redirects.cookies.take(URL(home.url), [("Set-Cookie", "sid=anonymous; Path=/")])
        await http.download("a", MemorySink())
        await http.get("a")
    assert [head.partition("Cookie: ")[2].partition("\r\n")[0] for head in home.heads] == [
        "sid=me; x=1",
        "sid=me; x=1; route=a1",
        "sid=me; x=1; route=a1",
    ]


async def test_cookies_go_to_no_other_host_and_others_than_those_are_not_kept():
    async with Site(lambda _: reply(200, FILE, "Set-Cookie: theirs=1")).serving("127.0.0.2") as other:

        def say(target):
            if target == "/file":
                return to(f"{other.url}/x", 302, "Set-Cookie: session=anonymous; Path=/")
            return reply(200, b"{}", "Set-Cookie: session=anonymous; Path=/")

        async with Site(say).serving() as home, client(home.url) as http:
            http._exchange._redirects.cookies.take(URL(home.url), [("Set-Cookie", "route=a1; Path=/")])
            await http.get("a")
            await http.download("file", MemorySink())
            await http.get("a")
    assert "Cookie" not in other.heads[0]
    assert all("Cookie: route=a1\r\n" in head for head in home.heads)


async def test_write_is_repeated_for_a_cookie_only_if_it_surely_was_not_taken():
    for status, sent in ((302, 1), (303, 1), (307, 2), (308, 2)):
        async with behind("route=a1", reply(201, b"{}"), status) as home, client(home.url) as http:
            call = http.write(Request("POST", "a", body=b"{}"))
            if sent == 1:
                with pytest.raises(errors.RejectedError):
                    await call
            else:
                assert (await call).status == 201
        assert len(home.heads) == sent


async def test_login_shows_the_cookie_of_a_load_balancer_too():
    let_through = reply(200, b"wrap_access_token=t")
    async with behind("route=a1", let_through) as home, client(home.url, WrapAuth("ann", "secret")) as http:
        await http.get("a")
    assert len(home.heads) == 3


async def test_redirect_to_the_same_address_that_has_no_end_ends():
    for lines in ((), ("Set-Cookie: a=1; Path=/",)):
        async with (
            Site(lambda target, lines=lines: to(target, 302, *lines)).serving() as home,
            client(home.url) as http,
        ):
            for call in (http.get("a"), http.download("a", MemorySink())):
                with pytest.raises(errors.RejectedError, match="redirects"):
                    await call


# --- what is a file

STATUSES = [201, 202, 203, 204, 205, 206, 207, 208, 226, 299, 300, 304, 305, 306]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("foreign", [False, True])
async def test_only_200_is_a_file(status, foreign):
    told = reply(status, b"" if status in {204, 205, 304} else FILE)
    meaning = errors.UnexpectedBodyError if status < 300 or status == 304 else errors.RejectedError
    async with (
        Site(lambda _: told).serving("127.0.0.2") as other,
        Site(lambda _: to(other.url + "/x") if foreign else told).serving() as home,
        client(home.url) as http,
    ):
        bucket = MemorySink()
        with pytest.raises(errors.MigratorError) as caught:
            await http.download("file", bucket)
    assert type(caught.value) is meaning
    assert not bucket.started


@pytest.mark.parametrize(
    ("told", "length", "whole"),
    [
        ("bytes 0-14/15", True, True),
        ("Bytes 0-14/15", True, True),
        ("bytes 0-14/16", True, False),
        ("bytes 1-15/16", True, False),
        ("bytes 0-14/*", True, False),
        ("bytes 0-15/16", True, False),
        ("bytes */15", True, False),
        ("", True, False),
        ("bytes 0-14/15", False, True),
    ],
)
async def test_part_is_a_file_only_where_it_is_all_of_it(told, length, whole):
    body = reply(206, FILE, *([f"Content-Range: {told}"] if told else []))
    if not length:
        body = body.replace(f"Content-Length: {len(FILE)}\r\n".encode(), b"")
    async with Site(lambda _: body).serving() as home, client(home.url) as http:
        bucket = MemorySink()
        if whole:
            await http.download("file", bucket)
            assert (bytes(bucket.content), bucket.facts.length) == (FILE, len(FILE))
        else:
            with pytest.raises(errors.UnexpectedBodyError, match="status 206"):
                await http.download("file", bucket)
            assert not bucket.started


@pytest.mark.parametrize("status", [204, 205])
async def test_answer_without_content_is_no_empty_listing(status):
    async with Site(lambda _: reply(status)).serving() as home, client(home.url) as http:
        with pytest.raises(errors.UnexpectedBodyError, match=f"no content .status {status}."):
            await http.get_json("a")


async def test_304_is_no_answer():
    async with Site(lambda _: reply(304)).serving() as home, client(home.url) as http:
        with pytest.raises(errors.UnexpectedBodyError, match="status 304"):
            await http.get("a")
        with pytest.raises(errors.OutcomeUnknownError):
            await http.write(Request("POST", "a", body=b"{}"))


# --- heads


@pytest.mark.parametrize(
    "lines", [[f"X-Long: {'x' * 65_000}"], [f"X-{n}: {'y' * 10}" for n in range(3000)]], ids=["long", "many"]
)
async def test_head_of_64_kib_is_fine_for_files_and_answers(lines):
    async with Site(lambda _: reply(200, b"{}", *lines)).serving() as home, client(home.url) as http:
        await http.download("file", MemorySink())
        assert (await http.get("a")).json() == {}


async def test_line_of_a_head_beyond_64_kib_is_refused_for_files_and_answers():
    async with Site(lambda _: reply(200, b"{}", f"X-Long: {'x' * 66_000}")).serving() as home, client(home.url) as http:
        for call in (http.download("file", MemorySink()), http.get("a")):
            with pytest.raises(errors.RetriableError):
                await call


async def test_length_that_is_told_twice_is_told_once_for_files_and_answers():
    async with Site(lambda _: reply(200, b"{}", "Content-Length: 2")).serving() as home, client(home.url) as http:
        await http.download("file", MemorySink())
        assert (await http.get("a")).json() == {}
        assert (await http.get("b")).json() == {}
    assert home.targets == ["/file", "/a", "/b"]


async def test_lengths_that_differ_are_refused_for_files_and_answers():
    async with Site(lambda _: reply(200, b"{}", "Content-Length: 1")).serving() as home, client(home.url) as http:
        for call in (http.download("file", MemorySink()), http.get("a"), http.get("b")):
            with pytest.raises(errors.RetriableError):
                await call


# --- writes that nobody repeats


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
async def test_write_over_a_kept_connection_that_breaks_is_sent_once(method):
    seen: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                seen.append(head.split(" ")[0])
                if seen[-1] != "GET":
                    await reader.readexactly(2)
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server, client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as http:
        await http.get("a")
        with pytest.raises(errors.OutcomeUnknownError):
            await http.write(Request(method, "a", body=b"{}"))
    assert seen == ["GET", method]
