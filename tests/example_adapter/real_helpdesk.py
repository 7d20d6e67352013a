"""A real django-helpdesk, spoken to without the adapter.

MIGRATOR_HELPDESK_URL and MIGRATOR_HELPDESK_API_KEY name it; then run `pytest -m helpdesk`. It must take files with any
extension (HELPDESK_VALIDATE_ATTACHMENT_TYPES = False). Its tickets are deleted.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, Self

import aiohttp
import pytest

URL, KEY = os.environ.get("MIGRATOR_HELPDESK_URL", ""), os.environ.get("MIGRATOR_HELPDESK_API_KEY", "")
real = [
    pytest.mark.helpdesk,
    pytest.mark.skipif(not URL, reason="MIGRATOR_HELPDESK_URL and MIGRATOR_HELPDESK_API_KEY are not set"),
]
"""The marks of tests that need it."""


class RealHelpdesk:
    """One session of a member of the staff; queue 1 is there."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._headers = url, {"Authorization": f"Token {key}"}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, **what: Any) -> Any:
        async with self._session.request(method, f"{self._url}/api/{path}", **what) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json() if answer.status != 204 else None

    async def empty(self) -> None:
        """Delete every ticket."""
        for ticket in (await self.call("GET", "tickets/?page_size=10000"))["results"]:
            await self.call("DELETE", f"tickets/{ticket['id']}/")

    async def ticket(self, title: str) -> int:
        value = {"queue": 1, "title": title, "description": "a text", "status": 1, "priority": 3}
        return (await self.call("POST", "tickets/", json=value))["id"]

    async def attach(self, ticket: int, name: str, content: bytes, media_type: str) -> int:
        follow_up = {"ticket": ticket, "title": "a file", "comment": ""}
        form = aiohttp.FormData({"filename": name, "mime_type": media_type})
        form.add_field("followup", str((await self.call("POST", "followups/", json=follow_up))["id"]))
        form.add_field("file", content, filename="file.txt", content_type=media_type)
        return (await self.call("POST", "followups-attachments/", data=form))["id"]

    async def delete(self, file: int) -> None:
        await self.call("DELETE", f"followups-attachments/{file}/")

    async def truth_of(self, ticket: int) -> list[tuple[str, int, str, str]]:
        """Name, size, hash and description (there are none) of the files of a ticket; all are downloaded."""
        found = []
        for follow_up in (await self.call("GET", f"tickets/{ticket}/"))["followup_set"]:
            for file in follow_up["followupattachment_set"]:
                async with self._session.get(file["file"]) as answer:
                    content = await answer.read()
                found.append((file["filename"], len(content), hashlib.sha256(content).hexdigest(), ""))
        return found
