"""Uploads to a sandbox Issuetrak, the only thing that can be written to it.

Beware: a file that is too large is answered with 404, as IIS does.
"""

from datetime import datetime
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.issuetrak.auth import IssuetrakQuirks, SignatureAuth, refused
from migrator.sandbox.issuetrak.files import UploadBody, complaint_about
from migrator.sandbox.issuetrak.reads import Records
from migrator.sandbox.server import Sandbox

IIS_PAGE = "<html><head><title>404.13 - Not Found</title></head><body>Content length too large.</body></html>"


class Uploads:
    """The handler of uploads. It checks the signature itself, because that covers the body."""

    def __init__(
        self,
        sandbox: Sandbox,
        quirks: IssuetrakQuirks,
        auth: SignatureAuth,
        records: Records,
        users: dict[str, bool],
    ) -> None:
        self._sandbox, self._state = sandbox, sandbox.state
        self._quirks, self._auth, self._records, self._users = quirks, auth, records, users

    async def upload(self, request: web.Request) -> web.Response:
        """Store a file."""
        faults = self._sandbox.faults
        if faults.max_upload_bytes is not None and (request.content_length or 0) > faults.max_upload_bytes:
            faults.injected["max_upload_bytes"] += 1
            return web.Response(status=self._quirks.too_large_status, text=IIS_PAGE, content_type="text/html")
        try:
            return await self._stored(request, await self._received(request))
        except RefusedError as error:
            return refused(error)

    async def _received(self, request: web.Request) -> UploadBody:
        if request.content_length is None:
            raise RefusedError(411, "A length is required.")
        body, signature = UploadBody(), self._auth.check(request)
        refusal: RefusedError | None = None
        async for piece in request.content.iter_any():
            signature.feed(piece)
            try:
                if refusal is None:
                    body.feed(piece)
            except RefusedError as error:
                refusal = error
        signature.finish()
        if refusal:
            raise refusal
        return body

    async def _stored(self, request: web.Request, body: UploadBody) -> web.Response:
        values = body.values()
        self._check(values, body.content.size)
        fault = self._sandbox.faults.of_upload(values["IssueNumber"], values["FileName"])
        if fault == "fail_uploads":
            return self._sandbox.faults.refuse(fault)
        kept = self._state.keep(body.file(values["FileName"]), values["IssueNumber"], None)
        self._records.given[kept.id] = values["CreatedBy"], values["CreatedDate"][:23]
        answer: Any = {"bare": kept.id, "quoted": str(kept.id)}.get(self._quirks.answer, {"AttachmentID": kept.id})
        return await self._sandbox.after_upload(request, fault, web.json_response(answer, status=201))

    def _check(self, values: dict[str, Any], size: int) -> None:
        number = values.get("IssueNumber")
        if not isinstance(number, int) or self._state.entity(number) is None or self._sandbox.faults.forbids(number):
            raise RefusedError(400, "IssueNumber must be that of an existing issue.")
        if complaint := complaint_about(values.get("FileName")):
            raise RefusedError(400, complaint)
        author = str(values.get("CreatedBy")).lower()
        if not any(active for user, active in self._users.items() if user.lower() == author):
            raise RefusedError(400, "CreatedBy must be an existing, active user.")
        if values.get("FileSizeInBytes") != size:
            raise RefusedError(400, "FileSizeInBytes is not the size of FileContent.")
        try:
            is_local = datetime.fromisoformat(values["CreatedDate"]).tzinfo is None
        except (KeyError, ValueError, TypeError):
            is_local = False
        if not is_local:
            raise RefusedError(400, "CreatedDate must be an ISO 8601 date without offset.")
