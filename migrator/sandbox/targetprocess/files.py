"""Targetprocess outside its API: logging in, downloading and uploading files.

These are pages of a web site, so the answers are web pages, errors included.

Beware: by default a refused download is an HTML page with status 200; and every good download has a Content-Range.
"""

import json
from base64 import b64decode
from binascii import Error as NotBase64Error
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from html import escape
from typing import Any, ClassVar, Literal

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.faults import Faults
from migrator.sandbox.server import (
    FILE_ROUTE,
    LOGIN_PAGE,
    UPLOAD_ROUTE,
    Sandbox,
    attachment_disposition,
    in_any_case,
    show_login,
    to_login,
)
from migrator.sandbox.targetprocess.query import ZONE
from migrator.sandbox.uploads import ReceivedFile, TooLargeError, receive
from migrator.sandbox.world import PEOPLE, World, WorldAttachment

Denial = Literal["page", "redirect", "unauthorized"]

PIXEL = b"\x89PNG\r\n\x1a\n-a thumbnail, never to be migrated-"


@dataclass(slots=True)
class TargetprocessQuirks:
    """How real servers differ; may be changed while the sandbox runs."""

    sortable: bool = True  # False: `where` and `orderBy` on Attachments are 400
    counts: bool = True  # False: `append=[Attachments-Count]` is 400
    xml_only: bool = False  # XML, whatever was requested
    token_downloads: bool = False  # whether `access_token` may download files
    denies_downloads_with: Denial = "page"
    hidden_from_collection: Collection[int] = ()  # attachments that only the entity's own list shows
    hidden_from_generals: Collection[int] = ()  # attachments that only the whole list shows
    old_upload_answer: bool = False  # positional arrays
    html_upload_answer: bool = False  # JSON inside HTML, as for an iframe
    upload_error_status: int = 500


