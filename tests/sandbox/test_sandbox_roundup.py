"""The sandbox Roundup answers as the recordings of a real one: asked with a bare client, no adapter.

The same requests are sent to a real one by `.ci/with-tracker roundup`; with MIGRATOR_RECORD=1 it is recorded again.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import pytest

from migrator.sandbox.roundup import RoundupSandbox
from migrator.sandbox.world.model import World
from tests.support.alike import Answers, record, recorded
from tests.support.real_roundup import PASSWORD, URL, USER

BYTES = {"Accept": "application/octet-stream"}


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[RoundupSandbox]:
    async with RoundupSandbox(world) as running:
        yield running


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(user, password, "utf-8")}


class Client:
    """A session with a Roundup, which remembers the answers. No name in the tracker has its `word` yet."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        origin = "/".join(url.split("/")[:3])
        self._headers = {"X-Requested-With": "rest", "Origin": origin, "Referer": f"{url}/"}
        connector = aiohttp.TCPConnector(force_close=True)
        self._session = aiohttp.ClientSession(headers=basic(user, password), connector=connector)
        self.word = "".join(secrets.choice("ghijklmnopqrstuvw") for _ in range(12))
        self.answers = Answers(self.word)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, *, bare: bool = False, **options: Any) -> Any:
        """The body of an answer; without the headers that a write needs if it is `bare`."""
        headers = {} if bare else self._headers | {"Accept": "application/json"}
        headers |= options.pop("headers", {})
        async with self._session.request(method, f"{self.url}/{path}", headers=headers, **options) as answer:
            await self.answers.add(answer, f"{method} {path}")
            body = await answer.read()
            self.status, self.headers = answer.status, answer.headers
        return json.loads(body) if answer.content_type == "application/json" else body

    async def made(self, kind: str, **values: Any) -> str:
        """The number of a new record."""
        return str((await self.ask("POST", f"rest/data/{kind}", json=values)).get("data", {}).get("id"))

    async def upload(self, name: str, content: bytes, media_type: str = "text/plain") -> str:
        """The number of a new file."""
        form = aiohttp.FormData({"name": name, "type": media_type})
        form.add_field("content", io.BytesIO(content), filename="content", content_type=media_type)
        return str((await self.ask("POST", "rest/data/file", data=form)).get("data", {}).get("id"))

    async def state(self, path: str) -> dict[str, str]:
        """The header that a change of this record needs."""
        return {"If-Match": (await self.ask("GET", f"rest/data/{path}"))["data"]["@etag"]}


def account(sandbox: RoundupSandbox) -> tuple[str, str, str]:
    return sandbox.url, sandbox.user, sandbox.password


@dataclass
class Made:
    """The numbers of what was made for a row of requests."""

    file: str
    other: str
    lost: str
    message: str
    issue: str


async def exchanges(client: Client) -> list[dict[str, Any]]:
    """What a Roundup answers to requests of all sorts."""
    for path in ("rest/", "rest/data", "rest/data/status?@verbose=2", "rest/data/priority"):
        await client.ask("GET", path)
    made = await make(client)
    for part in (read_records, read_lists, change, read_bytes, be_refused):
        await part(client, made)
    return client.answers.told


async def make(client: Client) -> Made:
    """Files, messages and an issue, and some that are refused."""
    word, data = client.word, "application/octet-stream"
    file, other = await client.upload(f" {word}\r\n.txt ", b"a \0\xff"), await client.upload(f"{word}.bin", b"b", data)
    for name, content, media_type in (("e.txt", b"", "text/plain"), ("no type.txt", b"x", ""), (" ", b"x", "a/b")):
        await client.upload(name, content, media_type)
    for text in ("sent as JSON\n", ""):
        await client.made("file", name="t.txt", type="text/plain", content=text)
    unsigned = await client.made("msg", content="no author")
    await client.made("issue", title="x", messages=[unsigned])
    message = await client.made("msg", content=f"two\n{word}\n", author="admin", messageid=f"<{word}>")
    issue = await client.made("issue", title=f" {word} ", files=[file], messages=[message], priority="bug")
    refused = ({"priority": "nosuch"}, {"title": "x", "foo": 1}, {"title": "x", "files": ["99999999"]}, {"title": 1})
    for values in refused:
        await client.made("issue", **values)
    await client.ask("POST", "rest/data/issue", data=b'{"title":', headers={"Content-Type": "application/json"})
    return Made(file, other, str(int(other) + 1), message, issue)


async def read_records(client: Client, made: Made) -> None:
    """One record at a time."""
    records = (("issue", made.issue), ("file", made.file), ("msg", made.message), ("file", made.lost))
    for kind, number in (*records, ("issue", "99999999")):
        for query in ("", "?@verbose=0", "?@verbose=2", "?@protected=true", "?x=1"):
            await client.ask("GET", f"rest/data/{kind}/{number}{query}")
    await client.ask("GET", f"rest/data/issue/{made.issue}?@fields=title,files&@verbose=2")


