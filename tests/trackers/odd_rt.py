"""A sandbox Request Tracker that is filled ticket by ticket, and that a test makes wrong in ways of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from migrator.sandbox.rt import RtSandbox
from migrator.sandbox.server import Handler
from migrator.sandbox.world import World, WorldAttachment

TOKEN = RtSandbox.token
START = datetime(2026, 11, 22, tzinfo=UTC)


class OddRt(RtSandbox):
    """An RT without tickets, whose clock goes on by a second with each change."""

    def __init__(self, world: World | None = None) -> None:
        super().__init__(world or World(1, ()))
        seconds = itertools.count()
        self.state.clock = lambda: START + timedelta(seconds=next(seconds))
        self.answers_with: dict[str, Any] = {}
        """Answers by path, whatever is asked."""
        self.repeats = False
        """Whether any page of a list is the first one."""
        self.queries: list[str] = []
        """The searches for tickets."""

    def ticket(self, subject: str) -> int:
        """A new ticket with a message."""
        return self.tickets.open(1, subject, b"a message", "text/plain").ticket

    def file(self, ticket: int, name: str, content: bytes, media_type: str) -> WorldAttachment:
        """A file on a comment."""
        comment = self.tickets.comment(ticket, "Comment", b"see the file", "text/plain", files=True)
        self.tickets.take(comment, name, media_type, content)
        return self.state.attachments_of(ticket)[-1]

    def names_of(self, ticket: int) -> list[str]:
        """The names of its files."""
        return [file.name for file in self.state.files_of(ticket)]

    def routes(self) -> Iterable[web.RouteDef]:
        for route in super().routes():
            yield web.RouteDef(route.method, route.path, self._odd(route.handler), route.kwargs)

    def _odd(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            path = request.path.removeprefix("/REST/2.0/")
            if path == "tickets":
                self.queries.append(request.query["query"])
            if path in self.answers_with:
                return web.json_response(self.answers_with[path])
            if self.repeats and "page" in request.query:
                request = request.clone(rel_url=request.rel_url.update_query(page=1))
            return await handler(request)

        return answer
