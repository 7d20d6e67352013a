"""The sandboxes of Targetprocess and TeamPulse answer the requests that stand in the vendors' own pages."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from html import unescape
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import fromstring

import aiohttp
import pytest
from yarl import URL

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.targetprocess.resources import PLURALS
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World

Client = aiohttp.ClientSession
JSON = {"Accept": "application/json"}
PAIR = f"{TargetprocessSandbox.user}:{TargetprocessSandbox.password}".encode()
BASIC = {"Authorization": f"Basic {b64encode(PAIR).decode()}"}
COOKIE = {"Cookie": TeamPulseSandbox.cookie}


@pytest.fixture
async def targetprocess(world: World) -> AsyncIterator[TargetprocessSandbox]:
    async with TargetprocessSandbox(world, base_path="/targetprocess") as running:
        yield running


@pytest.fixture
async def teampulse(world: World) -> AsyncIterator[TeamPulseSandbox]:
    async with TeamPulseSandbox(world) as running:
        yield running


async def got(client: Client, url: str, status: int = 200, **headers: str) -> tuple[str, aiohttp.ClientResponse]:
    """What is answered to an address that is sent as it stands, but for blanks and brackets."""
    address = URL(quote(url, safe="%/:?#[]@!$&'()*+,;=~|"), encoded=True)
    async with client.get(address, headers=headers) as answer:
        text = await answer.text(errors="replace")
        assert answer.status == status, text
        return text, answer


async def items(client: Client, sandbox: TargetprocessSandbox, path: str) -> list[dict[str, Any]]:
    text, _ = await got(client, f"{sandbox.url}/api/v1/{path}", **BASIC, **JSON)
    found = json.loads(text)["Items"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("collection", sorted({*PLURALS.values(), "projects", "userstories", "Attachment", "Bug"}))
async def test_every_documented_collection_is_there(
    client: Client, targetprocess: TargetprocessSandbox, collection: str
) -> None:
    await items(client, targetprocess, f"{collection}?take=5")
    text, _ = await got(client, f"{targetprocess.url}/api/v1/{collection}/", **BASIC)
    fromstring(text)
    text, _ = await got(client, f"{targetprocess.url}/api/v1/{collection}/meta", **BASIC, **JSON)
    assert json.loads(text)["Name"]


@pytest.mark.parametrize(
    ("query", "some"),
    [
        ("Bugs?take=20&skip=10", True),
        ("Bugs?where=EntityState.Name eq 'In Progress'", True),
        ("Bugs?where=Name eq 'My Name'", False),
        ("Bugs?where=Name ne 'My Name'", True),
        ("Bugs?where=Id gt 5", True),
        ("Bugs?where=Project.Id gte 1", True),
        ("Bugs?where=CreateDate lt '2011-10-01'", False),
        ("UserStories?where=TimeSpent lte 5.0", True),
        ("Bugs?where=Id in (155,156)", False),
        ("Bugs?where=Name contains 'e'", True),
        ("Bugs?where=Release is null", True),
        ("Bugs?where=Description is not null", True),
        ("Bugs?where=(CreateDate gt '2011-01-01') and (EndDate lt '2011-02-01')", False),
        ("Users?where=IsActive eq 'true'", True),
        ("Users?where=IsActive eq 'false'", False),
        ("Bugs?orderByDesc=CreateDate", True),
        ("Bugs/?include=[Name, Description, Attachments, Iteration[Name]]", True),
        ("Bugs/?include=[Iteration]", True),
        ("Bugs/?include=[Iteration[Velocity]]", True),
        ("UserStories/?include=[Tasks[Name,Description,Effort]]", True),
        ("UserStories/?exclude=[Description]", True),
        ("UserStories/?append=[Bugs-Count,Tasks-Count]", True),
    ],
)
async def test_every_query_of_the_page_on_responses_is_answered(
    client: Client, targetprocess: TargetprocessSandbox, query: str, some: bool
) -> None:
    assert bool(await items(client, targetprocess, query)) == some
    text, _ = await got(client, f"{targetprocess.url}/api/v1/{query}", **BASIC)
    fromstring(text)


@pytest.mark.parametrize("metric", ["Avg", "Sum", "Min", "Max"])
async def test_metrics_of_an_inner_collection_are_calculated(
    client: Client, targetprocess: TargetprocessSandbox, metric: str
) -> None:
    stories = await items(
        client, targetprocess, f"UserStories?include=[Bugs[Effort],Bugs-Effort-{metric}]&innerTake=999"
    )
    efforts = [bug["Effort"] for bug in stories[0]["Bugs"]["Items"]]
    how = {"Avg": lambda values: sum(values) / len(values), "Sum": sum, "Min": min, "Max": max}[metric]
    assert efforts
    assert stories[0][f"Bugs-Effort-{metric}"] == how(efforts)
    one = f"{targetprocess.url}/api/v1/UserStories/{stories[0]['Id']}?include=[Bugs-Effort-{metric}]"
    text, _ = await got(client, one, **BASIC, **JSON)
    assert json.loads(text)[f"Bugs-Effort-{metric}"] == how(efforts)


async def test_json_is_padded_with_the_callback_that_was_asked_for(
    client: Client, targetprocess: TargetprocessSandbox
) -> None:
    url = f"{targetprocess.url}/api/v1/UserStories/101?format=json&callback=parseJson"
    text, answer = await got(client, url, **BASIC)
    assert text.startswith("parseJson({")
    assert text.endswith(")")
    assert json.loads(text[len("parseJson(") : -1])["Id"] == 101
    assert "javascript" in answer.headers["Content-Type"]
    text, _ = await got(client, f"{targetprocess.url}/api/v1/projects?&format=json&callback=?", **BASIC)
    assert text.startswith("?({")
    text, _ = await got(client, f"{targetprocess.url}/api/v1/projects?format=json&callback=alert(1)%3B", **BASIC)
    assert json.loads(text)["Items"]


async def test_include_and_exclude_are_not_combined_and_unknown_fields_named(
    client: Client, targetprocess: TargetprocessSandbox
) -> None:
    base = f"{targetprocess.url}/api/v1/UserStories/"
    await got(client, f"{base}?exclude=[Name]&include=[Description]", 400, **BASIC)
    text, _ = await got(client, f"{base}?include=[Nam]", 400, **BASIC)
    assert (
        "Invalid include field 'Nam'. It isn't defined in 'Tp.Integration.Services.Rest.Dto.UserStoryField'"
        in unescape(text)
    )


async def test_attachments_stand_inside_of_their_entity(client: Client, targetprocess: TargetprocessSandbox) -> None:
    entity = next(one for one in targetprocess.state.entities() if targetprocess.lists.attached(one.id))
    collection = PLURALS[targetprocess.kind_of(entity.id)]
    for path in (f"Generals/{entity.id}", f"{collection}/{entity.id}"):
        text, _ = await got(client, f"{targetprocess.url}/api/v1/{path}?include=[Attachments]", **BASIC, **JSON)
        inside = json.loads(text)["Attachments"]["Items"]
        assert [file["Id"] for file in inside] == [file.id for file in targetprocess.lists.attached(entity.id)]


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/Context",
        "///API/V1/context",
        "/attachment.aspx?attachmentid=ID",
        "//Attachment.ASPX?AttachmentID=ID",
        "/attachmentthumbnail.aspx?attachmentid=ID&width=100&height=100",
        "/LOGIN.aspx",
    ],
)
async def test_paths_are_taken_in_any_case_and_behind_any_slashes(
    client: Client, targetprocess: TargetprocessSandbox, path: str
) -> None:
    file = targetprocess.state.attachments()[0]
    await got(client, targetprocess.url + path.replace("=ID", f"={file.id}"), **BASIC)
    [request] = targetprocess.requests
    proper = ("/api/v1/Context", "/Attachment.aspx", "/AttachmentThumbnail.aspx", "/login.aspx")
    assert request.lower() in {f"GET {one}".lower() for one in proper}


BODY = (
    "-----159662540232479\r\n"
    'Content-Disposition: form-data; name="{field}"; filename="text1.txt"\r\n'
    "Content-Type: {kind}\r\n\r\n"
    "file data\r\n"
    "-----159662540232479--\r\n"
)
KINDS = ["text/plain    ", "multipart/form-data", "multipart/mixed", "multipart/related; boundary=x", "nonsense", ""]


@pytest.mark.parametrize("kind", KINDS)
async def test_upload_by_the_vendors_page_is_taken_with_any_type_of_its_part(
    client: Client, teampulse: TeamPulseSandbox, kind: str
) -> None:
    headers = {**COOKIE, **JSON, "Content-Type": "multipart/form-data;  boundary=---159662540232479"}
    url = f"{teampulse.url}/api/v1/workitems/101/attachments?type=TeamPulse"
    async with client.post(url, data=BODY.format(field="files", kind=kind), headers=headers) as answer:
        assert answer.status == 201, await answer.text()
        told = await answer.json()
    assert (told["name"], told["size"], told["workItemId"]) == ("text1.txt", 9, 101)


@pytest.mark.parametrize("page", ["UploadFile.ashx", "uploadfile.ashx", "/UPLOADFILE.ashx"])
@pytest.mark.parametrize("kind", KINDS)
async def test_upload_to_targetprocess_is_taken_with_any_type_of_its_part(
    client: Client, targetprocess: TargetprocessSandbox, kind: str, page: str
) -> None:
    field = '-----159662540232479\r\nContent-Disposition: form-data; name="generalId"\r\n\r\n101\r\n'
    headers = {**BASIC, "Content-Type": "multipart/form-data; boundary=---159662540232479"}
    body = field + BODY.format(field="file", kind=kind)
    async with client.post(URL(f"{targetprocess.url}/{page}", encoded=True), data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        [told] = (await answer.json())["items"]
    assert (told["name"], told["size"], told["general"]["id"]) == ("text1.txt", 9, 101)


@pytest.mark.parametrize(
    "path",
    [
        "projects",
        "projects/1",
        "projects/1/areas",
        "projects/1/iterations",
        "projects/1/teams",
        "projects/1/timeentrytypes",
        "workitems",
        "workitems/104",
        "workitems/101/tasks",
        "workitems/101/comments",
        "workitems/101/attachments",
        "comments",
        "attachments",
        "attachments/1",
        "links",
        "users",
        "users/8",
        "users/me",
        "acceptancecriteria",
        "areas",
        "iterations",
        "teams",
        "timeentries",
        "activities",
    ],
)
async def test_every_documented_collection_of_teampulse_is_there(
    client: Client, teampulse: TeamPulseSandbox, path: str
) -> None:
    for prefix in ("/api/v1/", "/api/", "//api/v1/", "/API/v1/"):
        text, _ = await got(client, teampulse.url + prefix + path, **COOKIE)
        told = json.loads(text)
        assert "results" in told or "id" in told
        if "results" in told:
            assert told["totalResults"] >= len(told["results"])


@pytest.mark.parametrize(
    "query",
    [
        "workitems?$filter=name eq 'Story' and Status eq 'Not Done'",
        "workitems?$filter=startswith(Name,'API')",
        "workitems?$filter=substringof('API',Name)",
        "workitems?$filter=createdAt eq DateTime'2013-10-10'",
        "workitems?$filter=type eq 'Task' and projectId eq 3 and AssignedToID eq 7",
        "workitems?$filter=id gt 123",
        "workitems?$filter=(AssignedToID eq 1 or AssignedToID eq 2)",
        "workitems?$filter=WorkCompleted eq null",
        "workitems?$orderby=id desc",
        "workitems?$orderby=name asc,createdAt desc&$top=3&$skip=6",
        "attachments?$filter=workItemId eq 101&$orderby=createdAt desc&$top=2&$skip=1",
        "timeentries?$filter=date gt DateTime'2013-10-10'&$top=100",
        "users?$filter=name eq 'ann'",
    ],
)
async def test_every_query_of_the_page_on_filters_is_answered(
    client: Client, teampulse: TeamPulseSandbox, query: str
) -> None:
    text, _ = await got(client, f"{teampulse.url}/api/v1/{query}", **COOKIE)
    assert isinstance(json.loads(text)["results"], list)


async def test_attachment_is_deleted_by_either_of_the_vendors_spellings(
    client: Client, teampulse: TeamPulseSandbox
) -> None:
    first, second = [file.id for file in teampulse.state.attachments() if teampulse.world.owner_of(file)][:2]
    for path in (f"attachments/{first}", f"attachment/{second}"):
        async with client.delete(f"{teampulse.url}/api/v1/{path}", headers=COOKIE) as answer:
            assert answer.status == 200
    assert {first, second}.isdisjoint(file.id for file in teampulse.state.attachments())


async def test_challenge_names_the_client_as_documented_and_as_the_sdk_reads_it(
    client: Client, teampulse: TeamPulseSandbox
) -> None:
    for path in ("/api/v1/users/me", "/authentication/restrict"):
        _, answer = await got(client, teampulse.url + path, 401, Authorization="WRAP")
        told = answer.headers.getall("WWW-Authenticate")
        assert [one.rpartition("client_id=")[2] for one in told] == ["uri:TeamPulse", '"uri:TeamPulse"']


async def test_password_that_is_sent_as_the_sdk_sends_it_buys_a_token(client: Client, world: World) -> None:
    class Plain(TeamPulseSandbox):
        password = "secret"

    async with Plain(world) as sandbox:
        form = "wrap_client_id=uri:TeamPulse&wrap_username=ann&wrap_password=secret"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        async with client.post(f"{sandbox.url}/Authenticate/WRAPv0.9", data=form, headers=headers) as answer:
            assert answer.status == 200
            assert "wrap_access_token=" in await answer.text()