async def read_lists(client: Client, made: Made) -> None:
    """Lists by conditions and pages."""
    word, both = client.word, f"file?id={made.file}&id={made.other}"
    queries = (
        f"issue?id={made.issue}&@fields=title,files&@verbose=2",
        f"issue?id={made.issue}&id=99999999",
        f"issue?files={made.file},99999999&@fields=files&@verbose=2",
        f"issue?files={made.other}",
        f"issue?messages={made.message}",
        f"issue?title={word}",
        f"issue?id={made.issue}&@fields=nosuch",
        f"issue?id={made.issue}&@fields=creator,creation,status&@verbose=0",
        "issue?nosuch=1",
        "issue?@page_size=x",
        "nosuch",
        f"file?name:={word}&@fields=name,type",
        f"file?name={word}&@fields=name,type&@sort=-id",
        f"msg?messageid={word}&@fields=messageid",
        "msg?files=1&@page_size=1",
        f"{both}&@sort=-id&@page_size=1&@page_index=1",
        f"{both}&@sort=name&@page_size=1&@page_index=2",
        f"{both}&@page_size=2&@page_index=99",
        f"{both}&@page_size=0",
        f"{both}&@sort=nosuch",
    )
    for query in queries:
        await client.ask("GET", f"rest/data/{query}")


async def change(client: Client, made: Made) -> None:
    """Changes of an issue; then a file is retired, and still there for who knows its number."""
    place, add = f"issue/{made.issue}", {"@op": "add", "files": [made.other]}
    stale = await client.state(place)
    for headers in ({}, stale, stale):
        await client.ask("PATCH", f"rest/data/{place}", json=add, headers=headers)
    more = ({"status": "resolved"}, {"@op": "remove", "files": [made.other]}, {"@op": "odd", "title": "x"})
    for values in (add, *more):
        await client.ask("PATCH", f"rest/data/{place}", json=values, headers=await client.state(place))
    file = f"file/{made.file}"
    for headers in (stale, await client.state(file)):
        await client.ask("DELETE", f"rest/data/{file}", headers=headers)
    for path in (f"file?id={made.file}", file, f"{place}?@verbose=2"):
        await client.ask("GET", f"rest/data/{path}")


async def read_bytes(client: Client, made: Made) -> None:
    """The content of files: one is retired, one has none."""
    for number in (made.file, made.other, made.lost, "99999999"):
        for accepted in ("application/octet-stream", "text/plain", "image/png", "*/*"):
            await client.ask("GET", f"rest/data/file/{number}/binary_content", headers={"Accept": accepted})
        await client.ask("GET", f"file{number}/any-name", bare=True)


async def be_refused(client: Client, made: Made) -> None:
    """Who has no login, accepts nothing that there is, or writes from another page."""
    path = f"rest/data/issue/{made.issue}"
    await client.ask("GET", path, headers={"Accept": "text/csv"})
    await client.ask("GET", path, bare=True, headers={"Authorization": "Bearer x"})
    await client.ask("GET", path, bare=True, headers=basic(f"nobody-{client.word}", "x"))
    for headers in ({}, {"X-Requested-With": "rest"}, {"X-Requested-With": "rest", "Origin": "https://evil.example"}):
        await client.ask("POST", "rest/data/issue", bare=True, headers=headers, json={"title": "x"})
    origin = {"X-Requested-With": "rest", "Origin": "/".join(client.url.split("/")[:3])}
    for more in ({}, {"Referer": "https://evil.example/"}, {"Referer": client.url}):
        await client.ask("POST", "rest/data/issue", bare=True, headers={**origin, **more}, json={"foo": 1})
    await client.ask("GET", path, bare=True, headers={"Origin": "https://evil.example"})


async def test_requests_of_all_sorts_are_answered_as_a_real_one_answered_them() -> None:
    async with RoundupSandbox(World(0, ())) as sandbox, Client(*account(sandbox)) as client:
        found, expected = await exchanges(client), recorded("roundup")
    assert [one["asked"] for one in found] == [one["asked"] for one in expected]
    assert [one for one in zip(found, expected, strict=True) if one[0] != one[1]] == []


@pytest.mark.roundup
@pytest.mark.skipif(not URL, reason="MIGRATOR_ROUNDUP_URL is not set")
async def test_a_real_roundup_answers_as_it_was_recorded() -> None:
    async with Client(URL, USER, PASSWORD) as client:
        found = await exchanges(client)
    record("roundup", found)
    assert found == recorded("roundup")


@pytest.fixture
async def client(sandbox: RoundupSandbox) -> AsyncIterator[Client]:
    async with Client(*account(sandbox)) as session:
        yield session


