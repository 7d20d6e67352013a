"""The sandbox Squash TM is as strict as the facts: asked with a bare client, no adapter."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.squash.tree import CALL_STEPS, KINDS, fitting
from migrator.sandbox.squash.web import DEFAULT_WHITELIST
from migrator.sandbox.world.model import World

Client = aiohttp.ClientSession


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[SquashSandbox]:
    async with SquashSandbox(world) as running:
        yield running


async def call(
    client: Client, sandbox: SquashSandbox, path: str, status: int = 200, method: str = "GET", **more: Any
) -> Any:
    headers = {"Authorization": f"Bearer {sandbox.token}", **more.pop("headers", {})}
    url = f"{sandbox.url}/api/rest/latest/{path}"
    async with client.request(method, url, headers=headers, **more) as answer:
        body = await answer.text()
        assert answer.status == status, body
        return json.loads(body) if body else None


def first(sandbox: SquashSandbox, kind: str) -> int:
    return sandbox.tree.kinds[kind][0].number


async def upload(client: Client, sandbox: SquashSandbox, *names: str, status: int = 201, part: str = "files") -> Any:
    pieces = [
        f'--x\r\nContent-Disposition: form-data; name="{part}"; filename="{name}"\r\n\r\nabc\r\n' for name in names
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    path = f"campaigns/{first(sandbox, 'campaigns')}/attachments/"
    body = "".join([*pieces, "--x--\r\n"]).encode()
    return await call(client, sandbox, path, status, "POST", data=body, headers=headers)


async def test_every_kind_of_owner_is_there_and_every_file_has_one(sandbox: SquashSandbox) -> None:
    assert {sandbox.kind_of(entity.id) for entity in sandbox.world.entities} == set(KINDS)
    assert all(file.entity_id in sandbox.tree.of_entity for file in sandbox.world.attachments)
    with pytest.raises(KeyError):
        sandbox.kind_of(1)


async def test_who_has_no_token_gets_a_challenge_for_basic(client: Client, sandbox: SquashSandbox) -> None:
    url = f"{sandbox.url}/api/rest/latest/projects"
    for authorization in ("", f"Bearer {sandbox.wrapped_token}", sandbox.token):
        async with client.get(url, headers={"Authorization": authorization}) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="squah-api"'
    pair = base64.b64encode(f"{sandbox.user}:{sandbox.password}".encode("latin-1")).decode()
    basic = {"Authorization": f"Basic {pair}"}
    async with client.get(url, headers=basic) as answer:
        assert answer.status == 200
    sandbox.quirks.basic_allowed = False
    async with client.get(url, headers=basic) as answer:
        assert (answer.status, "Basic authentication is not allowed" in await answer.text()) == (401, True)


async def test_empty_page_has_no_embedded_and_a_default_page_has_twenty_items(
    client: Client, sandbox: SquashSandbox
) -> None:
    page = await call(client, sandbox, "test-cases?sort=id")
    assert len(page["_embedded"]["test-cases"]) == page["page"]["size"] == 20
    assert "next" in page["_links"]
    beyond = await call(client, sandbox, "test-cases?sort=id&page=99")
    assert "_embedded" not in beyond
    assert "next" not in beyond["_links"]
    sandbox.quirks.size_cap = 7
    assert (await call(client, sandbox, "test-cases?size=100"))["page"]["size"] == 7


async def test_listing_without_sort_comes_in_another_order_each_time(client: Client, sandbox: SquashSandbox) -> None:
    orders = [await call(client, sandbox, "campaigns?size=100") for _ in range(3)]
    assert len({json.dumps(order["_embedded"]) for order in orders}) == 3
    backwards = (await call(client, sandbox, "campaigns?size=100&sort=id,desc"))["_embedded"]["campaigns"]
    ids = [item["id"] for item in backwards]
    assert ids == sorted(ids, reverse=True)
    await call(client, sandbox, "campaigns?sort=nope", 400)


async def test_steps_of_a_test_case_refuse_to_be_sorted_and_not_all_are_actions(
    client: Client, sandbox: SquashSandbox
) -> None:
    case = first(sandbox, "test-cases")
    await call(client, sandbox, f"test-cases/{case}/steps?sort=id", 400)
    steps = (await call(client, sandbox, f"test-cases/{case}/steps"))["_embedded"]["steps"]
    assert [step["_type"] for step in steps] == ["action-step", "call-step"]
    assert (await call(client, sandbox, f"test-steps/{CALL_STEPS + case}"))["_type"] == "call-step"


async def test_one_page_may_hold_two_kinds_of_things(client: Client, sandbox: SquashSandbox) -> None:
    assert set((await call(client, sandbox, "projects"))["_embedded"]) == {"projects", "project-templates"}
    requirements = (await call(client, sandbox, "requirements"))["_embedded"]
    assert set(requirements) == {"requirements", "high-level-requirements"}


async def test_items_of_lists_are_abbreviated_and_tell_no_files(client: Client, sandbox: SquashSandbox) -> None:
    item = (await call(client, sandbox, "campaigns?sort=id"))["_embedded"]["campaigns"][0]
    assert "attachments" not in item
    whole = await call(client, sandbox, f"campaigns/{item['id']}")
    assert all(set(file) == {"_type", "id", "name", "file_type", "_links"} for file in whole["attachments"])


async def test_file_tells_all_and_its_links_name_another_host(client: Client, sandbox: SquashSandbox) -> None:
    file = sandbox.world.attachments[0]
    told = await call(client, sandbox, f"attachments/{file.id}")
    assert f"{told['name']}.{told['file_type']}" == file.name
    assert (told["size"], told["added_on"][-10:]) == (file.size, ".000+00:00")
    base = "http://squash-internal:8080/api/rest/latest"
    assert told["_links"]["content"]["href"] == f"{base}/attachments/{file.id}/content"


async def test_all_files_of_a_request_are_taken_and_told_without_size(client: Client, sandbox: SquashSandbox) -> None:
    made = (await upload(client, sandbox, "1.txt", "2.tar.gz"))["_embedded"]["attachments"]
    assert [(file["name"], file["file_type"], "size" in file) for file in made] == [
        ("1", "txt", False),
        ("2.tar", "gz", False),
    ]


@pytest.mark.parametrize("name", ["no dot", ".hidden", "dot.", "a.elevenchars", "n" * 252 + ".txt"])
async def test_name_that_no_column_holds_breaks_the_server(client: Client, sandbox: SquashSandbox, name: str) -> None:
    await upload(client, sandbox, name, status=500)
    assert not sandbox.state.uploads
    if len(name) < 255:
        await upload(client, sandbox, fitting(name))


async def test_name_is_cut_after_its_last_slash_as_old_servers_do(client: Client, sandbox: SquashSandbox) -> None:
    [made] = (await upload(client, sandbox, "a/b\\c%22.txt"))["_embedded"]["attachments"]
    assert made["name"] == "c%22"
    sandbox.quirks.path_names = False
    [made] = (await upload(client, sandbox, "a/c%22.txt"))["_embedded"]["attachments"]
    assert made["name"] == 'a/c"'


async def test_upload_of_another_kind_or_name_is_refused(client: Client, sandbox: SquashSandbox) -> None:
    await upload(client, sandbox, "a.txt", part="file", status=400)
    await call(client, sandbox, f"campaigns/{first(sandbox, 'campaigns')}/attachments", 415, "POST", json={})
    await call(client, sandbox, "campaigns/9/attachments", 404, "POST", json={})
    sandbox.faults.max_upload_bytes = 2
    told = await upload(client, sandbox, "a.txt", status=413)
    assert told == {"maxUploadError": {"maxSize": 2}}
    assert not sandbox.state.uploads


async def test_extension_off_the_whitelist_is_left_out_without_a_word(client: Client, sandbox: SquashSandbox) -> None:
    sandbox.quirks.whitelist = DEFAULT_WHITELIST
    assert "_embedded" not in await upload(client, sandbox, "a.png")
    [made] = (await upload(client, sandbox, "a.png", "a.TXT"))["_embedded"]["attachments"]
    assert made["file_type"] == "TXT"


async def test_new_name_is_a_parameter_and_keeps_the_extension(client: Client, sandbox: SquashSandbox) -> None:
    number = sandbox.world.attachments[0].id
    extension = sandbox.world.attachments[0].name.rpartition(".")[2]
    told = await call(client, sandbox, f"attachments/{number}", 200, "PATCH", params={"name": 'new "name"'})
    assert (told["name"], told["file_type"]) == ('new "name"', extension)
    assert (await call(client, sandbox, f"attachments/{number}"))["name"] == 'new "name"'
    await call(client, sandbox, f"attachments/{number}", 400, "PATCH", json={"name": "x"})


async def test_files_are_deleted_by_their_ids_from_their_own_owner_only(client: Client, sandbox: SquashSandbox) -> None:
    made = (await upload(client, sandbox, "1.txt", "2.txt"))["_embedded"]["attachments"]
    ids = ",".join(str(file["id"]) for file in made)
    other = first(sandbox, "executions")
    await call(client, sandbox, f"executions/{other}/attachments?attachmentIds={ids}", 404, "DELETE")
    path = f"campaigns/{first(sandbox, 'campaigns')}/attachments?attachmentIds={ids}"
    await call(client, sandbox, path, 204, "DELETE")
    await call(client, sandbox, f"attachments/{made[0]['id']}", 404)
    await call(client, sandbox, path, 404, "DELETE")


async def test_what_is_not_there_is_told_by_an_exception(client: Client, sandbox: SquashSandbox) -> None:
    told = await call(client, sandbox, "test-cases/23", 404)
    assert told["exception"] == "javax.persistence.EntityNotFoundException"
    assert "with id 23" in told["message"]


async def test_forbidden_things_are_listed_by_number_only(client: Client, sandbox: SquashSandbox) -> None:
    node = sandbox.tree.kinds["campaigns"][0]
    sandbox.faults.forbidden_entities = {node.entity_id}
    item = (await call(client, sandbox, "campaigns?sort=id"))["_embedded"]["campaigns"][0]
    assert item == {"_type": "unauthorized-resource", "resource_type": "campaign", "resource_id": node.number}
    await call(client, sandbox, f"campaigns/{node.number}", 403)


SAMPLE = """--6o2knFse3p53ty9dmcQvWAIx1zInP11uCfbm
Content-Disposition: form-data; name=files; filename=new attachment 1.docx
Content-Type: application/vnd.openxmlformats-officedocument.wordprocessingml.document

