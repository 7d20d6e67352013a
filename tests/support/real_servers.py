"""The five real trackers under one interface, spoken to without the adapters, to load each into each of the others.

`.ci/with-trackers` starts them. Some can be made to misbehave; `refusal` knows what they then refuse.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from tests.support import real_kiwi, real_redmine, real_roundup, real_rt, real_trac
from tests.support.real_redmine import Sent

Truth = tuple[str, int, str]
"""Name, size and SHA-256 of a file, as the server itself hands it out."""


@dataclass(frozen=True)
class Place:
    """What holds the entities of one test: a project, queue or product; nothing where the server has no such thing.

    `source` and `target` are the options of an adapter that reads it, and that creates entities in it.
    """

    id: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)


class Server(Protocol):
    """One session with a real tracker."""

    name: str
    kind: str
    """The kind of its entities."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    @abstractmethod
    async def place(self) -> Place:
        """A new place."""

    @abstractmethod
    async def entity(self, place: Place, title: str) -> str:
        """A new entity there, in the session that made the place."""

    @abstractmethod
    async def named(self, word: str) -> int:
        """How many entities have this word in their title."""

    @abstractmethod
    async def fill(self, entity: str, files: Sequence[Sent]) -> None:
        """Add files to an entity, those that this server takes."""

    @abstractmethod
    async def files_on(self, entity: str) -> list[Truth]:
        """The files of an entity; all are downloaded."""


class RedmineServer(real_redmine.Redmine, Server):
    """A Redmine."""

    name, kind = "redmine", "Issue"

    async def place(self) -> Place:
        project = await self.project()
        return Place(project, {"project": project, "also": []}, {"create_project": project})

    async def entity(self, place: Place, title: str) -> str:
        return await self.issue(place.id, title)

    async def named(self, word: str) -> int:
        query = {"subject": f"~{word}", "status_id": "*", "limit": "1"}
        return int((await self.call("GET", "issues.json", params=query))["total_count"])

    async def fill(self, entity: str, files: Sequence[Sent]) -> None:
        await self.note(entity, "see the files", [file for file in files if not refusal(self.name, file)])

    async def files_on(self, entity: str) -> list[Truth]:
        files = (await self.call("GET", f"issues/{entity}.json?include=attachments"))["issue"]["attachments"]
        return [(found.name, found.size, found.sha256) for found in [await self.download(file) for file in files]]


class RtServer(real_rt.Rt, Server):
    """A Request Tracker."""

    name, kind = "rt", "Ticket"

    async def place(self) -> Place:
        queue = await self.queue()
        return Place(queue, {"query": f"Queue = '{queue}'"}, {"create_queue": queue})

    async def entity(self, place: Place, title: str) -> str:
        return await self.ticket(place.id, title)

    async def named(self, word: str) -> int:
        return int((await self.call("GET", "tickets", query=f"Subject LIKE '{word}'"))["total"])

    async def fill(self, entity: str, files: Sequence[Sent]) -> None:
        if files:
            await self.comment(entity, [real_rt.Sent(file.name, file.content, file.media_type) for file in files])

    async def files_on(self, entity: str) -> list[Truth]:
        return [(file.name, file.size, file.sha256) for file in await self.files_of(entity)]


class RoundupServer(real_roundup.Roundup, Server):
    """A Roundup."""

    name, kind = "roundup", "issue"

    async def place(self) -> Place:
        return Place()

    async def entity(self, place: Place, title: str) -> str:
        return await self.issue(title)

    async def named(self, word: str) -> int:
        query = {"title": word, "@page_size": "1", "@page_index": "1"}
        return int((await self.call("GET", "issue", params=query))["@total_size"])

    async def fill(self, entity: str, files: Sequence[Sent]) -> None:
        for file in files:
            if not refusal(self.name, file):
                await self.attach(entity, file)

    async def files_on(self, entity: str) -> list[Truth]:
        return [(file.name, file.size, file.sha256) for file in await self.files_of(entity)]


