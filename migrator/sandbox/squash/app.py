"""A sandbox Squash TM: the REST plugin over the made-up world, with the quirks that its clients report.

`reads.py` answers what can be read; here is what writes: uploads, renaming, deleting.

Beware: a file's name is stored as one text and shown as two, split at the last dot. A name without a dot, or with
nothing on one side of it, can't be stored and ends in a 500.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.server import UPLOAD_ROUTE
from migrator.sandbox.squash.reads import SquashReads
from migrator.sandbox.squash.tree import CALL_STEPS, KINDS, Node
from migrator.sandbox.squash.web import Handler, embedded, not_found
from migrator.sandbox.uploads import ReceivedFile, TooLargeError, disposition, plain_disposition, receive

LONGEST = 255
_ONE = r"/{id:\d+}"


class SquashSandbox(SquashReads):
    """An embedded Squash TM: `SquashSandbox(world, faults, base_path="/squash", **quirks)`.

    Its keywords are the fields of `web.SquashQuirks`.
    """

    tracker: ClassVar[str] = "squash"

    @override
    def kind_of(self, entity_id: int) -> str:
        """The kind of an entity."""
        return self.tree.of_entity[entity_id].kind

    def number_of(self, entity_id: int) -> int:
        """An entity's id within its kind; the same as its own id unless each kind counts separately."""
        return self.tree.of_entity[entity_id].number

    @override
    def handlers(self) -> Iterable[tuple[str, str, Handler, str]]:
        """Method, path, handler and route name of each route."""
        yield from super().handlers()
        yield "PATCH", f"/attachments{_ONE}", self._rename, ""
        for kind in KINDS:
            for slash in ("", "/"):
                path = f"/{kind}{_ONE}/attachments{slash}"
                yield "POST", path, self._upload_to(kind), f"{UPLOAD_ROUTE}.{kind}{'.slash' * bool(slash)}"
                yield "DELETE", path, self._delete_from(kind), ""

    async def _rename(self, request: web.Request) -> web.StreamResponse:
        file = self.file_of(request)
        stem = request.query.get("name", "")
        if not stem.strip():
            raise RefusedError(400, "Required request parameter 'name' is not present")
        name = f"{stem}.{file.name.rpartition('.')[2]}"
        _hold(name)
        self.state.rename(file.id, name)
        return web.json_response(self.file_record(replace(file, name=name), whole=True))

    def _delete_from(self, kind: str) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            node = self.node(kind, request)
            attached = {file.id for file in self.state.attachments_of(node.entity_id)}
            for number in request.query.get("attachmentIds", "").split(","):
                if not number.isdecimal() or int(number) not in attached:
                    raise not_found("attachment.Attachment", int(number) if number.isdecimal() else 0)
                self.state.delete(int(number))
            return web.Response(status=204)

        return answer

    def _upload_to(self, kind: str) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            number = int(request.match_info["id"])
            if kind == "test-steps" and ("test-cases", number - CALL_STEPS) in self.tree.nodes:
                raise RefusedError(400, "This step can't hold attachments")
            return await self._upload(request, self.node(kind, request))

        return answer

    async def _upload(self, request: web.Request, node: Node) -> web.StreamResponse:
        if request.content_type != "multipart/form-data":
            raise RefusedError(415, "Content type not supported")
        limit = self.faults.max_upload_bytes
        named = plain_disposition if self.quirks.path_names else disposition
        try:
            _, files = await receive(request, limit, named)
        except TooLargeError:
            self.faults.injected["max_upload_bytes"] += 1
            raise RefusedError(413, maxUploadError={"maxSize": limit}) from None
        if not files or {file.field for file in files} != {"files"}:
            raise RefusedError(400, "Required request part 'files' is not present")
        taken = [file for file in map(self._named, files) if self._takes(file)]
        for file in taken:
            _hold(file.name)
        fault = self.faults.of_upload(node.entity_id, files[0].name)
        if fault == "fail_uploads":
            return self.faults.refuse(fault)
        kept = [self.state.keep(file, node.entity_id, None) for file in taken]
        items = [("attachments", file.id, self.file_record(file, whole=False)) for file in kept]
        return await self.after_upload(request, fault, web.json_response(embedded(items), status=201))

    def _named(self, file: ReceivedFile) -> ReceivedFile:
        if not self.quirks.path_names:
            return file
        return replace(file, name=file.name.replace("\\", "/").rpartition("/")[2])

    def _takes(self, file: ReceivedFile) -> bool:
        extension = file.name.rpartition(".")[2].lower()
        if self.quirks.whitelist is None or extension in self.quirks.whitelist:
            return True
        if self.quirks.whitelist_refuses:
            raise RefusedError(400, f"The file type {extension} is not allowed")
        return False


def _hold(name: str) -> None:
    """Refuse what a column can't hold, as the database does."""
    stem, dot, extension = name.rpartition(".")
    if not (dot and stem.strip() and extension.strip()) or len(extension) > 10 or len(name) > LONGEST or "\0" in name:
        raise RefusedError(500, "could not execute statement")
