"""Squash TM around its API: authentication, the form of errors, and the pages of a collection.

Code refuses by raising `RefusedError` anywhere; one place turns it into an answer.

Beware: links reflect what the server believes about itself: plain http, another host, no context path.
"""

import base64
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.server import Sandbox
from migrator.sandbox.squash.tree import Tree, world_of
from migrator.sandbox.world import World

API = "/api/rest/latest"
DEFAULT_WHITELIST = ("txt", "doc", "xls", "ppt", "docx", "xlsx", "pptx", "odt", "ods", "odp", "pdf")
"""The extensions that a server accepts if nobody changed the setting."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Item = tuple[str, int, dict[str, Any]]
"""Embedded key, id, and the record as a list shows it."""

_NOT_FOUND = "javax.persistence.EntityNotFoundException"
_NO_BASIC = "HTTP 401  Basic authentication is not allowed for REST API."
_WHO = "Please authenticate by 1/ basic authentication or 2/ fetching a cookie JSESSIONID from /login"


@dataclass(slots=True)
class SquashQuirks:
    """How real servers differ; may be changed while the sandbox runs."""

    own_numbers: bool = False  # each kind counts its ids from 1, so ids repeat
    basic_allowed: bool = True  # False: as Squash 15 is delivered
    read_only: bool = False  # the account or token may only read
    admin: bool = True  # False: `GET /projects/{id}` is 403
    size_cap: int = 2000  # the most items on a page, whatever was requested
    embeds_files: Collection[str] = ()  # kinds whose items in lists have `attachments`, too
    full_files: bool = False  # `attachments` has all facts of each file, not only its name
    untold: Collection[str] = ()  # kinds that don't mention their files
    lists_files: bool = False  # GET on `/{owner}/{id}/attachments` works (undocumented)
    item_path: str = "iteration-test-plan-items"  # since 14: test-plan-items
    embeds_executions: bool = True
    old_dates: bool = False  # +0000 for +00:00
    whitelist: Collection[str] | None = None
    whitelist_refuses: bool = False  # 400, instead of dropping the file silently
    path_names: bool = True  # up to 2.x: only `filename` is read, never `filename*`, and cut after its last slash


def not_found(what: str, number: int) -> RefusedError:
    """The error for something that doesn't exist."""
    name = f"org.squashtest.tm.domain.{what}"
    return RefusedError(404, exception=_NOT_FOUND, message=f"Unable to find {name} with id {number}")


class SquashWeb(Sandbox):
    """Authentication, errors and pages of a sandbox Squash TM; `SquashSandbox` adds the content."""

    user: ClassVar[str] = "admin"
    internal: ClassVar[str] = "http://squash-internal:8080"
    token: ClassVar[str] = "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhZG1pbiJ9.c2FuZGJveC_-c2lnbmF0dXJl"  # noqa: S105

    def __init__(
        self, world: World, faults: Faults | None = None, *, base_path: str = "/squash", **quirks: Any
    ) -> None:
        super().__init__(world_of(world), faults, base_path=base_path)
        self.quirks = SquashQuirks(**quirks)
        self.tree = Tree(self.state.world.entities, own_numbers=self.quirks.own_numbers)
        self._shuffles = random.Random(world.seed)

    @property
    @override
    def credentials(self) -> dict[str, str]:
        """The content of the configuration's [source.auth] or [target.auth]."""
        return {"token": self.token}

    @property
    def wrapped_token(self) -> str:
        """The token as the web pages show it: base64-encoded once more."""
        return base64.b64encode(self.token.encode()).decode()

    def answering(self, handler: Handler) -> Handler:
        """A handler that authenticates first, and turns refusals into answers."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if refusal := self._unknown(request):
                return refusal
            try:
                self._permit_writes(request)
                return await handler(request)
            except RefusedError as error:
                return web.json_response(error.body, status=error.status)

        return answer

    def href(self, path: str) -> dict[str, str]:
        """A link to this path."""
        return {"href": f"{self.internal}{API}/{path}"}

    def page(self, request: web.Request, items: Sequence[Item], *, sorts: bool = True) -> web.Response:
        """The requested page; without `sort` in any order, unless the collection has one of its own."""
        number, asked = _whole(request, "page", 0), _whole(request, "size", 20)
        size = min(max(1, asked), self.quirks.size_cap)
        ordered = self._ordered(request, items) if sorts else _in_their_order(request, items)
        items_shown = ordered[number * size : (number + 1) * size]
        pages = -(-len(items) // size)
        path = request.path.removeprefix(self.base_path + API).lstrip("/")
        links = {"self": self.href(f"{path}?page={number}&size={size}")}
        if number + 1 < pages:
            links["next"] = self.href(f"{path}?page={number + 1}&size={size}")
        page = {"size": size, "totalElements": len(items), "totalPages": pages, "number": number}
        return web.json_response({**embedded(items_shown), "_links": links, "page": page})

    def _ordered(self, request: web.Request, items: Sequence[Item]) -> list[Item]:
        match request.query.get("sort", "").split(","):
            case [""]:
                return self._shuffles.sample(items, len(items))
            case ["id"] | ["id", "asc"]:
                return sorted(items, key=lambda item: item[1])
            case ["id", "desc"]:
                return sorted(items, key=lambda item: -item[1])
        raise RefusedError(400, "No property of that name to sort by")

    def _permit_writes(self, request: web.Request) -> None:
        if self.quirks.read_only and request.method != "GET":
            raise RefusedError(403, "Access is denied")

    def _unknown(self, request: web.Request) -> web.Response | None:
        """A 401 for a request without access; None if it has access."""
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and value == self.token:
            return None
        if scheme == "Basic" and not self.quirks.basic_allowed:
            return web.Response(status=401, text=_NO_BASIC)
        if scheme == "Basic" and base64.b64decode(value).decode("latin-1") == f"{self.user}:{self.password}":
            return None
        return web.Response(status=401, text=_WHO, headers={"WWW-Authenticate": 'Basic realm="squah-api"'})


def embedded(items: Sequence[Item]) -> dict[str, Any]:
    """Records grouped under their keys; no key at all where there are no records."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for key, _, found in items:
        groups.setdefault(key, []).append(found)
    return {"_embedded": groups} if groups else {}


def _in_their_order(request: web.Request, items: Sequence[Item]) -> Sequence[Item]:
    if "sort" in request.query:
        raise RefusedError(400, "This collection has an order of its own")
    return items


def _whole(request: web.Request, name: str, default: int) -> int:
    value = request.query.get(name, str(default))
    if not value.isdecimal():
        raise RefusedError(400, f"{name} has to be a number")
    return int(value)
