"""A Kiwi TCMS spoken to without the adapter, by its JSON-RPC: a real one, or the stand-in.

The real one: MIGRATOR_KIWI_URL, MIGRATOR_KIWI_USER and MIGRATOR_KIWI_PASSWORD.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
import secrets
from typing import Any, Self
from urllib.parse import unquote

import aiohttp

URL = os.environ.get("MIGRATOR_KIWI_URL", "").rstrip("/")
USER = os.environ.get("MIGRATOR_KIWI_USER", "")
PASSWORD = os.environ.get("MIGRATOR_KIWI_PASSWORD", "")


class Kiwi:
    """One session with a server."""

    def __init__(self, url: str = URL, user: str = USER, password: str = PASSWORD) -> None:
        self.url, self.user, self.password = url, user, password
        self._product: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        await self._log_in()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def _log_in(self) -> None:
        session = await self.call("Auth.login", self.user, self.password)
        self._session.cookie_jar.update_cookies({"sessionid": session})

    async def answer(self, method: str, *params: Any) -> dict[str, Any]:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        data, headers = io.BytesIO(json.dumps(call).encode()), {"Content-Type": "application/json"}
        async with self._session.post(f"{self.url}/json-rpc/", data=data, headers=headers) as response:
            answer = await response.json()
        if response.status == 403 and method != "Auth.login":  # the session has ended
            await self._log_in()
            return await self.answer(method, *params)
        return answer

    async def call(self, method: str, *params: Any) -> Any:
        answer = await self.answer(method, *params)
        assert "error" not in answer, answer
        return answer["result"]

    async def product(self) -> dict[str, Any]:
        """A product of its own, with what a test case or plan needs."""
        if not self._product:
            name = f"product {secrets.token_hex(4)}"
            group = await self.call("Classification.create", {"name": name})
            made = await self.call("Product.create", {"name": name, "classification": group["id"]})
            category = (await self.call("Category.filter", {"product": made["id"]}))[0]["id"]
            version = (await self.call("Version.filter", {"product": made["id"]}))[0]["id"]
            self._product = {"id": made["id"], "name": name, "category": category, "version": version}
        return self._product

    async def case(self, title: str) -> str:
        product = await self.product()
        values = {"summary": title, "product": product["id"], "category": product["category"]}
        return str((await self.call("TestCase.create", {**values, "priority": 1, "case_status": 2}))["id"])

    async def plan(self, title: str) -> str:
        product = await self.product()
        values = {"name": title, "product": product["id"], "product_version": product["version"], "type": 1}
        return str((await self.call("TestPlan.create", values))["id"])

    async def attach(self, kind: str, number: str, name: str, content: bytes) -> dict[str, Any]:
        """Upload a file; returns the answer, which is an error if the server refused it."""
        text = base64.b64encode(content).decode()
        return await self.answer(f"{kind}.add_attachment", int(number), name, text)

    async def attach_by_form(self, number: str, name: str, content: bytes) -> None:
        """Upload a file to a test case by the form for people, which takes larger ones."""
        async with self._session.get(f"{self.url}/accounts/login/"):
            token = next(cookie.value for cookie in self._session.cookie_jar if cookie.key == "csrftoken")
        form = aiohttp.FormData({"csrfmiddlewaretoken": token, "next": "/"}, quote_fields=False)
        form.add_field("attachment_file", io.BytesIO(content), filename=name, content_type="application/octet-stream")
        address = f"{self.url}/attachments/add-for/testcases/testcase/{number}/"
        async with self._session.post(
            address, data=form, headers={"Referer": self.url, "X-Return-Form-Errors": "1"}, allow_redirects=False
        ) as response:
            assert response.status == 302, await response.text()

    async def delete(self, pk: str) -> None:
        await self.call("Attachment.remove_attachment", int(pk))

    async def listed(self, kind: str, number: str) -> list[tuple[str, str, bytes]]:
        """Number, name and content of each file, as the server itself hands them out."""
        files = []
        for record in await self.call(f"{kind}.list_attachments", int(number)):
            path = html.unescape(record["url"]).partition("/uploads/")[2]
            async with self._session.get(f"{self.url}/uploads/{path}") as response:
                assert response.status == 200, path
                files.append((str(record["pk"]), unquote(path.rpartition("/")[2]), await response.read()))
        return files

    async def truths(self, kind: str, number: str) -> list[tuple[str, int, str, str]]:
        """Name, size, hash and description of each file."""
        files = await self.listed(kind, number)
        return [(name, len(content), hashlib.sha256(content).hexdigest(), "") for _, name, content in files]
