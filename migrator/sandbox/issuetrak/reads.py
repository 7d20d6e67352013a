"""What can be read from a sandbox Issuetrak: issues, users, and files with or without their content.

Beware: only issues have files. A file of a comment or an e-mail is listed as one of the issue, a file without an owner
not at all, and an issue without files answers 404.
"""

import json
from datetime import UTC
from typing import Any

from aiohttp import web

from migrator.sandbox.base64_json import CONTENT, in_one_line
from migrator.sandbox.errors import RefusedError
from migrator.sandbox.issuetrak.auth import IssuetrakQuirks, SignatureAuth
from migrator.sandbox.issuetrak.files import escaped_base64, zipped
from migrator.sandbox.server import Sandbox
from migrator.sandbox.state import TrackerState
from migrator.sandbox.world import WorldAttachment, WorldEntity

_UNLIMITED = 2147483647
"""The page size that lists of files give: they have no pages."""

SUBMITTED = "2014-10-03T13:50:04.607"


class Records:
    """The JSON of issues and attachments."""

    def __init__(self, state: TrackerState, auth: SignatureAuth, quirks: IssuetrakQuirks) -> None:
        self._state, self._auth, self._quirks = state, auth, quirks
        self.given: dict[int, tuple[str, str]] = {}
        """Author and date of each uploaded attachment, as given in the upload."""

    def issue(self, entity: WorldEntity) -> dict[str, Any]:
        """An issue."""
        changed_at = self._state.changed_at(entity.id)
        date = changed_at.astimezone(UTC).replace(tzinfo=None).isoformat() if changed_at else SUBMITTED
        return {
            "ExtensionData": [],
            "Metadata": self.metadata(),
            "IssueNumber": entity.id,
            "Subject": entity.title,
            "Description": entity.text,
            "SubmittedDate": SUBMITTED,
            "Status": "Open",
            "Notes": None,
            **({self._quirks.change_date: date} if self._quirks.change_date else {}),
        }

    def attachment(self, file: WorldAttachment, *, content: bool = False) -> dict[str, Any]:
        """An attachment without its content; `content` is what it says about that."""
        created_at = file.created_at.astimezone(UTC).replace(tzinfo=None).isoformat()
        author, date = self.given.get(file.id, (file.author, created_at))
        return {
            "ExtensionData": [{"Key": "includeAttachmentContent", "Value": content}],
            "Metadata": self.metadata(),
            "AttachmentID": file.id,
            "IssueNumber": self._state.world.owner_of(file),
            "FileName": file.name,
            "CreatedBy": author,
            "CreatedDate": date,
            "FileSizeInBytes": file.size,
            "FileContent": None,
        }

    def metadata(self) -> list[dict[str, str]]:
        """What each record says about the server."""
        now = self._auth.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return [{"Key": "APIVersion", "Value": "v1"}, {"Key": "QueryDate", "Value": now}]


