"""What surrounds the API of Squash TM: who may use it, and the pages of a collection.

Beware: links have the address that the server believes it has: plain http, another host, no context path.
"""

import base64
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.query import number_in
from migrator.sandbox.server import Sandbox

API = "/api/rest/latest"
INTERNAL_HOST = "http://squash-internal:8080"
DEFAULT_WHITELIST = ("txt", "doc", "xls", "ppt", "docx", "xlsx", "pptx", "odt", "ods", "odp", "pdf")
"""The extensions that a server accepts if nobody changed the setting."""

Item = tuple[str, int, dict[str, Any]]
"""Embedded key, id, and the record as a list shows it."""

_NOT_FOUND = "javax.persistence.EntityNotFoundException"
_NO_BASIC = "HTTP 401  Basic authentication is not allowed for REST API."
_WHO = "Please authenticate by 1/ basic authentication or 2/ fetching a cookie JSESSIONID from /login"


@dataclass(slots=True)
class SquashQuirks:
    """How real servers differ. May be changed while the sandbox runs."""

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
    knows_fields: bool = True  # lists obey `fields`
    embeds_executions: bool = True
    old_dates: bool = False  # +0000 for +00:00
    whitelist: Collection[str] | None = None
    whitelist_refuses: bool = False  # 400, instead of dropping the file silently
    path_names: bool = True  # up to 2.x: only `filename` is read, never `filename*`, and cut after its last slash


def not_found(what: str, number: int) -> RefusedError:
    """What to raise for something that doesn't exist."""
    name = f"org.squashtest.tm.domain.{what}"
    return RefusedError(404, exception=_NOT_FOUND, message=f"Unable to find {name} with id {number}")


def href(path: str) -> dict[str, str]:
    """A link to this path of the API."""
    return {"href": f"{INTERNAL_HOST}{API}/{path}"}


class Access:
    """Lets in requests with the token, or with the password if that is allowed."""

    def __init__(self, user: str, password: str, token: str, quirks: SquashQuirks) -> None:
        self._user, self._password, self._token, self._quirks = user, password, token, quirks

    def challenge(self, request: web.Request) -> web.Response | None:
        """A 401 for a request without access; None if it has access."""
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and value == self._token:
            return None
        if scheme == "Basic" and not self._quirks.basic_allowed:
            return web.Response(status=401, text=_NO_BASIC)
        if scheme == "Basic" and base64.b64decode(value).decode("latin-1") == f"{self._user}:{self._password}":
            return None
        return web.Response(status=401, text=_WHO, headers={"WWW-Authenticate": 'Basic realm="squah-api"'})

    def permit(self, request: web.Request) -> None:
        """Refuse writes of an account that may only read."""
        if self._quirks.read_only and request.method != "GET":
            raise RefusedError(403, "Access is denied")


class Pages:
    """Pages of a collection. Without `sort` their order is another one each time."""

    def __init__(self, sandbox: Sandbox, quirks: SquashQuirks) -> None:
        self._root, self._quirks = sandbox.base_path + API, quirks
        self._rng = random.Random(sandbox.world.seed)

    def page(self, request: web.Request, items: Sequence[Item], *, sorts: bool = True) -> web.Response:
        """The requested page; not `sorts`: of a collection that has an order of its own."""
        number, wanted = _number(request, "page", 0), _number(request, "size", 20)
        size = min(max(1, wanted), self._quirks.size_cap)
        ordered = self._ordered(request, items) if sorts else _in_own_order(request, items)
        shown = ordered[number * size : (number + 1) * size]
        pages = -(-len(items) // size)
        path = request.path.removeprefix(self._root).lstrip("/")
        links = {"self": href(f"{path}?page={number}&size={size}")}
        if number + 1 < pages:
            links["next"] = href(f"{path}?page={number + 1}&size={size}")
        page = {"size": size, "totalElements": len(items), "totalPages": pages, "number": number}
        return web.json_response({**embedded(shown), "_links": links, "page": page})

    def _ordered(self, request: web.Request, items: Sequence[Item]) -> list[Item]:
        match request.query.get("sort", "").split(","):
            case [""]:
                return self._rng.sample(items, len(items))
            case ["id"] | ["id", "asc"]:
                return sorted(items, key=lambda item: item[1])
            case ["id", "desc"]:
                return sorted(items, key=lambda item: -item[1])
        raise RefusedError(400, "No property of that name to sort by")


def embedded(items: Sequence[Item]) -> dict[str, Any]:
    """Records grouped under their keys; without records, even the outer key is missing."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for key, _, record in items:
        groups.setdefault(key, []).append(record)
    return {"_embedded": groups} if groups else {}


def _in_own_order(request: web.Request, items: Sequence[Item]) -> Sequence[Item]:
    if "sort" in request.query:
        raise RefusedError(400, "This collection has an order of its own")
    return items


def _number(request: web.Request, name: str, default: int) -> int:
    return number_in(request.query, name, default, lambda _: RefusedError(400, f"{name} has to be a number"))
