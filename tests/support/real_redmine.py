"""A real Redmine, read and filled through its own API without any code of the program: the truth for tests."""

from __future__ import annotations

import asyncio
import hashlib
import html
import io
import os
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import aiohttp

URL = os.environ.get("MIGRATOR_REDMINE_URL", "").rstrip("/")
KEY = os.environ.get("MIGRATOR_REDMINE_API_KEY", "")
USER = os.environ.get("MIGRATOR_REDMINE_USER", "")
PASSWORD = os.environ.get("MIGRATOR_REDMINE_PASSWORD", "")
"""User and password of an administrator, for what the API can't do, such as making a custom field."""
CLOSED = 5
"""The id of the status `Closed` in Redmine's default data."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A file as it was sent."""

    name: str
    content: bytes
    description: str = ""
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ServerFile:
    """A file as the server lists it, with the hash of its content."""

    id: str
    name: str
    size: int
    sha256: str
    description: str


def comparable(files: Iterable[ServerFile]) -> Counter[tuple[str, int, str, str]]:
    """The files without their ids, counted, to compare two copies of them."""
    return Counter((file.name, file.size, file.sha256, file.description) for file in files)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Redmine:
    """One session with the server."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession
        self._lock = asyncio.Lock()  # a server with one thread is several times slower with two connections

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers={"X-Redmine-API-Key": KEY})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, **options: Any) -> Any:
        async with self._lock, self._session.request(method, f"{URL}/{path}", **options) as answer:
            assert answer.status < 300, f"{method} {path}: {answer.status} {await answer.text()}"
            return await answer.json() if answer.status != 204 and answer.content_length else None

    async def project(self, modules: Iterable[str] = ("issue_tracking",), below: str = "") -> str:
        trackers = (await self.call("GET", "trackers.json"))["trackers"]
        name = f"e2e-{secrets.token_hex(6)}"
        project = {"name": name, "identifier": name, "is_public": False, "enabled_module_names": [*modules]}
        if below:
            project["parent_id"] = (await self.call("GET", f"projects/{below}.json"))["project"]["id"]
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
        """Send the bytes; returns the token and the facts that a change of an issue then names."""
        headers, data = {"Content-Type": "application/octet-stream"}, io.BytesIO(file.content)
        name = {"filename": file.name}
        answer = await self.call("POST", "uploads.json", params=name, headers=headers, data=data)
        facts = {"description": file.description, "content_type": file.media_type}
        return {"token": answer["upload"]["token"], **name, **facts}

    async def wiki_page(self, project: str, title: str, files: Iterable[Sent]) -> None:
        uploads = [await self.upload(file) for file in files]
        page = {"wiki_page": {"text": "a page", "uploads": uploads}}
        await self.call("PUT", f"projects/{project}/wiki/{quote(title)}.json", json=page)

    async def news(self, project: str, title: str, files: Iterable[Sent]) -> None:
        uploads = [await self.upload(file) for file in files]
        news = {"news": {"title": title, "description": "some", "uploads": uploads}}
        await self.call("POST", f"projects/{project}/news.json", json=news)

    async def version(self, project: str, name: str) -> str:
        draft = {"version": {"name": name}}
        return str((await self.call("POST", f"projects/{project}/versions.json", json=draft))["version"]["id"])

    async def project_file(self, project: str, file: Sent, version: str = "") -> None:
        draft = await self.upload(file) | ({"version_id": version} if version else {})
        await self.call("POST", f"projects/{project}/files.json", json={"file": draft})

    async def file_field(self, number: str, field: str, file: Sent) -> None:
        """Set a custom field of an issue to a file."""
        value = {"id": field, "value": {"token": (await self.upload(file))["token"]}}
        await self.call("PUT", f"issues/{number}.json", json={"issue": {"custom_fields": [value]}})

    async def close_project(self, project: str) -> None:
        await self.call("PUT", f"projects/{project}/close.json")

    async def files_in(self, project: str) -> dict[str, list[ServerFile]]:
        """The files of each issue of a project, open or closed; all are downloaded."""
        files: dict[str, list[ServerFile]] = {}
        query = {"project_id": project, "status_id": "*", "include": "attachments", "sort": "id", "limit": "100"}
        while True:
            page = await self.call("GET", "issues.json", params={**query, "offset": str(len(files))})
            for issue in page["issues"]:
                files[str(issue["id"])] = await asyncio.gather(*map(self.download, issue["attachments"]))
            if len(files) >= page["total_count"]:
                return files

    async def download(self, file: dict[str, Any]) -> ServerFile:
        """A file that an issue lists, with the hash of its content."""
        async with self._lock, self._session.get(f"{URL}/attachments/download/{file['id']}") as answer:
            assert answer.status == 200
            content = await answer.read()
        assert len(content) == file["filesize"]
        return ServerFile(str(file["id"]), file["filename"], len(content), digest(content), file["description"] or "")


@asynccontextmanager
async def _administrator() -> AsyncIterator[aiohttp.ClientSession]:
    """A session that is logged in by the login page."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        await _submit(session, "login", "login", {"username": USER, "password": PASSWORD}.items())
        yield session


@asynccontextmanager
async def api_switched_off() -> AsyncIterator[None]:
    """Switch the API off, and on again at the end."""
    async with _administrator() as session:
        await _submit(session, "settings", "settings/edit?tab=api", {"settings[rest_api_enabled]": "0"}.items())
        try:
            yield
        finally:
            await _submit(session, "settings", "settings/edit?tab=api", {"settings[rest_api_enabled]": "1"}.items())


@asynccontextmanager
async def field_for_files() -> AsyncIterator[str]:
    """The id of a custom field of issues with the format "File", made by its page and deleted at the end."""
    async with _administrator() as session:
        name, form = f"e2e-{secrets.token_hex(6)}", "custom_fields/new?type=IssueCustomField"
        trackers = [("custom_field[tracker_ids][]", str(number)) for number in (1, 2, 3)]
        values = [("custom_field[name]", name), ("custom_field[field_format]", "attachment")]
        values += [("type", "IssueCustomField"), ("custom_field[is_for_all]", "1"), *trackers]
        await _submit(session, form, "custom_fields.html", values)
        key = {"X-Redmine-API-Key": KEY}
        async with session.get(f"{URL}/custom_fields.json", headers=key) as answer:
            fields = (await answer.json())["custom_fields"]
        number = next(str(field["id"]) for field in fields if field["name"] == name)
        yield number
        await _submit(session, "custom_fields", f"custom_fields/{number}", {"_method": "delete"}.items())


async def _submit(session: aiohttp.ClientSession, page: str, to: str, values: Iterable[tuple[str, str]]) -> None:
    """Submit the form of a page, with the token that it contains."""
    async with session.get(f"{URL}/{page}") as answer:
        token = re.search(r'name="csrf-token" content="([^"]*)"', await answer.text())
    assert token, f"no form at {page}"
    fields = [("authenticity_token", html.unescape(token[1])), *values]
    async with session.post(f"{URL}/{to}", data=fields, allow_redirects=False) as answer:
        assert answer.status == 302, f"{to}: {answer.status}"
