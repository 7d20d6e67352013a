"""A real Roundup, spoken to without the adapter. MIGRATOR_ROUNDUP_URL, _USER and _PASSWORD name it."""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from tests.support.real_redmine import Sent, digest

URL = os.environ.get("MIGRATOR_ROUNDUP_URL", "").rstrip("/")
USER = os.environ.get("MIGRATOR_ROUNDUP_USER", "")
PASSWORD = os.environ.get("MIGRATOR_ROUNDUP_PASSWORD", "")


@dataclass(frozen=True, slots=True)
class ServerFile:
    """A file as the server gives it by the address that people use."""

    id: str
    name: str
    size: int
    sha256: str


class Roundup:
    """One session with the server. Each request has a connection of its own: the server closes them anyway."""

    async def __aenter__(self) -> Self:
        account = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        headers = {
            "Authorization": f"Basic {account}",
            "X-Requested-With": "rest",
            "Origin": URL.rpartition("/")[0],
            "Referer": f"{URL}/",
        }
        self._session = aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(force_close=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, form: Callable[[], Any] | None = None, **options: Any) -> Any:
        """The data of an answer, after as many waits as the server asks for."""
        while True:
            if form:
                options["data"] = form()
            async with self._session.request(method, f"{URL}/rest/data/{path}", **options) as answer:
                if answer.status != 429:
                    assert answer.status < 300, f"{method} {path}: {answer.status} {await answer.text()}"
                    return (await answer.json())["data"]
            await asyncio.sleep(float(answer.headers["Retry-After"]))

    async def file(self, name: str, content: bytes, media_type: str = "text/plain") -> str:
        def form() -> aiohttp.FormData:
            fields = aiohttp.FormData({"name": name, "type": media_type})
            fields.add_field("content", io.BytesIO(content), filename="content", content_type=media_type)
            return fields

        return (await self.call("POST", "file", form))["id"]

    async def issue(self, title: str, *files: str) -> str:
        return (await self.call("POST", "issue", json={"title": title, "files": [*files]}))["id"]

    async def close_issue(self, number: str) -> None:
        await self._patch(number, {"@op": "replace", "status": "resolved"})

    async def attach(self, number: str, file: Sent) -> None:
        await self._patch(number, {"@op": "add", "files": [await self.file(file.name, file.content, file.media_type)]})

    async def _patch(self, number: str, change: dict[str, Any]) -> None:
        state = (await self.call("GET", f"issue/{number}"))["@etag"]
        await self.call("PATCH", f"issue/{number}", json=change, headers={"If-Match": state})

    async def truth_of(self, number: str) -> list[tuple[str, int, str, str]]:
        return [(file.name, file.size, file.sha256, "") for file in await self.files_of(number)]

    async def newest_file(self) -> list[str]:
        query = {"@page_size": "1", "@page_index": "1", "@sort": "-id"}
        return [file["id"] for file in (await self.call("GET", "file", params=query))["collection"]]

    async def retire(self, number: str) -> None:
        state = (await self.call("GET", f"file/{number}"))["@etag"]
        await self.call("DELETE", f"file/{number}", headers={"If-Match": state})

    async def files_of(self, number: str) -> list[ServerFile]:
        """The files of an issue; all are downloaded."""
        item = await self.call("GET", f"issue/{number}", params={"@verbose": "2"})
        files = []
        for file in item["attributes"]["files"]:
            async with self._session.get(f"{URL}/file{file['id']}/x") as answer:
                assert answer.status == 200
                content = await answer.read()
            files.append(ServerFile(file["id"], file["name"], len(content), digest(content)))
        return files