something right
--6o2knFse3p53ty9dmcQvWAIx1zInP11uCfbm
Content-Disposition: form-data; name=files; filename=new attachment 2.pdf
Content-Type: application/pdf

even more
--6o2knFse3p53ty9dmcQvWAIx1zInP11uCfbm--
"""


@pytest.mark.parametrize("path_names", [True, False])
async def test_sample_of_an_upload_on_the_vendors_page_is_taken(
    client: Client, sandbox: SquashSandbox, path_names: bool
) -> None:
    sandbox.quirks.path_names = path_names
    path = f"campaigns/{first(sandbox, 'campaigns')}/attachments"
    headers = {
        "Content-Type": "multipart/form-data; boundary=6o2knFse3p53ty9dmcQvWAIx1zInP11uCfbm",
        "Accept": "application/json",
    }
    body = SAMPLE.replace("\n", "\r\n").encode()
    made = await call(client, sandbox, path, 201, "POST", data=body, headers=headers)
    told = [(file["name"], file["file_type"]) for file in made["_embedded"]["attachments"]]
    assert told == [("new attachment 1", "docx"), ("new attachment 2", "pdf")]
    ids = [file["id"] for file in made["_embedded"]["attachments"]]
    assert [sandbox.state.attachment(number).size for number in ids] == [len("something right"), len("even more")]
    content = {"Content-Type": "application/json", "Accept": "application/octet-stream"}
    url = f"{sandbox.url}/api/rest/latest/attachments/{ids[0]}/content"
    async with client.get(url, headers={"Authorization": f"Bearer {sandbox.token}", **content}) as answer:
        assert await answer.read() == b"something right"
    renamed = await call(client, sandbox, f"attachments/{ids[0]}?name=same stuff with a new name", method="PATCH")
    assert (renamed["name"], renamed["file_type"]) == ("same stuff with a new name", "docx")
    listed = ",".join(str(number) for number in ids)
    headers = {"Content-Type": "multipart/form-data"}
    await call(client, sandbox, f"{path}?attachmentIds={listed}", 204, "DELETE", headers=headers)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/mixed; boundary=x", "multipart/", "x", "a/b/c"])
async def test_part_of_any_media_type_is_a_file(client: Client, sandbox: SquashSandbox, kind: str) -> None:
    head = f'Content-Disposition: form-data; name="files"; filename="a.txt"\r\nContent-Type: {kind}'
    body = f"--x\r\n{head}\r\n\r\nabc\r\n--x--\r\n"
    path = f"campaigns/{first(sandbox, 'campaigns')}/attachments"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    made = await call(client, sandbox, path, 201, "POST", data=body.encode(), headers=headers)
    [file] = made["_embedded"]["attachments"]
    assert sandbox.state.attachment(file["id"]).size == 3
