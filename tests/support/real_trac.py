"""A real Trac, spoken to without the adapter. MIGRATOR_TRAC_URL, _USER and _PASSWORD name it."""

from __future__ import annotations

import base64
import io
import json
import os
from typing import Any, Self

import aiohttp

from tests.support.real_redmine import Sent, digest

URL = os.environ.get("MIGRATOR_TRAC_URL", "").rstrip("/")
USER = os.environ.get("MIGRATOR_TRAC_USER", "")
PASSWORD = os.environ.get("MIGRATOR_TRAC_PASSWORD", "")
KEEP_OLDER = False
"""The last parameter of an upload; left out, an older file of the same name is deleted."""


class Trac:
    """One session with the server."""

    async def __aenter__(self) -> Self:
        account = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._session = aiohttp.ClientSession(headers={"Authorization": f"Basic {account}"})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, *params: Any) -> Any:
        body = io.BytesIO(json.dumps({"method": method, "params": params, "id": 1}).encode())
        headers = {"Content-Type": "application/json"}
        async with self._session.post(f"{URL}/login/rpc", data=body, headers=headers) as answer:
            told = await answer.json()
        assert told["error"] is None, f"{method}: {told['error']}"
        return told["result"]

    async def issue(self, title: str) -> str:
        return str(await self.call("ticket.create", title, "a text", {}))

    async def close_issue(self, number: str) -> None:
        await self.call("ticket.update", int(number), "done", {"status": "closed", "resolution": "fixed"})

    async def attach(self, number: str, file: Sent) -> str:
        content = {"__jsonclass__": ["binary", base64.b64encode(file.content).decode()]}
        return await self.call("ticket.putAttachment", int(number), file.name, file.description, content, KEEP_OLDER)

    async def remove(self, number: str, name: str) -> None:
        await self.call("ticket.deleteAttachment", int(number), name)

    async def truth_of(self, number: str) -> list[tuple[str, int, str, str]]:
        """Name, size, hash and description of the files of a ticket; all are downloaded."""
        found = []
        for name, description, size, *_ in await self.call("ticket.listAttachments", int(number)):
            told = await self.call("ticket.getAttachment", int(number), name)
            content = base64.b64decode(told["__jsonclass__"][1])
            assert len(content) == size
            found.append((name, size, digest(content), description))
        return found
