import io
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, quote, unquote

import aiohttp
import pytest
from yarl import URL

from migrator.sandbox import SANDBOXES
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from migrator.trackers import TRACKERS

Client = aiohttp.ClientSession
COOKIE = {"Cookie": TeamPulseSandbox.cookie}


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[TeamPulseSandbox]:
    async with TeamPulseSandbox(world) as running:
        yield running


async def ask(
    client: Client,
    sandbox: TeamPulseSandbox,
    path: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Any:
    async with client.get(f"{sandbox.url}/api/v1/{path}", headers=headers or COOKIE) as answer:
        assert answer.status == status, await answer.text()
        return json.loads(await answer.text())


async def ids(client: Client, sandbox: TeamPulseSandbox, path: str) -> list[int]:
    return [item["id"] for item in (await ask(client, sandbox, path))["results"]]


async def send(
    client: Client, sandbox: TeamPulseSandbox, method: str, path: str, body: Any, status: int
) -> dict[str, Any]:
    async with client.request(method, f"{sandbox.url}/api/v1/{path}", json=body, headers=COOKIE) as answer:
        text = await answer.text()
        assert answer.status == status, text
        return dict(json.loads(text or "{}"))


async def log_in(client: Client, sandbox: TeamPulseSandbox, status: int = 200, **fields: str) -> dict[str, str]:
    form = {"wrap_client_id": "uri:TeamPulse", **fields}
    if not fields:
        form |= {"wrap_username": sandbox.user, "wrap_password": sandbox.password}
    async with client.post(f"{sandbox.url}/Authenticate/WRAPv0.9", data=form) as answer:
        assert answer.status == status
        return {name: values[0] for name, values in parse_qs(await answer.text()).items()}


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"WRAP access_token={token}"}


async def upload(
    client: Client,
    sandbox: TeamPulseSandbox,
    query: str = "",
    field: str = "files",
    content: bytes = b"hello",
    status: int = 201,
) -> str:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field(field, io.BytesIO(content), filename="Größe 1.txt", content_type="text/plain")
    url = f"{sandbox.url}/api/v1/workitems/101/attachments{query}"
    async with client.post(url, data=form, headers=COOKIE) as answer:
        assert answer.status == status, await answer.text()
        return await answer.text()


def based(sandbox: TeamPulseSandbox, address: str) -> URL:
    return URL(address.replace(sandbox.internal_host + sandbox.base_path, sandbox.url, 1), encoded=True)


async def test_every_tracker_is_registered_under_its_own_name() -> None:
    assert set(SANDBOXES) == set(TRACKERS)
    assert all(kind.tracker == name for name, kind in SANDBOXES.items())
    assert [*TRACKERS] == sorted(SANDBOXES), "as the command names them"


async def test_without_a_token_a_challenge_tells_where_to_log_in(client: Client, sandbox: TeamPulseSandbox) -> None:
    for path in ("/api/v1/users/me", "/Authentication/Restrict"):
        async with client.get(sandbox.url + path, headers={"Authorization": "WRAP"}) as answer:
            assert answer.status == 401
            challenge = answer.headers["WWW-Authenticate"]
    location = "http://teampulse-internal/Authenticate/WRAPv0.9"
    assert challenge == f'WRAP location="{location}", client_id=uri:TeamPulse'


async def test_a_token_is_decoded_exactly_once(client: Client, sandbox: TeamPulseSandbox) -> None:
    token = (await log_in(client, sandbox))["wrap_access_token"]
    assert "%3A%2F%2F" in token
    assert (await ask(client, sandbox, "users/me", headers=bearing(token)))["name"] == "ann"
    await ask(client, sandbox, "users/me", headers=bearing(f'"{token}"'))
    for wrong in (unquote(token), quote(token, safe=""), ""):
        await ask(client, sandbox, "users/me", status=401, headers=bearing(wrong))
    await ask(client, sandbox, "users/me", status=401, headers={"Authorization": f"Bearer {token}"})


