"""A sandbox Issuetrak: API version 1 over the made-up world, as strict as its documentation.

`auth.py` decides which requests have access, and `reads.py` answers what can be read; here are the routes and the
upload, the only thing that can be written.

Beware: nothing can be deleted or changed here, and a file that is too large is answered with 404.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.issuetrak.auth import refused
from migrator.sandbox.issuetrak.files import UploadBody, complaint_about
from migrator.sandbox.issuetrak.reads import IssuetrakReads
from migrator.sandbox.server import FILE_ROUTE, UPLOAD_ROUTE, show_login

IIS_PAGE = "<html><head><title>404.13 - Not Found</title></head><body>Content length too large.</body></html>"


class IssuetrakSandbox(IssuetrakReads):
    """An embedded Issuetrak: `IssuetrakSandbox(world, faults, base_path="/issuetrak", **quirks)`.

    Its keywords are the fields of `auth.IssuetrakQuirks`.
    """

    tracker = "issuetrak"

    @override
    def kind_of(self, entity_id: int) -> str:
        """Always an issue."""
        if self.state.entity(entity_id) is None:
            raise KeyError(entity_id)
        return "Issue"

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of the API, and the login page."""
        yield web.get("/login.aspx", show_login)
        for slash in ("", "/"):
            yield web.post(f"/api/v1/issues/search{slash}", self._signed(self._search))
        yield web.get("/api/v1/issues/{notes}/{number}", self._signed(self._issue))
        yield web.get("/api/v1/users/{user}/{photo}", self._signed(self._user_record))
        yield web.get("/api/v1/priorities", self._signed(self._priorities))
        files = "/api/v1/attachments"
        yield web.get(files + "/compressed/{how:(?i:issuenumber)}/{number}", self._signed(self._zip))
        yield web.get(files + "/{number}", self._signed(self._file))
        yield web.get(files + "/{number}/{content:(?i:true)}", self._signed(self._file), name=FILE_ROUTE)
        yield web.get(files + "/{number}/{content:(?i:false)}", self._signed(self._record))
        yield web.get(files + "/{route}/{number}/{content}", self._signed(self._files))
        yield web.get(files + "/{route:(?i:issue|issuenumber)}/{number}", self._signed(self._files))
        yield web.post(files + "{slash:/?}", self._upload, name=UPLOAD_ROUTE)

    async def _upload(self, request: web.Request) -> web.Response:
        limit = self.faults.max_upload_bytes
        if limit is not None and (request.content_length or 0) > limit:
            self.faults.injected["max_upload_bytes"] += 1
            status = self.quirks.too_large_status
            return web.Response(status=status, text=IIS_PAGE, content_type="text/html")
        received = UploadBody()
        try:
            return await self._received(request, received)
        except RefusedError as error:
            return refused(error)

    async def _received(self, request: web.Request, received: UploadBody) -> web.Response:
        if request.content_length is None:
            raise RefusedError(411, "A length is required.")
        signature = self.auth.check(request)
        wrong: RefusedError | None = None
        async for piece in request.content.iter_any():
            signature.feed(piece)
            try:
                if wrong is None:
                    received.feed(piece)
            except RefusedError as error:
                wrong = error
        signature.finish()
        if wrong:
            raise wrong
        values = received.values()
        self._check(values, received.content.size)
        fault = self.faults.of_upload(values["IssueNumber"], values["FileName"])
        if fault == "fail_uploads":
            return self.faults.refuse(fault)
        kept = self.state.keep(received.file(values["FileName"]), values["IssueNumber"], None)
        self.dates[kept.id] = values["CreatedBy"], values["CreatedDate"][:23]
        answer: Any = {"bare": kept.id, "quoted": str(kept.id)}.get(self.quirks.answer, {"AttachmentID": kept.id})
        return await self.after_upload(request, fault, web.json_response(answer, status=201))

    def _check(self, values: dict[str, Any], size: int) -> None:
        number = values.get("IssueNumber")
        if not isinstance(number, int) or self.state.entity(number) is None or self.faults.forbids(number):
            raise RefusedError(400, "IssueNumber must be that of an existing issue.")
        if complaint := complaint_about(values.get("FileName")):
            raise RefusedError(400, complaint)
        user = str(values.get("CreatedBy")).lower()
        if not any(active for known, active in self.users.items() if known.lower() == user):
            raise RefusedError(400, "CreatedBy must be an existing, active user.")
        if values.get("FileSizeInBytes") != size:
            raise RefusedError(400, "FileSizeInBytes is not the size of FileContent.")
        try:
            local = datetime.fromisoformat(values["CreatedDate"]).tzinfo is None
        except (KeyError, ValueError, TypeError):
            local = False
        if not local:
            raise RefusedError(400, "CreatedDate must be an ISO 8601 date without offset.")
