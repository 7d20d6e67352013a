import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World

Client = aiohttp.ClientSession
JSON = {"Accept": "application/json"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


BASIC = basic(TargetprocessSandbox.user, TargetprocessSandbox.password)


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[TargetprocessSandbox]:
    async with TargetprocessSandbox(world) as running:
        yield running


async def ask(client: Client, sandbox: TargetprocessSandbox, path: str, status: int = 200) -> Any:
    query = ("&" if "?" in path else "?") + "format=json"
    async with client.get(f"{sandbox.url}/api/v1/{path}{query}", headers=BASIC | JSON) as answer:
        assert answer.status == status, await answer.text()
        return json.loads(await answer.text())


async def ids(client: Client, sandbox: TargetprocessSandbox, path: str) -> list[int]:
    return [item["Id"] for item in (await ask(client, sandbox, path))["Items"]]


async def upload(
    client: Client,
    sandbox: TargetprocessSandbox,
    owner: str,
    disposition: str,
    content: bytes = b"hello",
    status: int = 200,
) -> str:
    head = f'--B\r\nContent-Disposition: form-data; name="GeneralID"\r\n\r\n{owner}\r\n'
    part = f"--B\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: text/plain\r\n\r\n"
    body = head.encode() + part.encode() + content + b"\r\n--B--\r\n"
    headers = BASIC | {"Content-Type": "multipart/form-data; boundary=B"}
    async with client.post(f"{sandbox.url}/UploadFile.ashx", data=body, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        return await answer.text()


async def test_default_page_has_25_items_and_take_is_capped_at_1000(client: Client) -> None:
    world = World.generate(entities=30, attachments=1500, median_bytes=100, large_bytes=0)
    async with TargetprocessSandbox(world) as sandbox:
        assert len(await ids(client, sandbox, "Attachments")) == 25
        assert len(await ids(client, sandbox, "Attachments?take=5000")) == 1000
        page = await ask(client, sandbox, "Attachments?take=5000&skip=1000")
        assert len(page["Items"]) == 500
        assert "Next" not in page
        assert "Prev" in page


async def test_without_a_sort_key_the_newest_comes_first(client: Client, sandbox: TargetprocessSandbox) -> None:
    assert await ids(client, sandbox, "Attachments?take=3") == [600, 599, 598]
    assert await ids(client, sandbox, "Attachments?take=3&orderBy=Id") == [1, 2, 3]
    assert await ids(client, sandbox, "Attachments?take=3&orderByDesc=Id") == [600, 599, 598]


async def test_a_sort_by_date_is_a_sort_by_date(client: Client, sandbox: TargetprocessSandbox, world: World) -> None:
    expected = [file.id for file in sorted(world.attachments, key=lambda file: file.created_at)]
    assert await ids(client, sandbox, "Attachments?take=1000&orderby=Date") == expected


async def test_xml_is_the_default_with_dates_without_a_zone(client: Client, sandbox: TargetprocessSandbox) -> None:
    async with client.get(f"{sandbox.url}/api/v1/Attachments?take=1", headers=BASIC) as answer:
        text = await answer.text()
    assert answer.content_type == "application/xml"
    assert text.startswith("<Attachments Next=")
    assert re.search(r"<Date>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d</Date>", text)
    assert '<Message nil="true"/>' in text


@pytest.mark.parametrize(("query", "headers"), [("?format=json", {}), ("", JSON)])
async def test_json_comes_for_the_parameter_or_the_header(
    client: Client, sandbox: TargetprocessSandbox, query: str, headers: dict[str, str]
) -> None:
    async with client.get(f"{sandbox.url}/api/v1/Context{query}", headers=BASIC | headers) as answer:
        assert answer.content_type == "application/json"


async def test_errors_are_json_only_if_asked_for_twice(client: Client, sandbox: TargetprocessSandbox) -> None:
    url = f"{sandbox.url}/api/v1/Bugs?include=[Nam]"
    types = []
    for query, headers in (("", {}), ("&format=json", {}), ("", JSON), ("&format=json", JSON)):
        async with client.get(url + query, headers=BASIC | headers) as answer:
            assert answer.status == 400
            assert "Invalid include field" in await answer.text()
            types.append(answer.content_type)
    assert types == ["application/xml"] * 3 + ["application/json"]


async def test_an_old_server_answers_xml_whatever_is_asked(client: Client, world: World) -> None:
    async with (
        TargetprocessSandbox(world, xml_only=True) as sandbox,
        client.get(f"{sandbox.url}/api/v1/Attachments?format=json", headers=BASIC | JSON) as answer,
    ):
        assert answer.content_type == "application/xml"


async def test_dates_in_json_are_microsofts(client: Client, sandbox: TargetprocessSandbox, world: World) -> None:
    page = await ask(client, sandbox, "Attachments?take=1&orderBy=Id")
    moment = round(world.attachments[0].created_at.timestamp() * 1000)
    assert page["Items"][0]["Date"] == f"/Date({moment}+0100)/"


async def test_default_fields_of_an_attachment_tell_neither_uri_nor_size(
    client: Client, sandbox: TargetprocessSandbox
) -> None:
    (item,) = (await ask(client, sandbox, "Attachments?take=1"))["Items"]
    assert not {"Uri", "Size", "MimeType", "ThumbnailUri"} & item.keys()
    assert {"ResourceType", "Id", "Name", "Description", "Date", "Owner", "General", "Message"} <= item.keys()


async def test_included_size_brings_fields_that_nobody_asked_for(client: Client, sandbox: TargetprocessSandbox) -> None:
    (item,) = (await ask(client, sandbox, "Attachments?take=1&include=[Size,Uri]"))["Items"]
    assert item.keys() == {
        "ResourceType", "Id", "Size", "Uri", "PersistedSize", "PersistedMimeType", "UniqueFileName",
    }  # fmt: skip
    assert item["Uri"].startswith("http://tp.internal/Attachment.aspx?AttachmentID=")


async def test_nested_fields_follow_references(client: Client, sandbox: TargetprocessSandbox, world: World) -> None:
    items = (await ask(client, sandbox, "Attachments?take=1000&include=[General[Id,EntityType[Name]],Message]"))[
        "Items"
    ]
    types = {item["General"]["EntityType"]["Name"] for item in items if item["General"]}
    assert types == {"UserStory", "Bug", "Task", "Feature", "Request"}
    without = {item["Id"] for item in items if item["General"] is None}
    assert without == {file.id for file in world.attachments if file.entity_id is None}
    assert sum(item["Message"] is not None for item in items) == 2


@pytest.mark.parametrize(
    "query",
    [
        "include=[Id]&exclude=[Name]",
        "include=[Nope]",
        "include=[General[Nope]]",
        "include=Id",
        "include=[Id",
        "where=Id eq 1 or Id eq 2",
        "where=Name eq 'it''s'",
        "where=Nope eq 1",
        "where=Id near 1",
        "where=Id eq 'x'",
        "orderBy=Id desc",
        "orderBy=Nope",
        "take=-1",
        "skip=x",
        "append=[Attachments-Count]",
    ],
)
async def test_bad_query_is_400(client: Client, sandbox: TargetprocessSandbox, query: str) -> None:
    error = await ask(client, sandbox, f"Attachments?{query}", status=400)
    assert error["Status"] == "BadRequest"
    assert error["Message"]


async def test_unknown_field_has_the_documented_message(client: Client, sandbox: TargetprocessSandbox) -> None:
    error = await ask(client, sandbox, "UserStories?include=[Nam]", status=400)
    expected = "Invalid include field 'Nam'. It isn't defined in 'Tp.Integration.Services.Rest.Dto.UserStoryField'"
    assert error["Message"] == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("Id eq 7", [7]),
        ("Id in (3,5)", [5, 3]),
        ("(Id gt 3) and (Id lte 5)", [5, 4]),
        ("(Id gte 598) and Id ne 599", [600, 598]),
        ("Id lt 3", [2, 1]),
    ],
)
async def test_where_chooses_by_id(
    client: Client, sandbox: TargetprocessSandbox, where: str, expected: list[int]
) -> None:
    assert await ids(client, sandbox, f"Attachments?where={where}") == expected


