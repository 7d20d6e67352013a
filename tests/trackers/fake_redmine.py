"""A Redmine as strict and as careless as the recordings of a real 5.0, on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.trackers.fake_redmine_beside import Beside, Space

KEY, LOGIN, PASSWORD = "a-key", "ada", "s3cret"
LARGEST = 5 * 1024 * 1024
DIRECTORY = "/tracker"


@dataclass
class Stored:
    id: int
    token: str
    content: bytes
    filename: str
    content_type: str = ""
    description: str = ""
    issue: int | None = None
    on: tuple[str, int | str] | None = None  # what else it is on
    readable: bool = True  # False: the storage has lost it, and so has its record


@dataclass
class FakeRedmine(Beside):
    """Issues of one private project, what it has beside, and files. Switches make it misbehave."""

    issues: dict[int, str] = field(default_factory=dict)
    descriptions: dict[int, str] = field(default_factory=dict)
    files: dict[int, Stored] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    tells_attachments: bool = True
    attaches: bool = True
    answers_with: dict[str, web.Response] = field(default_factory=dict)
    old_upload_answer: bool = False
    limit: int = 100
    stuck: bool = False  # gives the first page, whatever was asked for
    spaces: list[Space] = field(default_factory=lambda: [Space(1, "secret")])
    fields: dict[int, tuple[str, str, str]] = field(default_factory=dict)  # what it is on, name, format
    values: dict[tuple[str, int], dict[int, str]] = field(default_factory=dict)
    admin: bool = True
    tells_modules: bool = True
    tells_totals: bool = True
    lists_fewer: dict[str, int] = field(default_factory=dict)  # so many less than it counts
    page_of_projects: int = 100
    newest_first: bool = False  # whatever order is asked for
    rest: bool = True  # False: credentials are not looked at
    at_once: int = 0  # listings under way now, and at the most
    most_at_once: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def issue(self, subject: str) -> int:
        number = next(self._numbers)
        self.issues[number] = subject
        return number

    def file(self, issue: int | None, name: str, content: bytes, description: str = "", media_type: str = "") -> Stored:
        number = next(self._numbers)
        token = f"{number}.{hashlib.sha256(content).hexdigest()}"
        stored = self.files[number] = Stored(
            number, token, content, sanitized(name), media_type, description.strip(), issue
        )
        return stored

    def of(self, issue: int) -> list[Stored]:
        return [stored for stored in self.files.values() if stored.issue == issue]

    def put(self, kind: str, where: int | str, name: str, content: bytes) -> Stored:
        """A file on something that is no issue."""
        stored = self.file(None, name, content)
        stored.on = (kind, where)
        return stored

    def on(self, kind: str, where: int | str) -> list[Stored]:
        return [stored for stored in self.files.values() if stored.on == (kind, where)]

    def number(self) -> int:
        return next(self._numbers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeRedmine]:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", DIRECTORY + "/{path:.*}", self._answer)
        async with TestServer(app) as server:
            self.url = str(server.make_url(DIRECTORY))
            yield self

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.requests.append((request.method, path, dict(request.query)))
        if path in self.answers_with:
            told = self.answers_with[path]  # an answer can be sent only once
            return web.Response(body=told.body, status=told.status, content_type=told.content_type)
        for method, pattern, answer in self.ROUTES:
            if method == request.method and (match := re.fullmatch(pattern, path)):
                return await answer(self, request, *(int(group) for group in match.groups()))
        if request.method == "GET":
            return self.beside(request, path, known=self.rest and known(request))
        return page("404", 404)

    async def who(self, request: web.Request) -> web.Response:
        if not self.rest:
            return web.Response(status=403, content_type="application/json")
        if not known(request):
            return unauthorized()
        return web.json_response({"user": {"id": 1, "login": LOGIN, "admin": self.admin, "api_key": KEY}})

    async def listing(self, request: web.Request) -> web.Response:
        assert request.query["status_id"] == "*", "closed issues are left out"
        assert request.query["sort"] == "id", "the order is by date otherwise"
        limit, offset = min(int(request.query["limit"]), self.limit), int(request.query["offset"])
        offset = 0 if self.stuck else offset
        if "project_id" in request.query and self._space(request.query["project_id"]) is None:
            return web.Response(status=404)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        if "project_id" in request.query:
            assert request.query["subproject_id"] == "*", "a setting decides whether those below come, too"
        visible = sorted(self.issues) if known(request) and self.rest else []
        visible = visible[::-1] if self.newest_first else visible
        included = self.tells_attachments and request.query.get("include") == "attachments"
        found = [self._issue(n, included=included) for n in visible[offset : offset + limit]]
        whole = len(visible) - self.lists_fewer.get("issues", 0)
        found = found[: max(0, whole - offset)]
        total = {"total_count": len(visible)} if self.tells_totals else {}
        return web.json_response({"issues": found, **total, "offset": offset, "limit": limit})

    async def create(self, request: web.Request) -> web.Response:
        if not known(request):
            return unauthorized()
        assert request.headers["Content-Type"] == "application/json"
        issue = json.loads(await request.read())["issue"]
        if issue.get("project_id") not in {"secret", "1", 1}:
            return web.Response(status=404)
        subject = issue.get("subject", "").strip()
        if not subject or len(subject) > 255:
            return refused("Subject cannot be blank" if not subject else "Subject is too long")
        if issue.get("tracker_id", 3) != 3:
            return refused("Tracker is not included in the list")
        number = self.issue(subject)
        self.descriptions[number] = issue.get("description", "")
        return web.json_response({"issue": self._issue(number, included=False)}, status=201)

    async def trackers(self, request: web.Request) -> web.Response:
        if not known(request):
            return unauthorized()
        return web.json_response({"trackers": [{"id": 3, "name": "Task"}]})

    async def one(self, request: web.Request, number: int) -> web.Response:
        if number not in self.issues:
            return web.Response(status=404)
        if not known(request):
            return unauthorized()
        return web.json_response({"issue": self._issue(number, included=request.query.get("include") == "attachments")})

    async def download(self, request: web.Request, number: int) -> web.Response:
        stored = self.files.get(number)
        if stored is None:
            return page("404", 404)
        if not known(request):
            where = f"http://elsewhere.invalid/login?back_url=http%3A%2F%2Felsewhere.invalid%2F{number}"
            return web.Response(status=302, headers={"Location": where}, text="<html><body>redirected</body></html>")
        headers = {"Content-Disposition": "attachment; filename=x", "ETag": 'W/"x"'}
        if stored.content_type:
            headers["Content-Type"] = stored.content_type
        return web.Response(body=stored.content, headers=headers)

    async def upload(self, request: web.Request) -> web.Response:
        if not known(request):
            return unauthorized()
        if request.headers.get("Content-Type") != "application/octet-stream":
            return web.Response(status=406)
        assert request.content_length is not None, "chunked uploads are not for every proxy"
        content = await request.read()
        if len(content) > LARGEST:
            return refused(f"This file cannot be uploaded because it exceeds the maximum allowed file size ({LARGEST})")
        name = request.query.get("filename", "")
        if "\0" in name:
            return web.json_response({"status": 500, "error": "Internal Server Error"}, status=500)
        if len(sanitized(name)) > 255:
            return refused("File is too long (maximum is 255 characters)")
        stored = self.file(None, name if name.strip() else "85f312ab5485583f", content)
        answer = {"id": stored.id, "token": stored.token}
        if self.old_upload_answer:
            del answer["id"]
        return web.json_response({"upload": answer}, status=201)

    async def change(self, request: web.Request, number: int) -> web.Response:
        if number not in self.issues:
            return web.Response(status=404)
        if not known(request):
            return unauthorized()
        assert request.headers["Content-Type"] == "application/json"
        for upload in json.loads(await request.read())["issue"]["uploads"]:
            stored = next((s for s in self.files.values() if s.token == upload["token"] and s.issue is None), None)
            if stored is None:
                return refused("1 file(s) could not be saved.")
            description = upload.get("description", "").strip()
            if len(description) > 255 or not self.attaches:
                continue  # a real one says 204, too
            stored.filename = sanitized(upload["filename"]) if upload["filename"].strip() else stored.filename
            stored.content_type = upload.get("content_type", "")
            stored.issue, stored.description = number, description
        return web.Response(status=204)

    async def edit(self, request: web.Request, number: int) -> web.Response:
        if number not in self.files:
            return web.Response(status=404)
        if not known(request):
            return unauthorized()
        description = json.loads(await request.read())["attachment"]["description"]
        if len(description) > 255:
            return refused("Description is too long (maximum is 255 characters)")
        self.files[number].description = description
        return web.Response(status=204)

    async def remove(self, request: web.Request, number: int) -> web.Response:
        if number not in self.files:
            return web.Response(status=404)
        if not known(request):
            return unauthorized()
        del self.files[number]
        return web.Response(status=204)

    def _issue(self, number: int, *, included: bool) -> dict[str, Any]:
        issue = {"id": number, "project": {"id": 1, "name": "Secret"}, "subject": self.issues[number]}
        issue["description"] = self.descriptions.get(number, "")
        issue |= self._custom("issue", number)
        if included:
            issue["attachments"] = [self._attachment(stored) for stored in self.of(number)]
        return issue

    def _attachment(self, stored: Stored) -> dict[str, Any]:
        return {
            "id": stored.id,
            "filename": stored.filename,
            "filesize": len(stored.content),
            "content_type": stored.content_type or None,
            "description": stored.description,
            "content_url": f"http://elsewhere.invalid/attachments/download/{stored.id}/x",
            "author": {"id": 1, "name": "Ada Lovelace"},
            "created_on": "2026-11-22T03:57:19Z",
        }

    ROUTES = (
        ("GET", r"users/current\.json", who),
        ("GET", r"issues\.json", listing),
        ("POST", r"issues\.json", create),
        ("GET", r"trackers\.json", trackers),
        ("GET", r"issues/(\d+)\.json", one),
        ("PUT", r"issues/(\d+)\.json", change),
        ("GET", r"attachments/download/(\d+)", download),
        ("POST", r"uploads\.json", upload),
        ("PATCH", r"attachments/(\d+)\.json", edit),
        ("DELETE", r"attachments/(\d+)\.json", remove),
    )


def known(request: web.Request) -> bool:
    basic = "Basic YWRhOnMzY3JldA=="
    return request.headers.get("X-Redmine-API-Key") == KEY or request.headers.get("Authorization") == basic


def sanitized(name: str) -> str:
    return re.sub(r"[/?%*:|\"'<>\n\r]+", "_", re.sub(r"\A.*[\\/]", "", name, flags=re.DOTALL))


def unauthorized() -> web.Response:
    return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="Redmine API"'})


def refused(sentence: str) -> web.Response:
    return web.json_response({"errors": [sentence]}, status=422)


def page(title: str, status: int) -> web.Response:
    text = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head></html>"
    return web.Response(text=text, content_type="text/html", status=status)
