"""The sandbox Redmine answers as the recordings of a real one: asked with a bare client, no adapter."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from migrator.sandbox.redmine import RedmineSandbox
from migrator.sandbox.world.model import World

Client = aiohttp.ClientSession


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[RedmineSandbox]:
    async with RedmineSandbox(world) as running:
        yield running


async def call(
    client: Client, sandbox: RedmineSandbox, path: str, status: int = 200, method: str = "GET", **more: Any
) -> Any:
    headers = {"X-Redmine-API-Key": sandbox.key, **more.pop("headers", {})}
    url = f"{sandbox.url}/{path}"
    async with client.request(method, url, headers=headers, allow_redirects=False, **more) as answer:
        body = await answer.text()
        assert answer.status == status, body
        return json.loads(body) if body.startswith(("{", "[")) else body


async def sent(client: Client, sandbox: RedmineSandbox, name: str, content: bytes, status: int = 201) -> Any:
    """The answer to the first step of an upload."""
    headers = {"Content-Type": "application/octet-stream"}
    path = f"uploads.json?filename={name}"
    return await call(client, sandbox, path, status, "POST", data=content, headers=headers)


def issue_of(sandbox: RedmineSandbox) -> int:
    return sandbox.world.entities[0].id


async def test_a_wrong_key_gets_an_empty_list_and_is_refused_by_others(client: Client, sandbox: RedmineSandbox) -> None:
    wrong = {"X-Redmine-API-Key": "0000"}
    empty = {"issues": [], "total_count": 0, "offset": 0, "limit": 25}
    assert await call(client, sandbox, "issues.json", headers=wrong) == empty
    assert (await call(client, sandbox, "projects.json", headers=wrong))["projects"] == []
    assert await call(client, sandbox, "users/current.json", 401, headers=wrong) == ""
    assert await call(client, sandbox, f"issues/{issue_of(sandbox)}.json", 401, headers=wrong) == ""
    async with client.get(f"{sandbox.url}/users/current.json") as answer:
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="Redmine API"'


async def test_key_password_and_query_are_three_ways_in(client: Client, sandbox: RedmineSandbox) -> None:
    def basic(pair: str) -> dict[str, str]:
        return {"X-Redmine-API-Key": "", "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    for headers in (basic(f"{sandbox.user}:{sandbox.password}"), basic(f"{sandbox.key}:anything"), {}):
        account = (await call(client, sandbox, "users/current.json", headers=headers))["user"]
        assert account["login"] == sandbox.user
    path, nothing = f"users/current.json?key={sandbox.key}", {"X-Redmine-API-Key": ""}
    await call(client, sandbox, path, headers=nothing)
    await call(client, sandbox, "users/current.json", 401, headers=basic("admin:wrong"))


async def test_the_list_is_open_issues_newest_first_unless_asked_otherwise(
    client: Client, sandbox: RedmineSandbox
) -> None:
    by_default = await call(client, sandbox, "issues.json")
    assert (by_default["limit"], len(by_default["issues"])) == (25, 25)
    assert not any(issue["status"]["is_closed"] for issue in by_default["issues"])
    numbers = [issue["id"] for issue in by_default["issues"]]
    assert numbers == sorted(numbers, reverse=True)
    everything = await call(client, sandbox, "issues.json?status_id=*&sort=id&limit=1000")
    assert (everything["limit"], len(everything["issues"])) == (100, 100), "a larger limit is reduced silently"
    assert everything["total_count"] == len(sandbox.world.entities) > by_default["total_count"]
    odd = await call(client, sandbox, "issues.json?limit=x&offset=y")
    assert (odd["limit"], odd["offset"]) == (25, 0)
    beyond = await call(client, sandbox, "issues.json?status_id=*&offset=5000")
    assert beyond["issues"] == []


async def test_every_file_is_on_an_issue_or_in_the_project(client: Client, sandbox: RedmineSandbox) -> None:
    listed, offset = [], 0
    while page := (await call(client, sandbox, f"issues.json?status_id=*&include=attachments&offset={offset}"))[
        "issues"
    ]:
        listed += [file["id"] for issue in page for file in issue["attachments"]]
        offset += len(page)
    listed += [file["id"] for file in (await call(client, sandbox, "projects/sandbox/files.json"))["files"]]
    assert sorted(listed) == [file.id for file in sandbox.world.attachments]
    assert "attachments" not in (await call(client, sandbox, "issues.json"))["issues"][0]


async def test_a_download_needs_the_key_the_number_and_no_name(client: Client, sandbox: RedmineSandbox) -> None:
    file = next(file for file in sandbox.world.attachments if file.name.isascii() and " " not in file.name)
    path = f"attachments/download/{file.id}"
    for named in ("", f"/{file.name}"):
        async with client.get(f"{sandbox.url}/{path}{named}", headers={"X-Redmine-API-Key": sandbox.key}) as answer:
            assert await answer.read() == sandbox.world.content(file)
            assert file.name in answer.headers["Content-Disposition"]
            tag = answer.headers["ETag"]
    assert "Page not found" in await call(client, sandbox, f"{path}/other.bin", 404)
    async with client.head(f"{sandbox.url}/{path}", headers={"X-Redmine-API-Key": sandbox.key}) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, "0")
    await call(client, sandbox, path, 304, headers={"If-None-Match": tag})
    assert "redirected" in await call(client, sandbox, path, 302, headers={"X-Redmine-API-Key": ""})


async def test_a_token_attaches_a_file_once(client: Client, sandbox: RedmineSandbox) -> None:
    upload = (await sent(client, sandbox, "x.txt", b"abc"))["upload"]
    assert upload["token"] == f"{upload['id']}.{hashlib.sha256(b'abc').hexdigest()}"
    number = issue_of(sandbox)
    before = len(sandbox.state.attachments_of(number))
    change = {"issue": {"uploads": [{"token": upload["token"], "filename": "dir/a:b?.txt", "description": " d "}]}}
    assert await call(client, sandbox, f"issues/{number}.json", 204, "PUT", json=change) == ""
    record = (await call(client, sandbox, f"attachments/{upload['id']}.json"))["attachment"]
    assert (record["filename"], record["description"], record["filesize"]) == ("a_b_.txt", "d", 3)
    assert record["content_type"] == "text/plain", "guessed by the name, where none was sent"
    again = await call(client, sandbox, f"issues/{number}.json", 422, "PUT", json=change)
    assert again == {"errors": ["1 file(s) could not be saved."]}
    assert len(sandbox.state.attachments_of(number)) == before + 1
    ids = [file.id for file in sandbox.state.attachments()]
    assert ids == sorted(ids)


async def test_a_file_with_too_long_a_description_is_dropped_with_204(client: Client, sandbox: RedmineSandbox) -> None:
    upload = (await sent(client, sandbox, "x.txt", b"abc"))["upload"]
    change = {"issue": {"uploads": [{"token": upload["token"], "filename": "x.txt", "description": "d" * 256}]}}
    await call(client, sandbox, f"issues/{issue_of(sandbox)}.json", 204, "PUT", json=change)
    assert await call(client, sandbox, f"attachments/{upload['id']}.json", 404) == ""


async def test_uploads_are_refused_as_a_real_one_refuses_them(client: Client, sandbox: RedmineSandbox) -> None:
    await call(
        client, sandbox, "uploads.json?filename=x", 406, "POST", data=b"x", headers={"Content-Type": "text/plain"}
    )
    assert "too long" in (await sent(client, sandbox, "x" * 256, b"", 422))["errors"][0]
    await sent(client, sandbox, "a%00b", b"", 500)
    sandbox.faults.max_upload_bytes = 10
    refusal = (await sent(client, sandbox, "x", b"x" * 11, 422))["errors"][0]
    assert refusal == "This file cannot be uploaded because it exceeds the maximum allowed file size (10)"
    assert (await sent(client, sandbox, "", b"x" * 10))["upload"]["token"]


async def test_issues_are_created_with_a_subject_a_tracker_and_files(client: Client, sandbox: RedmineSandbox) -> None:
    token = (await sent(client, sandbox, "x.txt", b"abc"))["upload"]["token"]
    issue = {"project_id": "sandbox", "tracker_id": 3, "subject": "new", "uploads": [{"token": token}]}
    created = (await call(client, sandbox, "issues.json", 201, "POST", json={"issue": issue}))["issue"]
    assert created["tracker"] == {"id": 3, "name": "Support"}
    [file] = sandbox.state.attachments_of(created["id"])
    assert (file.name, file.size) == ("x.txt", 3)
    blank = await call(client, sandbox, "issues.json", 422, "POST", json={"issue": {**issue, "subject": " "}})
    assert blank == {"errors": ["Subject cannot be blank"]}
    elsewhere = await call(client, sandbox, "issues.json", 422, "POST", json={"issue": {**issue, "project_id": 9}})
    assert elsewhere["errors"][0] == "Project cannot be blank"
    odd = {"project_id": 1, "tracker_id": 99, "subject": "odd"}
    made = (await call(client, sandbox, "issues.json", 201, "POST", json={"issue": odd}))["issue"]
    assert made["tracker"]["name"] == "Bug", "an unknown tracker is no error"
    assert await call(client, sandbox, "issues.json", 400, "POST", data=b'{"issue":') == ""


async def test_files_are_described_renamed_and_deleted(client: Client, sandbox: RedmineSandbox) -> None:
    file = sandbox.world.attachments[0]
    path = f"attachments/{file.id}.json"
    change = {"attachment": {"description": "other", "filename": "c:\\other*.txt"}}
    await call(client, sandbox, path, 204, "PATCH", json=change)
    record = (await call(client, sandbox, path))["attachment"]
    assert (record["description"], record["filename"]) == ("other", "other_.txt")
    await call(client, sandbox, path, 422, "PATCH", json={"attachment": {"description": "d" * 256}})
    await call(client, sandbox, path, 204, "DELETE")
    await call(client, sandbox, path, 404)
    assert "Page not found" in await call(client, sandbox, f"attachments/download/{file.id}", 404)


async def test_switched_off_the_api_ignores_the_key(client: Client, sandbox: RedmineSandbox) -> None:
    sandbox.quirks.rest_enabled = False
    assert await call(client, sandbox, "users/current.json", 403) == ""
    assert (await call(client, sandbox, "issues.json"))["issues"] == []


async def test_unknown_paths_and_numbers_are_404_each_in_its_way(client: Client, sandbox: RedmineSandbox) -> None:
    assert "Page not found" in await call(client, sandbox, "nosuch.json", 404)
    assert await call(client, sandbox, "issues/999999.json", 404) == ""
    assert await call(client, sandbox, "projects/other/files.json", 404) == ""
    assert await call(client, sandbox, "projects/sandbox/news.json", 403) == ""
