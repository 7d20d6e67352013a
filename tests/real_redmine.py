"""A real Redmine as its own API shows it: what tests seed it with and hold it against. Nothing of ours in between."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

URL = os.environ.get("MIGRATOR_REDMINE_URL", "").rstrip("/")
KEY = os.environ.get("MIGRATOR_REDMINE_KEY", "")
CLOSED = 5
"""The status `Closed` of Redmine's default data."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A file as it was sent."""

    name: str
    content: bytes
    description: str = ""
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class There:
    """A file as the server gives it."""

    id: str
    name: str
    size: int
    sha256: str
    description: str


def seen(files: Iterable[There]) -> Counter[tuple[str, int, str, str]]:
    """What two copies of the same files have in common, twins counted."""
    return Counter((file.name, file.size, file.sha256, file.description) for file in files)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Redmine:
    """One session with the server; it may delete what it made."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession
        self._turns = asyncio.Semaphore(1)  # a server with one thread is several times slower with two connections

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers={"X-Redmine-API-Key": KEY})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, **options: Any) -> Any:
        async with self._turns, self._session.request(method, f"{URL}/{path}", **options) as answer:
            assert answer.status < 300, f"{method} {path}: {answer.status} {await answer.text()}"
            return await answer.json() if answer.status != 204 and answer.content_length else None

    async def project(self) -> str:
        trackers = (await self.call("GET", "trackers.json"))["trackers"]
        name = f"e2e-{secrets.token_hex(6)}"
        project = {"name": name, "identifier": name, "is_public": False, "enabled_module_names": ["issue_tracking"]}
        project["tracker_ids"] = [tracker["id"] for tracker in trackers]
        await self.call("POST", "projects.json", json={"project": project})
        return name

    async def delete(self, project: str) -> None:
        await self.call("DELETE", f"projects/{project}.json")

    async def issue(self, project: str, subject: str, files: Iterable[Sent] = ()) -> str:
        uploads = [await self.upload(file) for file in files]
        draft = {"project_id": project, "subject": subject, "uploads": uploads}
        return str((await self.call("POST", "issues.json", json={"issue": draft}))["issue"]["id"])

    async def note(self, number: str, text: str, files: Iterable[Sent]) -> None:
        uploads = [await self.upload(file) for file in files]
        await self.call("PUT", f"issues/{number}.json", json={"issue": {"notes": text, "uploads": uploads}})

    async def close(self, number: str) -> None:
        await self.call("PUT", f"issues/{number}.json", json={"issue": {"status_id": CLOSED}})

    async def upload(self, file: Sent) -> dict[str, str]:
        """Bytes against a token, which a change of an issue then names."""
        headers, data = {"Content-Type": "application/octet-stream"}, io.BytesIO(file.content)
        name = {"filename": file.name}
        made = await self.call("POST", "uploads.json", params=name, headers=headers, data=data)
        about = {"description": file.description, "content_type": file.media_type}
        return {"token": made["upload"]["token"], **name, **about}

    async def files_in(self, project: str) -> dict[str, list[There]]:
        """Every issue of a project, open or closed, with every file, downloaded."""
        found: dict[str, list[There]] = {}
        query = {"project_id": project, "status_id": "*", "include": "attachments", "sort": "id", "limit": "100"}
        while True:
            page = await self.call("GET", "issues.json", params={**query, "offset": str(len(found))})
            for issue in page["issues"]:
                found[str(issue["id"])] = await asyncio.gather(*map(self._download, issue["attachments"]))
            if len(found) >= page["total_count"]:
                return found

    async def _download(self, file: dict[str, Any]) -> There:
        async with self._turns, self._session.get(f"{URL}/attachments/download/{file['id']}") as answer:
            assert answer.status == 200
            content = await answer.read()
        assert len(content) == file["filesize"]
        return There(str(file["id"]), file["filename"], len(content), digest(content), file["description"] or "")
