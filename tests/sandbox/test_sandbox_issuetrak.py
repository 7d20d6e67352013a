"""The sandbox Issuetrak is as strict as the vendor's page, asked without the adapter."""

import base64
import hashlib
import hmac
import io
import json
import uuid
import zipfile
from datetime import UTC, datetime

import aiohttp
import pytest

from migrator.sandbox.issuetrak.app import IssuetrakSandbox
from migrator.sandbox.world.model import World

SMALL = World.generate(entities=12, seed=3, median_bytes=500, large_bytes=0)
UPLOAD = {
    "IssueNumber": 101,
    "FileName": "Test-Attachment.txt",
    "CreatedBy": "Admin",
    "CreatedDate": "2014-01-01T11:30:10.0000000",
    "FileSizeInBytes": 26,
    "FileContent": "VGhpcyBpcyBhIHRlc3QgYXR0YWNobWVudC4=",
}


@pytest.fixture
async def sandbox():
    async with IssuetrakSandbox(SMALL) as running:
        yield running


async def ask(sandbox, method, path, body=b"", **changed):
    """Sign a request by the vendor's rule; `changed` are headers to spoil, by their last word."""
    number, moment = str(uuid.uuid4()), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
    message = f"{method}\n{number}\n{moment}\n{path.lower()}\n\n".encode() + body
    mac = base64.b64encode(hmac.new(sandbox.key.encode(), message, hashlib.sha512).digest()).decode()
    told = {"Request-ID": number, "Timestamp": moment, "Authorization": mac} | changed
    headers = {f"X-IssueTrak-API-{name}": value for name, value in told.items() if value}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, sandbox.url + path, data=body or None, headers=headers) as response,
    ):
        text = await response.text()
        return response.status, json.loads(text) if response.content_type == "application/json" else text


async def upload(sandbox, **changes):
    body = json.dumps({**UPLOAD, "IssueNumber": owner(sandbox), **changes}).encode()
    return await ask(sandbox, "POST", "/api/v1/attachments/", body)


def owner(sandbox):
    """An issue with files."""
    return next(entity.id for entity in sandbox.state.entities() if len(sandbox.state.attachments_of(entity.id)) > 2)


@pytest.mark.parametrize(
    "changed",
    [
        {"Request-ID": ""},
        {"Request-ID": "1"},
        {"Timestamp": ""},
        {"Timestamp": "2014-09-10T17:28:08.3227351Z"},
        {"Timestamp": "now"},
        {"Authorization": ""},
        {"Authorization": "AAAA"},
    ],
)
async def test_stranger_is_refused(sandbox, changed):
    path = f"/api/v1/issues/false/{owner(sandbox)}"
    assert (await ask(sandbox, "GET", path))[0] == 200
    assert (await ask(sandbox, "GET", path, **changed))[0] == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("issues/false/99999", 404),
        ("issues/false/-1", 400),
        ("issues/false/x", 422),
        ("issues/maybe/101", 400),
        ("attachments/99999/true", 404),
        ("attachments/-1/false", 400),
        ("attachments/x/true", 422),
        ("attachments/issue/99999/false", 404),
        ("attachments/nonsense/101/false", 404),
        ("attachments/compressed/issueNumber/99999", 404),
        ("users/nobody/false", 404),
        ("users/ADMIN/false", 200),
        ("priorities", 200),
    ],
)
async def test_what_is_not_there_is_told_as_the_vendor_says(sandbox, path, status):
    assert (await ask(sandbox, "GET", f"/api/v1/{path}"))[0] == status


@pytest.mark.parametrize("route", ["issue", "issueNumber", "ISSUENUMBER"])
async def test_list_has_contents_only_if_they_are_asked_for(sandbox, route):
    number = owner(sandbox)
    _, bare = await ask(sandbox, "GET", f"/api/v1/attachments/{route}/{number}/false")
    _, full = await ask(sandbox, "GET", f"/api/v1/attachments/{route}/{number}/true")
    assert bare["TotalCount"] == bare["CountForPage"] == len(bare["Collection"]) == len(full["Collection"]) > 2
    assert {item["FileContent"] for item in bare["Collection"]} == {None}
    for item in full["Collection"]:
        assert len(base64.b64decode(item["FileContent"])) == item["FileSizeInBytes"]


async def test_archive_has_an_entry_for_each_file_under_the_name_that_is_told(sandbox):
    number = owner(sandbox)
    _, answer = await ask(sandbox, "GET", f"/api/v1/attachments/compressed/issueNumber/{number}")
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(answer["CompressedAttachmentsContent"])))
    for item in answer["QueryResults"]["Collection"]:
        [pair] = item["ExtensionData"]
        content = archive.read(pair["Value"])
        assert pair["Key"] == "CompressedEntryName"
        assert hashlib.sha256(content).hexdigest() == sandbox.state.sha256_of(
            sandbox.state.attachment(item["AttachmentID"])
        )


