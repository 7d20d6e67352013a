"""A Request Tracker as strict and as careless as the recordings of a real 5.0.3, on loopback."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

TOKEN = "1-14-c5ab7bb6"
ROUTES = (
    ("GET", "rt"),
    ("GET", "tickets"),
    ("GET", "ticket/{number}"),
    ("GET", "{below:ticket}/{number}/attachments"),
    ("GET", "{below:transaction}/{number}/attachments"),
    ("GET", "ticket/{number}/history"),
    ("GET", "attachment/{number}"),
    ("POST", "ticket/{number}/comment"),
    ("POST", "ticket"),
    ("GET", "queue/{name}"),
    ("GET", "transactions"),
    ("GET", "customfields"),
)


@dataclass
class Stored:
    """An attachment in RT's sense; `length` is what RT states, whatever it has."""

    id: int
    ticket: int
    transaction: int
    name: str
    content: bytes
    media_type: str
    length: int

    @property
    def record(self) -> dict[str, Any]:
        listed = {"id": str(self.id), "type": "attachment", "Filename": self.name, "ContentType": self.media_type}
        facts = {"ContentLength": str(self.length), "TransactionId": str(self.transaction)}
        return {**listed, **facts, "Created": "2026-11-22T03:56:20Z", "Creator": {"id": "root", "type": "user"}}