class KiwiServer(real_kiwi.Kiwi, Server):
    """A Kiwi TCMS."""

    name, kind = "kiwi", "TestCase"

    async def place(self) -> Place:
        name = str((await self.product())["name"])
        return Place(name, {"product": name}, {"create_product": name})

    async def entity(self, place: Place, title: str) -> str:
        return await self.case(title)

    async def named(self, word: str) -> int:
        return len(await self.call("TestCase.filter", {"summary__contains": word}))

    async def fill(self, entity: str, files: Sequence[Sent]) -> None:
        for file in files:
            if file.name == "..":  # it must be renamed first
                continue
            answer = await self.attach(self.kind, entity, file.name, file.content)
            assert ("error" in answer) == bool(refusal(self.name, file)), (file.name, answer)

    async def files_on(self, entity: str) -> list[Truth]:
        return [(name, size, sha256) for name, size, sha256, _ in await self.truths(self.kind, entity)]


class TracServer(real_trac.Trac, Server):
    """A Trac."""

    name, kind = "trac", "ticket"

    async def place(self) -> Place:
        return Place()

    async def entity(self, place: Place, title: str) -> str:
        return await self.issue(title)

    async def named(self, word: str) -> int:
        return len(await self.call("ticket.query", f"status!=nonexistent&summary~={word}&max=0"))

    async def fill(self, entity: str, files: Sequence[Sent]) -> None:
        for file in files:
            await self.attach(entity, file)

    async def files_on(self, entity: str) -> list[Truth]:
        return [(name, size, sha256) for name, size, sha256, _ in await self.truth_of(entity)]


SERVERS: dict[str, type[Any]] = {
    server.name: server for server in (KiwiServer, RedmineServer, RoundupServer, RtServer, TracServer)
}
_MODULES: dict[str, Any] = {
    "kiwi": real_kiwi,
    "redmine": real_redmine,
    "roundup": real_roundup,
    "rt": real_rt,
    "trac": real_trac,
}
REACHABLE = all(module.URL for module in _MODULES.values())
SECRETS = {
    "TEST_KIWI": real_kiwi.PASSWORD,
    "TEST_REDMINE": real_redmine.KEY,
    "TEST_ROUNDUP": real_roundup.PASSWORD,
    "TEST_RT": real_rt.TOKEN,
    "TEST_TRAC": real_trac.PASSWORD,
}
"""What the configurations take from the environment."""

CUT = "bytes"
"""A word of the reason why a file is not recorded that a Request Tracker has cut, or would cut."""
HTML_WORDS = (b"<html", b"<script", b"<p>", b"<rt", b"<b>")
"""Some of those for which Kiwi refuses a file."""


def url_and_auth(name: str) -> tuple[str, str]:
    """The address of a server, and what a configuration says of its credentials."""
    secret = f'{{ env = "TEST_{name.upper()}" }}'
    keys = {"redmine": f"auth.api_key = {secret}", "rt": f"auth.token = {secret}"}
    module = _MODULES[name]
    return module.URL, keys.get(name) or f'auth.username = "{module.USER}"\nauth.password = {secret}'


def refusal(name: str, file: Sent) -> str:
    """A word of the reason for which a server refuses a file; nothing if it takes it."""
    size, content = len(file.content), file.content.lower()
    if name == "redmine" and size > 1024 * int(os.environ.get("REDMINE_MAX_ATTACHMENT_KB", "5120")):
        return "422"
    if name == "rt" and os.environ.get("RT_LONG_ATTACHMENTS", "keep") != "keep":
        return CUT if size > int(os.environ.get("RT_MAX_ATTACHMENT_BYTES", "10485760")) else ""
    if name in {"kiwi", "roundup"} and not size:
        return "empty"
    if name == "kiwi" and (".exe" in file.name or any(word in content for word in HTML_WORDS)):
        return ".exe" if ".exe" in file.name else "<"
    return ""
