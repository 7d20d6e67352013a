"""Who may use the API of a sandbox Request Tracker, and how it answers."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.rt.records import listed
from migrator.sandbox.rt.tickets import RtQuirks
from migrator.sandbox.server import Handler, Sandbox
from migrator.sandbox.world import WorldEntity

API = "/REST/2.0"
USUAL_PAGE, MAX_PAGE = 20, 100


class Access:
    """Knows the token and the password."""

    def __init__(self, sandbox: Sandbox, token: str) -> None:
        self._sandbox, self._token = sandbox, token

    def answering(self, handler: Handler) -> Handler:
        """A handler for those who are logged in, whose refusals become answers."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if not self._knows(request):
                return as_json({"message": "Unauthorized"}, 401)
            try:
                return await handler(request)
            except RefusedError as error:
                if error.details:
                    return web.Response(status=error.status, text=error.details["text"])
                return as_json({"message": error.message}, error.status)

        return answer

    def _knows(self, request: web.Request) -> bool:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            return base64.b64decode(value).decode("latin-1") == f"{self._sandbox.user}:{self._sandbox.password}"
        return scheme == "token" and value == self._token

    def ticket(self, request: web.Request) -> WorldEntity:
        """The ticket in the path, if it exists and may be seen."""
        ticket = self._sandbox.state.entity(int(request.match_info["id"]))
        if ticket is None:
            raise RefusedError(404, "Not Found")
        if self._sandbox.faults.forbids(ticket.id):
            raise RefusedError(403, "Forbidden")
        return ticket

    def place(self, request: web.Request) -> str:
        """The address of the API as it is reached."""
        return f"{request.scheme}://{request.host}{self._sandbox.base_path}{API}"


def as_json(value: Any, status: int = 200, **headers: str) -> web.Response:
    """An answer as RT writes it."""
    return web.Response(status=status, text=json.dumps(value), content_type="application/json", headers=headers)


def page_of(
    request: web.Request,
    kind: str,
    found: Sequence[Any],
    record: Callable[[Any], dict[str, Any]],
    quirks: RtQuirks,
    *,
    counts: bool,
) -> web.Response:
    """The requested page of a list. What the account may not see is left out after the page was cut."""
    query = request.query
    size = min(_number(query.get("per_page", ""), USUAL_PAGE), MAX_PAGE)
    number, pages = _number(query.get("page", ""), 1), -(-len(found) // size)
    if query.get("order", "ASC").upper() == "DESC":
        found = found[::-1]
    cut = [record(one) for one in found[size * (number - 1) : size * number]]
    shown = [one for one in cut if kind != "attachment" or one["id"] not in quirks.hidden]
    place = str(request.url.origin()) + request.path.partition(API)[0] + API
    fields, of_queue = query.get("fields", ""), query.get("fields[Queue]", "")
    answer = {
        "items": [listed(one, kind, fields, of_queue, place) for one in shown],
        "count": len(shown),
        "page": number,
        "per_page": size,
        "total": len(found) if counts else None,
        "pages": (pages or 0.0) if counts else None,
    }
    for name, wanted, there in (("next_page", number + 1, number < pages), ("prev_page", number - 1, number > 1)):
        if there:
            answer[name] = str(request.url.update_query(page=min(wanted, max(pages, 1))))
    return as_json(answer)


def _number(text: str, usual: int) -> int:
    """A number of a query; anything else is no error."""
    return int(text) if text.isdecimal() and int(text) else usual