class TargetprocessFiles(Sandbox):
    """The files of a sandbox Targetprocess; `TargetprocessSandbox` adds the API."""

    access_token: ClassVar[str] = "NzpTRUNSRVQ+Lw=="  # noqa: S105 - has characters to encode
    service_token: ClassVar[str] = "1:B0A1C2D3E4"  # noqa: S105
    cookie: ClassVar[str] = "TPSESSION=k1/abc+def"
    internal_host: ClassVar[str] = "http://tp.internal"

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world, faults, base_path=base_path)
        self.quirks = TargetprocessQuirks(**quirks)

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of pages and files."""
        return [
            web.get(in_any_case("login.aspx"), show_login),
            web.get(in_any_case("Attachment.aspx"), self._download, name=FILE_ROUTE),
            web.get(in_any_case("AttachmentThumbnail.aspx"), self._thumbnail),
            web.get("/images/{path:.*}", self._inline_image),
            web.post(in_any_case("UploadFile.ashx"), self._upload, name=UPLOAD_ROUTE),
        ]

    def attached(self, entity_id: int) -> list[WorldAttachment]:
        """What the entity's Attachments collection shows: nothing of its comments and messages."""
        files = [file for file in self.state.attachments_of(entity_id) if file.entity_id == entity_id]
        return [file for file in files if file.id not in self.quirks.hidden_from_generals]

    def account(self, request: web.Request) -> str | None:
        """How a request is authenticated (basic, cookie, access_token, token), or None."""
        authorization = request.headers.get("Authorization", "")
        if authorization:
            return self._basic(authorization)
        name, value = self.cookie.split("=", 1)
        if f"{name}={value}" in request.headers.get("Cookie", ""):
            return "cookie"
        query = lowered(request)
        if query.get("access_token") == self.access_token:
            return "access_token"
        return "token" if query.get("token") == self.service_token else None

    def _basic(self, authorization: str) -> str | None:
        scheme, _, coded = authorization.partition(" ")
        try:
            pair = b64decode(coded, validate=True).decode()
        except (NotBase64Error, UnicodeDecodeError):
            return None
        user, _, password = pair.partition(":")
        if scheme.lower() != "basic" or password != self.password:
            return None
        return {self.user.lower(): "basic", "requester": "requester"}.get(user.lower())

    async def _download(self, request: web.Request) -> web.StreamResponse:
        account = self.account(request)
        if account not in {"basic", "cookie"} and not (account == "access_token" and self.quirks.token_downloads):
            return self._deny()
        number = lowered(request).get("attachmentid", "")
        attachment = self.state.attachment(int(number)) if number.isdecimal() else None
        if attachment is None:
            return error_page("Attachment was not found", 404)
        if attachment.entity_id is not None and self.faults.forbids(attachment.entity_id):
            return error_page("Access is denied", 403)
        return await self.send_file(request, attachment, _headers(attachment))

    def _deny(self) -> web.Response:
        if self.quirks.denies_downloads_with == "redirect":
            return to_login(self)
        if self.quirks.denies_downloads_with == "unauthorized":
            return web.Response(status=401, text="Unauthorized")
        return web.Response(text=LOGIN_PAGE, content_type="text/html")

    async def _thumbnail(self, request: web.Request) -> web.Response:
        if self.account(request) is None:
            return self._deny()
        return web.Response(body=PIXEL, content_type="image/png")

    async def _inline_image(self, request: web.Request) -> web.Response:
        if self.account(request) != "cookie":
            return to_login(self)
        return web.Response(body=PIXEL, content_type="image/png")

    async def _upload(self, request: web.Request) -> web.Response:
        if self.account(request) in {None, "requester"}:
            return web.Response(status=401, text="Unauthorized")
        try:
            fields, files = await receive(request, self.faults.max_upload_bytes)
        except TooLargeError:
            self.faults.injected["max_upload_bytes"] += 1
            return error_page("Request Entity Too Large", 413)
        owner = fields.get("generalid", "")
        entity_id = int(owner) if owner.isdecimal() else None
        if "generalid" in fields and (entity_id is None or self.state.entity(entity_id) is None):
            return error_page(f"General with Id {owner} was not found", self.quirks.upload_error_status)
        if entity_id is not None and self.faults.forbids(entity_id):
            return error_page("Access is denied", 403)
        return await self._accept(request, entity_id, files)

    async def _accept(self, request: web.Request, entity_id: int | None, files: list[ReceivedFile]) -> web.Response:
        if not files:
            return error_page("No file was sent", self.quirks.upload_error_status)
        fault = self.faults.of_upload(entity_id, files[0].name)
        if fault == "fail_uploads":
            return self.faults.refuse(fault)
        kept = [self.state.keep(file, entity_id, file.name) for file in files]
        return await self.after_upload(request, fault, self._upload_answer(kept))

    def _upload_answer(self, kept: list[WorldAttachment]) -> web.Response:
        """The answer to an upload, in the form of present servers or of old ones."""
        headers = {"x-accountlockwaittime": "3"}
        spell = self._positional if self.quirks.old_upload_answer else self._camel_case
        text = json.dumps({"items": [spell(file) for file in kept]})
        if self.quirks.html_upload_answer:
            page = f"<html><body><textarea>{escape(text, quote=False)}</textarea></body></html>"
            return web.Response(text=page, content_type="text/html", headers=headers)
        return web.Response(text=text, content_type="application/json", headers=headers)

    def _positional(self, file: WorldAttachment) -> list[Any]:
        date = file.created_at.astimezone(ZONE).isoformat()
        owner = [owner_id(file.author), *file.author.partition(" ")[::2]]
        return [
            file.id,
            date,
            file.name,
            file.media_type,
            self.uri(file),
            self.uri(file, thumbnail=True),
            owner,
        ]

    def _camel_case(self, file: WorldAttachment) -> dict[str, Any]:
        entity = self.state.entity(file.entity_id) if file.entity_id is not None else None
        general = {"resourceType": "General", "id": entity.id, "name": entity.title} if entity else None
        first, _, last = file.author.partition(" ")
        return {
            "resourceType": "Attachment",
            "id": file.id,
            "name": file.name,
            "uniqueFileName": unique_name(file),
            "description": file.name,
            "date": file.created_at.astimezone(ZONE).isoformat(),
            "persistedMimeType": file.media_type,
            "persistedSize": file.size,
            "isEmpty": file.size == 0,
            "uri": self.uri(file),
            "thumbnailUri": self.uri(file, thumbnail=True),
            "mimeType": file.media_type,
            "size": file.size,
            "owner": {
                "resourceType": "GeneralUser",
                "id": owner_id(file.author),
                "firstName": first,
                "lastName": last,
            },
            "general": general,
            "message": None,
            "assignable": general and {**general, "resourceType": "Assignable"},
        }

    def uri(self, file: WorldAttachment, *, thumbnail: bool = False) -> str:
        """The address of a file as the server believes it to be, with a host that nobody else can reach."""
        page = "AttachmentThumbnail.aspx" if thumbnail else "Attachment.aspx"
        size = "&width=100&height=100" if thumbnail else ""
        return f"{self.internal_host}{self.base_path}/{page}?AttachmentID={file.id}{size}"


def _headers(file: WorldAttachment) -> dict[str, str]:
    last = max(0, file.size - 1)
    charset = "; charset=UTF-8" if file.media_type.startswith("text/") else ""
    return {
        "Content-Type": file.media_type + charset,
        "Content-Disposition": attachment_disposition(file.name),
        "Accept-Ranges": f"0-{last}",
        "Content-Range": f"bytes 0-{last}/{file.size}",
        "Cache-Control": "private, max-age=31536000, s-maxage=0",
    }


def lowered(request: web.Request) -> dict[str, str]:
    """The query with its names in lower case; the server ignores their case."""
    return {name.lower(): value for name, value in request.query.items()}


def unique_name(file: WorldAttachment) -> str:
    """The name under which the server stores a file."""
    return f"{file.id:08x}_{file.content_seed & 0xFFFF:04x}.dat"


def owner_id(author: str) -> int:
    """The number of a person; the System user is 1."""
    return 2 + PEOPLE.index(author) if author in PEOPLE else 1


def error_page(title: str, status: int) -> web.Response:
    """An ASP.NET error page, with the error in its title."""
    head = f"<!DOCTYPE html>\n<html><head><title>{escape(title)}</title></head>"
    page = f"{head}<body><h1>Server Error</h1></body></html>"
    return web.Response(text=page, status=status, content_type="text/html")
