"""A sandbox Targetprocess: REST API version 1 over the made-up world, with the quirks of real servers.

Beware: its default format is XML, and an error is JSON only if that is requested twice.
"""

import re
from collections.abc import Iterable
from typing import Any, ClassVar
from uuid import UUID

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.server import Handler, Sandbox, in_any_case
from migrator.sandbox.targetprocess.access import Access, lowered
from migrator.sandbox.targetprocess.api import Api, ApiHandler
from migrator.sandbox.targetprocess.files import FilePages, TargetprocessQuirks
from migrator.sandbox.targetprocess.lists import COLLECTIONS, Lists
from migrator.sandbox.targetprocess.resources import PLURALS, TYPES, as_json, as_xml
from migrator.sandbox.world import World


class TargetprocessSandbox(Sandbox):
    """An embedded Targetprocess: `TargetprocessSandbox(world, faults, base_path="/tp", **quirks)`.

    Its keywords are the fields of `files.TargetprocessQuirks`.
    """

    tracker = "targetprocess"
    access_token: ClassVar[str] = "NzpTRUNSRVQ+Lw=="  # noqa: S105 - has characters to encode
    service_token: ClassVar[str] = "1:B0A1C2D3E4"  # noqa: S105
    cookie: ClassVar[str] = "TPSESSION=k1/abc+def"
    internal_host: ClassVar[str] = "http://tp.internal"

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world, faults, base_path=base_path)
        self.quirks = TargetprocessQuirks(**quirks)
        self.access = Access(self.user, self.password, self.cookie, self.access_token, self.service_token)
        self.place = f"{self.internal_host}{self.base_path}"
        self.file_pages = FilePages(self, self.quirks, self.access, self.place)
        self.lists = Lists(self, self.quirks, self.place)
        self.api = Api(self.state, self.access, self.lists, self.place)

    @override
    def kind_of(self, entity_id: int) -> str:
        """The entity type of an entity."""
        return TYPES[self.state.existing_entity(entity_id).kind].name

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of the API, and those of the files."""
        root = in_any_case("api/v1")
        item = root + r"/{collection}/{id:\d+}"
        api, answering = self.api, self.answering
        return [
            *self.file_pages.routes(),
            web.get(root + r"/{collection}{slash:/?}", answering(api.collection)),
            web.post(root + r"/{collection}{slash:/?}", answering(api.write)),
            web.get(root + r"/{collection}/meta{slash:/?}", answering(api.meta)),
            web.get(item, answering(api.single)),
            web.post(item, answering(api.write)),
            web.delete(item, answering(api.delete)),
            web.get(item + "/{inner}", answering(api.inner)),
        ]

    @override
    def template(self, request: web.Request) -> str:
        """The route of a request, with collections by their proper names."""
        template = super().template(request).replace("{slash}", "").replace("{slash:/?}", "")
        for part in ("collection", "inner"):
            spelling = request.match_info.get(part, "")
            proper = PLURALS.get(COLLECTIONS.get(spelling.lower(), ""), spelling)
            template = template.replace("{" + part + "}", proper)
        return template

    def answering(self, handler: ApiHandler) -> Handler:
        """A handler that demands a login first, and answers in the requested format, refusals too."""

        async def answer(request: web.Request) -> web.StreamResponse:
            account = self.access.account(request)
            if account is None:
                return web.Response(status=401, text="Unauthorized", headers={"WWW-Authenticate": "Basic realm=tp"})
            if account == "requester":
                error = RefusedError(403, "Requesters have no access to the API.", name="Forbidden")
                return self._refusal(request, error)
            try:
                name, tree, status = handler(request, await request.read())
            except RefusedError as error:
                return self._refusal(request, error)
            if self._wants_json(request):
                return as_javascript(request, as_json(tree), status)
            return web.Response(text=as_xml(name, tree), status=status, content_type="application/xml")

        return answer

    def _wants_json(self, request: web.Request, *, twice: bool = False) -> bool:
        wanted = lowered(request).get("format", "").lower()
        accepts = "application/json" in request.headers.get("Accept", "")
        wants = (wanted == "json" and accepts) if twice else wanted == "json" or (accepts and wanted != "xml")
        return wants and not self.quirks.xml_only

    def _refusal(self, request: web.Request, error: RefusedError) -> web.Response:
        tree = {
            "Status": error.details["name"],
            "Message": error.message,
            "Type": "Presentational",
            "Details": {"Items": []},
            "ErrorId": str(UUID(int=error.status)),
        }
        if self._wants_json(request, twice=True):
            return web.Response(text=as_json(tree), status=error.status, content_type="application/json")
        return web.Response(text=as_xml("Error", tree), status=error.status, content_type="application/xml")


def as_javascript(request: web.Request, text: str, status: int) -> web.Response:
    """Answer with JSON, as the argument of a call if the query names a `callback`."""
    callback = lowered(request).get("callback", "")
    if not re.fullmatch(r"[\w$.?]+", callback):
        return web.Response(text=text, status=status, content_type="application/json")
    return web.Response(text=f"{callback}({text})", status=status, content_type="application/javascript")