async def test_where_knows_text_dates_and_null(client: Client, sandbox: TargetprocessSandbox, world: World) -> None:
    async def names(where: str) -> set[int]:
        return set(await ids(client, sandbox, f"Attachments?take=1000&where={quote(where)}"))

    every = {file.id for file in world.attachments}
    assert await names("Name eq 'it\\'s mine.txt'") == {f.id for f in world.attachments if f.name == "it's mine.txt"}
    logs = {f.id for f in world.attachments if "log" in f.name.lower()}
    assert await names("Name contains 'LOG'") == logs
    assert await names("Name not contains 'LOG'") == every - logs
    loose = {f.id for f in world.attachments if f.entity_id is None}
    assert await names("General is null") == loose
    assert await names("General is not null") == every - loose
    assert loose < await names("General.Id ne 101") < every
    old = await names("Date lt '2018-01-01'")
    assert old
    assert await names("Date gte '2018-01-01'") == every - old


async def test_a_filter_on_an_inner_list_stays_within_it(
    client: Client, sandbox: TargetprocessSandbox, world: World
) -> None:
    one, other = [entity.id for entity in world.entities if world.attachments_of(entity.id)][:2]
    assert await ids(client, sandbox, f"Generals/{one}/Attachments?where=General.Id eq {other}") == []
    assert await ids(client, sandbox, f"Generals/{one}/Attachments?where=General.Id eq {one}")


