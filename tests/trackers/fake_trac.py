"""A Trac with XmlRpcPlugin, as careless as the recordings of a real 1.6, on loopback."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

USER, PASSWORD = "ada", "s3cret"
DATE = {"__jsonclass__": ["datetime", "2026-11-28T19:45:55"]}


class FaultError(Exception):
    """An error inside an answer of status 200."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.error = {"name": "JSONRPCError", "code": code, "message": message}


@dataclass
class FakeTrac:
    """Tickets by number, each with its files by name: description and content. Switches make it misbehave."""

    tickets: dict[int, dict[str, str]] = field(default_factory=dict)
    files: dict[int, dict[str, tuple[str, bytes]]] = field(default_factory=dict)
    calls: list[tuple[str, list[Any]]] = field(default_factory=list)
    faults: dict[str, FaultError] = field(default_factory=dict)  # by method
    most: int = 0  # so many tickets are listed at the most, whatever was asked for
    lists_fewer: int = 0  # so many numbers a range of tickets lacks
    hides_files: bool = False  # as from an account that may see tickets and not their files
    url: str = ""

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def ticket(self, summary: str, status: str = "new", description: str = "") -> int:
        number = next(self._numbers)
        self.tickets[number] = {"summary": summary, "status": status, "description": description}
        self.files[number] = {}
        return number

    def put(self, number: int, name: str, description: str, content: bytes, *, replace: bool = True) -> str:
        stem, dot, extension = name.rpartition(".")
        names = [name, *(f"{stem}.{n}.{extension}" if dot and stem else f"{name}.{n}" for n in range(2, 99))]
        kept = name if replace else next(other for other in names if other not in self.files[number])
        self.files[number][kept] = (description, content)
        return kept

    def of(self, number: int) -> list[tuple[str, int, str, str]]:
        """Name, size, hash and description of the files of a ticket."""
        return [
            (name, len(content), hashlib.sha256(content).hexdigest(), description)
            for name, (description, content) in self.files[number].items()
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeTrac]:
        app = web.Application(client_max_size=2**30)
        app.router.add_post("/t/login/rpc", self._answer)
        async with TestServer(app) as server:
            self.url = str(server.make_url("/t"))
            yield self

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        if base64.b64decode(given).decode() != f"{USER}:{PASSWORD}":
            return web.Response(status=401)
        call = await request.json()
        return web.json_response(self._result(call["method"], call["params"], call.get("id")))

    def _result(self, method: str, params: list[Any], number: Any) -> dict[str, Any]:
        self.calls.append((method, params))
        try:
            if method in self.faults:
                raise self.faults[method]
            return {"result": getattr(self, method.replace(".", "_"))(*params), "error": None, "id": number}
        except FaultError as fault:
            return {"result": None, "error": fault.error, "id": number}

    def system_getAPIVersion(self) -> list[int]:  # noqa: N802
        return [1, 1, 9]

    def system_multicall(self, *calls: dict[str, Any]) -> list[dict[str, Any]]:
        return [self._result(call["method"], call["params"], call["id"]) for call in calls]

    def ticket_query(self, query: str) -> list[int]:
        parts = [part.replace("!=", "=").partition("=") for part in query.split("&")]
        wanted = {name: value for name, _, value in parts}
        found = [n for n, ticket in self.tickets.items() if "status" in wanted or ticket["status"] != "closed"]
        if "id" in wanted:
            first, _, last = wanted["id"].partition("-")
            found = [n for n in found if int(first) <= n <= int(last)][self.lists_fewer :]
        if "description~" in wanted:
            found = [n for n in found if wanted["description~"] in self.tickets[n]["description"]]
        found.sort(reverse=wanted.get("desc") == "1")
        most = self.most or int(wanted.get("max", 100))
        return found[:most] if most else found

    def _known(self, number: int) -> dict[str, str]:
        if number not in self.tickets:
            raise FaultError(404, f"Ticket {number} does not exist.")
        return self.tickets[number]

    def ticket_get(self, number: int) -> list[Any]:
        return [number, DATE, DATE, self._known(number)]

    def ticket_changeLog(self, number: int) -> list[list[Any]]:  # noqa: N802
        changed = [[DATE, USER, "comment", "1", "a word", 1]]
        return changed + [[DATE, USER, "attachment", "", name, 0] for name in self.files[number]]

    def ticket_create(self, summary: str, description: str, _: dict[str, str], notify: bool) -> int:
        assert not notify
        if not summary:
            raise FaultError(-32603, "Tickets must contain a summary.")
        return self.ticket(summary, description=description)

    def ticket_listAttachments(self, number: int) -> list[list[Any]]:  # noqa: N802
        files = {} if self.hides_files else self.files.get(number, {})
        return [[name, description, len(content), DATE, USER] for name, (description, content) in files.items()]

    def ticket_getAttachment(self, number: int, name: str) -> dict[str, Any]:  # noqa: N802
        if not name or name not in self.files.get(number, {}):
            raise FaultError(404, f"Attachment 'ticket:{number}: {name}' does not exist.")
        return {"__jsonclass__": ["binary", base64.encodebytes(self.files[number][name][1]).decode()]}

    def ticket_putAttachment(  # noqa: N802
        self, number: int, name: str, description: str, data: dict[str, Any], replace: bool = True
    ) -> str:
        self._known(number)
        kind, content = data["__jsonclass__"]
        assert kind == "binary"
        return self.put(number, name, description, base64.b64decode(content), replace=replace)

    def ticket_deleteAttachment(self, number: int, name: str) -> bool:  # noqa: N802
        if name not in self.files[number]:
            raise FaultError(404, f"Attachment 'ticket:{number}: {name}' does not exist.")
        del self.files[number][name]
        return True
