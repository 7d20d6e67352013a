"""What a Redmine has beside its issues, strict and careless like a real 5.0: projects, their lists, custom fields."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ON = ("issue_tracking", "wiki", "news", "files", "time_tracking")
MODULES = {"wiki/index": "wiki", "news": "news", "versions": "issue_tracking", "files": "files"}
MODULES["time_entries"] = "time_tracking"
NAMES = {"wiki/index": "wiki_pages"}


@dataclass
class Space:
    """A project: `wiki` are titles, `news` and `versions` numbers."""

    id: int
    identifier: str
    parent: int | None = None
    modules: tuple[str, ...] = ON
    status: int = 1
    wiki: list[str] = field(default_factory=list)
    news: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    time_entries: list[int] = field(default_factory=list)


class Beside:
    """Mixed into the fake. `values` are those of custom fields, by (kind, number): number of the field -> value."""

    spaces: list[Space]
    fields: dict[int, tuple[str, str, str]]
    values: dict[tuple[str, int], dict[int, str]]
    admin: bool
    tells_modules: bool
    lists_fewer: dict[str, int]
    page_of_projects: int
    rest: bool

    def beside(self, request: web.Request, path: str, *, known: bool) -> web.Response:
        """The answer of any route but those for issues and downloads."""
        if match := re.fullmatch(r"projects/([\w-]+)/(wiki/index|news|versions|files|time_entries)\.json", path):
            return self._list_of_project(request, match[1], match[2], known=known)
        if match := re.fullmatch(r"projects/([\w-]+)/wiki/([^/]+)\.json", path):
            space = self._space(match[1])
            there = space is not None and match[2] in space.wiki
            return self._only(known, "wiki_page", self._page(space, match[2]) if space and there else None)
        if match := re.fullmatch(r"projects/([\w-]+)\.json", path):
            space = self._space(match[1])
            return self._only(known, "project", self._project(space, modules=True) if space else None)
        if match := re.fullmatch(r"(news|versions|users|time_entries)/(\d+)\.json", path):
            return self._only(known, *self._numbered(match[1], int(match[2])))
        if match := re.fullmatch(r"attachments/(\d+)\.json", path):
            stored = self.files.get(int(match[1]))
            return self._only(known, "attachment", self._attachment(stored) if stored and stored.readable else None)
        return self._whole_list(request, path, known=known)

    def _whole_list(self, request: web.Request, path: str, *, known: bool) -> web.Response:
        if path == "projects.json":
            assert request.query["status"] == "1|5", "closed projects are left out"
            modules = request.query.get("include") == "enabled_modules" and self.tells_modules
            shown = [space for space in self.spaces if space.status != 9] if known else []
            return self._listed(request, "projects", [self._project(one, modules=modules) for one in reversed(shown)])
        if path in {"custom_fields.json", "users.json", "groups.json"}:
            if not known:
                return web.Response(status=401)
            if not self.admin:
                return web.Response(status=403)
            return self._for_administrators(request, path.removesuffix(".json"))
        return web.Response(status=404)

    def _for_administrators(self, request: web.Request, name: str) -> web.Response:
        if name == "custom_fields":
            found = [
                {"id": number, "name": title, "customized_type": kind, "field_format": form}
                for number, (kind, title, form) in self.fields.items()
            ]
            return web.json_response({"custom_fields": found})
        if name == "groups":
            return web.json_response({"groups": []})
        return self._listed(request, "users", [self._user()] if request.query["status"] == "1" else [])

    def _list_of_project(self, request: web.Request, key: str, name: str, *, known: bool) -> web.Response:
        space = self._space(key)
        if not known:  # what anybody may see
            return web.json_response({NAMES.get(name, name): [], "total_count": 0})
        if space is None or space.status == 9 or MODULES[name] not in space.modules:
            return web.Response(status=404 if name == "wiki/index" else 403)
        if name == "wiki/index":
            return web.json_response({"wiki_pages": [{"title": title, "version": 1} for title in space.wiki]})
        if name == "files":
            return web.json_response({"files": self._files_of(space)})
        shared = space.versions if name == "versions" else []
        numbers = [*dict.fromkeys([*shared, *self.spaces[0].versions])] if shared else getattr(space, name)
        found = [self._numbered(name, number)[1] for number in reversed(numbers)]
        return self._listed(request, name, [one for one in found if one])

    def _files_of(self, space: Space) -> list[dict[str, Any]]:
        own = [self._attachment(one) for one in self.on("project", space.id)]
        return own + [
            {**self._attachment(one), "version": {"id": number, "name": f"v{number}"}}
            for number in space.versions
            for one in self.on("version", number)
        ]

    def _listed(self, request: web.Request, name: str, items: list[dict[str, Any]]) -> web.Response:
        limit = min(int(request.query.get("limit", 25)), self.page_of_projects)
        offset = int(request.query.get("offset", 0))
        if name == "versions":
            limit, offset = len(items), 0  # this list has no pages
        shown = items[: len(items) - self.lists_fewer.get(name, 0)][offset : offset + limit]
        return web.json_response({name: shown, "total_count": len(items), "offset": offset, "limit": limit})

    def _only(self, known: bool, name: str, item: dict[str, Any] | None) -> web.Response:
        if item is None:
            return web.Response(status=404)
        return web.json_response({name: item}) if known else web.Response(status=401)

    def _space(self, key: str) -> Space | None:
        return next((space for space in self.spaces if key in {space.identifier, str(space.id)}), None)

    def _project(self, space: Space, *, modules: bool) -> dict[str, Any]:
        found = {"id": space.id, "name": space.identifier.title(), "identifier": space.identifier}
        found |= {"status": space.status, **self._custom("project", space.id)}
        if space.parent:
            found["parent"] = {"id": space.parent, "name": "P"}
        if modules:
            found["enabled_modules"] = [{"id": 1, "name": name} for name in space.modules]
        return found

    def _page(self, space: Space, title: str) -> dict[str, Any]:
        files = [self._attachment(one) for one in self.on("wiki", f"{space.identifier}/{title}")]
        return {"title": title, "text": "x", "version": 1, "attachments": files}

    def _numbered(self, name: str, number: int) -> tuple[str, dict[str, Any] | None]:
        """Its name in a record, and the record itself."""
        if name == "users":
            return "user", self._user() if number == 1 else None
        space = next((space for space in self.spaces if number in getattr(space, name)), None)
        one = {"news": "news", "versions": "version", "time_entries": "time_entry"}[name]
        if space is None:
            return one, None
        item = {"id": number, "project": {"id": space.id, "name": "P"}, **self._custom(one, number)}
        if name == "news":
            return one, {**item, "title": "N", "attachments": [self._attachment(f) for f in self.on("news", number)]}
        return one, {**item, "name": f"v{number}"}

    def _user(self) -> dict[str, Any]:
        return {"id": 1, "login": "ada", "api_key": "a-key", **self._custom("user", 1)}

    def _custom(self, kind: str, number: int) -> dict[str, Any]:
        told = self.values.get((kind, number), {})
        if not told:
            return {}
        return {"custom_fields": [{"id": id_, "name": self.fields[id_][1], "value": v} for id_, v in told.items()]}