async def test_next_of_an_inner_list_leads_to_the_inner_list(
    client: Client, sandbox: TargetprocessSandbox, world: World
) -> None:
    entity = max(world.entities, key=lambda one: len(world.attachments_of(one.id)))
    page = await ask(client, sandbox, f"general/{entity.id}/Attachments?take=1")
    expected = f"http://tp.internal/api/v1/Generals/{entity.id}/Attachments/?format=json&take=1&skip=1"
    assert page["Next"] == expected


async def test_a_service_token_is_told_to_who_may_use_the_api(client: Client, sandbox: TargetprocessSandbox) -> None:
    assert await ask(client, sandbox, "Authentication") == {"Token": sandbox.service_token}
    async with client.get(f"{sandbox.url}/api/v1/Authentication", headers=BASIC) as answer:
        assert sandbox.service_token in await answer.text()


async def test_files_uploaded_one_after_the_other_are_all_read_back(
    client: Client, sandbox: TargetprocessSandbox
) -> None:
    before = set(await ids(client, sandbox, "Attachments?take=1000&where=General.Id eq 104"))
    for number in range(3):
        await upload(client, sandbox, "104", f'name="file"; filename="{number}.txt"')
        after = set(await ids(client, sandbox, "Attachments?take=1000&where=General.Id eq 104"))
        assert after - before == set(range(601, 602 + number))
    assert set(await ids(client, sandbox, "Attachments?take=3")) == {601, 602, 603}


async def test_files_of_one_entity_are_found_by_filter_by_list_and_by_inclusion(
    client: Client, sandbox: TargetprocessSandbox, world: World
) -> None:
    entity = max(world.entities, key=lambda one: len(world.attachments_of(one.id)))
    files = {file.id for file in world.attachments_of(entity.id)}
    assert set(await ids(client, sandbox, f"Attachments?take=1000&where=General.Id eq {entity.id}")) == files
    assert set(await ids(client, sandbox, f"Generals/{entity.id}/Attachments?take=1000")) == files
    assert len(await ids(client, sandbox, f"Generals/{entity.id}/Attachments")) == 25
    one = await ask(client, sandbox, f"Generals/{entity.id}?include=[Attachments[Name]]&innerTake=1000")
    assert {item["Id"] for item in one["Attachments"]["Items"]} == files


