"""The requests that read from a sandbox Redmine.

Beware: without a valid key a list is no error. It answers 200 with what an anonymous visitor may see, and here that is
nothing, because the project is private.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.redmine.access import Access, not_found_page
from migrator.sandbox.redmine.records import IDENTIFIER, TRACKERS, Records, RedmineQuirks, etag_of, is_closed
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world import WorldAttachment, WorldEntity

T = TypeVar("T")

DEFAULT_LIMIT, MAX_LIMIT = 25, 100


class Reads:
    """The handlers of requests that read."""

    def __init__(self, sandbox: Sandbox, quirks: RedmineQuirks, records: Records, access: Access) -> None:
        self._sandbox, self._state, self._quirks = sandbox, sandbox.state, quirks
        self._records, self._access = records, access

    async def account(self, request: web.Request) -> web.StreamResponse:
        """The account of the credentials."""
        if not self._quirks.rest_enabled:
            raise RefusedError(403)
        self._access.require(request)
        return web.json_response({"user": self._records.account()})

    async def projects(self, request: web.Request) -> web.StreamResponse:
        """The projects that a visitor may see."""
        modules = "enabled_modules" in request.query.get("include", "")
        projects = [self._records.project(modules=modules)] if self._access.knows(request) else []
        return _page(request, "projects", projects, lambda project: project)

    async def project(self, request: web.Request) -> web.StreamResponse:
        """One project."""
        self._require_project(request, request.match_info["project"])
        modules = "enabled_modules" in request.query.get("include", "")
        return web.json_response({"project": {**self._records.project(modules=modules), "homepage": ""}})

    async def versions(self, request: web.Request) -> web.StreamResponse:
        """The versions of a project: it has none."""
        self._require_project(request, request.match_info["project"])
        return web.json_response({"versions": [], "total_count": 0})

    async def files(self, request: web.Request) -> web.StreamResponse:
        """The files module of a project: the files that belong to no issue."""
        self._require_project(request, request.match_info["project"])
        own = [file for file in self._state.attachments() if file.entity_id is None]
        place = self._access.place(request)
        return web.json_response({"files": [self._records.file_of_project(file, place) for file in own]})

    async def module_off(self, request: web.Request) -> web.StreamResponse:
        """A list of a module that is not enabled in the project."""
        self._require_project(request, request.match_info["project"])
        raise RefusedError(403)

    async def no_wiki(self, request: web.Request) -> web.StreamResponse:
        """The wiki of a project that has none, which is answered as if the page were missing."""
        self._require_project(request, request.match_info["project"])
        raise RefusedError(404)

    async def trackers(self, _: web.Request) -> web.StreamResponse:
        """The trackers, which are kinds of issues. Anybody may see them."""
        return web.json_response({"trackers": [self._records.whole_tracker(n + 1) for n in range(len(TRACKERS))]})

    async def custom_fields(self, request: web.Request) -> web.StreamResponse:
        """The custom fields, for administrators: there are none."""
        self._access.require(request)
        if not self._quirks.admin:
            raise RefusedError(403)
        return web.json_response({"custom_fields": []})

    async def issues(self, request: web.Request) -> web.StreamResponse:
        """The list of issues: the open ones, newest first, unless it is asked for otherwise."""
        query = request.query
        if project := query.get("project_id", ""):
            if not _is_project(project):
                raise RefusedError(404)
            self._access.require(request)
        issues = self._visible(query.get("status_id", "open")) if self._access.knows(request) else []
        if query.get("sort", "") not in {"id", "id:asc"} or not self._quirks.keeps_order:
            issues = issues[::-1]
        files = self._quirks.lists_files and "attachments" in query.get("include", "").split(",")
        place = self._access.place(request)
        return _page(request, "issues", issues, lambda issue: self._records.issue(issue, place, files=files))

    def _visible(self, status: str) -> list[WorldEntity]:
        forbidden = self._sandbox.faults.forbidden_entities
        issues = [issue for issue in self._state.entities() if issue.id not in forbidden]
        if status == "*":
            return issues
        return [issue for issue in issues if is_closed(issue) is (status == "closed")]

    async def issue(self, request: web.Request) -> web.StreamResponse:
        """One issue."""
        issue = self._access.issue(request)
        files = "attachments" in request.query.get("include", "").split(",")
        return web.json_response({"issue": self._records.issue(issue, self._access.place(request), files=files)})

    async def file(self, request: web.Request) -> web.StreamResponse:
        """The record of a file."""
        file = self._access.file(request)
        return web.json_response({"attachment": self._records.file(file, self._access.place(request))})

    async def download(self, request: web.Request) -> web.StreamResponse:
        """The content of a file; a visitor without a key is sent to the login page."""
        file = self._state.attachment(int(request.match_info["id"]))
        if file is None or request.match_info.get("name", file.name) != file.name:
            return not_found_page()
        if not self._access.knows(request):
            back = quote(f"{self._access.place(request)}{request.rel_url.raw_path}", safe="")
            location = f"{self._access.place(request)}/login?back_url={back}"
            text = f'<html><body>You are being <a href="{location}">redirected</a>.</body></html>'
            return web.Response(status=302, headers={"Location": location}, text=text, content_type="text/html")
        if request.method == "HEAD":  # a real one has no length for it either
            return web.Response(headers={"Content-Disposition": _disposition(file), "Content-Length": "0"})
        tag = etag_of(file)
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        headers = {
            "Content-Type": file.media_type or "application/octet-stream",
            "Content-Disposition": _disposition(file),
            "Content-Transfer-Encoding": "binary",
            "ETag": tag,
        }
        return await self._sandbox.send_file(request, file, headers)

    def _require_project(self, request: web.Request, project: str) -> None:
        if not _is_project(project):
            raise RefusedError(404)
        self._access.require(request)


def _is_project(name: str) -> bool:
    return name in {"1", IDENTIFIER}


def _page(
    request: web.Request, key: str, items: Sequence[T], record: Callable[[T], dict[str, Any]]
) -> web.StreamResponse:
    """The requested page of a list. A larger `limit` than `MAX_LIMIT` is reduced silently."""
    limit = min(_number_in(request, "limit") or DEFAULT_LIMIT, MAX_LIMIT)
    offset = _number_in(request, "offset")
    shown = [record(item) for item in items[offset : offset + limit]]
    return web.json_response({key: shown, "total_count": len(items), "offset": offset, "limit": limit})


def _number_in(request: web.Request, name: str) -> int:
    """A number of the query; 0 if it isn't one, which is no error."""
    text = request.query.get(name, "")
    return int(text) if text.isdecimal() else 0


def _disposition(file: WorldAttachment) -> str:
    """Both forms of the name; the plain one is transliterated, which here means mangled."""
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%;' else "%3F" for char in file.name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file.name, safe='')}"
