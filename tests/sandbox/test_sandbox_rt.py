"""The sandbox Request Tracker answers as the recordings of a real one: asked with a bare client, no adapter."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from migrator.sandbox.rt import RtSandbox
from migrator.sandbox.rt.receiving import converted, kept, kept_name
from migrator.sandbox.world.model import World

Client = aiohttp.ClientSession
FIELDS = "Filename,ContentType,ContentLength,Created,Creator,TransactionId"
FIXTURES = Path(__file__).parents[1] / "fixtures" / "rt"


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[RtSandbox]:
    async with RtSandbox(world) as running:
        yield running


async def call(client: Client, sandbox: RtSandbox, path: str, status: int = 200, sent: Any = None, **more: Any) -> Any:
    headers = {"Authorization": f"token {sandbox.token}", "Content-Type": "application/json", **more.pop("headers", {})}
    data = None if sent is None else io.BytesIO(sent if isinstance(sent, bytes) else json.dumps(sent).encode())
    method = more.pop("method", "GET" if sent is None else "POST")
    url = f"{sandbox.url}/REST/2.0/{path}"
    async with client.request(method, url, headers=headers, data=data, **more) as answer:
        body = await answer.text()
        assert answer.status == status, body
        return json.loads(body) if body.startswith(("{", "[")) else body


def comment_with(*files: tuple[str, str, bytes]) -> dict[str, Any]:
    """Names, types and contents of files, as a comment brings them."""
    attachments = [
        {"FileName": name, "FileType": kind, "FileContent": base64.b64encode(content).decode() + "\n"}
        for name, kind, content in files
    ]
    return {"Content": "see", "ContentType": "text/plain", "Attachments": attachments}


def ticket_of(sandbox: RtSandbox) -> int:
    return sandbox.world.entities[0].id


async def files_of(client: Client, sandbox: RtSandbox, number: int) -> list[dict[str, Any]]:
    query = {"fields": FIELDS, "per_page": "100", "orderby": "id"}
    items = (await call(client, sandbox, f"ticket/{number}/attachments", params=query))["items"]
    return [item for item in items if item["Filename"]]


async def content_of(client: Client, sandbox: RtSandbox, number: str) -> bytes:
    return base64.b64decode((await call(client, sandbox, f"attachment/{number}"))["Content"])


async def test_token_and_password_are_two_ways_in(client: Client, sandbox: RtSandbox) -> None:
    password = base64.b64encode(f"{sandbox.user}:{sandbox.password}".encode()).decode()
    await call(client, sandbox, "rt", headers={"Authorization": f"Basic {password}"})
    for wrong in ("token wrong", "Basic d3Jvbmc6d3Jvbmc=", ""):
        told = await call(client, sandbox, "rt", 401, headers={"Authorization": wrong})
        assert told == {"message": "Unauthorized"}


async def test_pages_are_of_twenty_or_of_a_hundred_at_the_most(client: Client, sandbox: RtSandbox) -> None:
    page = await call(client, sandbox, "tickets", params={"query": "id > 0"})
    assert (page["count"], page["per_page"], page["pages"]) == (20, 20, 15)
    assert set(page["items"][0]) == {"id", "type", "_url"}, "other fields have to be asked for"
    assert page["next_page"].endswith("page=2")
    assert (await call(client, sandbox, "tickets", params={"query": "id > 0", "per_page": "500"}))["count"] == 100
    beyond = await call(client, sandbox, "tickets", params={"query": "id > 0", "page": "500"})
    assert (beyond["items"], beyond["total"]) == ([], 300)
    assert beyond["prev_page"].endswith("page=15")
    empty = await call(client, sandbox, "tickets")
    assert (empty["items"], empty["total"], repr(empty["pages"])) == ([], 0, "0.0")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("id > 100 AND id < 108", [101, 104, 107]),
        ("(id = 101 OR id=104) AND Queue = 'Support'", [104]),
        ("id < 120 AND Status = '__Inactive__'", [110]),
        ("id < 108 AND Subject NOT LIKE '(1)'", [104, 107]),
        ("id < 108 and Created > '2090-01-01'", []),
        ("Queue = 'Nope'", []),
    ],
)
async def test_searches_find_what_they_say(client: Client, sandbox: RtSandbox, query: str, found: list[int]) -> None:
    page = await call(client, sandbox, "tickets", params={"query": query, "fields": "Subject,Queue,Nope"})
    assert [int(item["id"]) for item in page["items"]] == found
    assert all(item["Nope"] == "" for item in page["items"])


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("nonsense here", "Wrong query, expecting a OPERATOR in 'nonsense >here<--here'"),
        ("Nope = 1", "Unknown field: Nope"),
        ("id > 0 AND", "Incomplete query, last element (AGGREGATOR) is not close paren or value in 'id > 0 AND'"),
        ("(id > 0", "Incomplete query, 1 unclosed paren in '(id > 0'"),
        ("Queue = General", "Wrong query, no such column 'General' in 'Queue = General'"),
    ],
)
async def test_a_search_that_is_none_is_400(client: Client, sandbox: RtSandbox, query: str, complaint: str) -> None:
    assert await call(client, sandbox, "tickets", 400, params={"query": query}) == {"message": complaint}


async def test_all_files_are_on_tickets_beside_messages_without_names(client: Client, sandbox: RtSandbox) -> None:
    listed = []
    for entity in sandbox.world.entities:
        if sandbox.world.attachments_of(entity.id) and len(sandbox.world.attachments_of(entity.id)) < 50:
            listed += [int(item["id"]) for item in await files_of(client, sandbox, entity.id)]
    crowded = {file.id for entity in sandbox.world.entities for file in sandbox.world.attachments_of(entity.id)}
    assert set(listed) <= crowded
    assert len(crowded - set(listed)) >= 50
    names = [file.name for file in sandbox.world.attachments]
    assert [kept_name(name) for name in names] == names, "a real one could hold them"
    number = ticket_of(sandbox)
    whole = (await call(client, sandbox, f"ticket/{number}/attachments", params={"fields": FIELDS}))["items"]
    assert [item["ContentType"] for item in whole if not item["Filename"]][:2] == ["multipart/mixed", "text/html"]
    [*_, last] = whole
    assert set(last) == {"id", "type", "_url", *FIELDS.split(",")}


async def test_an_item_has_the_fields_of_a_recorded_one(client: Client, sandbox: RtSandbox) -> None:
    number = ticket_of(sandbox)
    for path, name in ((f"ticket/{number}/attachments", "ticket-attachments"), ("tickets", "tickets")):
        recorded = json.loads((FIXTURES / f"{name}.json").read_bytes())["items"][0]
        fields = ",".join(set(recorded) - {"id", "type", "_url"})
        query = {"query": "id > 0" if path == "tickets" else "", "fields": fields, "fields[Queue]": "Name"}
        item = (await call(client, sandbox, path, params=query))["items"][0]
        assert {key: type(value) for key, value in item.items()} == {k: type(v) for k, v in recorded.items()}
    file = (await files_of(client, sandbox, number))[0]
    recorded = json.loads((FIXTURES / "attachment-latin1.json").read_bytes())
    whole = await call(client, sandbox, f"attachment/{file['id']}")
    assert {key: type(value) for key, value in whole.items()} == {k: type(v) for k, v in recorded.items()}


async def test_a_file_comes_whole_as_lines_of_base64(client: Client, sandbox: RtSandbox) -> None:
    large = max(sandbox.world.attachments, key=lambda file: file.size)
    whole = await call(client, sandbox, f"attachment/{large.id}")
    assert base64.b64decode(whole["Content"]) == sandbox.world.content(large)
    assert whole["Content"].splitlines()[0] == base64.b64encode(sandbox.world.content(large)[:57]).decode()
    assert f"Content-Length: {large.size}" in whole["Headers"]


async def test_what_is_not_there_is_empty_or_500_or_404(client: Client, sandbox: RtSandbox) -> None:
    assert (await call(client, sandbox, "ticket/999999/attachments"))["items"] == []
    assert (await call(client, sandbox, "ticket/999999/history"))["total"] == 0
    error = {"message": "Internal Server Error"}
    assert await call(client, sandbox, "attachment/999999", 500) == error
    assert await call(client, sandbox, "transaction/999999", 500) == error
    assert await call(client, sandbox, "transaction/999999/attachments", 500) == "Internal Server Error"
    number = ticket_of(sandbox)
    assert await call(client, sandbox, f"ticket/{number}/attachments", 500, params={"fields": "Id,Parent"}) == ""
    for path in ("ticket/999999", "queue/Nope", "nosuch"):
        assert await call(client, sandbox, path, 404) == {"message": "Not Found"}
    assert await call(client, sandbox, "rt", 405, method="PUT") == {"message": "Method Not Allowed"}


async def test_a_comment_brings_its_files_and_names_no_ids(client: Client, sandbox: RtSandbox) -> None:
    number, headers = ticket_of(sandbox), {}
    before = await call(client, sandbox, f"ticket/{number}")
    sent = comment_with(("dir/Ü.bin".encode().decode("latin-1"), "a/b", b"\0x"), ("e.txt", "text/plain", b""))
    assert await call(client, sandbox, f"ticket/{number}/comment", 201, sent) == ["Comments added"]
    files = (await files_of(client, sandbox, number))[-2:]
    assert [(file["Filename"], file["ContentLength"]) for file in files] == [("Ü.bin", "2"), ("e.txt", "0")]
    assert files[0]["TransactionId"] == files[1]["TransactionId"]
    there = await call(client, sandbox, f"transaction/{files[0]['TransactionId']}/attachments")
    assert there["total"] == 4, "with the text, and what holds it all together"
    assert await content_of(client, sandbox, files[0]["id"]) == b"\0x"
    assert before["LastUpdated"] < (await call(client, sandbox, f"ticket/{number}"))["LastUpdated"]
    headers = {"If-None-Match": f'"{files[0]["TransactionId"]}"'}
    await call(client, sandbox, f"ticket/{number}", 304, headers=headers)


@pytest.mark.parametrize(
    ("change", "status", "answer"),
    [
        ({"ContentType": ""}, 400, {"message": "ContentType is a required field for application/json"}),
        ({"Attachments": {}}, 500, ""),
        ({"Attachments": [{"FileName": "日.bin", "FileType": "a/b", "FileContent": "eA=="}]}, 500, ""),
        (
            {"Attachments": [{"FileName": "a", "FileType": "a/b", "FileContent": ""}]},
            400,
            {"message": "FileContent is a required field for each attachment in Attachments"},
        ),
    ],
)
async def test_comments_are_refused_as_a_real_one_refuses_them(
    client: Client, sandbox: RtSandbox, change: dict[str, Any], status: int, answer: object
) -> None:
    path = f"ticket/{ticket_of(sandbox)}/comment"
    assert await call(client, sandbox, path, status, comment_with() | change) == answer
    assert await call(client, sandbox, path, 500, b"{broken") == ""
    told = await call(client, sandbox, "ticket/999999/comment", 400, comment_with())
    assert told == {"message": "Message could not be recorded"}
    assert not sandbox.state.uploads


async def test_tickets_are_created_in_queues_that_exist_with_their_link(client: Client, sandbox: RtSandbox) -> None:
    draft = {"Queue": "Support", "Subject": "s", "RefersTo": "a:1", **comment_with(("a", "a/b", b"x"))}
    number = int((await call(client, sandbox, "ticket", 201, draft))["id"])
    found = await call(client, sandbox, "tickets", params={"query": "RefersTo = 'a:1'"})
    assert [item["id"] for item in found["items"]] == [str(number)]
    assert [file["Filename"] for file in await files_of(client, sandbox, number)] == ["a"]
    told = await call(client, sandbox, "ticket", 400, {"Subject": "s"})
    assert told == {"message": "Could not create ticket. Queue not set"}
    await call(client, sandbox, "ticket", 403, {"Queue": "Nope"})
    await call(client, sandbox, "ticket", 400, [])


@pytest.mark.parametrize("drops", [False, True])
async def test_a_large_file_is_cut_or_dropped_in_silence(client: Client, sandbox: RtSandbox, drops: bool) -> None:
    sandbox.quirks.max_size, sandbox.quirks.drops = 1_000, drops
    number = ticket_of(sandbox)
    sent = comment_with(("five.bin", "application/octet-stream", bytes(5_000)))
    assert await call(client, sandbox, f"ticket/{number}/comment", 201, sent) == ["Comments added"]
    [file] = (await files_of(client, sandbox, number))[-1:]
    assert file["ContentLength"] == "5000", "as if it were whole"
    assert file["Filename"] == ("five.bin.txt" if drops else "five.bin")
    assert len(await content_of(client, sandbox, file["id"])) == (24 if drops else 750)
    query = {"query": "Type = 'AttachmentTruncate' OR Type = 'AttachmentDrop'", "fields": "Type,OldValue,NewValue,Data"}
    [cut] = (await call(client, sandbox, "transactions", params=query))["items"]
    kind = "AttachmentDrop" if drops else "AttachmentTruncate"
    assert (cut["Type"], cut["OldValue"], cut["NewValue"], cut["Data"]) == (kind, "5000", "750", "five.bin")


@pytest.mark.parametrize(
    ("content", "media_type", "kept"),
    [
        ("Grüße".encode("latin-1"), "text/plain", "Grüße".encode()),
        ("Grüße".encode(), "text/html", "Grüße".encode()),
        ("\uffff!".encode(), "text/plain; charset=utf-8", "\ufffd!".encode()),
        ("Grüße".encode("latin-1"), "text/csv", "Grüße".encode("latin-1")),
        (b"\xfc", "text/plain; charset=utf-8", "\ufffd".encode()),
        ("ü".encode(), "text/plain; charset=iso-8859-1", "Ã¼".encode()),
        ("Grüße".encode("utf-16"), "text/plain", "Grüße".encode()),
        (b"a\0b", "text/plain", b"a"),
        (b"\0a\0b", "text/plain", b"ab"),
        (b"\0\0\0a", "text/plain", b"a"),
        (b"\0", "text/plain", b"\0"),
    ],
)
def test_texts_become_utf8_and_nothing_else_does(content: bytes, media_type: str, kept: bytes) -> None:
    assert converted(content, media_type) == kept


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a/b/c.txt", "c.txt"), ('"a"', "a"), ("=?utf-8?q?a?=.txt", "a.txt"), ("a\n\0b", "ab"), (" ", ""), ("a/", "")],
)
def test_names_are_kept_as_a_real_one_keeps_them(name: str, kept: str) -> None:
    assert kept_name(name) == kept


def test_a_dropped_file_ends_in_txt_once_and_only_over_the_limit() -> None:
    for name in ("a.txt", "a"):
        assert kept(name, "a/b", b"xxxx", 3, drops=True).name == "a.txt"
    assert kept("a", "a/b", b"xxx", 3, drops=True).content == b"xxx"
    assert kept("a", "a/b", b"xx\0", 3, drops=False).content == b"xx", "zero bytes leave less room"


async def test_another_account_gets_no_totals_and_gaps_in_its_pages(client: Client, sandbox: RtSandbox) -> None:
    number = ticket_of(sandbox)
    files = await files_of(client, sandbox, number)
    sandbox.quirks.superuser, sandbox.quirks.hidden = False, frozenset({int(files[0]["id"])})
    page = await call(client, sandbox, f"ticket/{number}/attachments", params={"per_page": "100"})
    assert (page["total"], page["pages"]) == (None, None)
    assert files[0]["id"] not in {item["id"] for item in page["items"]}
    await call(client, sandbox, f"attachment/{files[0]['id']}", 403)
    sandbox.faults.forbidden_entities = {number}
    assert (await call(client, sandbox, f"ticket/{number}/attachments"))["items"] == []
    await call(client, sandbox, f"ticket/{number}", 403)
    found = await call(client, sandbox, "tickets", params={"query": "id < 102"})
    assert (found["items"], found["total"]) == ([], 0)


async def test_faults_of_the_other_sandboxes_are_here_too(client: Client, sandbox: RtSandbox) -> None:
    number = ticket_of(sandbox)
    [file, *_] = await files_of(client, sandbox, number)
    sandbox.faults.broken = {int(file["id"])}
    assert "refused" in await call(client, sandbox, f"attachment/{file['id']}", 500)
    sandbox.faults.broken, sandbox.faults.login_page = set(), 1.0
    assert "Log in" in await call(client, sandbox, f"attachment/{file['id']}")
    path, sent = f"ticket/{number}/comment", comment_with(("a", "a/b", b"xx"))
    sandbox.faults.fail_uploads, sandbox.faults.lose_upload_answers = 1, 0
    await call(client, sandbox, path, 500, sent)
    sandbox.faults.max_upload_bytes = 1
    await call(client, sandbox, path, 413, sent)
    sandbox.faults.max_upload_bytes = None
    assert not sandbox.state.uploads
    sandbox.faults.lose_upload_answers = 1
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await call(client, sandbox, path, 201, sent)
    assert len(sandbox.state.uploads) == 1
