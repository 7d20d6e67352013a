"""A sandbox Redmine: the REST API of version 5.0 over the made-up world, with its traps.

Beware: a wrong key is an error only on some routes. The list of issues answers 200, and is empty.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.redmine.access import Access, not_found_page
from migrator.sandbox.redmine.reads import Reads
from migrator.sandbox.redmine.records import Records, RedmineQuirks, world_of
from migrator.sandbox.redmine.writes import Writes
from migrator.sandbox.server import FILE_ROUTE, UPLOAD_ROUTE, Handler, Sandbox, show_login
from migrator.sandbox.world import World

_ITEM = r"/{id:\d+}"
_PROJECT = "/projects/{project}"


class RedmineSandbox(Sandbox):
    """An embedded Redmine: `RedmineSandbox(world, faults, base_path="/redmine", **quirks)`.

    Its keywords are the fields of `records.RedmineQuirks`.
    """

    tracker: ClassVar[str] = "redmine"
    user: ClassVar[str] = "admin"
    key: ClassVar[str] = "3f1c0e5a7b9d2468ace013579bdf02468ace1357"

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world_of(world), faults, base_path=base_path)
        self.quirks = RedmineQuirks(**quirks)
        self.access = Access(self, self.key, self.quirks)
        self.records = Records(self.state, self.user, self.key, self.quirks)
        self.reads = Reads(self, self.quirks, self.records, self.access)
        self.writes = Writes(self, self.quirks, self.records, self.access)

    @property
    @override
    def credentials(self) -> dict[str, str]:
        """The content of the configuration's [source.auth] or [target.auth]."""
        return {"api_key": self.key}

    @override
    def kind_of(self, entity_id: int) -> str:
        """Always an issue."""
        self.state.existing_entity(entity_id)
        return "Issue"

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of the API, and the login pages."""
        for path in ("/login", "/login.aspx"):
            yield web.get(path, show_login)
        for method, path, handler, name in self._handlers():
            yield web.RouteDef(method, path, self._answering(handler), {"name": name} if name else {})
        yield web.RouteDef("*", "/{path:.*}", _nowhere, {})

    def _handlers(self) -> Iterable[tuple[str, str, Handler, str]]:
        """Method, path, handler and route name of each route."""
        reads, writes = self.reads, self.writes
        yield "GET", "/users/current.json", reads.account, ""
        yield "GET", "/projects.json", reads.projects, ""
        yield "GET", f"{_PROJECT}.json", reads.project, ""
        yield "GET", f"{_PROJECT}/versions.json", reads.versions, ""
        yield "GET", f"{_PROJECT}/files.json", reads.files, ""
        yield "GET", f"{_PROJECT}/wiki/index.json", reads.no_wiki, ""
        for path in ("news", "time_entries"):
            yield "GET", f"{_PROJECT}/{path}.json", reads.module_off, ""
        yield "GET", "/trackers.json", reads.trackers, ""
        yield "GET", "/custom_fields.json", reads.custom_fields, ""
        yield "GET", "/issues.json", reads.issues, ""
        yield "POST", "/issues.json", writes.create, ""
        yield "GET", f"/issues{_ITEM}.json", reads.issue, ""
        yield "PUT", f"/issues{_ITEM}.json", writes.change, ""
        yield "GET", f"/attachments/download{_ITEM}", reads.download, FILE_ROUTE
        yield "GET", f"/attachments/download{_ITEM}/{{name}}", reads.download, f"{FILE_ROUTE}.name"
        yield "GET", f"/attachments{_ITEM}.json", reads.file, ""
        yield "PATCH", f"/attachments{_ITEM}.json", writes.edit, ""
        yield "DELETE", f"/attachments{_ITEM}.json", writes.delete, ""
        yield "POST", "/uploads.json", writes.upload, UPLOAD_ROUTE

    def _answering(self, handler: Handler) -> Handler:
        """A handler whose refusals become answers: with errors as JSON, or with an empty body."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except RefusedError as error:
                if error.details:
                    return web.json_response(error.details, status=error.status)
                challenge = {"WWW-Authenticate": 'Basic realm="Redmine API"'} if error.status == 401 else {}
                media_type = "text/html" if error.status == 400 else "application/json"
                return web.Response(status=error.status, content_type=media_type, headers=challenge)

        return answer


async def _nowhere(_: web.Request) -> web.StreamResponse:
    return not_found_page()