async def test_wrong_passwords_and_clients_get_no_token(client: Client, sandbox: TeamPulseSandbox) -> None:
    await log_in(client, sandbox, status=401, wrap_username="ann", wrap_password="wrong")
    await log_in(client, sandbox, status=400, wrap_client_id="uri:Other")
    assert sandbox.login.logins == 0


async def test_a_token_dies_after_some_requests_and_is_refreshed(client: Client, world: World) -> None:
    async with TeamPulseSandbox(world, token_lifetime_requests=2) as sandbox:
        first = await log_in(client, sandbox)
        for status in (200, 200, 401):
            await ask(client, sandbox, "users/me", status, bearing(first["wrap_access_token"]))
        await log_in(client, sandbox, status=401, wrap_refresh_token="wrong")
        second = await log_in(client, sandbox, wrap_refresh_token=first["wrap_refresh_token"])
        assert "wrap_refresh_token" not in second
        await ask(client, sandbox, "users/me", headers=bearing(second["wrap_access_token"]))
        assert (sandbox.login.logins, sandbox.login.refreshes) == (1, 1)


async def test_a_refresh_token_may_be_dead_too(client: Client, world: World) -> None:
    async with TeamPulseSandbox(world, refresh_dies=True) as sandbox:
        granted = await log_in(client, sandbox)
        await log_in(client, sandbox, status=401, wrap_refresh_token=granted["wrap_refresh_token"])
        assert sandbox.login.refreshes == 0


async def test_default_page_has_100_items_and_top_is_capped(client: Client, sandbox: TeamPulseSandbox) -> None:
    page = await ask(client, sandbox, "workitems")
    assert (page["totalResults"], page["top"], page["skip"], len(page["results"])) == (300, None, None, 100)
    page = await ask(client, sandbox, "workitems?$top=5000&$skip=250")
    assert (page["totalResults"], page["top"], page["skip"], len(page["results"])) == (300, 100, 250, 50)
    sandbox.quirks.totals_of_page = True
    assert (await ask(client, sandbox, "workitems?$top=7"))["totalResults"] == 7


async def test_paging_by_offset_and_by_id_lists_every_owned_attachment(
    client: Client, sandbox: TeamPulseSandbox, world: World
) -> None:
    expected = [file.id for file in world.attachments if world.owner_of(file) is not None]
    walked: list[int] = []
    while page := await ids(client, sandbox, f"attachments?$orderby=id asc&$top=100&$skip={len(walked)}"):
        walked += page
    by_id: list[int] = []
    last = 0
    while page := await ids(client, sandbox, f"attachments?$orderby=id&$filter=id gt {last}"):
        by_id += page
        last = page[-1]
    assert walked == by_id == expected
    assert len(expected) == len(world.attachments) - 2


async def test_newest_comes_first_without_an_order_and_some_servers_take_none(
    client: Client, sandbox: TeamPulseSandbox
) -> None:
    assert (await ids(client, sandbox, "attachments?$top=3"))[0] == 600
    by_name = (await ask(client, sandbox, "attachments?$orderby=name asc,id desc"))["results"]
    assert [item["name"] for item in by_name] == sorted(item["name"] for item in by_name)
    sandbox.quirks.sortable = False
    await ask(client, sandbox, "attachments?$orderby=id", status=400)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("id eq 104 or id eq 107", [104, 107]),
        ("(id eq 104 or id eq 107) and type eq 'Bug'", [104]),
        ("id gt 101 and id lt 110", [104, 107]),
        ("id le 104", [101, 104]),
        ("(id ge 995)", [995, 998]),
        ("ID eq 101", [101]),
        ("startswith(Name,'Encrypt the login page offline (1)')", [101]),
        ("substringof('(1)',Name)", [101]),
        ("id eq 101 and parentid eq null", [101]),
        ("createdAt gt DateTime'2021-01-01'", []),
        ("id lt 105 and createdAt gt DateTime'2019-01-01'", [101, 104]),
        ("name eq 'it''s'", []),
    ],
)
async def test_a_filter_chooses_work_items(
    client: Client, sandbox: TeamPulseSandbox, query: str, expected: list[int]
) -> None:
    assert await ids(client, sandbox, f"workitems?$orderby=id&$filter={quote(query)}") == expected