async def test_inner_collections_are_capped_over_the_whole_page(
    client: Client, sandbox: TargetprocessSandbox, world: World
) -> None:
    path = "Generals?take=1000&include=[Attachments[Id]]"
    short = (await ask(client, sandbox, path))["Items"]
    assert sum(len(item["Attachments"]["Items"]) for item in short) == 25
    whole = (await ask(client, sandbox, path + "&innerTake=1000"))["Items"]
    assert sum(len(item["Attachments"]["Items"]) for item in whole) == sum(
        file.entity_id is not None for file in world.attachments
    )


async def test_a_collection_inside_a_collection_is_400(client: Client, sandbox: TargetprocessSandbox) -> None:
    await ask(client, sandbox, "Messages?include=[Generals[Attachments]]", status=400)


async def test_counts_can_be_appended_or_are_400_on_some_servers(client: Client, world: World) -> None:
    path = "Generals?take=1000&include=[Id]&append=[Attachments-Count]"
    async with TargetprocessSandbox(world) as sandbox:
        items = (await ask(client, sandbox, path))["Items"]
        counts = {item["Id"]: item["Attachments-Count"] for item in items}
        assert max(counts.values()) > 100
        assert sum(counts.values()) == sum(file.entity_id is not None for file in world.attachments)
    async with TargetprocessSandbox(world, counts=False) as sandbox:
        await ask(client, sandbox, path, status=400)


async def test_next_link_has_a_foreign_host_no_token_and_nothing_encoded(
    client: Client, sandbox: TargetprocessSandbox
) -> None:
    path = "attachment?include=%5BId,%20Name%5D&take=10&access_token=" + quote(sandbox.access_token, safe="")
    async with client.get(f"{sandbox.url}/api/v1/{path}", headers=JSON) as answer:
        page = json.loads(await answer.text())
    assert page["Next"] == "http://tp.internal/api/v1/Attachments/?include=[Id, Name]&take=10&skip=10"


async def test_old_server_neither_filters_nor_sorts_attachments(client: Client, world: World) -> None:
    async with TargetprocessSandbox(world, sortable=False) as sandbox:
        await ask(client, sandbox, "Attachments?orderBy=Id", status=400)
        await ask(client, sandbox, "Attachments?where=Id gt 1", status=400)
        assert len(await ids(client, sandbox, "Attachments?take=1000")) == 600
        assert len(await ids(client, sandbox, "Generals?orderBy=Id")) == 25


async def test_collections_have_singular_and_plural_names_in_any_case(
    client: Client, sandbox: TargetprocessSandbox
) -> None:
    for name in ("UserStory", "UserStories", "userstories", "USERSTORY", "UserStories/"):
        assert len(await ids(client, sandbox, f"{name}?take=1000")) == 60
    await ask(client, sandbox, "Nonsense", status=404)


async def test_hidden_files_are_missing_from_one_list_only(client: Client, world: World) -> None:
    files = [file for file in world.attachments if file.entity_id is not None][:2]
    first, second = files
    async with TargetprocessSandbox(
        world, hidden_from_collection={first.id}, hidden_from_generals={second.id}
    ) as sandbox:
        listed = set(await ids(client, sandbox, "Attachments?take=1000"))
        assert first.id not in listed
        assert second.id in listed
        assert first.id in await ids(client, sandbox, f"Generals/{first.entity_id}/Attachments?take=1000")
        assert second.id not in await ids(client, sandbox, f"Generals/{second.entity_id}/Attachments?take=1000")