async def test_upload_answers_with_its_number_and_is_there(sandbox):
    status, number = await upload(sandbox)
    assert (status, type(number)) == (201, int)
    _, item = await ask(sandbox, "GET", f"/api/v1/attachments/{number}/true")
    kept = {key: item[key] for key in UPLOAD if key != "CreatedDate"}
    assert kept == {
        **{key: value for key, value in UPLOAD.items() if key in kept},
        "IssueNumber": owner(sandbox),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"IssueNumber": 99999},
        {"IssueNumber": "101"},
        {"FileName": ""},
        {"FileName": None},
        {"FileName": "a?.txt"},
        {"FileName": "con.txt"},
        {"FileName": "a."},
        {"FileName": "n" * 151},
        {"CreatedBy": "Nobody"},
        {"CreatedBy": "José Núñez"},
        {"CreatedBy": None},
        {"CreatedDate": None},
        {"CreatedDate": "2014-01-01T11:30:10Z"},
        {"FileSizeInBytes": 25},
        {"FileSizeInBytes": None},
        {"FileContent": "VGhpcyBpcyBhIHRlc3QgYXR0YWNobWVudC4"},
        {"FileContent": "?"},
        {"FileContent": None},
    ],
)
async def test_upload_that_breaks_a_rule_is_400_and_stores_nothing(sandbox, changes):
    assert (await upload(sandbox, **changes))[0] == 400
    assert not sandbox.state.uploads


async def test_nothing_can_be_deleted(sandbox):
    for file in sandbox.state.attachments()[:1]:
        assert (await ask(sandbox, "DELETE", f"/api/v1/attachments/{file.id}/true"))[0] == 405


async def test_search_lists_issues_by_number_in_pages(sandbox):
    every = {"QueryExpressionOperation": "NotEqual", "FieldName": "IssueNumber", "FieldFilterValue1": "0"}
    query = {
        "QuerySetDefinitions": [{"QuerySetExpressions": [every]}],
        "QueryOrderingDefinitions": [{"FieldName": "IssueNumber", "QueryOrderingDirection": "Asc"}],
        "PageSize": 5,
    }
    numbers = []
    for index in range(4):
        body = json.dumps({**query, "PageIndex": index}).encode()
        _, page = await ask(sandbox, "POST", "/api/v1/issues/search", body)
        assert page["TotalCount"] == 12
        numbers += [item["IssueNumber"] for item in page["Collection"]]
    assert numbers == [entity.id for entity in sandbox.state.entities()]
    assert (await ask(sandbox, "POST", "/api/v1/issues/search", b"{}"))[0] == 400


async def test_search_may_end_with_a_slash(sandbox):
    assert (await ask(sandbox, "POST", "/api/v1/issues/search/", b"{}"))[0] == 400
    every = {"QueryExpressionOperation": "NotEqual", "FieldName": "IssueNumber", "FieldFilterValue1": "0"}
    query = {
        "QuerySetDefinitions": [{"QuerySetExpressions": [every]}],
        "QueryOrderingDefinitions": [{"FieldName": "IssueNumber", "QueryOrderingDirection": "Asc"}],
        "PageIndex": 0,
        "PageSize": 5,
    }
    status, page = await ask(sandbox, "POST", "/api/v1/issues/search/", json.dumps(query).encode())
    assert (status, len(page["Collection"])) == (200, 5)


async def test_content_comes_where_nobody_says_whether_it_should(sandbox):
    """The last part of the route is optional and true, says the vendor's page."""
    number = owner(sandbox)
    _, listed = await ask(sandbox, "GET", f"/api/v1/attachments/issueNumber/{number}")
    for item in listed["Collection"]:
        status, alone = await ask(sandbox, "GET", f"/api/v1/attachments/{item['AttachmentID']}")
        assert status == 200
        for one in (item, alone):
            assert len(base64.b64decode(one["FileContent"])) == one["FileSizeInBytes"]


async def test_sample_of_an_upload_on_the_vendors_page_is_taken(sandbox):
    body = """{
 "IssueNumber": 100,
 "FileName": "Test-Attachment.txt",
 "CreatedBy": "Admin",
 "CreatedDate": "2014-01-01T11:30:10.0000000",
 "FileSizeInBytes": 26,
 "FileContent": "VGhpcyBpcyBhIHRlc3QgYXR0YWNobWVudC4="
}"""
    status, made = await ask(
        sandbox, "POST", "/api/v1/attachments/", body.replace("100", str(owner(sandbox)), 1).encode()
    )
    assert (status, [sandbox.state.attachment(made).name]) == (201, ["Test-Attachment.txt"])