@pytest.mark.parametrize(
    "query",
    [
        "$filter=nope eq 1",
        "$filter=id near 1",
        "$filter=id eq",
        "$filter=(id eq 1",
        "$filter=id eq 'x'",
        "$filter=id eq 1 and",
        "$filter=id eq 1 id eq 2",
        "$filter=createdAt gt DateTime'x'",
        "$orderby=nope",
        "$orderby=id up",
        "$top=x",
        "$skip=-1",
    ],
)
async def test_a_bad_query_is_400_and_names_the_parameter(
    client: Client, sandbox: TeamPulseSandbox, query: str
) -> None:
    error = await ask(client, sandbox, f"workitems?{query}", status=400)
    assert list(error) == [query.partition("=")[0]]


async def test_a_work_item_has_its_title_in_its_fields(client: Client, sandbox: TeamPulseSandbox, world: World) -> None:
    item = await ask(client, sandbox, "workitems/101")
    assert (item["type"], item["fields"]["Name"]) == ("Story", world.entities[0].title)
    assert item["createdAt"] == "2020-01-01T09:00:00.673"
    types = {one["type"] for one in (await ask(client, sandbox, "workitems"))["results"]}
    assert types == {"Story", "Bug", "Task", "Feature", "Feedback"}
    await ask(client, sandbox, "workitems/99999", status=404)


async def test_the_api_answers_without_its_version_too(client: Client, sandbox: TeamPulseSandbox) -> None:
    async with client.get(f"{sandbox.url}/api/projects", headers=COOKIE) as answer:
        assert [one["id"] for one in (await answer.json())["results"]] == [2, 1]
    assert (await ask(client, sandbox, "projects/1"))["name"] == "Sandbox"
    await ask(client, sandbox, "projects/9", status=404)


async def test_an_attachment_tells_no_time_zone_and_another_id_in_its_address(
    client: Client, sandbox: TeamPulseSandbox, world: World
) -> None:
    sandbox.quirks.null_sizes = {2}
    item = await ask(client, sandbox, "attachments/1")
    file = world.attachments[0]
    assert (item["name"], item["size"], item["workItemId"]) == (file.name, file.size, world.owner_of(file))
    assert item["createdAt"] == file.created_at.strftime("%Y-%m-%dT%H:%M:%S")
    name = quote(file.name, safe="")
    assert item["downloadUrl"] == f"http://teampulse-internal/AttachmentDownload/21/AttachmentName/{name}"
    assert item["url"] == f"http://teampulse-internal/AttachmentStreaming/21/AttachmentName/{name}"
    assert (await ask(client, sandbox, "attachments/2"))["size"] is None


async def test_every_file_is_downloaded_from_its_own_address(client: Client, world: World) -> None:
    async with TeamPulseSandbox(world, base_path="/tp") as sandbox:
        token = (await log_in(client, sandbox))["wrap_access_token"]
        for file in world.attachments:
            if world.owner_of(file) is not None:
                address = (await ask(client, sandbox, f"attachments/{file.id}"))["downloadUrl"]
                async with client.get(based(sandbox, address), headers=bearing(token)) as answer:
                    assert await answer.read() == world.content(file)
    assert sandbox.downloads.total() == len(world.attachments) - 2


async def test_a_download_without_log_in_is_a_redirect(client: Client, sandbox: TeamPulseSandbox) -> None:
    item = await ask(client, sandbox, "attachments/1")
    for address in (item["url"], item["downloadUrl"]):
        async with client.get(based(sandbox, address), allow_redirects=False) as answer:
            assert answer.status == 302
        async with client.get(based(sandbox, address), headers=COOKIE) as answer:
            assert len(await answer.read()) == item["size"]
    for wrong in (item["url"].replace("/21/", "/1/"), item["url"] + "x"):
        async with client.get(based(sandbox, wrong), headers=COOKIE) as answer:
            assert answer.status == 404


