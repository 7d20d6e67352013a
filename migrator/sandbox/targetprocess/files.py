"""Targetprocess's files, which are beside its API: downloads, thumbnails and uploads.

They are pages of a web site, so the answers are web pages, errors included.

Beware: by default a refused download is an HTML page with status 200; and every good download has a Content-Range.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from aiohttp import web

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
from migrator.sandbox.targetprocess.access import Access, lowered
from migrator.sandbox.targetprocess.query import ZONE
from migrator.sandbox.uploads import ReceivedFile, TooLargeError
from migrator.sandbox.world import PEOPLE, WorldAttachment

Denial = Literal["page", "redirect", "unauthorized"]

PIXEL = b"\x89PNG\r\n\x1a\n-a thumbnail, never to be migrated-"


@dataclass(slots=True)
class TargetprocessQuirks:
    """How real servers differ. May be changed while the sandbox runs."""

    sortable: bool = True  # False: `where` and `orderBy` on Attachments are 400
    counts: bool = True  # False: `append=[Attachments-Count]` is 400
    xml_only: bool = False  # XML, whatever was requested
    token_downloads: bool = False  # whether `access_token` may download files
    denies_downloads_with: Denial = "page"
    hidden_from_collection: Collection[int] = ()  # attachments that only the entity's own list shows
    hidden_from_generals: Collection[int] = ()  # attachments that only the list of all shows
    old_upload_answer: bool = False  # positional arrays
    html_upload_answer: bool = False  # JSON inside HTML, as for an iframe
    upload_error_status: int = 500


class FilePages:
    """The handlers of files.

    `place` is the address that the server believes it has, with a host that nobody else can reach.
    """

    def __init__(self, sandbox: Sandbox, quirks: TargetprocessQuirks, access: Access, place: str) -> None:
        self._sandbox, self._state = sandbox, sandbox.state
        self._quirks, self._access, self._place = quirks, access, place

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of files, and of the login page."""
        return [
            web.get(in_any_case("login.aspx"), show_login),
            web.get(in_any_case("Attachment.aspx"), self._download, name=FILE_ROUTE),
            web.get(in_any_case("AttachmentThumbnail.aspx"), self._thumbnail),
            web.get("/images/{path:.*}", self._inline_image),
            web.post(in_any_case("UploadFile.ashx"), self._upload, name=UPLOAD_ROUTE),
        ]

    async def _download(self, request: web.Request) -> web.StreamResponse:
        account = self._access.account(request)
        if account not in {"basic", "cookie"} and not (account == "access_token" and self._quirks.token_downloads):
            return self._deny()
        number = lowered(request).get("attachmentid", "")
        attachment = self._state.attachment(int(number)) if number.isdecimal() else None
        if attachment is None:
            return error_page("Attachment was not found", 404)
        if attachment.entity_id is not None and self._sandbox.faults.forbids(attachment.entity_id):
            return error_page("Access is denied", 403)
        return await self._sandbox.send_file(request, attachment, _headers(attachment))

    def _deny(self) -> web.Response:
        if self._quirks.denies_downloads_with == "redirect":
            return to_login(self._sandbox)
        if self._quirks.denies_downloads_with == "unauthorized":
            return web.Response(status=401, text="Unauthorized")
        return web.Response(text=LOGIN_PAGE, content_type="text/html")

    async def _thumbnail(self, request: web.Request) -> web.Response:
        if self._access.account(request) is None:
            return self._deny()
        return web.Response(body=PIXEL, content_type="image/png")

    async def _inline_image(self, request: web.Request) -> web.Response:
        if self._access.account(request) != "cookie":
            return to_login(self._sandbox)
        return web.Response(body=PIXEL, content_type="image/png")

    async def _upload(self, request: web.Request) -> web.Response:
        if self._access.account(request) in {None, "requester"}:
            return web.Response(status=401, text="Unauthorized")
        try:
            fields, files = await self._sandbox.receive(request)
        except TooLargeError:
            return error_page("Request Entity Too Large", 413)
        owner = fields.get("generalid", "")
        entity_id = int(owner) if owner.isdecimal() else None
        if "generalid" in fields and (entity_id is None or self._state.entity(entity_id) is None):
            return error_page(f"General with Id {owner} was not found", self._quirks.upload_error_status)
        if entity_id is not None and self._sandbox.faults.forbids(entity_id):
            return error_page("Access is denied", 403)
        return await self._accept(request, entity_id, files)

    async def _accept(self, request: web.Request, entity_id: int | None, files: list[ReceivedFile]) -> web.Response:
        if not files:
            return error_page("No file was sent", self._quirks.upload_error_status)
        fault = self._sandbox.faults.of_upload(entity_id, files[0].name)
        if fault == "fail_uploads":
            return self._sandbox.faults.refuse(fault)
        kept = [self._state.keep(file, entity_id, file.name) for file in files]
        return await self._sandbox.after_upload(request, fault, self._upload_answer(kept))

    def _upload_answer(self, files: list[WorldAttachment]) -> web.Response:
        """The answer to an upload, in the form of present servers or of old ones."""
        headers = {"x-accountlockwaittime": "3"}
        record = self._positional if self._quirks.old_upload_answer else self._camel_case
        text = json.dumps({"items": [record(file) for file in files]})
        if self._quirks.html_upload_answer:
            page = f"<html><body><textarea>{escape(text, quote=False)}</textarea></body></html>"
            return web.Response(text=page, content_type="text/html", headers=headers)
        return web.Response(text=text, content_type="application/json", headers=headers)

    def _positional(self, file: WorldAttachment) -> list[Any]:
        return [
            file.id,
            file.created_at.astimezone(ZONE).isoformat(),
            file.name,
            file.media_type,
            file_uri(self._place, file),
            thumbnail_uri(self._place, file),
            [owner_id(file.author), *file.author.partition(" ")[::2]],
        ]

    def _camel_case(self, file: WorldAttachment) -> dict[str, Any]:
        entity = self._state.entity(file.entity_id) if file.entity_id is not None else None
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
            "uri": file_uri(self._place, file),
            "thumbnailUri": thumbnail_uri(self._place, file),
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


def file_uri(place: str, file: WorldAttachment) -> str:
    """The address of a file as the server believes it to be."""
    return f"{place}/Attachment.aspx?AttachmentID={file.id}"


def thumbnail_uri(place: str, file: WorldAttachment) -> str:
    """The address of a file's thumbnail."""
    return f"{place}/AttachmentThumbnail.aspx?AttachmentID={file.id}&width=100&height=100"


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
