"""A page for people in place of the answer to a change: the change was not made, and nobody takes it for made."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from migrator import errors
from migrator.layers.retry import RetryingTarget
from migrator.model import Attachment, Draft, EntityRef
from migrator.testing import Bytes
from migrator.trackers import TRACKERS, adapter
from migrator.wire.client import HttpClient
from migrator.wire.request import Request
from migrator.wire.request_body import MultipartBody
from tests.support.parts import PATIENCE

LOGIN = '<form action="/in" method="post"><input name="who"><input type="password" name="word"></form>'
PAGES = {
    "login": ("Sign in", LOGIN),
    "sign-on": ("Working", '<form action="https://sso.example/adfs/ls/"><input name="SAMLRequest" value="x"></form>'),
    "maintenance": ("Wartungsarbeiten", "We are back at ten."),
    "guard": ("Just a moment...", "Checking your browser"),
    "licence": ("Licence expired", "Your licence has expired."),
}


def page(name: str) -> web.Response:
    title, text = PAGES[name]
    text = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{text}</body></html>"
    return web.Response(text=text, content_type="text/html")


@asynccontextmanager
async def serving(answer):
    """The address of a server that answers each request with what `answer` gives."""

    async def respond(request: web.Request) -> web.StreamResponse:
        await request.read()
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def closing(thing):
    """A client or a target, closed at the end."""
    try:
        yield thing
    finally:
        await thing.close()


def client(url: str):
    return closing(HttpClient(url, adapter("redmine").signer({"api_key": "k"})))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("name", PAGES)
async def test_change_that_a_page_answers_was_not_made(method, name):
    async with serving(lambda _: page(name)) as url, client(url) as http:
        with pytest.raises(errors.MigratorError) as told:
            await http.send(Request(method, "thing", body=b"{}"))
    kinds = {"login": errors.LoginPageError, "sign-on": errors.LoginPageError, "licence": errors.RejectedError}
    assert type(told.value) is kinds.get(name, errors.RetriableError)
    assert PAGES[name][0] in str(told.value)


@pytest.mark.parametrize("name", PAGES)
async def test_what_must_not_be_repeated_blindly_is_known_not_to_be_under_way(name):
    async with serving(lambda _: page(name)) as url, client(url) as http:
        with pytest.raises(errors.RejectedError) as told:
            await http.write(Request("POST", "upload", body=MultipartBody({}, "file", "a.txt", "", Bytes(b"x"))))
    if name != "licence":
        assert isinstance(told.value, errors.OutcomeUnknownError)
        assert (told.value.finished, told.value.login) == (True, name in {"login", "sign-on"})


async def test_a_page_that_holds_the_answer_is_the_answer():
    text = '<html><body>[{"Id": 7, "Name": "maintenance of the login.txt"}]</body></html>'
    parts = adapter("targetprocess")
    async with serving(lambda _: web.Response(text=text, content_type="text/html")) as url:
        http = HttpClient(url, parts.signer({"token": "t"}))
        async with closing(parts.target(http, parts.options())) as target:
            made = await target.upload(EntityRef("Bug", "1"), Draft("x.txt", "", "", 1), Bytes(b"x"))
    assert (made.id, made.name) == ("7", "maintenance of the login.txt")


AUTH = {"issuetrak": {"api_key": "a2V5"}, "targetprocess": {"cookie": "a=b"}, "teampulse": {"cookie": "a=b"}}
OWNERS = {"squash": "test-cases", "targetprocess": "Bug"}
FILES = {"roundup": "issue1/file7", "trac": "1/x.txt"}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("tracker", TRACKERS)
async def test_no_tracker_takes_a_page_for_a_file_that_arrived_or_was_deleted(tracker, name):
    parts = adapter(tracker)
    options = parts.options(created_by="APIUser") if tracker == "issuetrak" else parts.options()
    owner = EntityRef(OWNERS.get(tracker) or (*parts.capabilities.kinds, "Bug")[0], "1")
    async with serving(lambda _: page(name)) as url:
        http = HttpClient(url, parts.signer(AUTH.get(tracker) or dict.fromkeys(parts.auth[0], "k")))
        async with closing(RetryingTarget(parts.target(http, options), PATIENCE)) as target:
            there = Attachment(FILES.get(tracker, "7"), owner, "x.txt", 1)
            with pytest.raises(errors.MigratorError):
                await target.upload(owner, Draft("x.txt", "", "", 1), Bytes(b"x"))
            with pytest.raises(errors.MigratorError):
                await target.delete(there)
            if target.capabilities.sets_description and target.capabilities.changes_description:
                with pytest.raises(errors.MigratorError):
                    await target.describe(there, "told")