class Reads:
    """The handlers of requests that read; they refuse a request by raising `RefusedError`."""

    def __init__(self, sandbox: Sandbox, quirks: IssuetrakQuirks, records: Records, users: dict[str, bool]) -> None:
        self._sandbox, self._state = sandbox, sandbox.state
        self._quirks, self._records, self._users = quirks, records, users

    async def search(self, request: web.Request) -> web.Response:
        """A page of the issues that a query selects."""
        if self._quirks.search_status is not None:
            raise RefusedError(self._quirks.search_status, "Not available.")
        try:
            query = json.loads(await request.read())
            index, size = int(query["PageIndex"]), min(int(query["PageSize"]), self._quirks.page_cap)
            [ordering] = query["QueryOrderingDefinitions"]
            [[expression]] = [definition["QuerySetExpressions"] for definition in query["QuerySetDefinitions"]]
        except (ValueError, KeyError, TypeError):
            raise RefusedError(400, "The query is invalid.") from None
        if (expression["QueryExpressionOperation"], expression["FieldName"]) != ("NotEqual", "IssueNumber"):
            raise RefusedError(400, "The query is invalid.")
        issues = [entity for entity in self._state.entities() if str(entity.id) != expression["FieldFilterValue1"]]
        if ordering != {"FieldName": "IssueNumber", "QueryOrderingDirection": "Asc"}:
            issues.reverse()
        page = [self._records.issue(entity) for entity in issues[index * size : (index + 1) * size]]
        return web.json_response(_collection(page, len(issues), index, size))

    async def issue(self, request: web.Request) -> web.Response:
        """One issue."""
        _flag(request.match_info["notes"])
        return web.json_response(self._records.issue(self._entity(request)))

    async def priorities(self, _: web.Request) -> web.Response:
        """The priorities that an issue may have."""
        return web.json_response([{"PriorityID": 1, "PriorityName": "Normal"}])

    async def user(self, request: web.Request) -> web.Response:
        """One user."""
        wanted = request.match_info["user"].lower()
        name = next((user for user in self._users if user.lower() == wanted), None)
        if name is None:
            raise RefusedError(404, "There is no such user.")
        record: dict[str, Any] = {"UserID": name, "UserName": name, "OrganizationID": 1}
        if self._quirks.tells_active:
            record["IsActive"] = self._users[name]
        return web.json_response(record)

    async def files(self, request: web.Request) -> web.StreamResponse:
        """The files of an issue, with their content unless the path says no."""
        if request.match_info["route"].lower() not in self._quirks.routes:
            status, message = self._quirks.no_route
            usual = f"No HTTP resource was found that matches the request URI '{request.url}'."
            raise RefusedError(status, message or usual)
        with_content = _flag(request.match_info.get("content", "true"))
        files = self._attachments(request)
        records = [self._records.attachment(file) for file in files]
        if with_content:
            for record, file in zip(records, files, strict=True):
                record["FileContent"] = in_one_line(await self._content(file)).decode()
        return web.json_response(_collection(records, len(records), 0, _UNLIMITED))

    async def file_record(self, request: web.Request) -> web.Response:
        """One file without its content."""
        return web.json_response(self._records.attachment(self._attachment(request)))

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One file with its content."""
        file, escaped = self._attachment(request), self._quirks.escaped
        record = self._records.attachment(file, content=True)
        if not file.size and self._quirks.empty_is_null:
            return web.json_response(record)
        value, encoded = {**record, "FileContent": CONTENT}, escaped_base64 if escaped else in_one_line
        headers = {"Content-Type": "application/json; charset=utf-8"}
        return await self._sandbox.send_in_json(request, file, value, encoded, headers)

    async def zip(self, request: web.Request) -> web.Response:
        """All files of an issue, in a ZIP inside of JSON."""
        files = self._attachments(request)
        names, packed = zipped([await self._content(file) for file in files], bomb=self._quirks.zip_bomb)
        records = [self._records.attachment(file) for file in files]
        for record, name in zip(records, names, strict=True):
            record["ExtensionData"] = [{"Key": "CompressedEntryName", "Value": name}]
        results = {"QueryResults": _collection(records, len(records), 0, _UNLIMITED)}
        return web.json_response(
            {"ExtensionData": [], "Metadata": self._records.metadata(), **results}
            | {"CompressedAttachmentsContent": in_one_line(packed).decode()}
        )

    async def _content(self, file: WorldAttachment) -> bytes:
        return b"".join([chunk async for chunk in self._state.chunks_of(file)])

    def _entity(self, request: web.Request) -> WorldEntity:
        entity = self._state.entity(_number(request))
        if entity is None:
            raise RefusedError(self._quirks.missing_status, "There is no such issue.")
        if self._sandbox.faults.forbids(entity.id):
            raise RefusedError(403, "Forbidden.")
        return entity

    def _attachments(self, request: web.Request) -> list[WorldAttachment]:
        files = self._state.attachments_of(self._entity(request).id)
        if not files:
            raise RefusedError(404, "There is no attachment.")
        return files

    def _attachment(self, request: web.Request) -> WorldAttachment:
        file = self._state.attachment(_number(request))
        if file is None or self._state.world.owner_of(file) is None:
            raise RefusedError(self._quirks.missing_status, "There is no such attachment.")
        return file


def _flag(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise RefusedError(400, "The request is invalid.")
    return text.lower() == "true"


def _number(request: web.Request) -> int:
    text = request.match_info["number"]
    try:
        number = int(text)
    except ValueError:
        raise RefusedError(422, f"{text!r} is not a number.") from None
    if number < 0:
        raise RefusedError(400, "The number is invalid.")
    return number


def _collection(items: list[dict[str, Any]], total: int, index: int, size: int) -> dict[str, Any]:
    return {
        "IsPageIndexZeroBased": True,
        "PageIndex": index,
        "CountForPage": len(items),
        "PageSize": size,
        "TotalCount": total,
        "Collection": items,
    }