@pytest.mark.parametrize("parameter", ["access_token", "token"])
async def test_tokens_and_cookies_open_the_api(client: Client, sandbox: TargetprocessSandbox, parameter: str) -> None:
    token = sandbox.access_token if parameter == "access_token" else sandbox.service_token
    url = f"{sandbox.url}/api/v1/Context"
    async with client.get(f"{url}?{parameter}={quote(token, safe='')}") as answer:
        assert answer.status == 200
    async with client.get(f"{url}?{parameter}=wrong") as answer:
        assert answer.status == 401
    async with client.get(url, headers={"Cookie": sandbox.cookie}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (basic("System", "wrong"), 401),
        ({"Authorization": "Basic %%%"}, 401),
        (basic("requester", TargetprocessSandbox.password), 403),
    ],
)
async def test_bad_credentials_are_refused(
    client: Client, sandbox: TargetprocessSandbox, headers: dict[str, str], status: int
) -> None:
    async with client.get(f"{sandbox.url}/api/v1/Context", headers=headers) as answer:
        assert answer.status == status


async def test_every_file_is_downloaded_as_it_is(client: Client, sandbox: TargetprocessSandbox, world: World) -> None:
    for file in world.attachments:
        url = f"{sandbox.url}/Attachment.aspx?attachmentid={file.id}"
        async with client.get(url, headers=BASIC) as answer:
            assert await answer.read() == world.content(file)
            assert answer.headers["Content-Length"] == str(file.size)
            assert quote(file.name, safe="") in answer.headers["Content-Disposition"]
    assert sandbox.downloads.total() == len(world.attachments)
    assert sandbox.requests["GET /Attachment.aspx"] == len(world.attachments)


async def test_a_download_is_200_with_a_content_range(client: Client, sandbox: TargetprocessSandbox) -> None:
    url = f"{sandbox.url}/Attachment.aspx?AttachmentID=1"
    async with client.get(url, headers=BASIC | {"Range": "bytes=5-"}) as answer:
        size = len(await answer.read())
        assert answer.status == 200
        assert answer.headers["Content-Range"] == f"bytes 0-{size - 1}/{size}"
        assert answer.headers["Accept-Ranges"] == f"0-{size - 1}"
    async with client.get(f"{sandbox.url}/Attachment.aspx?AttachmentID=99999", headers=BASIC) as answer:
        assert answer.status == 404


async def test_access_token_downloads_only_where_the_server_lets_it(client: Client, world: World) -> None:
    query = f"AttachmentID=1&access_token={quote(TargetprocessSandbox.access_token, safe='')}"
    for lets in (False, True):
        async with (
            TargetprocessSandbox(world, token_downloads=lets) as sandbox,
            client.get(f"{sandbox.url}/Attachment.aspx?{query}") as answer,
        ):
            assert answer.status == 200
            assert (answer.content_type == "text/html") is not lets
            assert ((await answer.read()) == world.content(world.attachments[0])) is lets


async def test_a_service_token_never_downloads(client: Client, world: World) -> None:
    query = f"AttachmentID=1&token={TargetprocessSandbox.service_token}"
    async with (
        TargetprocessSandbox(world, token_downloads=True) as sandbox,
        client.get(f"{sandbox.url}/Attachment.aspx?{query}") as answer,
    ):
        assert answer.content_type == "text/html"
        assert not sandbox.downloads


async def test_an_excluded_field_is_missing_but_never_the_id(client: Client, sandbox: TargetprocessSandbox) -> None:
    (item,) = (await ask(client, sandbox, "Attachments?take=1&exclude=[Id,Name,Owner]"))["Items"]
    assert "Id" in item
    assert not {"Name", "Owner"} & item.keys()
    assert "Description" in item


@pytest.mark.parametrize(("way", "status"), [("page", 200), ("redirect", 302), ("unauthorized", 401)])
async def test_a_refused_download_is_never_the_file(client: Client, world: World, way: str, status: int) -> None:
    async with (
        TargetprocessSandbox(world, base_path="/tp", denies_downloads_with=way) as sandbox,
        client.get(f"{sandbox.url}/Attachment.aspx?AttachmentID=1", allow_redirects=False) as answer,
    ):
        assert answer.status == status
        if way == "redirect":
            assert answer.headers["Location"].startswith("/tp/login.aspx")
        assert sandbox.downloads.total() == 0


