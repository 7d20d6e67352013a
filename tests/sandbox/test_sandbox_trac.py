"""The sandbox Trac answers as the recordings of a real one: asked with a bare client, no adapter."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from migrator.sandbox.trac import TracSandbox
from migrator.sandbox.trac.records import free_name
from migrator.sandbox.world.model import World

Client = aiohttp.ClientSession
KEEPS_BOTH = False
"""The last parameter of an upload; left out, it is true."""


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[TracSandbox]:
    async with TracSandbox(world, base_path="/trac") as running:
        yield running


async def post(
    client: Client, sandbox: TracSandbox, body: bytes, status: int = 200, path: str = "login/rpc", account: str = ""
) -> Any:
    account = account or f"{sandbox.user}:{sandbox.password}"
    headers = {"Content-Type": "application/json"}
    headers["Authorization"] = f"Basic {base64.b64encode(account.encode()).decode()}"
    async with client.post(f"{sandbox.url}/{path}", data=io.BytesIO(body), headers=headers) as answer:
        text = await answer.text()
        assert answer.status == status, text
        return json.loads(text) if text.startswith("{") else text


async def call(client: Client, sandbox: TracSandbox, method: str, *params: Any) -> Any:
    """The result of a method."""
    told = await post(client, sandbox, json.dumps({"id": 7, "method": method, "params": params}).encode())
    assert told["error"] is None, told
    assert told["id"] == 7
    return told["result"]


async def error_of(client: Client, sandbox: TracSandbox, method: str, *params: Any) -> tuple[int, str]:
    """Code and message of the error of a method, whose status is 200."""
    told = await post(client, sandbox, json.dumps({"id": 7, "method": method, "params": params}).encode())
    assert (told["result"], told["error"]["name"]) == (None, "JSONRPCError")
    return told["error"]["code"], told["error"]["message"]


def binary(content: bytes) -> dict[str, Any]:
    return {"__jsonclass__": ["binary", base64.b64encode(content).decode()]}


def ticket_of(sandbox: TracSandbox) -> int:
    return sandbox.world.entities[0].id


async def names(client: Client, sandbox: TracSandbox, number: int) -> list[str]:
    return [file[0] for file in await call(client, sandbox, "ticket.listAttachments", number)]


async def test_only_a_wrong_password_is_refused_with_a_status(client: Client, sandbox: TracSandbox) -> None:
    body = json.dumps({"id": 1, "method": "system.getAPIVersion", "params": []}).encode()
    assert (await post(client, sandbox, body))["result"] == [1, 1, 9]
    assert await post(client, sandbox, body, 401, account="admin:wrong") == ""
    async with client.post(f"{sandbox.url}/login/rpc", data=body) as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="Trac"')
    told = await post(client, sandbox, body, path="rpc")
    assert (told["error"]["code"], told["error"]["message"].split()[0]) == (403, "XML_RPC")


async def test_a_query_stops_at_a_hundred_and_without_one_hides_closed(client: Client, sandbox: TracSandbox) -> None:
    everything = await call(client, sandbox, "ticket.query", "order=id&max=0")
    assert everything == [entity.id for entity in sandbox.world.entities]
    assert await call(client, sandbox, "ticket.query", "order=id") == everything[:100]
    assert not any(number % 5 == 0 for number in await call(client, sandbox, "ticket.query"))
    sandbox.quirks.obeys_max = False
    assert len(await call(client, sandbox, "ticket.query", "order=id&max=0")) == 100


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("id=101-107&order=id&max=0", [101, 104, 107]),
        ("id=101,104&id=110&order=id&desc=1", [110, 104, 101]),
        ("id=100-112&status!=closed", [101, 104, 107]),
        ("id=100-120&type=defect|task", [104, 107, 113, 119]),
        ("id=100-107&summary$=(1)", [101]),
        ("id=100-107&nosuchfield=1", [101, 104, 107]),
        ("id=100-112&max=2&page=2&order=id", [107, 110]),
        ("id=100-112&page=9", [101, 104, 107, 110]),
    ],
)
async def test_queries_find_what_they_say(client: Client, sandbox: TracSandbox, query: str, found: list[int]) -> None:
    assert await call(client, sandbox, "ticket.query", query) == found


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("ticket.query", ["id=x"], (-32603, "Invalid query constraint value")),
        ("ticket.query", ["max=x"], (-32603, "Query max x is invalid.")),
        ("ticket.query", [""], (-32603, 'Query filter requires field and constraints separated by a "="')),
        ("ticket.query", ["max=2&page=999"], (-32603, "Page 999 is beyond the number of pages in the query")),
        ("ticket.get", [99999], (404, "Ticket 99999 does not exist.")),
        ("ticket.get", ["x"], (404, "Ticket x does not exist.")),
        ("ticket.create", ["", "text"], (-32603, "Tickets must contain a summary.")),
        (
            "ticket.create",
            [],
            (-32603, "TicketRPC.create() missing 2 required positional arguments: 'summary' and 'description'"),
        ),
        ("ticket.nope", [], (-32601, 'RPC method "ticket.nope" not found')),
        ("ticket.getAttachment", [101, "nope"], (404, "Attachment 'ticket:101: nope' does not exist.")),
        ("ticket.getAttachment", [101, ""], (404, "Attachment 'None' not found")),
        ("ticket.putAttachment", [99999, "a", "", binary(b"")], (404, "Ticket 99999 does not exist.")),
        ("ticket.putAttachment", [101, "a", "", "text"], (-32603, "'str' object has no attribute 'data'")),
        ("ticket.deleteAttachment", [99999, "a"], (404, "Ticket 99999 does not exist.")),
    ],
)
async def test_an_error_is_an_answer(
    client: Client, sandbox: TracSandbox, method: str, params: list[Any], error: tuple[int, str]
) -> None:
    assert await error_of(client, sandbox, method, *params) == error
    assert not sandbox.state.uploads


async def test_what_is_no_call_is_an_error_too(client: Client, sandbox: TracSandbox) -> None:
    for body, code in (
        (b"{broken", -32700),
        (b"[]", -32700),
        (b"{}", -32603),
        (b'{"id":1,"method":"ticket.get","params":[{"__jsonclass__":["x",""]}]}', -32700),
    ):
        told = await post(client, sandbox, body)
        assert (told["id"], told["error"]["code"]) == (None, code)


async def test_a_ticket_is_its_number_two_dates_and_its_fields(client: Client, sandbox: TracSandbox) -> None:
    number = await call(client, sandbox, "ticket.create", "new", "text", {"type": "nosuch"})
    told = await call(client, sandbox, "ticket.get", number)
    assert (told[0], told[3]["summary"], told[3]["type"]) == (number, "new", "nosuch"), "any type is taken"
    assert told[1]["__jsonclass__"][0] == "datetime"
    await call(client, sandbox, "ticket.putAttachment", number, "a", "about it", binary(b"x"), KEEPS_BOTH)
    assert await call(client, sandbox, "ticket.get", number) == told, "a file doesn't change it"
    closed = await call(client, sandbox, "ticket.update", number, "done", {"status": "closed"})
    assert closed[3]["status"] == "closed"
    log = await call(client, sandbox, "ticket.changeLog", number)
    assert [entry[2:5] for entry in log] == [
        ["comment", "1", "done"],
        ["attachment", "", "a"],
        ["comment", "", "about it"],
    ]


async def test_the_second_file_of_a_name_replaces_it_unless_told_not_to(client: Client, sandbox: TracSandbox) -> None:
    number = await call(client, sandbox, "ticket.create", "new", "text")

    async def put(name: str, content: bytes, *more: bool) -> Any:
        return await call(client, sandbox, "ticket.putAttachment", number, name, "", binary(content), *more)

    assert await put("a.txt", b"one", KEEPS_BOTH) == "a.txt"
    assert await put("a.txt", b"two", KEEPS_BOTH) == "a.2.txt"
    assert await put("a.txt", b"three") == "a.txt"
    assert await names(client, sandbox, number) == ["a.2.txt", "a.txt"], "the newer last"
    found = [await call(client, sandbox, "ticket.getAttachment", number, name) for name in ("a.txt", "a.2.txt")]
    assert [base64.b64decode(file["__jsonclass__"][1]) for file in found] == [b"three", b"two"]
    for name in ("../../evil.txt", "", "a\nb"):
        assert await put(name, b"x", KEEPS_BOTH) == name
    assert await call(client, sandbox, "ticket.deleteAttachment", number, "a.txt") is True
    error = f"Attachment 'ticket:{number}: a.txt' does not exist."
    assert await error_of(client, sandbox, "ticket.deleteAttachment", number, "a.txt") == (404, error)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a", "a.2"),
        ("a.tar.gz", "a.tar.2.gz"),
        (".hidden", ".hidden.2"),
        ("a.", "a.2."),
        ("..", "...2"),
        ("b.c/d", "b.c/d.2"),
    ],
)
def test_a_second_name_is_made_as_a_real_one_makes_it(name: str, other: str) -> None:
    assert free_name(name, {name}) == other
    assert free_name(name, ()) == name


async def test_each_file_of_the_world_is_on_a_ticket_under_its_own_name(client: Client, sandbox: TracSandbox) -> None:
    for entity in sandbox.world.entities[:40]:
        listed = await names(client, sandbox, entity.id)
        assert len(listed) == len(set(listed)) == len(sandbox.world.attachments_of(entity.id))
    large = max(sandbox.world.attachments, key=lambda file: file.size)
    file = await call(client, sandbox, "ticket.getAttachment", large.entity_id, large.name)
    assert base64.b64decode(file["__jsonclass__"][1]) == sandbox.world.content(large)
    assert file["__jsonclass__"][1].endswith("\n")


async def test_many_calls_are_one_request(client: Client, sandbox: TracSandbox) -> None:
    number = ticket_of(sandbox)
    [name, *_] = await names(client, sandbox, number)
    calls = [("ticket.get", [99999]), ("nope", []), ("ticket.getAttachment", [number, name])]
    named = [{"method": method, "params": params, "id": n} for n, (method, params) in enumerate(calls)]
    answers = await call(client, sandbox, "system.multicall", *named)
    assert [(answer["error"] or {}).get("code") for answer in answers] == [404, -32601, None]
    assert [answer["id"] for answer in answers] == [0, 1, 2]
    assert base64.b64decode(answers[2]["result"]["__jsonclass__"][1])


async def test_what_an_account_may_not_see_is_empty_or_403(client: Client, sandbox: TracSandbox) -> None:
    number = ticket_of(sandbox)
    [name, *_] = await names(client, sandbox, number)
    sandbox.quirks.shows_files = False
    assert await names(client, sandbox, number) == []
    assert any(entry[4] == name for entry in await call(client, sandbox, "ticket.changeLog", number))
    sandbox.faults.forbidden_entities = {number}
    assert (await error_of(client, sandbox, "ticket.get", number))[0] == 403
    assert (await error_of(client, sandbox, "ticket.getAttachment", number, name))[0] == 403
    assert number not in await call(client, sandbox, "ticket.query", "order=id&max=0")
    sandbox.quirks.permits_rpc = False
    assert (await error_of(client, sandbox, "system.getAPIVersion"))[1].startswith("XML_RPC privileges are required")


async def test_faults_of_the_other_sandboxes_are_here_too(client: Client, sandbox: TracSandbox) -> None:
    number = ticket_of(sandbox)
    [name, *_] = await names(client, sandbox, number)
    get = json.dumps({"id": 1, "method": "ticket.getAttachment", "params": [number, name]}).encode()
    put = json.dumps({"id": 1, "method": "ticket.putAttachment", "params": [number, "a", "", binary(b"xx")]}).encode()
    sandbox.faults.broken = {file.id for file in sandbox.state.attachments_of(number)}
    assert "refused" in await post(client, sandbox, get, 500)
    sandbox.faults.broken, sandbox.faults.login_page = set(), 1.0
    assert await names(client, sandbox, number), "only files meet it"
    assert "Log in" in await post(client, sandbox, get)
    sandbox.faults.fail_uploads, sandbox.faults.error_500 = 1, 1.0
    assert "fail_uploads" in await post(client, sandbox, put, 500)
    sandbox.faults.max_upload_bytes = 1
    await post(client, sandbox, put, 413)
    assert not sandbox.state.uploads
    sandbox.faults.max_upload_bytes, sandbox.faults.lose_upload_answers = None, 1
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(client, sandbox, put)
    assert len(sandbox.state.uploads) == 1
