"""A Roundup as strict and as careless as the recordings of a real 2.6, on loopback."""

from __future__ import annotations

import base64
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

USER, PASSWORD = "ada", "s3cret"
WEB = "https://tracker.example.org/demo"
"""What the tracker calls itself, whatever the address is that a client uses."""
HEADERS = {"X-Requested-With": "rest", "Origin": "https://tracker.example.org", "Referer": f"{WEB}/"}
CLASSES = {"issue": ("title", "files", "messages"), "msg": ("messageid", "files"), "file": ("name", "type"), "user": ()}


def refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"status": status, "msg": message}}, status=status)


@dataclass
class FakeRoundup:
    """Items of each class by number; `content` by the number of the file. Switches make it misbehave."""

    items: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in CLASSES})
    retired: set[tuple[str, int]] = field(default_factory=set)
    content: dict[int, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    lists_fewer: int = 0  # so many records less than it counts
    loses_change: int = 0  # so many changes of an item are refused, because it has changed meanwhile
    url: str = ""

    def __post_init__(self) -> None:
        self._numbers = {kind: itertools.count(1) for kind in CLASSES}

    def make(self, kind: str, **values: Any) -> int:
        number = next(self._numbers[kind])
        dates = {"creation": "2026-11-22.03:56:34", "activity": "2026-11-22.03:56:34"}
        self.items[kind][number] = {**dates, **dict.fromkeys(CLASSES[kind]), "creator": "1", **values}
        return number

    def issue(self, title: str, *files: int) -> int:
        return self.make("issue", title=title, files=list(files), messages=[])

    def file(self, name: str, content: bytes, media_type: str = "text/plain") -> int:
        number = self.make("file", name=name.strip(), type=media_type)
        self.content[number] = content
        return number

    def of(self, number: int) -> list[tuple[str, int, str, str]]:
        """Name, size, hash and description of the files of an issue."""
        files = self.items["issue"][number]["files"]
        names = [(self.items["file"][file]["name"], self.content[file]) for file in files]
        return [(name, len(content), hashlib.sha256(content).hexdigest(), "") for name, content in names]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeRoundup]:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/t/{path:.*}", self._answer)
        async with TestServer(app) as server:
            self.url = str(server.make_url("/t"))
            yield self

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.requests.append((request.method, path))
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        if base64.b64decode(given).decode() != f"{USER}:{PASSWORD}":
            return web.Response(status=401, text="Invalid Login - Invalid login")
        if request.method != "GET" and any(request.headers.get(name) != value for name, value in HEADERS.items()):
            return refusal(400, "Required Header Missing")
        if path == "rest/":
            links = [{"rel": "self", "uri": f"{WEB}/rest"}, {"rel": "data", "uri": f"{WEB}/rest/data"}]
            return web.json_response({"data": {"links": links}})
        if path == "rest/data":
            return web.json_response({"data": {kind: {"link": kind} for kind in CLASSES}})
        parts = re.fullmatch(r"rest/data/(\w+)(?:/(\d+)(/binary_content)?)?", path)
        if not parts or parts[1] not in CLASSES:
            return refusal(404, "Class not found")
        kind, number = parts[1], int(parts[2] or 0)
        if number and number not in self.items[kind]:
            return refusal(404, f"no such {kind} {number}")
        if parts[3]:
            return self._binary(request, number)
        return await getattr(self, f"_{request.method.lower()}{'_one' if number else ''}")(request, kind, number)

    def _binary(self, request: web.Request, number: int) -> web.Response:
        if number not in self.content:
            return web.Response(status=400, text="<body><p>An error occurred.</p></body>", content_type="text/html")
        if request.headers.get("Accept") != "application/octet-stream":
            return web.json_response({"data": {"data": str(self.content[number])}})
        return web.Response(body=self.content[number], content_type="application/octet-stream")

    async def _get(self, request: web.Request, kind: str, _: int) -> web.Response:
        found = {n: item for n, item in sorted(self.items[kind].items()) if (kind, n) not in self.retired}
        for key in {key for key in request.query if not key.startswith("@")}:
            name, wanted = key.rstrip(":"), request.query.getall(key)
            if name != "id" and name not in CLASSES[kind]:
                return refusal(400, f"Field {name} is not valid for {kind} class.")
            found = {n: item for n, item in found.items() if self._fits(n, item, key, wanted)}
        order = reversed(found) if request.query.get("@sort") == "-id" else iter(found)
        fields = request.query.get("@fields", "").split(",")
        records = [self._shown(n, found[n], [key for key in fields if key]) for n in order]
        size, index = int(request.query.get("@page_size", 0)), int(request.query.get("@page_index", 1))
        rest = records[(index - 1) * size :] if size else records[self.lists_fewer :]
        total = (index - 1) * size + len(rest) if size else len(records)
        shown = rest[:size] if size else rest
        return web.json_response({"data": {"collection": shown, "@total_size": total}})

    def _fits(self, number: int, item: dict[str, Any], key: str, wanted: list[str]) -> bool:
        if key == "id":
            return str(number) in wanted
        value = item[key.rstrip(":")]
        if isinstance(value, list):
            return bool({*map(str, value)} & set(wanted[0].split(",")))
        return value == wanted[0] if key.endswith(":") else wanted[0] in (value or "")

    def _shown(self, number: int, item: dict[str, Any], fields: list[str]) -> dict[str, Any]:
        values = {key: item[key] for key in fields}
        if "files" in values:
            values["files"] = [{"id": str(n), "name": self.items["file"][n]["name"]} for n in item["files"]]
        if "creator" in values:
            values["creator"] = {"id": "1", "username": USER}
        return {"id": str(number), **values}

    def _etag(self, kind: str, number: int) -> str:
        return f'"{hashlib.md5(json.dumps(self.items[kind][number]).encode()).hexdigest()}"'

    async def _get_one(self, request: web.Request, kind: str, number: int) -> web.Response:
        attributes = self._shown(number, self.items[kind][number], list(self.items[kind][number]))
        return web.json_response(
            {"data": {"id": str(number), "attributes": attributes, "@etag": self._etag(kind, number)}}
        )

    async def _post(self, request: web.Request, kind: str, _: int) -> web.Response:
        if kind == "file":
            form = await request.post()
            if not form["content"].file.read(1):
                self.make(kind, name=form["name"], type=form["type"])
                return refusal(405, "'NoneType' object has no attribute 'upper'")
            form["content"].file.seek(0)
            name = re.sub("\r\n?", "\n", form["name"])
            return self._made(kind, self.file(name, form["content"].file.read(), form["type"]))
        values = await request.json()
        if kind == "issue" and any(not self.items["msg"][int(n)].get("author") for n in values.get("messages", ())):
            return refusal(409, '"nosy" multilink value ([None]) must contain Strings')
        values = {key: [*map(int, value)] if isinstance(value, list) else value for key, value in values.items()}
        return self._made(kind, self.make(kind, **{"files": [], **values}))

    def _made(self, kind: str, number: int) -> web.Response:
        return web.json_response({"data": {"id": str(number), "link": f"{WEB}/rest/data/{kind}/{number}"}}, status=201)

    async def _patch_one(self, request: web.Request, kind: str, number: int) -> web.Response:
        if self.loses_change or request.headers.get("If-Match") != self._etag(kind, number):
            self.loses_change -= 1
            return refusal(412, "If-Match is missing or does not match.")
        values, item = await request.json(), self.items[kind][number]
        if "files" in values:
            given = [*map(int, values.pop("files"))]
            added = values.pop("@op") == "add"
            item["files"] = [*item["files"], *given] if added else [n for n in item["files"] if n not in given]
            return web.json_response({"data": {"attribute": {"files": [*map(str, item["files"])]}}})
        item.update(values)
        return web.json_response({"data": {"attribute": values}})

    async def _delete_one(self, request: web.Request, kind: str, number: int) -> web.Response:
        if request.headers.get("If-Match") != self._etag(kind, number):
            return refusal(412, "If-Match is missing or does not match.")
        self.retired.add((kind, number))
        return web.json_response({"data": {"status": "ok"}})