async def test_inline_images_want_a_cookie(client: Client, sandbox: TargetprocessSandbox) -> None:
    url = f"{sandbox.url}/images/inline-110.png"
    async with client.get(url, headers=BASIC, allow_redirects=False) as answer:
        assert answer.status == 302
    async with client.get(url, headers={"Cookie": sandbox.cookie}, allow_redirects=False) as answer:
        assert answer.content_type == "image/png"


async def test_a_thumbnail_is_not_the_file(client: Client, sandbox: TargetprocessSandbox) -> None:
    async with client.get(f"{sandbox.url}/AttachmentThumbnail.aspx?AttachmentID=1", headers=BASIC) as answer:
        assert b"thumbnail" in await answer.read()
    assert sandbox.downloads.total() == 0


async def test_an_upload_is_answered_in_camel_case_and_can_be_read_back(
    client: Client, sandbox: TargetprocessSandbox
) -> None:
    answer = json.loads(await upload(client, sandbox, "101", 'name="file"; filename="a.txt"', b"hello\r\nworld"))
    (item,) = answer["items"]
    assert (item["id"], item["name"], item["description"], item["size"]) == (601, "a.txt", "a.txt", 12)
    assert item["general"]["id"] == 101
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+01:00", item["date"])
    stored = sandbox.state.files_of(101)[-1]
    assert (stored.id, stored.name, stored.media_type, stored.size) == (601, "a.txt", "text/plain", 12)
    assert 601 in await ids(client, sandbox, "Generals/101/Attachments?take=1000")
    async with client.get(f"{sandbox.url}/Attachment.aspx?AttachmentID=601", headers=BASIC) as download:
        assert await download.read() == b"hello\r\nworld"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="x"; filename="報告書 🐛.pdf"', "報告書 🐛.pdf"),
        ('name="files[]"; filename="say %22hi%22 100%41.txt"', 'say "hi" 100%41.txt'),
        ('name="file"; filename="say \\"hi\\".txt"', 'say "hi".txt'),
        ('name="file"; filename="back\\slash.txt"', "back\\slash.txt"),
        ('name="file"; filename="back\\\\slash.txt"', "back\\slash.txt"),
        ('name="file"; filename="../../evil.txt"', "../../evil.txt"),
        ('name="file"; filename="a;b=c; filename=d.txt"', "a;b=c; filename=d.txt"),
        ('name="file"; filename="x.txt"; filename*=UTF-8\'\'%C3%BC%2541.txt', "ü%41.txt"),
        ("name=file; filename=plain.txt", "plain.txt"),
    ],
)
async def test_a_file_name_is_kept_verbatim(
    client: Client, sandbox: TargetprocessSandbox, disposition: str, name: str
) -> None:
    answer = json.loads(await upload(client, sandbox, "101", disposition))
    assert answer["items"][0]["name"] == name
    assert sandbox.state.files_of(101)[-1].name == name


async def test_an_upload_to_an_unknown_entity_fails_with_a_title(client: Client, sandbox: TargetprocessSandbox) -> None:
    page = await upload(client, sandbox, "99999", 'name="file"; filename="a.txt"', status=500)
    assert "<title>General with Id 99999 was not found</title>" in page
    assert not sandbox.state.uploads


async def test_old_servers_answer_an_upload_with_positions_or_inside_html(client: Client, world: World) -> None:
    async with TargetprocessSandbox(world, old_upload_answer=True, html_upload_answer=True) as sandbox:
        page = await upload(client, sandbox, "101", 'name="file"; filename="a.txt"')
    found = re.search(r"<textarea>(.*)</textarea>", page)
    assert found is not None
    items = json.loads(found[1])["items"]
    assert (items[0][0], items[0][2], items[0][3]) == (601, "a.txt", "text/plain")


