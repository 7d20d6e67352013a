"""Trackers whose answers are made wrong on their way out: any sandbox, and any stand-in for a real tracker.

Each example has a fresh one, so that an example that failed fails again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from migrator.sandbox import SANDBOXES
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world.model import World
from tests.fuzz.mutations import Change, changed
from tests.trackers.fake_redmine import KEY, FakeRedmine
from tests.trackers.fake_redmine_beside import Space

MOST = 400
"""So many requests are a loop."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Plan:
    """Which answers are made wrong: the `first` one and, if it is `lasting`, all that come after it."""

    changes: tuple[Change, ...] = ()
    first: int = 0
    lasting: bool = False
    requests: int = 0
    struck: set[str] = field(default_factory=set)

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What goes out instead of the handler's answer."""
        number, self.requests = self.requests, self.requests + 1
        answer = await handler(request)
        strikes = number == self.first or (self.lasting and number > self.first)
        if self.requests > MOST or not strikes or not isinstance(answer, web.Response) or answer.prepared:
            return answer
        for change in self.changes:
            self.struck.add(change.what)
            if change.what == "dropped":
                return _dropped(request)
            if change.what == "broken off":
                return await _broken_off(request, answer, change.at)
            answer = changed(answer, change)
        return answer


def _dropped(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _broken_off(request: web.Request, answer: web.Response, at: int) -> web.StreamResponse:
    body = bytes(answer.body or b"")
    headers = {**answer.headers, "Content-Length": str(len(body) + 1)}
    cut = web.StreamResponse(status=answer.status, headers=headers)
    await cut.prepare(request)
    await cut.write(body[: at % (len(body) + 1)])
    if request.transport is not None:
        request.transport.close()
    return cut


class Wrong(Sandbox):
    """Put before a sandbox's class: its answers go through `plan`."""

    plan: Plan

    def routes(self) -> Iterable[web.RouteDef]:
        for route in super().routes():
            yield web.RouteDef(route.method, route.path, self._through(route.handler), route.kwargs)

    def _through(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await self.plan.answer(request, handler)

        return answer

    async def send_body(self, request: Any, attachment: Any, chunks: Any, size: int, headers: Any) -> web.Response:
        return web.Response(body=b"".join([chunk async for chunk in chunks]), headers=headers)


class WrongRedmine(FakeRedmine):
    """The same for the stand-in."""

    plan: Plan

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        return await self.plan.answer(request, super()._answer)


@dataclass(frozen=True)
class Running:
    """Where it is, and how to log in."""

    url: str
    auth: dict[str, str]
    server: Any


@asynccontextmanager
async def wrong_tracker(tracker: str, world: World, plan: Plan, **oddities: Any) -> AsyncIterator[Running]:
    """A tracker that holds this world, and answers by this plan."""
    if tracker == "redmine":
        fake = WrongRedmine()
        fake.plan = plan
        fill(fake, world)
        async with fake.running():
            yield Running(fake.url, {"api_key": KEY}, fake)
        return
    kind = type("Wrong" + SANDBOXES[tracker].__name__, (Wrong, SANDBOXES[tracker]), {"plan": plan})
    async with kind(world, **oddities) as sandbox:
        if tracker == "rt":
            cut_a_file(sandbox)
        yield Running(sandbox.url, sandbox.credentials, sandbox)


def fill(fake: FakeRedmine, world: World) -> None:
    """The files of a world on issues."""
    issues = {entity.id: fake.issue(entity.title) for entity in world.entities}
    for file in world.attachments:
        if (owner := world.owner_of(file)) is not None:
            fake.file(issues[owner], file.name, world.content(file), file.description or "", file.media_type)
    fill_beside(fake)


def cut_a_file(sandbox: Any) -> None:
    """Add a file that this Request Tracker cuts."""
    sandbox.quirks.max_size = 3
    comment = sandbox.tickets.comment(sandbox.world.entities[-1].id, "Comment", b"see", "text/plain", files=True)
    sandbox.tickets.take(comment, "cut.bin", "image/png", b"newer")
    sandbox.quirks.max_size = None


def fill_beside(fake: FakeRedmine) -> None:
    """A file on each of what a Redmine has beside its issues; all hold the same bytes."""
    fake.fields = {1: ("issue", "Contract", "attachment"), 2: ("user", "Photo", "attachment")}
    fake.spaces = [Space(1, "secret", wiki=["Start"], news=[901], versions=[902]), Space(2, "below", parent=1)]
    for kind, where in (("wiki", "secret/Start"), ("news", 901), ("version", 902), ("project", 2)):
        fake.put(kind, where, f"{kind}.bin", b"new")
    for number, place in ((1, ("issue", min(fake.issues))), (2, ("user", 1))):
        fake.values[place] = {number: str(fake.put("custom", field, f"{place[0]}.bin", b"new").id)}
