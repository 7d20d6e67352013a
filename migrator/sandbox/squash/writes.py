"""The requests that write to a sandbox Squash TM: uploads, renaming, deleting.

Beware: a file's name is stored as one text and shown as two, split at the last dot. A name without a dot, or with
nothing on one side of it, can't be stored and ends in a 500.
"""

from dataclasses import replace

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.server import Handler, Sandbox
from migrator.sandbox.squash.records import Lookup, Records
from migrator.sandbox.squash.tree import Node
from migrator.sandbox.squash.web import SquashQuirks, embedded, not_found
from migrator.sandbox.uploads import ReceivedFile, TooLargeError, disposition, plain_disposition

MAX_NAME_LENGTH = 255


class Writes:
    """The handlers of requests that write."""

    def __init__(self, sandbox: Sandbox, quirks: SquashQuirks, lookup: Lookup, records: Records) -> None:
        self._sandbox, self._state, self._quirks = sandbox, sandbox.state, quirks
        self._lookup, self._records = lookup, records

    async def rename(self, request: web.Request) -> web.StreamResponse:
        """Change the name of a file before its extension."""
        file = self._lookup.file(request)
        stem = request.query.get("name", "")
        if not stem.strip():
            raise RefusedError(400, "Required request parameter 'name' is not present")
        name = f"{stem}.{file.name.rpartition('.')[2]}"
        _check_name(name)
        self._state.rename(file.id, name)
        return web.json_response(self._records.file(replace(file, name=name), whole=True))

    def delete_from(self, kind: str) -> Handler:
        """The handler that deletes files of a node."""

        async def answer(request: web.Request) -> web.StreamResponse:
            node = self._lookup.node(kind, request)
            attached = {file.id for file in self._state.attachments_of(node.entity_id)}
            for number in request.query.get("attachmentIds", "").split(","):
                if not number.isdecimal() or int(number) not in attached:
                    raise not_found("attachment.Attachment", int(number) if number.isdecimal() else 0)
                self._state.delete(int(number))
            return web.Response(status=204)

        return answer

    def upload_to(self, kind: str) -> Handler:
        """The handler that attaches files to a node."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if self._lookup.is_call_step(kind, request):
                raise RefusedError(400, "This step can't hold attachments")
            return await self.upload(request, self._lookup.node(kind, request))

        return answer

    async def upload(self, request: web.Request, node: Node) -> web.StreamResponse:
        """Attach all files of a request to a node."""
        if request.content_type != "multipart/form-data":
            raise RefusedError(415, "Content type not supported")
        faults = self._sandbox.faults
        parse = plain_disposition if self._quirks.path_names else disposition
        try:
            _, files = await self._sandbox.receive(request, parse)
        except TooLargeError:
            raise RefusedError(413, maxUploadError={"maxSize": faults.max_upload_bytes}) from None
        if not files or {file.field for file in files} != {"files"}:
            raise RefusedError(400, "Required request part 'files' is not present")
        accepted = [file for file in map(self._without_path, files) if self._accepts(file)]
        for file in accepted:
            _check_name(file.name)
        fault = faults.of_upload(node.entity_id, files[0].name)
        if fault == "fail_uploads":
            return faults.refuse(fault)
        kept = [self._state.keep(file, node.entity_id, None) for file in accepted]
        items = [("attachments", file.id, self._records.file(file, whole=False)) for file in kept]
        return await self._sandbox.after_upload(request, fault, web.json_response(embedded(items), status=201))

    def _without_path(self, file: ReceivedFile) -> ReceivedFile:
        if not self._quirks.path_names:
            return file
        return replace(file, name=file.name.replace("\\", "/").rpartition("/")[2])

    def _accepts(self, file: ReceivedFile) -> bool:
        extension = file.name.rpartition(".")[2].lower()
        if self._quirks.whitelist is None or extension in self._quirks.whitelist:
            return True
        if self._quirks.whitelist_refuses:
            raise RefusedError(400, f"The file type {extension} is not allowed")
        return False


def _check_name(name: str) -> None:
    """Refuse a name that the database can't hold, as the database does."""
    stem, dot, extension = name.rpartition(".")
    has_both = dot and stem.strip() and extension.strip()
    if not has_both or len(extension) > 10 or len(name) > MAX_NAME_LENGTH or "\0" in name:
        raise RefusedError(500, "could not execute statement")