async def test_files_of_a_comment_have_its_id_and_may_be_in_the_work_item_s_list(
    client: Client, sandbox: TeamPulseSandbox, world: World
) -> None:
    file = next(file for file in world.attachments if file.comment_id is not None)
    owner = world.owner_of(file)
    item = await ask(client, sandbox, f"attachments/{file.id}")
    assert (item["commentId"], item["workItemId"]) == (file.comment_id, owner)
    assert await ids(client, sandbox, f"comments/{file.comment_id}/attachments") == [file.id]
    assert file.comment_id in await ids(client, sandbox, f"workitems/{owner}/comments")
    assert file.id in await ids(client, sandbox, f"workitems/{owner}/attachments")
    sandbox.quirks.comment_files_in_workitem = False
    assert file.id not in await ids(client, sandbox, f"workitems/{owner}/attachments")
    assert (await ask(client, sandbox, f"comments/{file.comment_id}"))["workItemId"] == owner


async def test_an_upload_answers_201_with_one_object(client: Client, sandbox: TeamPulseSandbox) -> None:
    item = json.loads(await upload(client, sandbox, "?type=Feedback"))
    assert (item["id"], item["name"], item["size"], item["type"]) == (601, "Größe 1.txt", 5, "Feedback")
    assert (item["workItemId"], item["description"], item["commentId"]) == (101, None, None)
    stored = sandbox.state.files_of(101)[-1]
    assert (stored.id, stored.name, stored.media_type, stored.description) == (
        601,
        "Größe 1.txt",
        "text/plain",
        None,
    )
    assert 601 in await ids(client, sandbox, "attachments")
    async with client.get(based(sandbox, item["url"]), headers=COOKIE) as answer:
        assert await answer.read() == b"hello"


async def test_an_upload_has_to_be_named_files_and_of_a_known_type(client: Client, sandbox: TeamPulseSandbox) -> None:
    assert "files" in json.loads(await upload(client, sandbox, field="file", status=400))
    assert "type" in json.loads(await upload(client, sandbox, "?type=FeedbackPortal", status=400))
    await send(client, sandbox, "POST", "workitems/101/attachments", {}, 400)
    assert not sandbox.state.uploads


@pytest.mark.parametrize("status", [404, 413])
async def test_an_upload_over_the_limit_is_refused_as_iis_does(client: Client, world: World, status: int) -> None:
    async with TeamPulseSandbox(world, too_large_status=status) as sandbox:
        sandbox.faults.max_upload_bytes = 1_000
        assert "404.13" in await upload(client, sandbox, content=b"x" * 1_001, status=status)
        await upload(client, sandbox, content=b"x" * 1_000)
        assert sandbox.faults.injected == {"max_upload_bytes": 1}


async def test_only_the_description_of_an_attachment_can_be_changed(client: Client, sandbox: TeamPulseSandbox) -> None:
    item = await send(client, sandbox, "PUT", "attachments/1", {"description": "Größe\nneu"}, 200)
    assert item["description"] == "Größe\nneu"
    assert (await ask(client, sandbox, "attachments/1"))["description"] == "Größe\nneu"
    assert "name" in await send(client, sandbox, "PUT", "attachments/1", {"name": "x"}, 400)
    await send(client, sandbox, "PUT", "attachments/99999", {"description": "x"}, 404)


async def test_a_deleted_attachment_or_work_item_is_gone(
    client: Client, sandbox: TeamPulseSandbox, world: World
) -> None:
    await send(client, sandbox, "DELETE", "attachments/1", None, 200)
    await ask(client, sandbox, "attachments/1", status=404)
    file = next(file for file in world.attachments[1:] if world.owner_of(file))
    await send(client, sandbox, "DELETE", f"workitems/{world.owner_of(file)}", None, 200)
    await ask(client, sandbox, f"workitems/{world.owner_of(file)}", status=404)
    await ask(client, sandbox, f"attachments/{file.id}", status=404)
    page = await ids(client, sandbox, "attachments?$orderby=id")
    assert not {1, file.id} & set(page)