async def test_a_description_can_be_changed_and_a_file_deleted(
    client: Client, sandbox: TargetprocessSandbox, world: World
) -> None:
    url = f"{sandbox.url}/api/v1/Attachments/1?format=json"
    async with client.post(url, json={"Description": "Größe\nneu"}, headers=BASIC) as answer:
        assert answer.status == 200
    assert (await ask(client, sandbox, "Attachments/1"))["Description"] == "Größe\nneu"
    async with client.delete(url, headers=BASIC) as answer:
        assert answer.status == 200
    await ask(client, sandbox, "Attachments/1", status=404)
    assert world.attachment(1) is not None
    assert sandbox.state.attachment(1) is None


@pytest.mark.parametrize(
    ("collection", "body", "status"),
    [
        ("Bugs", {"Name": "New", "Project": {"Id": 1}}, 201),
        ("Tasks", {"Name": "New", "UserStory": {"Id": 101}}, 201),
        ("Bugs", {"Name": "New"}, 400),
        ("Bugs", {"Project": {"Id": 1}}, 400),
        ("Generals", {"Name": "New", "Project": {"Id": 1}}, 400),
        ("Attachments", {"Name": "New"}, 400),
        ("Comments", {"Description": "Hi", "General": {"Id": 101}}, 201),
        ("Comments", {"Description": "Hi"}, 400),
    ],
)
async def test_entities_and_comments_are_created(
    client: Client, sandbox: TargetprocessSandbox, collection: str, body: dict[str, Any], status: int
) -> None:
    url = f"{sandbox.url}/api/v1/{collection}?format=json&resultInclude=[Id]"
    async with client.post(url, json=body, headers=BASIC | JSON) as answer:
        assert answer.status == status
        created = json.loads(await answer.text())
    if status == 201:
        found = await ask(client, sandbox, f"{collection}/{created['Id']}")
        assert body.items() & {key: found[key] for key in ("Name", "Description") if key in found}.items()


async def test_comments_quote_their_files_and_have_no_attachments(
    client: Client, sandbox: TargetprocessSandbox, world: World
) -> None:
    items = (await ask(client, sandbox, "Comments?take=1000"))["Items"]
    quoted = {int(n) for item in items for n in re.findall(r"AttachmentID=(\d+)", item["Description"])}
    assert quoted == {file.id for file in world.attachments if file.comment_id is not None}
    await ask(client, sandbox, "Comments?include=[Attachments]", status=400)


async def test_a_virtual_directory_is_part_of_every_address(client: Client, world: World) -> None:
    async with TargetprocessSandbox(world, base_path="/targetprocess/") as sandbox:
        assert sandbox.url.endswith("/targetprocess")
        (item,) = (await ask(client, sandbox, "Attachments?take=1&include=[Uri]"))["Items"]
        assert item["Uri"].startswith("http://tp.internal/targetprocess/Attachment.aspx")
        assert sandbox.requests["GET /api/v1/Attachments"] == 1


async def test_a_forbidden_entity_is_403_and_its_files_too(client: Client, sandbox: TargetprocessSandbox) -> None:
    sandbox.faults.forbidden_entities = {101}
    await ask(client, sandbox, "Generals/101", status=403)
    await ask(client, sandbox, "Generals/101/Attachments", status=403)
    await upload(client, sandbox, "101", 'name="file"; filename="a.txt"', status=403)
    assert sandbox.faults.injected["forbidden_entities"] == 3


async def test_every_kind_has_its_own_name(sandbox: TargetprocessSandbox, world: World) -> None:
    assert [sandbox.kind_of(entity.id) for entity in world.entities[:5]] == [
        "UserStory", "Bug", "Task", "Feature", "Request",
    ]  # fmt: skip
    with pytest.raises(KeyError):
        sandbox.kind_of(99999)