@dataclass
class FakeRt:
    """One queue. Switches make it misbehave."""

    tickets: dict[int, dict[str, Any]] = field(default_factory=dict)
    attachments: list[Stored] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    page_size: int = 100
    limit: int | None = None  # larger files are cut to this, as with $TruncateLongAttachments
    drops: bool = False  # or replaced by a sentence, as with $DropLongAttachments
    loses: bool = False  # a comment is added without its file
    scrambles: bool = False  # files keep their size, and get other bytes
    broken: set[int] = field(default_factory=set)  # attachments that are listed and can't be had
    repeats: bool = False  # any page of a list is the first one
    forbidden: set[int] = field(default_factory=set)  # tickets
    superuser: bool = True
    hidden: set[int] = field(default_factory=set)  # ids of attachments that the account may not see
    sql_acl: bool = True  # $UseSQLForACLChecks
    links: bool = True  # False: a ticket is created without its links
    file_fields: tuple[str, ...] = ()
    answers_with: dict[str, Any] = field(default_factory=dict)  # by path, whatever is asked
    url: str = ""

    def __post_init__(self) -> None:
        self._numbers, self._seconds = itertools.count(1), itertools.count()

    def ticket(self, subject: str, refers_to: str = "") -> int:
        number = next(self._numbers)
        self.tickets[number] = {"id": str(number), "type": "ticket", "Subject": subject, "RefersTo": refers_to}
        self.file(number, "", b"a message", "text/plain")
        return number

    def file(self, ticket: int, name: str, content: bytes, media_type: str, transaction: int = 0) -> Stored:
        content, stated = converted(content, media_type), len(content)
        if self.limit is not None and stated > self.limit:
            content = b"Large attachment dropped" if self.drops else content[: self.limit]
            name, media_type = (f"{name}.txt", "text/plain") if self.drops else (name, media_type)
            kind = "AttachmentDrop" if self.drops else "AttachmentTruncate"
            facts = {"OldValue": str(stated), "NewValue": str(self.limit), "Created": "2026-11-22T04:03:10Z"}
            self.history.append({"id": str(next(self._numbers)), "ticket": ticket, "Type": kind} | facts)
        else:
            stated = len(content)
        transaction = transaction or next(self._numbers)
        plain = media_type.partition(";")[0]
        stored = Stored(next(self._numbers), ticket, transaction, kept_name(name), content, plain, stated)
        self.attachments.append(stored)
        second = next(self._seconds)
        self.tickets[ticket]["LastUpdated"] = f"2026-11-22T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
        return stored

    def files_of(self, ticket: int) -> list[tuple[str, int, str, str]]:
        files = [file for file in self.attachments if file.ticket == ticket and file.name]
        return [(file.name, len(file.content), hashlib.sha256(file.content).hexdigest(), "") for file in files]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeRt]:
        app = web.Application(client_max_size=1 << 30)
        for method, path in ROUTES:
            app.router.add_route(method, f"/REST/2.0/{path}", self._answer)
        async with TestServer(app) as server:
            self.url = str(server.make_url("")).rstrip("/")
            yield self

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/REST/2.0/")
        known = {"rt": {"Version": "5.0.3"}} | self.answers_with
        self.requests.append((request.method, path, dict(request.query)))
        if request.headers.get("Authorization") != f"token {TOKEN}":
            return message(401, "Unauthorized")
        number, parts = int(request.match_info.get("number", 0)), path.split("/")
        if path in known:
            return web.json_response(known[path])
        if request.method == "POST":
            return await (self._comment(request, number) if number else self._create(request))
        if parts[0] == "attachment":
            return self._attachment(number)
        if parts[0] == "queue":
            return message(200, "") if request.match_info["name"] == "Main" else message(404, "Not Found")
        if parts[0] == "ticket" and len(parts) == 2:
            return self._ticket(number)
        if path == "tickets":
            return self._search(request)
        return self._list(request, self._below(request, parts, number), counts=path == "customfields" or None)

    def _ticket(self, number: int) -> web.Response:
        if number in self.forbidden:
            return message(403, "Forbidden")
        return web.json_response(self.tickets[number]) if number in self.tickets else message(404, "Not Found")

    def _below(self, request: web.Request, parts: list[str], number: int) -> list[dict[str, Any]]:
        if parts[0] == "transactions":
            return self.history[::-1]
        if parts[0] == "customfields":
            return [{"id": n, "Name": name, "Type": "Binary"} for n, name in enumerate(self.file_fields)]
        if parts[-1] == "history":
            return [item for item in self.history if item["ticket"] == number]
        if number in self.forbidden:
            return []
        below = [file for file in self.attachments if number == getattr(file, parts[0])]
        return [file.record for file in below if file.name or "query" not in request.query]

    def _search(self, request: web.Request) -> web.Response:
        query = request.query["query"]
        if linked := re.fullmatch("RefersTo = '(.*)'", query):
            found = [item for item in self.tickets.values() if item["RefersTo"] == linked[1]]
        else:
            after = int(re.search(r"id > ([0-9]+)", query)[1])
            found = [item for number, item in self.tickets.items() if number > after]
        return self._list(request, found, counts=self.sql_acl)

    def _list(self, request: web.Request, items: list[dict[str, Any]], counts: bool | None = None) -> web.Response:
        """What the account may not see is left out after the page was cut."""
        size, page = min(int(request.query.get("per_page", 20)), self.page_size), int(request.query.get("page", 1))
        page = 1 if self.repeats else page
        shown = [item for item in items[size * (page - 1) : size * page] if int(item["id"]) not in self.hidden]
        total = len(items) if (self.superuser if counts is None else counts) else None
        pages = None if total is None else -(-total // size) or 0.0
        return web.json_response(
            {"items": shown, "count": len(shown), "total": total, "page": page, "pages": pages, "per_page": size}
        )

    def _attachment(self, number: int) -> web.Response:
        stored = next((file for file in self.attachments if file.id == number), None)
        if stored is None or number in self.broken:
            return message(500, "Internal Server Error")
        content = base64.encodebytes(stored.content).decode()
        headers = f"Content-Type: {stored.media_type}\nContent-Length: {stored.length}"
        return web.json_response({"id": stored.id, "Content": content, "Headers": headers, "Filename": stored.name})

    async def _comment(self, request: web.Request, number: int) -> web.Response:
        comment = await request.json()
        for file in comment["Attachments"]:
            for key in ("FileName", "FileType", "FileContent"):
                if file[key] in {"", "0"}:
                    return message(400, f"{key} is a required field for each attachment in Attachments")
        if number not in self.tickets:
            return message(400, "Message could not be recorded")
        transaction = next(self._numbers)
        self.file(number, "", comment["Content"].encode(), "text/plain", transaction)
        for file in [] if self.loses else comment["Attachments"]:
            try:
                name = file["FileName"].encode("latin-1").decode()
            except UnicodeError:
                return web.Response(status=500)
            content = base64.b64decode(file["FileContent"])
            content = content[::-1] if self.scrambles else content
            self.file(number, name, content, file["FileType"], transaction)
        headers = {"Location": f"/REST/2.0/transaction/{transaction}"}
        return web.json_response(["Comments added"], status=201, headers=headers)

    async def _create(self, request: web.Request) -> web.Response:
        ticket = await request.json()
        number = self.ticket(ticket["Subject"], ticket["RefersTo"] if self.links else "")
        return web.json_response({"id": str(number), "type": "ticket"}, status=201)


def message(status: int, text: str) -> web.Response:
    return web.json_response({"message": text}, status=status)


def kept_name(name: str) -> str:
    """What RT makes of a name, found out by sending names to a real one."""
    name = re.sub(r"[\n\r]", "", re.sub(r"(?s)\A.*/", "", name)).replace("\0", "")
    name = re.sub(r"=\?utf-8\?q\?(.*?)\?=", r"\1", name)
    name = name[1:-1] if re.fullmatch('".+"', name) else name
    return name.encode()[:255].decode(errors="ignore") if name.strip() else ""


def converted(content: bytes, media_type: str) -> bytes:
    """Texts are converted to UTF-8, from Latin-1 if nothing else is said."""
    if not re.match("text/(?:plain|html)", media_type):
        return content
    try:
        text = content.decode("utf-8" if "utf-8" in media_type or b"\0" not in content else "utf-16-le", "strict")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return re.sub("[\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", text).encode()
