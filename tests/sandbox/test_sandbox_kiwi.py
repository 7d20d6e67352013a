"""The sandbox Kiwi TCMS answers as the recordings of a real one: asked with a bare client, no adapter.

The same requests are sent to a real one by `.ci/with-tracker kiwi`; with MIGRATOR_RECORD=1 it is recorded again.
"""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
from collections.abc import AsyncIterator
from typing import Any, Self
from urllib.parse import unquote

import aiohttp
import pytest

from migrator.sandbox.kiwi import KiwiSandbox
from migrator.sandbox.world.model import World
from tests.support.alike import Answers, record, recorded
from tests.support.real_kiwi import PASSWORD, URL, USER

RANDOM = r"(?<=/)[^/ ]{40,}(?=\.[^./]+$)|(?<=/)[^/. ]{40,}$|(?<=_)[A-Za-z0-9]{7}(?=\.|$)"
"""What a name gets if the one that was sent is taken or too long. How much fits is by the digits of the number."""
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[KiwiSandbox]:
    async with KiwiSandbox(world) as running:
        yield running


@pytest.fixture
async def client(sandbox: KiwiSandbox) -> AsyncIterator[Client]:
    async with Client(sandbox.url, sandbox.user, sandbox.password) as session:
        await session.log_in()
        yield session


