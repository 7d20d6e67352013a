"""A strict stand-in for Kiwi TCMS 12.4: its JSON-RPC as far as the adapter uses it, and the addresses of files.

It answers as the recordings do: null to an upload, errors with status 200, names as Django makes them, escaped strings.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import json
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote, unquote

from aiohttp import web

from migrator.trackers.kiwi.client import REFUSED_WORDS
from tests.trackers.fake_redmine import page

USER, PASSWORD = "ada", "s3cret"
MAX_REQUEST_BYTES = 2_621_440
HOST = "http://elsewhere.invalid"
FIELDS = {
    "TestCase": {"summary", "product", "category", "priority", "case_status"},
    "TestPlan": {"name", "product", "product_version", "type"},
}
MODELS = {"TestCase": "testcases_testcase", "TestPlan": "testplans_testplan"}


class RpcError(Exception):
    """An error inside of a method."""


@dataclass
class FakeKiwi:
    """`forbidden` are methods that the account may not call. `keeps_deleted`: a deletion succeeds and does nothing.

    `locked`: as many requests find the database locked. `broken` are errors that the next calls of a method end with,
    after it has done its work.
    """

    url: str = ""
    records: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in MODELS})
    files: dict[int, dict[str, Any]] = field(default_factory=dict)
    content: dict[str, bytes] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    broken: dict[str, list[str]] = field(default_factory=dict)
    keeps_deleted: bool = False
    locked: int = 0
    delays: list[float] = field(default_factory=list)  # seconds before the next answers, the last one first
    longest: int = 0  # the longest list that it gave
    counts: Callable[[int], Any] = int
    calls: Counter[str] = field(default_factory=Counter)
    products: list[str] = field(default_factory=lambda: ["Demo & more"])
    numbers: int = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/json-rpc/", self.rpc)
        app.router.add_get("/uploads/{path:.*}", self.download)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    async def download(self, request: web.Request) -> web.Response:
        content = self.content.get(unquote(request.match_info["path"]))
        if content is None:
            return page("404 Not Found", 404)
        return web.Response(body=content, content_type="text/plain")

    async def rpc(self, request: web.Request) -> web.Response:
        if self.locked:
            self.locked -= 1
            return web.Response(status=302, headers={"Location": "/init-db/"})
        assert request.headers["Content-Type"].partition(";")[0] == "application/json"
        assert request.content_length is not None, "chunked uploads are not for every proxy"
        body = await request.read()
        if len(body) > MAX_REQUEST_BYTES:
            message = "Internal error: Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE."
            return answered({"id": None, "jsonrpc": "2.0", "error": {"code": -32603, "message": message}})
        known = request.cookies.get("sessionid", "") in self.sessions
        payload = json.loads(body)
        await asyncio.sleep(self.delays.pop() if self.delays else 0)
        if isinstance(payload, list):
            return answered([self._single(call, known)[0] for call in payload])
        answer, status = self._single(payload, known)
        return answered(answer, status)

    def _single(self, call: dict[str, Any], known: bool) -> tuple[dict[str, Any], int]:
        assert call["jsonrpc"] == "2.0"
        name, params, answer = call["method"], call["params"], {"id": call["id"], "jsonrpc": "2.0"}
        self.calls[name] += 1
        method = self._method(name)
        if method is None:
            return answer | {"error": {"code": -32601, "message": f'Method not found: "{name}"'}}, 200
        if name != "Auth.login" and (not known or name in self.forbidden):
            message = f'Internal error: Authentication failed when calling "{name}"'
            return answer | {"error": {"code": -32603, "message": message}}, 403
        try:
            result = method(**params) if isinstance(params, dict) else method(*params)
            self._break(name)
        except RpcError as error:
            return answer | {"error": {"code": -32603, "message": f"Internal error: {error}"}}, 200
        return answer | {"result": escaped(result)}, 200

    def _break(self, name: str) -> None:
        if self.broken.get(name):
            raise RpcError(self.broken[name].pop(0))

    def _method(self, name: str) -> Callable[..., Any] | None:
        kind, _, verb = name.partition(".")
        methods: dict[str, Callable[..., Any]] = {
            "Auth.login": self.login,
            "KiwiTCMS.version": lambda: "12.4",
            "Testing.breakdown": lambda query: {"count": {"all": self.counts(len(self.found("TestCase", query)))}},
            "Attachment.remove_attachment": self.remove,
            "TestCase.create": lambda values: self.create("TestCase", values),
            "TestPlan.create": lambda values: self.create("TestPlan", values),
            "Classification.create": lambda _: {"id": 1},
            "Product.create": lambda values: self.products.append(values["name"]) or {"id": len(self.products)},
            "Product.filter": lambda _: [{"id": n, "name": name} for n, name in enumerate(self.products, 1)],
            "Version.filter": lambda query: [{"id": 50 + query["product"]}],
            "Category.filter": lambda query: [{"id": 70 + query["product"]}],
            "Priority.filter": lambda _: [{"id": 2, "value": "P2"}, {"id": 1, "value": "P1"}],
            "TestCaseStatus.filter": lambda _: [{"id": 1, "name": "PROPOSED"}],
        }
        if kind in MODELS:
            verbs = {"filter": self.filtered, "list_attachments": self.listed, "add_attachment": self.attach}
            if verb in verbs:
                return lambda *params, **named: verbs[verb](kind, *params, *named.values())
        return methods.get(name)

    def login(self, user: str, password: str) -> str:
        if (user, password) != (USER, PASSWORD):
            raise RpcError("Wrong username or password")
        self.sessions.add(session := secrets.token_hex(16))
        return session

    def create(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        assert values.keys() - {"text"} == FIELDS[kind]
        assert values.get("category", 70 + values["product"]) == 70 + values["product"]
        title = values["summary" if kind == "TestCase" else "name"]
        if not title.strip() or len(title) > 255:
            raise RpcError("[('summary', ['This field is required.'])]")
        number = self.number()
        self.records[kind][number] = {"id": number, **values}
        return self.records[kind][number]

    def found(self, kind: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        """In no order, as from a database that was not asked for one."""
        of_product = "category__product" if kind == "TestCase" else "product"
        assert {"pk", "pk__gt", "pk__lte", "text__contains", of_product}.issuperset(query), query
        low, high, text = query.get("pk__gt", 0), query.get("pk__lte", 1 << 62), query.get("text__contains", "")
        records = [record for record in self.records[kind].values() if text in record.get("text", "")]
        records = [record for record in records if query.get(of_product, record["product"]) == record["product"]]
        return [r for r in reversed(records) if low < r["id"] <= high and query.get("pk", r["id"]) == r["id"]]

    def filtered(self, kind: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        found = self.found(kind, query)
        self.longest = max(self.longest, len(found))
        return found

    def listed(self, kind: str, number: int) -> list[dict[str, Any]]:
        if number not in self.records[kind]:
            raise RpcError(f"{kind} matching query does not exist.")
        newest_first = sorted(self.files.values(), key=lambda file: -file["pk"])
        return [{k: v for k, v in file.items() if k != "of"} for file in newest_first if file["of"] == (kind, number)]

    def attach(self, kind: str, number: int, name: str, b64content: str) -> None:
        content = base64.b64decode(b64content, validate=True)
        assert not set(name) & set('"\r\n'), "it would end the header that Kiwi writes"
        if number not in self.records[kind]:
            raise RpcError(f"No {kind} matches the given query.")
        word = next((word.decode() for word in REFUSED_WORDS if word in content.lower()), "")
        for reason, refused in (
            ("The submitted file is empty.", not content),
            (f"File contains forbidden tag: {word}>", word),
            ("Uploading executable files is forbidden", ".exe" in name),
        ):
            if refused:
                raise RpcError(str({"attachment_file": [reason]}))
        self.put(kind, number, name, content)

    def put(self, kind: str, number: int, name: str, content: bytes) -> str:
        """Store a file; returns the name that it gets."""
        folder = f"attachments/{MODELS[kind]}/{number}/"
        name = re.sub(r"[^-\w.]", "", name.rpartition("/")[2].strip().replace(" ", "_"))
        stem, dot, ending = name.rpartition(".")
        while folder + name in self.content or len(folder + name) > 100:
            cut = stem[: 100 - len(folder + dot + ending) - 8]
            name = f"{cut}_{secrets.token_hex(4)[:7]}{dot}{ending}"
        self.content[folder + name] = content
        pk, date = self.number(), "2026-11-28T07:33:37.666009"
        address = f"{HOST}/uploads/{quote(folder + name)}"
        author = {"owner_pk": 2, "owner_username": "ada", "date": date}
        self.files[pk] = {"pk": pk, "url": address, **author, "of": (kind, number)}
        return name

    def remove(self, number: int) -> None:
        if number not in self.files:
            raise RpcError("No Attachment matches the given query.")
        if not self.keeps_deleted:
            del self.content[unquote(self.files.pop(number)["url"].partition("/uploads/")[2])]


def escaped(value: Any) -> Any:
    """The strings of a result as Kiwi sends them."""
    if isinstance(value, list):
        return [escaped(item) for item in value]
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    return html.escape(value) if isinstance(value, str) else value


def answered(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)
