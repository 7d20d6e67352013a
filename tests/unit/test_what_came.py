"""Odd answers over a real connection: what was replaced is told once, a login page is answered by logging in again."""

from __future__ import annotations

import base64
import contextlib
import logging

import pytest
from aiohttp import web

from migrator import errors
from migrator.wire.auth import HeaderAuth, QueryTokenAuth, Signature, basic, bearer
from migrator.wire.client import HttpClient
from migrator.wire.rate import RateLimiter
from tests.support.tls import served

PAGE = '<html><title>Log in</title><form action="/login"><input type="password"></form></html>'
DIRTY = {
    "json": (b'{"name": "Gr\xfc\xdfe \x01"}', "application/json"),
    "xml": (b'<a name="Gr\xfc\xdfe &#1;"/>', "text/xml"),
}


@contextlib.asynccontextmanager
async def client(answer, signer=None, **options):
    async with served(answer) as base:
        http = HttpClient(base, signer or HeaderAuth("X-Key", "k"), **options)
        try:
            yield http
        finally:
            await http.close()


@pytest.mark.parametrize("form", DIRTY)
async def test_replaced_characters_are_told_once_for_each_kind_of_question(form, caplog):
    body, media_type = DIRTY[form]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=media_type)

    caplog.set_level(logging.WARNING, "migrator")
    async with client(answer) as http:
        for path in ("things/1", "things/2", "things/2", "others"):
            read = getattr(await http.get(path, {"token": "secret"}), form)()
            assert "Gr\ufffd\ufffde" in (read["name"] if form == "json" else read.get("name"))
    told = [record.getMessage() for record in caplog.records]
    count = 2 if form == "json" else 3
    assert told == [
        f"GET {path}: {count} characters of the answer are not valid text and were read as U+FFFD"
        for path in ("things/1", "others")
    ]


async def test_charset_that_an_answer_names_is_how_it_is_read(caplog):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b'"Gr\xfc\xdfe"', headers={"Content-Type": 'application/json; charset="ISO-8859-1"'})

    async with client(answer) as http:
        assert await http.get_json("a") == "Grüße"
    assert not caplog.records


class Session:
    """A signer with a session that can be renewed."""

    ready = True

    def __init__(self) -> None:
        self.logins = 0

    def refused(self, signature, headers) -> bool:
        return False

    async def sign(self, request) -> Signature:
        return Signature({"X-Session": str(self.logins)})

    async def login(self, post) -> bool:
        self.logins += 1
        return True

    def worked(self) -> None:
        pass


async def test_login_page_in_place_of_json_means_to_log_in_again_once():
    async def answer(request: web.Request) -> web.Response:
        if request.headers["X-Session"] == "0":
            return web.Response(text=PAGE, content_type="text/html")
        return web.json_response({"session": request.headers["X-Session"]})

    signer = Session()
    async with client(answer, signer) as http:
        assert await http.get_json("a") == {"session": "1"}
        assert await http.get_json("a") == {"session": "1"}
    assert signer.logins == 1


@pytest.mark.parametrize("signer", [Session, lambda: HeaderAuth("X-Session", "0")])
async def test_login_page_that_stays_is_an_error(signer):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async with client(answer, signer()) as http:
        with pytest.raises(errors.LoginPageError, match=r'GET a: status 200, .*a login page \("Log in"\)'):
            await http.get_json("a")


SECRET = "s3cr3t-pass/word=="
SIGNERS = {
    "header": lambda: HeaderAuth("X-Key", SECRET),
    "basic": lambda: basic("somebody", SECRET),
    "bearer": lambda: bearer(SECRET),
    "wrap": lambda: HeaderAuth("Authorization", f'WRAP access_token="{SECRET}"'),
    "query": lambda: QueryTokenAuth("token", SECRET),
}


@pytest.mark.parametrize("signer", SIGNERS)
@pytest.mark.parametrize("status", [401, 403, 400, 500])
async def test_reason_of_a_refusal_is_kept_without_repeated_credentials(signer, status):
    async def answer(request: web.Request) -> web.Response:
        given = [request.headers.get("X-Key", ""), request.headers.get("Authorization", ""), request.query_string]
        wrapped = given[1].removeprefix("Basic ") if given[1].startswith("Basic ") else ""
        given.append(base64.b64decode(wrapped).decode() if wrapped else "")
        return web.json_response({"Message": f"No such user: {given}, {SECRET}"}, status=status)

    async with client(answer, SIGNERS[signer]()) as http:
        with pytest.raises(errors.MigratorError) as caught:
            await http.get("a")
    assert "No such user" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    assert "czNjcjN0" not in str(caught.value)


@pytest.mark.parametrize("spelled", ["3600", "86400000", "tomorrow's date"])
async def test_longest_wait_is_the_configured_one(spelled):
    value = "Fri, 31 Dec 2199 23:59:59 GMT" if spelled.startswith("tomorrow") else spelled

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": value})

    pacer = RateLimiter(max_wait=0.02)
    async with client(answer, pacer=pacer) as http:
        with pytest.raises(errors.ThrottledError) as caught:
            await http.get("a")
        assert caught.value.retry_after == 0.02
        with pytest.raises(errors.ThrottledError):  # and nobody is kept longer
            await http.get("a")


async def test_403_that_asks_to_slow_down_slows_all_down():
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=403, headers={"Retry-After": "0.01"})

    pacer = RateLimiter()
    async with client(answer, pacer=pacer) as http:
        with pytest.raises(errors.ThrottledError):
            await http.get("a")
    assert pacer._spacing > 0
