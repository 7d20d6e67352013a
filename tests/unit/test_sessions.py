"""A session that ends is opened anew: what is sent again, how often, and how a token is spelled."""

from __future__ import annotations

from contextlib import asynccontextmanager
from urllib.parse import quote, urlencode

import pytest
from aiohttp import web

from migrator import errors
from migrator.testing import Bytes
from migrator.wire.auth import WrapAuth
from migrator.wire.client import HttpClient
from migrator.wire.request import Request
from migrator.wire.request_body import MultipartBody

TOKEN = "http%3a%2f%2ftp+x&sig=q=="


class Site:
    """Hands out numbered tokens; an upload is taken with a token from number `good` on, spelled by `spell`."""

    def __init__(self, good: int = 1, spell=lambda token: token, refused: web.HTTPException | None = None) -> None:
        self.good, self.spell, self.refused = good, spell, refused
        self.tokens: list[str] = []
        self.forms: list[str] = []
        self.seen = 0
        self.bodies: list[bytes] = []

    @asynccontextmanager
    async def client(self):
        app = web.Application()
        app.add_routes([web.post("/Authenticate/WRAPv0.9", self.issue), web.post("/upload", self.upload)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        http = HttpClient(f"http://127.0.0.1:{runner.addresses[0][1]}", WrapAuth("ann", "p&s+%41"))
        try:
            yield http
        finally:
            await http.close()
            await runner.cleanup()

    async def issue(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form.get("wrap_password", "p&s+%41") == "p&s+%41"
        self.forms.append("refresh" if "wrap_refresh_token" in form else "password")
        self.tokens.append(f"{TOKEN}{len(self.tokens) + 1}")
        refresh = {} if "wrap_refresh_token" in form else {"wrap_refresh_token": "r+%"}
        assert form.get("wrap_refresh_token", "r+%") == "r+%"
        return web.Response(text=urlencode({"wrap_access_token": self.tokens[-1], **refresh}))

    async def upload(self, request: web.Request) -> web.Response:
        self.seen += 1
        body = await request.read()
        good = [f"WRAP access_token={self.spell(token)}" for token in self.tokens[self.good - 1 :]]
        if request.headers["Authorization"] in good:
            self.bodies.append(body)
            return web.Response(status=201)
        raise self.refused or web.HTTPUnauthorized


async def send(http: HttpClient, body: Bytes) -> None:
    await http.write(Request("POST", "upload", body=MultipartBody({}, "files", "a.txt", "", body)))


async def test_upload_refused_for_an_old_token_is_sent_again_whole():
    site, body = Site(), Bytes(b"x" * 300_000)
    async with site.client() as http:
        await send(http, body)
        site.good = 2
        await send(http, body)
    assert [body.count(b"x") >= 300_000 for body in site.bodies] == [True, True]
    assert site.forms == ["password", "refresh"]
    assert body.passes == 3


async def test_upload_that_ends_at_a_login_page_is_not_sent_again():
    site, body = Site(good=2, refused=web.HTTPFound("/login.aspx")), Bytes(b"x")
    async with site.client() as http:
        with pytest.raises(errors.OutcomeUnknownError):
            await send(http, body)
    assert (body.passes, site.seen) == (1, 1)


@pytest.mark.parametrize("spell", [lambda token: token, lambda token: quote(token, safe=""), '"{}"'.format])
async def test_token_is_spelled_as_the_server_likes_it_from_then_on(spell):
    site = Site(spell=spell)
    async with site.client() as http:
        for _ in range(3):
            await send(http, Bytes(b"x"))
        first = site.seen
        site.good = 2
        await send(http, Bytes(b"x"))
    assert len(site.bodies) == 4
    assert first <= 5
    assert site.seen == first + 2, "a token that ends later is renewed, not spelled otherwise"
    assert site.forms == ["password", "refresh"]


async def test_token_that_nobody_takes_ends_as_refused_after_a_few_tries():
    site = Site(good=100)
    async with site.client() as http:
        with pytest.raises(errors.AuthError):
            await send(http, Bytes(b"x"))
    assert site.seen == 4
    assert site.forms == ["password", "refresh"]


async def test_refresh_token_is_kept_where_no_new_one_comes():
    site = Site()
    async with site.client() as http:
        for site.good in (1, 2, 3, 4):
            await send(http, Bytes(b"x"))
    assert site.forms == ["password", "refresh", "refresh", "refresh"]