async def test_a_page_past_the_end_tells_a_total_made_of_its_number(client: Client, world: World) -> None:
    entities = len(world.entities)
    for index, total in ((1, entities), (2, entities), (99, 98 * 200)):
        page = (await client.ask("GET", f"rest/data/issue?@page_size=200&@page_index={index}"))["data"]
        assert page["@total_size"] == total == int(client.headers["X-Count-Total"])
        assert len(page["collection"]) == max(0, min(200, entities - (index - 1) * 200))
        assert ("next" in page["@links"], "prev" in page["@links"]) == (index == 1, index > 1)


async def test_every_file_is_on_an_issue_or_on_none(client: Client, sandbox: RoundupSandbox) -> None:
    """Empty files and blanks at the ends of names are nothing that a Roundup could hold."""
    listed = (await client.ask("GET", "rest/data/file?@fields=name&@verbose=2"))["data"]["collection"]
    issues = (await client.ask("GET", "rest/data/issue?@fields=files"))["data"]["collection"]
    assert [int(file["id"]) for file in listed] == [file.id for file in sandbox.world.attachments]
    linked = [file["id"] for item in issues for file in item["files"]]
    loose = {str(file.id) for file in sandbox.world.attachments if file.entity_id is None}
    assert sorted(linked) == sorted({file["id"] for file in listed} - loose)
    assert loose
    assert all(file["name"] == file["name"].strip() for file in listed)
    assert all(file.size for file in sandbox.world.attachments)


async def test_texts_of_an_issue_are_its_messages(client: Client, sandbox: RoundupSandbox) -> None:
    entity = next(entity for entity in sandbox.world.entities if entity.comments)
    item = (await client.ask("GET", f"rest/data/issue/{entity.id}"))["data"]["attributes"]
    numbers = [message["id"] for message in item["messages"]]
    found = [
        (await client.ask("GET", f"rest/data/msg/{number}?@verbose=3"))["data"]["attributes"] for number in numbers
    ]
    assert [message["content"] for message in found] == [entity.text, *(one.text for one in entity.comments)]


async def test_more_calls_than_the_rate_allows_are_told_to_wait(client: Client, sandbox: RoundupSandbox) -> None:
    sandbox.quirks.rate = (3, 3600)
    for left in ("2", "1", "0"):
        await client.ask("GET", "rest/data/status")
        assert (client.status, client.headers["X-RateLimit-Remaining"]) == (200, left)
    refused = (await client.ask("GET", "rest/data/status"))["error"]
    assert (client.status, refused["source"], client.headers["Retry-After"]) == (429, "ApiRateLimiter", "1200")
    sandbox.quirks.rate = None
    await client.ask("GET", "rest/data/status")
    assert client.status == 200


async def test_after_four_wrong_passwords_the_right_one_is_refused_too(sandbox: RoundupSandbox) -> None:
    async with Client(sandbox.url, sandbox.user, "wrong") as client:
        for _ in range(4):
            assert await client.ask("GET", "rest/data/status") == b"Invalid Login - Invalid login"
    async with Client(*account(sandbox)) as client:
        assert await client.ask("GET", "rest/data/status") == b"Logins occurring too fast."
        assert (client.status, client.headers["Retry-After"]) == (429, "150")


async def test_forbidden_issues_are_in_no_list_and_refused_by_number(client: Client, sandbox: RoundupSandbox) -> None:
    number = sandbox.world.entities[0].id
    sandbox.faults.forbidden_entities.add(number)
    assert (await client.ask("GET", f"rest/data/issue?id={number}"))["data"]["collection"] == []
    assert (await client.ask("GET", f"rest/data/issue/{number}"))["error"]["msg"] == (
        f"Permission to view issue{number} denied"
    )


async def test_both_steps_of_an_upload_may_fail_or_lose_their_answers(client: Client, sandbox: RoundupSandbox) -> None:
    sandbox.faults.fail_uploads = 1
    form = aiohttp.FormData({"name": "x.txt", "type": "text/plain"})
    form.add_field("content", io.BytesIO(b"x"), filename="content")
    assert b"fail_uploads" in await client.ask("POST", "rest/data/file", data=form)
    assert not sandbox.state.uploads
    file, number = await client.upload("x.txt", b"x"), sandbox.world.entities[0].id
    sandbox.faults.lose_upload_answers = 1
    state, add = await client.state(f"issue/{number}"), {"@op": "add", "files": [file]}
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.ask("PATCH", f"rest/data/issue/{number}", json=add, headers=state)
    assert sandbox.state.owners_of(int(file)) == [number]
    sandbox.faults.max_upload_bytes = 3
    await client.upload("x.txt", bytes(70_000))
    assert client.status == 413


async def test_bytes_arrive_as_they_are_by_both_addresses(client: Client, sandbox: RoundupSandbox) -> None:
    file = next(file for file in sandbox.world.attachments if file.size > 100)
    for path in (f"rest/data/file/{file.id}/binary_content", f"file{file.id}/any"):
        content = await client.ask("GET", path, headers=BYTES)
        assert hashlib.sha256(content).hexdigest() == sandbox.state.sha256_of(file)