async def test_a_work_item_is_created_with_fields_and_changed_without(
    client: Client, sandbox: TeamPulseSandbox
) -> None:
    body = {"type": "Bug", "projectId": 2, "fields": {"Name": "New", "Description": "<p>x</p>"}}
    item = await send(client, sandbox, "POST", "workitems", body, 201)
    assert (item["type"], item["projectId"], item["fields"]["Name"]) == ("Bug", 2, "New")
    assert sandbox.kind_of(item["id"]) == "Bug"
    changed = await send(client, sandbox, "PUT", f"workitems/{item['id']}", {"Status": "Done"}, 200)
    assert changed["fields"]["Status"] == "Done"
    await send(client, sandbox, "PUT", f"workitems/{item['id']}", {"fields": {"Status": "Done"}}, 400)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("workitems", {"type": "Nope", "projectId": 1, "fields": {"Name": "x"}}, "type"),
        ("workitems", {"type": "Bug", "projectId": 9, "fields": {"Name": "x"}}, "projectId"),
        ("workitems", {"type": "Bug", "projectId": 1, "fields": {}}, "Name"),
        ("workitems", {"type": "Bug", "projectId": 1, "Name": "x"}, "Name"),
        ("workitems", {"type": "Task", "projectId": 1, "fields": {"Name": "x"}}, "ParentID"),
        ("comments", {"projectId": 1, "description": "x"}, "workItemId"),
        ("comments", {"projectId": 1, "workItemId": 101}, "description"),
        ("workitems", [], "message"),
    ],
)
async def test_an_incomplete_record_is_400_and_names_the_field(
    client: Client, sandbox: TeamPulseSandbox, path: str, body: Any, field: str
) -> None:
    assert list(await send(client, sandbox, "POST", path, body, 400)) == [field]
    assert not sandbox.state.created


async def test_a_comment_is_created_on_a_work_item(client: Client, sandbox: TeamPulseSandbox) -> None:
    body = {"projectId": 1, "workItemId": 101, "description": "Hi"}
    item = await send(client, sandbox, "POST", "comments", body, 201)
    assert item["id"] in await ids(client, sandbox, "workitems/101/comments")


async def test_a_forbidden_work_item_is_403_with_its_files(
    client: Client, sandbox: TeamPulseSandbox, world: World
) -> None:
    file = world.attachments[0]
    owner = world.owner_of(file)
    assert owner is not None
    address = (await ask(client, sandbox, f"attachments/{file.id}"))["url"]
    sandbox.faults.forbidden_entities = {owner}
    for path in (f"workitems/{owner}", f"workitems/{owner}/attachments", f"attachments/{file.id}"):
        await ask(client, sandbox, path, status=403)
    async with client.get(based(sandbox, address), headers=COOKIE) as answer:
        assert answer.status == 403


async def test_faults_strike_here_too(client: Client, sandbox: TeamPulseSandbox) -> None:
    item = await ask(client, sandbox, "attachments/1")
    sandbox.faults.wrong_size = 1.0
    for address in (item["url"], item["downloadUrl"]):
        async with client.get(based(sandbox, address), headers=COOKIE) as answer:
            assert len(await answer.read()) == item["size"] - 1
    sandbox.faults.wrong_size, sandbox.faults.unavailable = 0.0, 1.0
    await_statuses = []
    for _ in range(3):
        async with client.get(f"{sandbox.url}/api/v1/users/me", headers=COOKIE) as answer:
            await_statuses.append(answer.status)
    assert await_statuses == [503, 503, 200]
    sandbox.faults.unavailable, sandbox.faults.lose_upload_answers = 0.0, 1
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await upload(client, sandbox)
    assert len(sandbox.state.uploads) == 1
    assert sandbox.faults.injected == {"wrong_size": 2, "unavailable": 2, "lose_upload_answers": 1}


async def test_requests_are_counted_by_route(client: Client, sandbox: TeamPulseSandbox) -> None:
    await ids(client, sandbox, "workitems/101/attachments")
    await ids(client, sandbox, "workitems/104/attachments")
    assert sandbox.requests == {"GET /api/v1/workitems/{id}/attachments": 2}