class Client:
    """A session with a Kiwi TCMS, which remembers the answers. Nothing there has its `word` in a name yet."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url, self.user, self.password = url, user, password
        self.word = "".join(secrets.choice("ghijklmnopqrstuvw") for _ in range(12))
        self.answers = Answers(self.word, RANDOM)
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self.cookie: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def ask(self, method: str, path: str, asked: str = "", **options: Any) -> bytes:
        """The body of an answer."""
        options["headers"] = {**self.cookie, **options.get("headers", {})}
        async with self.session.request(method, f"{self.url}/{path}", allow_redirects=False, **options) as answer:
            await self.answers.add(answer, asked or f"{method} {path}")
            self.status = answer.status
            return await answer.read()

    async def post(self, payload: Any, asked: str = "", **options: Any) -> Any:
        """The answer to a call, to several, or to what is none."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        answer = await self.ask("POST", "json-rpc/", asked, data=io.BytesIO(body), headers={**JSON, **options})
        return json.loads(answer)

    async def call(self, method: str, *params: Any, named: dict[str, Any] | None = None, **options: Any) -> Any:
        """The result of a call, or its error."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": named or params}
        answer = await self.post(call, method, **options)
        return answer["error"] if "error" in answer else answer["result"]

    async def log_in(self) -> None:
        """From now on, calls are those of an account."""
        session = await self.call("Auth.login", self.user, self.password)
        self.cookie = {"Cookie": f"sessionid={session}"}

    async def attach(self, number: int, name: str, content: bytes, kind: str = "TestCase") -> Any:
        """The result of an upload, or its error."""
        return await self.call(f"{kind}.add_attachment", number, name, base64.b64encode(content).decode())

    async def paths(self, number: int, kind: str = "TestCase") -> list[str]:
        """Where the files of a test case are, the newest first."""
        files = await self.call(f"{kind}.list_attachments", number)
        return [file["url"].partition("/uploads/")[2] for file in files]


async def exchanges(client: Client) -> list[dict[str, Any]]:
    """What a Kiwi answers to requests of all sorts."""
    await be_nobody(client)
    await client.log_in()
    case, plan = await make(client)
    await upload(client, case, plan)
    await read(client, case)
    await delete(client, case)
    await call_badly(client, case)
    return client.answers.told


async def be_nobody(client: Client) -> None:
    """Without a login, or with one that is none."""
    await client.call("Auth.login", client.user, "wrong")
    await client.call("TestCase.filter", {})
    await client.call("TestCase.filter", {}, Cookie="sessionid=abcdefghijklmnopqrstuvwxyz012345")
    await client.call("KiwiTCMS.version")


async def make(client: Client) -> tuple[int, int]:
    """A product, a test case and a test plan in it, and some that are refused."""
    word = f"{client.word} & <b>"
    await client.call("KiwiTCMS.version")
    group = await client.call("Classification.create", {"name": word})
    product = (await client.call("Product.create", {"name": word, "classification": group["id"]}))["id"]
    [category] = await client.call("Category.filter", {"product": product})
    [version] = await client.call("Version.filter", {"product": product})
    await client.call("TestCaseStatus.filter", {})
    of = {"product": product, "category": category["id"], "priority": 1, "case_status": 2}
    case = (await client.call("TestCase.create", {**of, "summary": f' {word} "q" ', "text": word}))["id"]
    for wrong in ({"summary": ""}, {"summary": "x" * 256}):
        await client.call("TestCase.create", {**of, **wrong})
    await client.call("TestCase.create", {"summary": word})
    of_plan = {"product": product, "product_version": version["id"], "type": 1}
    plan = (await client.call("TestPlan.create", {**of_plan, "name": word}))["id"]
    for kind, number in (("TestCase", case), ("TestPlan", plan)):
        for query in ({"pk": number}, {"pk__gt": number - 1, "pk__lte": number}, {"pk": 99_999_999}):
            await client.call(f"{kind}.filter", query)
    await client.call("TestPlan.filter", {"product": product})
    await client.call("TestCase.filter", {"category__product": product})
    await client.call("TestCase.filter", {"text__contains": client.word})
    return case, plan


async def upload(client: Client, case: int, plan: int) -> None:
    """Files with odd names and contents."""
    names = (
        "notes.txt",
        "notes.txt",
        'it\'s "a" & ü+%41 😀.txt',
        "a/b\\c.txt",
        "&amp;x.txt",
        "..",
        "",
        " ",
        "?",
        "a\tb",
    )
    for name in (*names, "L" * 120 + ".bin", "no ending" * 12, ".hidden", "twin.tar.gz", "twin.tar.gz", "a.b" * 40):
        await client.attach(case, name, b"x")
    contents = (
        b"",
        b"a<SCRIPT>",
        b"\0\xff<rT\0",
        b"x onLoad= y",
        b"<html><head><link>",
        b"a < b",
        b"<r",
        b"\xff" * 3000,
    )
    for content in contents:
        await client.attach(case, "x.bin", content)
    for name in ("setup.exe", "a.exe.txt", "a.EXE"):
        await client.attach(case, name, b"MZ")
    await client.attach(plan, "plan.txt", b"x", "TestPlan")
    await client.attach(99_999_999, "x.txt", b"x")
    for text in ("%%%", "eA", "eA==\n", "e A = ="):
        await client.call("TestCase.add_attachment", case, "b.txt", text)
    await client.call("TestCase.add_attachment", named={"case_id": case, "filename": "n.txt", "b64content": "eA=="})
    await client.attach(case, "large.bin", bytes(2_000_000))


async def read(client: Client, case: int) -> None:
    """Lists of files, and files, which everybody may have."""
    await client.call("TestCase.list_attachments", 99_999_999)
    paths = await client.paths(case)
    await client.post([_listing(1, case), _listing(2, 99_999_999)], "a batch")
    for path in paths:
        await client.ask("GET", f"uploads/{path}", headers={"Cookie": ""})
    await client.ask("GET", f"uploads/{paths[0]}.gone")


async def delete(client: Client, case: int) -> None:
    """A file is deleted once."""
    newest = (await client.call("TestCase.list_attachments", case))[0]
    for _ in range(2):
        await client.call("Attachment.remove_attachment", newest["pk"])
    await client.ask("GET", "uploads/" + newest["url"].partition("/uploads/")[2])


async def call_badly(client: Client, case: int) -> None:
    """Calls that are none, or not of this API."""
    await client.call("TestRun.list_attachments", 1)
    for params in ((), (case,), (case, "x.txt"), (case, "x.txt", "eA==", 1)):
        await client.call("TestCase.add_attachment", *params)
    await client.post(b"{broken", "broken JSON")
    await client.call("TestCase.filter", {"nosuch": 1})
    await client.ask("GET", "json-rpc/")
    await client.ask("POST", "json-rpc", data=b"{}", headers=JSON)


def _listing(number: int, case: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "TestCase.list_attachments", "params": [case]}


async def test_requests_of_all_sorts_are_answered_as_a_real_one_answered_them() -> None:
    async with KiwiSandbox(World(0, ())) as sandbox, Client(sandbox.url, sandbox.user, sandbox.password) as client:
        found, expected = await exchanges(client), recorded("kiwi")
    assert [one["asked"] for one in found] == [one["asked"] for one in expected]
    assert [one for one in zip(found, expected, strict=True) if one[0] != one[1]] == []


@pytest.mark.kiwi
@pytest.mark.skipif(not URL, reason="MIGRATOR_KIWI_URL is not set")
async def test_a_real_kiwi_answers_as_it_was_recorded() -> None:
    async with Client(URL, USER, PASSWORD) as client:
        found = await exchanges(client)
    record("kiwi", found)
    assert found == recorded("kiwi")


async def test_what_kiwi_refuses_or_renames_is_not_in_its_world(client: Client, sandbox: KiwiSandbox) -> None:
    """Every file is on a test case or plan, at an address of its own, with the bytes of the made-up world."""
    held, paths = 0, set[str]()
    for entity in sandbox.world.entities:
        kind = sandbox.kind_of(entity.id)
        files = await client.call(f"{kind}.list_attachments", entity.id)
        assert [file["pk"] for file in files] == sorted((file["pk"] for file in files), reverse=True)
        for file in files:
            path = file["url"].partition("/uploads/")[2]
            content = await client.ask("GET", f"uploads/{path}", headers={"Cookie": ""})
            assert content == sandbox.world.content(sandbox.world.attachment(file["pk"]))  # type: ignore[arg-type]
            assert not any(word in content.lower() for word in (b"<html", b"<script", b"onload="))
            assert ".exe" not in path
            paths.add(path)
            held += 1
    assert held == len(paths) == len(sandbox.world.attachments)
    assert {sandbox.kind_of(entity.id) for entity in sandbox.world.entities} == {"TestCase", "TestPlan"}
    names = [unquote(path).rpartition("/")[2] for path in paths]
    assert all(re.fullmatch(r"[-\w.]+", name) for name in names)
    assert max(map(len, map(unquote, paths))) == 100


async def test_a_long_name_is_cut_to_a_path_of_a_hundred_characters(client: Client, sandbox: KiwiSandbox) -> None:
    number = sandbox.world.entities[0].id
    for name in ("L" * 120 + ".bin", "ä" * 120, "x.tar." + "g" * 50):
        await client.attach(number, name, b"x")
        path = unquote((await client.paths(number))[0])
        assert len(path) == 100 or path.endswith(name)
        assert path.endswith(name.rpartition(".")[2][-3:]) or "." not in name
    refused = await client.attach(number, "x." + "g" * 90, b"x")
    assert "can not find an available filename" in refused["message"]


async def test_a_session_ends_and_a_locked_database_redirects(client: Client, sandbox: KiwiSandbox) -> None:
    sandbox.quirks.session_seconds = 0
    await client.log_in()
    assert "Authentication failed" in (await client.call("TestCase.filter", {}))["message"]
    assert client.status == 403
    sandbox.quirks.locked = 1
    await client.ask("POST", "json-rpc/", data=b"{}", headers=JSON)
    assert client.status == 302


async def test_a_forbidden_test_case_keeps_its_list(client: Client, sandbox: KiwiSandbox) -> None:
    number = sandbox.world.entities[0].id
    sandbox.faults.forbidden_entities.add(number)
    assert "Authentication failed" in (await client.call("TestCase.list_attachments", number))["message"]
    assert client.status == 403


async def test_an_upload_may_fail_or_lose_its_answer(client: Client, sandbox: KiwiSandbox) -> None:
    number = sandbox.world.entities[0].id
    sandbox.faults.fail_uploads = 1
    await client.ask("POST", "json-rpc/", data=_upload(number), headers=JSON)
    assert (client.status, sandbox.state.uploads) == (500, {})
    sandbox.faults.lose_upload_answers = 1
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.ask("POST", "json-rpc/", data=_upload(number), headers=JSON)
    assert [file.name for file in sandbox.state.uploads.values()] == ["x.txt"]
    sandbox.faults.max_upload_bytes = 1024**2
    refused = await client.attach(number, "y.txt", bytes(1024**2 + 1))
    assert "File exceeds maximum size of 1.0\\xa0MB" in refused["message"]


async def test_calls_meet_the_faults_that_any_request_may_meet(client: Client, sandbox: KiwiSandbox) -> None:
    sandbox.faults.unavailable = 1.0
    for status in (503, 503, 200):
        await client.ask("POST", "json-rpc/", data=json.dumps(_listing(1, 101)).encode(), headers=JSON)
        assert client.status == status
    await client.attach(sandbox.world.entities[0].id, "x.txt", b"x")
    assert client.status == 200, "uploads have faults of their own"


async def test_more_than_the_proxy_takes_is_a_page(client: Client) -> None:
    await client.ask("POST", "json-rpc/", data=io.BytesIO(bytes(10 * 1024**2 + 1)), headers=JSON)
    assert (client.status, client.answers.told[-1]["type"]) == (413, "text/html")


def _upload(number: int) -> bytes:
    params = [number, "x.txt", "eA=="]
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "TestCase.add_attachment", "params": params}).encode()
