"""A django-helpdesk in this process, on the loopback interface: what the adapter asks for, as a real 2.6 answers it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

TOKEN = "8f3a90b1"
MAX_NAME = 1000
REFUSED = ".refused"
"""An extension that it doesn't take. A real one has a list of those that it takes."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeHelpdesk:
    """Tickets with their follow-ups, and files by number. `drops` leaves one ticket out of the lists."""

    def __init__(self) -> None:
        self.tickets: dict[int, dict[str, Any]] = {}
        self.files: dict[int, dict[str, Any]] = {}
        self.content: dict[int, bytes] = {}
        self.follow_ups = 0
        self.drops: int | None = None
        self.url = ""

    def ticket(self, title: str, description: str = "") -> int:
        number = len(self.tickets) + 1
        self.tickets[number] = {"id": number, "title": title, "description": description, "followup_set": []}
        return number

    def follow_up(self, ticket: int, title: str) -> dict[str, Any]:
        self.follow_ups += 1
        made = {"id": self.follow_ups, "ticket": ticket, "title": title, "date": "2026-11-28T07:35:00.608529Z"}
        self.tickets[ticket]["followup_set"].append(made)
        return made

    def attach(self, follow_up: int, name: str, content: bytes, media_type: str = "") -> dict[str, Any]:
        number = len(self.content) + 1
        self.content[number] = content
        file = {"id": number, "followup": follow_up, "filename": name, "mime_type": media_type, "size": len(content)}
        self.files[number] = file | {"file": f"http://elsewhere.test/media/{number}"}
        return self.files[number]

    def shown(self, ticket: dict[str, Any]) -> dict[str, Any]:
        follow_ups = [
            f | {"followupattachment_set": [file for file in self.files.values() if file["followup"] == f["id"]]}
            for f in ticket["followup_set"]
        ]
        return ticket | {"followup_set": follow_ups}

    def of(self, ticket: int) -> list[tuple[str, int, str, str]]:
        """Name, size, hash and description (there are none) of the files of a ticket."""
        files = [f for made in self.shown(self.tickets[ticket])["followup_set"] for f in made["followupattachment_set"]]
        return [(f["filename"], f["size"], hashlib.sha256(self.content[f["id"]]).hexdigest(), "") for f in files]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        app = web.Application(middlewares=[authenticated], client_max_size=1 << 30)
        app.router.add_get("/api/tickets/", self.list_tickets)
        app.router.add_post("/api/tickets/", self.post_ticket)
        app.router.add_get(r"/api/tickets/{number:\d+}/", self.get_ticket)
        app.router.add_post("/api/followups/", self.post_follow_up)
        app.router.add_post("/api/followups-attachments/", self.post_file)
        app.router.add_get(r"/api/followups-attachments/{number:\d+}/", self.get_file)
        app.router.add_delete(r"/api/followups-attachments/{number:\d+}/", self.delete_file)
        app.router.add_get(r"/media/{number:\d+}", self.media)
        async with TestServer(app) as server:
            self.url = str(server.make_url("")).rstrip("/")
            yield self

    async def list_tickets(self, request: web.Request) -> web.Response:
        size, page = int(request.query["page_size"]), int(request.query.get("page", "1"))
        shown = [self.shown(ticket) for number, ticket in self.tickets.items() if number != self.drops]
        part = shown[size * (page - 1) : size * page]
        if page > 1 and not part:
            return web.json_response({"detail": "Invalid page."}, status=404)
        return web.json_response({"count": len(self.tickets), "results": part})

    async def post_ticket(self, request: web.Request) -> web.Response:
        ticket = await request.json()
        assert ticket["queue"] == 1
        return web.json_response(
            self.shown(self.tickets[self.ticket(ticket["title"], ticket["description"])]), status=201
        )

    async def get_ticket(self, request: web.Request) -> web.Response:
        return web.json_response(self.shown(found(self.tickets, request)))

    async def post_follow_up(self, request: web.Request) -> web.Response:
        told = await request.json()
        return web.json_response(self.follow_up(told["ticket"], told["title"]), status=201)

    async def post_file(self, request: web.Request) -> web.Response:
        """Names lose the spaces at their ends; those that are too long, empty files and some extensions are refused."""
        form = await request.post()
        name, part = str(form["filename"]).strip(), form["file"]
        assert isinstance(part, web.FileField)
        content = part.file.read()
        if len(name) > MAX_NAME or not content or part.filename.endswith(REFUSED):
            return web.json_response({"file": ["refused"]}, status=400)
        made = self.attach(int(str(form["followup"])), name, content, str(form["mime_type"]))
        return web.json_response(made, status=201)

    async def get_file(self, request: web.Request) -> web.Response:
        return web.json_response(found(self.files, request))

    async def delete_file(self, request: web.Request) -> web.Response:
        """Only the record goes; the bytes can still be had."""
        del self.files[found(self.files, request)["id"]]
        return web.Response(status=204)

    async def media(self, request: web.Request) -> web.Response:
        name = {"Content-Disposition": 'inline; filename="x"'}
        return web.Response(body=self.content[int(request.match_info["number"])], headers=name)


@web.middleware
async def authenticated(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Files are public, everything else needs the token."""
    if request.path.startswith("/api/") and request.headers.get("Authorization") != f"Token {TOKEN}":
        return web.json_response({"detail": "Invalid token."}, status=401)
    return await handler(request)


def found(records: dict[int, dict[str, Any]], request: web.Request) -> dict[str, Any]:
    number = int(request.match_info["number"])
    if number not in records:
        raise web.HTTPNotFound(text='{"detail":"Not found."}', content_type="application/json")
    return records[number]
