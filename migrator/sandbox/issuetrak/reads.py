"""What can be read from a sandbox Issuetrak: issues, users, and files with or without their content.

A handler answers a request whose signature is valid; it refuses by raising `RefusedError`.

Beware: only issues have files. Those of comments and e-mails appear as the issue's, unlinked ones don't appear at all,
and an issue without files answers 404.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any, ClassVar

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.issuetrak.auth import IssuetrakQuirks, SignatureAuth, refused
from migrator.sandbox.issuetrak.files import wrapped, zipped
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world import PEOPLE, World, WorldAttachment, WorldEntity

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class IssuetrakReads(Sandbox):
    """The part of a sandbox Issuetrak that answers reads."""

    user: ClassVar[str] = "APIUser"
    key: ClassVar[str] = "wV4JA/59PUf6XjiMF1om+Eg+D4rQlE8WGRTybNIkdrs="

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world, faults, base_path=base_path)
        self.quirks = IssuetrakQuirks(**quirks)
        self.auth = SignatureAuth(self.key, self.quirks)
        self.users: dict[str, bool] = {"Admin": True, self.user: True, **dict.fromkeys(PEOPLE, True)}
        """User ids, and whether they are active."""
        self.users["José Núñez"] = False
        self.dates: dict[int, tuple[str, str]] = {}
        """Author and date of each uploaded attachment, as given in the upload."""

    @property
    @override
    def credentials(self) -> dict[str, str]:
        """The content of [source.auth] or [target.auth]."""
        return {"api_key": self.key}

    def _signed(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                signature = self.auth.check(request)
                signature.feed(await request.read())
                signature.finish()
                return await handler(request)
            except RefusedError as error:
                return refused(error)

        return answer

    async def _search(self, request: web.Request) -> web.Response:
        if self.quirks.search_status is not None:
            raise RefusedError(self.quirks.search_status, "Not available.")
        try:
            asked = json.loads(await request.read())
            index, size = int(asked["PageIndex"]), min(int(asked["PageSize"]), self.quirks.page_cap)
            [ordering] = asked["QueryOrderingDefinitions"]
            [[expression]] = [known["QuerySetExpressions"] for known in asked["QuerySetDefinitions"]]
        except (ValueError, KeyError, TypeError):
            raise RefusedError(400, "The query is invalid.") from None
        if (expression["QueryExpressionOperation"], expression["FieldName"]) != ("NotEqual", "IssueNumber"):
            raise RefusedError(400, "The query is invalid.")
        shown = [e for e in self.state.entities() if str(e.id) != expression["FieldFilterValue1"]]
        if ordering != {"FieldName": "IssueNumber", "QueryOrderingDirection": "Asc"}:
            shown.reverse()
        page = [self._issue_record(entity) for entity in shown[index * size : (index + 1) * size]]
        return web.json_response(_collection(page, len(shown), index, size))

    async def _issue(self, request: web.Request) -> web.Response:
        _flag(request.match_info["notes"])
        return web.json_response(self._issue_record(self._entity(request)))

    async def _priorities(self, _: web.Request) -> web.Response:
        return web.json_response([{"PriorityID": 1, "PriorityName": "Normal"}])

    async def _user_record(self, request: web.Request) -> web.Response:
        wanted = request.match_info["user"].lower()
        found = next((user for user in self.users if user.lower() == wanted), None)
        if found is None:
            raise RefusedError(404, "There is no such user.")
        shown: dict[str, Any] = {"UserID": found, "UserName": found, "OrganizationID": 1}
        return web.json_response(shown | {"IsActive": self.users[found]} if self.quirks.tells_active else shown)

    async def _files(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["route"].lower() not in self.quirks.routes:
            status, words = self.quirks.no_route
            usual = f"No HTTP resource was found that matches the request URI '{request.url}'."
            raise RefusedError(status, words or usual)
        content = _flag(request.match_info.get("content", "true"))
        files = self._attachments(request)
        records = [self._attachment_record(file) for file in files]
        if content:
            for record, file in zip(records, files, strict=True):
                content_of = b"".join([chunk async for chunk in self.state.chunks_of(file)])
                record["FileContent"] = _base64(content_of)
        return web.json_response(_collection(records, len(records), 0, 2147483647))

    async def _record(self, request: web.Request) -> web.Response:
        return web.json_response(self._attachment_record(self._attachment(request)))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        file, escaped = self._attachment(request), self.quirks.escaped
        record = self._attachment_record(file, content=True)
        if not file.size and self.quirks.empty_is_null:
            return web.json_response(record)
        size = 0
        async for piece in wrapped(record, self.state.chunks_of(file), escaped=escaped):
            size += len(piece)
        pieces = wrapped(record, self.state.chunks_of(file), escaped=escaped)
        headers = {"Content-Type": "application/json; charset=utf-8"}
        return await self.send_body(request, file, pieces, size, headers)

    async def _zip(self, request: web.Request) -> web.Response:
        files = self._attachments(request)
        contents = [b"".join([chunk async for chunk in self.state.chunks_of(file)]) for file in files]
        names, packed = zipped(contents, bomb=self.quirks.zip_bomb)
        records = [self._attachment_record(file) for file in files]
        for record, name in zip(records, names, strict=True):
            record["ExtensionData"] = [{"Key": "CompressedEntryName", "Value": name}]
        found = {"QueryResults": _collection(records, len(records), 0, 2147483647)}
        return web.json_response(
            {"ExtensionData": [], "Metadata": self._metadata(), **found}
            | {"CompressedAttachmentsContent": _base64(packed)}
        )

    def _entity(self, request: web.Request) -> WorldEntity:
        found = self.state.entity(_number(request))
        if found is None:
            raise RefusedError(self.quirks.missing_status, "There is no such issue.")
        if self.faults.forbids(found.id):
            raise RefusedError(403, "Forbidden.")
        return found

    def _attachments(self, request: web.Request) -> list[WorldAttachment]:
        files = self.state.attachments_of(self._entity(request).id)
        if not files:
            raise RefusedError(404, "There is no attachment.")
        return files

    def _attachment(self, request: web.Request) -> WorldAttachment:
        found = self.state.attachment(_number(request))
        if found is None or self._owner(found) is None:
            raise RefusedError(self.quirks.missing_status, "There is no such attachment.")
        return found

    def _owner(self, file: WorldAttachment) -> int | None:
        return self.state.world.owner_of(file)

    def _issue_record(self, entity: WorldEntity) -> dict[str, Any]:
        return {
            "ExtensionData": [],
            "Metadata": self._metadata(),
            "IssueNumber": entity.id,
            "Subject": entity.title,
            "Description": entity.text,
            "SubmittedDate": "2014-10-03T13:50:04.607",
            "Status": "Open",
            "Notes": None,
        }

    def _attachment_record(self, file: WorldAttachment, *, content: bool = False) -> dict[str, Any]:
        author, date = self.dates.get(
            file.id, (file.author, file.created_at.astimezone(UTC).replace(tzinfo=None).isoformat())
        )
        return {
            "ExtensionData": [{"Key": "includeAttachmentContent", "Value": content}],
            "Metadata": self._metadata(),
            "AttachmentID": file.id,
            "IssueNumber": self._owner(file),
            "FileName": file.name,
            "CreatedBy": author,
            "CreatedDate": date,
            "FileSizeInBytes": file.size,
            "FileContent": None,
        }

    def _metadata(self) -> list[dict[str, str]]:
        moment = self.auth.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return [{"Key": "APIVersion", "Value": "v1"}, {"Key": "QueryDate", "Value": moment}]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _flag(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise RefusedError(400, "The request is invalid.")
    return text.lower() == "true"


def _number(request: web.Request) -> int:
    text = request.match_info["number"]
    try:
        number = int(text)
    except ValueError:
        raise RefusedError(422, f"{text!r} is no number.") from None
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
