"""A real Request Tracker, read and filled through its own API without any code of the program: the truth for tests."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import pytest

URL = os.environ.get("MIGRATOR_RT_URL", "").rstrip("/")
TOKEN = os.environ.get("MIGRATOR_RT_API_KEY", "")
real = [
    pytest.mark.rt,
    pytest.mark.skipif(not (URL and TOKEN), reason="MIGRATOR_RT_URL and MIGRATOR_RT_API_KEY are not set"),
]


@dataclass(frozen=True, slots=True)
class Sent:
    """A file as it was sent."""

    name: str
    content: bytes
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ServerFile:
    """A file as the server lists it, with the size and hash of its content."""

    id: str
    name: str
    size: int
    sha256: str


class Rt:
    """One session with the server."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers={"Authorization": f"token {TOKEN}"})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, value: object = None, **query: str) -> Any:
        data = None if value is None else io.BytesIO(json.dumps(value).encode())
        headers = {} if value is None else {"Content-Type": "application/json"}
        url = f"{URL}/REST/2.0/{path}"
        async with self._session.request(method, url, params=query, data=data, headers=headers) as answer:
            assert answer.status < 300, f"{method} {path}: {answer.status} {await answer.text()}"
            return await answer.json()

    async def queue(self) -> str:
        name = f"e2e-{secrets.token_hex(6)}"
        await self.call("POST", "queue", {"Name": name})
        return name

    async def ticket(self, queue: str, subject: str, files: Iterable[Sent] = ()) -> str:
        draft = {"Queue": queue, "Subject": subject, "Content": "a message", "ContentType": "text/plain"}
        return str((await self.call("POST", "ticket", draft | _attached(files)))["id"])

    async def comment(self, number: str, files: Iterable[Sent], kind: str = "comment") -> None:
        comment = {"Content": "see the file", "ContentType": "text/plain"} | _attached(files)
        await self.call("POST", f"ticket/{number}/{kind}", comment)

    async def tickets(self, queue: str) -> list[str]:
        answer = await self.call("GET", "tickets", query=f"Queue = '{queue}'", per_page="100", orderby="id")
        assert answer["count"] == answer["total"]
        return [str(item["id"]) for item in answer["items"]]

    async def files_of(self, number: str) -> list[ServerFile]:
        """The files of a ticket in the order of their ids; all are downloaded."""
        files, page = [], 1
        while True:
            query = {"fields": "Filename", "orderby": "id", "per_page": "100", "page": str(page)}
            answer = await self.call("GET", f"ticket/{number}/attachments", **query)
            files += [await self._downloaded(item) for item in answer["items"] if item["Filename"]]
            if page >= answer["pages"]:
                return files
            page += 1

    async def _downloaded(self, item: dict[str, Any]) -> ServerFile:
        content = base64.b64decode((await self.call("GET", f"attachment/{item['id']}"))["Content"])
        return ServerFile(str(item["id"]), item["Filename"], len(content), hashlib.sha256(content).hexdigest())


def _attached(files: Iterable[Sent]) -> dict[str, Any]:
    """RT takes the characters of this JSON for the bytes of names, and no content for a missing one."""
    attachments = [
        {
            "FileName": file.name.encode().decode("latin-1"),
            "FileType": file.media_type,
            "FileContent": base64.b64encode(file.content).decode() + "\n",
        }
        for file in files
    ]
    return {"Attachments": attachments} if attachments else {}
