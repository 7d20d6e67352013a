"""Everything in a Redmine except issues that has files: wiki pages, news, versions, projects, custom fields.

Each project has a list of each kind. A page of a stream is a few projects ordered by id, and the cursor is the id of
the last one. Lists of wiki pages and news don't show files, so each record is requested.

Beware: one project's broken wiki must neither end the listing nor look empty. Its list becomes an entity whose id is
its path, and asking for the files of that entity reads the list again.

A wiki page has no number: its id is the project's identifier and its title, `demo/Start`. Files of the files module
belong to the project, or to the version that they name.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from migrator.errors import ForbiddenError, GoneError, MigratorError, RetriableError, UnexpectedBodyError
from migrator.model import Attachment, Cursor, Entity, EntityRef, Page, Unread
from migrator.trackers.cursors import Keyset
from migrator.trackers.lenient import as_object, integer, raw_json, text
from migrator.trackers.listing import Items
from migrator.trackers.redmine.api import Api
from migrator.trackers.redmine.custom_fields import Fields
from migrator.trackers.redmine.parse import (
    GROUP,
    ISSUE,
    NEWS,
    PROJECT,
    RECORD_NAMES,
    TIME_ENTRY,
    USER,
    VERSION,
    WIKI,
    attachment_in,
    attachments_in,
    entity_in,
    values_in,
)
from migrator.trackers.redmine.projects import Project, Projects, project_of
from migrator.trackers.strict import digits, list_in, number_in, object_in, objects_in, split

T = TypeVar("T")

LISTS = {
    "wiki": (WIKI, "wiki", "wiki/index.json"),
    "news": (NEWS, "news", "news.json"),
    "versions": (VERSION, "issue_tracking", "versions.json"),
    "files": (PROJECT, "files", "files.json"),
}
"""For each stream: the kind of the items in a project's list, the module that must be enabled, the list's path."""
OTHER_STREAMS = (*LISTS, "custom_fields")
KINDS_WITH_FIELDS = (PROJECT, VERSION, USER, GROUP, TIME_ENTRY)
"""Kinds whose custom fields are read in a stream of their own; those of issues come with the issues."""
REQUIRED_MODULES = {VERSION: "issue_tracking", TIME_ENTRY: "time_tracking"}
"""For the kinds of `KINDS_WITH_FIELDS` of which each project has a list: the module that must be enabled."""
PROJECTS_PER_PAGE = 4
USER_STATUSES = ("1", "2", "3")
"""Active, registered, locked. Not every version can list several at once."""
_LIST = re.compile(r"projects/([A-Za-z0-9_-]+)/(wiki/index|news|versions|time_entries|files)\.json")


@dataclass(frozen=True, slots=True)
class ListPart:
    """What one list of one project contains."""

    entities: tuple[Entity, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    ask: tuple[Entity, ...] = ()
    unread: tuple[Unread, ...] = ()


class Containers:
    """The containers of one Redmine at `base`. `files`: the files module is read."""

    def __init__(self, api: Api, projects: Projects, fields: Fields, base: object, *, files: bool) -> None:
        self._api, self._projects, self._fields, self._base, self._files = api, projects, fields, base, files
        self._warned: set[str] = set()
        self._readers: dict[str, Callable[[str, Project], Awaitable[ListPart]]] = {
            "wiki/index": self._wiki,
            "news": self._news,
            "versions": self._versions,
            "time_entries": self._time_entries,
            "files": self._files_of_project,
        }

    async def page(self, stream: str, cursor: Cursor | None) -> Page:
        """One page of a stream, for `Source.read`."""
        after = Keyset.parse(cursor).after or 0
        if stream not in LISTS:
            return await self._fields_page(after)
        kind, module, path = LISTS[stream]
        listed = await self._projects.all(anew=cursor is None)
        todo = [project for project in listed if project.number > after and project.has(module)]
        parts = await together(
            self._list_part(kind, f"projects/{project.key}/{path}", project) for project in todo[:PROJECTS_PER_PAGE]
        )
        await self._api.account()  # so the lists show what this account may see, not what an anonymous visitor may
        return Page(
            entities=tuple(entity for part in parts for entity in part.entities),
            attachments=tuple(file for part in parts for file in part.attachments),
            ask=tuple(entity for part in parts for entity in part.ask),
            unread=tuple(failure for part in parts for failure in part.unread),
            next=json.dumps({"after": todo[PROJECTS_PER_PAGE - 1].number}) if len(todo) > PROJECTS_PER_PAGE else None,
            warnings=self._not_warned_yet(self._projects.oddities),
        )

    def _not_warned_yet(self, sentences: Iterable[str]) -> tuple[str, ...]:
        new = tuple(sentence for sentence in sentences if sentence not in self._warned)
        self._warned.update(new)
        return new

    async def _list_part(self, kind: str, path: str, project: Project) -> ListPart:
        """One list of one project; if it can't be read, an entity in `ask` stands for it."""
        part = await self._api.result_or_final_error(path, self._read(path, project))
        return ListPart(ask=(Entity(EntityRef(kind, path)),)) if isinstance(part, MigratorError) else part

    async def _read(self, path: str, project: Project) -> ListPart:
        match = _LIST.fullmatch(path)
        if match is None:
            raise GoneError(f"{path[:60]!r} is not a list of a Redmine")
        return await self._readers[match[2]](path, project)

    async def _wiki(self, path: str, project: Project) -> ListPart:
        listed = list_in(await self._api.get(path), "wiki_pages")
        pages, unread = split(listed, partial(self._wiki_page, project=project), path, WIKI)
        return ListPart(tuple(pages), ask=tuple(pages), unread=unread)

    def _wiki_page(self, item: Mapping[str, Any], project: Project) -> Entity:
        title = text(item.get("title"))
        if not title:
            raise UnexpectedBodyError("a wiki page of the list has no title")
        url = f"{self._base}/projects/{project.key}/wiki/{quote(title, safe='')}"
        return Entity(EntityRef(WIKI, f"{project.key}/{title}"), title, url, raw_json(item))

    async def _news(self, path: str, project: Project) -> ListPart:  # noqa: ARG002 - all readers take it
        news = tuple(entity_in(item, NEWS, self._base) for item in await self._api.complete_list(path, "news"))
        return ListPart(news, ask=news)

    async def _versions(self, path: str, project: Project) -> ListPart:
        own = await self._own_items(path, "versions", project)
        return ListPart(tuple(entity_in(item, VERSION, self._base) for item in own))

    async def _time_entries(self, path: str, project: Project) -> ListPart:
        own = await self._own_items(path, "time_entries", project)
        return ListPart(tuple(entity_in(item, TIME_ENTRY, self._base) for item in own))

    async def _own_items(self, path: str, name: str, project: Project) -> Items:
        """The items of a list that belong to this project, without those shared by others or of subprojects."""
        listed = await self._api.complete_list(path, name)
        return [item for item in listed if as_object(item.get("project")).get("id", project.number) == project.number]

    async def _files_of_project(self, path: str, project: Project) -> ListPart:
        """The files of the files module; each names its version, if it belongs to one."""
        listed = list_in(await self._api.get(path), "files")
        files, unread = split(listed, partial(self._file, path=path, project=project), path, PROJECT)
        versions = {file.owner: version for file, version in files if version}
        entities = (project.entity(self._base), *versions.values())
        return ListPart(entities, tuple(file for file, _ in files), unread=unread)

    def _file(self, item: Mapping[str, Any], path: str, project: Project) -> tuple[Attachment, Entity | None]:
        version = as_object(item.get("version"))
        if not version:
            return attachment_in(item, EntityRef(PROJECT, str(project.number)), path), None
        owner = EntityRef(VERSION, str(number_in(version)))
        return attachment_in(item, owner, path), Entity(
            owner, text(version.get("name")), f"{self._base}/versions/{owner.id}"
        )

    async def _with_files_in_fields(self, items: Sequence[Mapping[str, Any]], kind: str) -> ListPart:
        """The items that have files in their custom fields."""
        with_files = [item for item in items if await self._fields.numbers(item, kind)]
        entities = tuple(entity_in(item, kind, self._base) for item in with_files)
        return ListPart(entities, ask=entities)

    async def _fields_page(self, step: int) -> Page:
        """The page of one of `KINDS_WITH_FIELDS`."""
        kind = KINDS_WITH_FIELDS[min(step, len(KINDS_WITH_FIELDS) - 1)]
        items, unreadable_lists = await self._items_of(kind)
        part = await self._with_files_in_fields(items, kind)
        doubtful_fields = self._fields.warnings(items)
        await self._api.account()
        unread = self._not_warned_yet((*self._projects.oddities, *await self._fields.unknowns()))
        return Page(
            entities=part.entities,
            ask=(*part.ask, *unreadable_lists),
            next=json.dumps({"after": step + 1}) if step + 1 < len(KINDS_WITH_FIELDS) else None,
            warnings=(*unread, *doubtful_fields),
        )

    async def _items_of(self, kind: str) -> tuple[Items, tuple[Entity, ...]]:
        """All items of a kind, and entities for lists that can't be read. Users and groups belong to no project."""
        if kind == PROJECT:
            return [dict(project.item) for project in await self._projects.all()], ()
        if not await self._fields.may_have_files(kind) or (kind in {USER, GROUP} and self._projects.root):
            return [], ()
        if kind in REQUIRED_MODULES:
            return await self._of_all_projects(kind)
        name = RECORD_NAMES[kind].list_name
        queries = [{"status": status} for status in USER_STATUSES] if kind == USER else [{}]
        lists = [await self._api.complete_list(f"{name}.json", name, query) for query in queries]
        return [item for items in lists for item in items], ()

    async def _of_all_projects(self, kind: str) -> tuple[Items, tuple[Entity, ...]]:
        """Project by project, because the module must be enabled in each."""
        projects, name = await self._projects.all(), RECORD_NAMES[kind].list_name
        projects = tuple(project for project in projects if project.has(REQUIRED_MODULES[kind]))
        paths = [f"projects/{project.key}/{name}.json" for project in projects]
        calls = (self._own_items(path, name, project) for path, project in zip(paths, projects, strict=True))
        lists = await together(map(self._api.result_or_final_error, paths, calls))
        items = [item for items in lists if isinstance(items, list) for item in items]
        broken = [path for path, items in zip(paths, lists, strict=True) if isinstance(items, MigratorError)]
        return items, tuple(Entity(EntityRef(kind, path)) for path in broken)

    async def attachments_of(self, ref: EntityRef) -> tuple[Attachment, ...]:
        """The files of a container, or of everything in a list that could not be read."""
        if match := _LIST.fullmatch(ref.id):
            return await self._files_below(ref.id, match[1])
        item = await self._record_of(ref)
        files = await self._own_files(ref, item)
        return (*files, *await self._fields.files(await self._fields.numbers(item, ref.kind), ref))

    async def still_lists(self, file: Attachment) -> bool:
        """Whether a file is still in the list that named it, or in its owner's record with all custom fields."""
        if _LIST.fullmatch(file.locator):
            listed = objects_in(object_in(await self._api.get(file.locator)), "files")
            return any(str(number_in(other)) == file.id for other in listed)
        item = await self._record_of(file.owner)
        if any(file.id in field.numbers for field in values_in(item)):
            return True
        return any(other.id == file.id for other in await self._own_files(file.owner, item))

    async def _files_below(self, path: str, key: str) -> tuple[Attachment, ...]:
        """The files of everything in a list."""
        part = await self._read(path, await self._project(key))
        if part.unread:
            raise UnexpectedBodyError(part.unread[0].reason)
        ask_all = path.endswith(("/versions.json", "/time_entries.json"))
        below = await together(self.attachments_of(entity.ref) for entity in (part.entities if ask_all else part.ask))
        return (*part.attachments, *(file for files in below for file in files))

    async def _project(self, key: str) -> Project:
        path = f"projects/{quote(key, safe='')}.json"
        return project_of(object_in(await self._api.get(path, {"include": "enabled_modules"}), "project"))

    async def _record_of(self, ref: EntityRef) -> dict[str, Any]:
        """The record of an entity, with the files that it shows."""
        if ref.kind == WIKI:
            key, _, title = ref.id.partition("/")
            path = f"projects/{quote(key, safe='')}/wiki/{quote(title, safe='')}.json"
            return object_in(await self._api.get(path, {"include": "attachments"}), "wiki_page")
        if ref.kind not in RECORD_NAMES:
            raise GoneError(f"{ref}: Redmine doesn't have this kind")
        list_name, key = RECORD_NAMES[ref.kind]
        query = {"include": "enabled_modules" if ref.kind == PROJECT else "attachments"}
        try:
            record = object_in(await self._api.get(f"{list_name}/{digits(ref.id)}.json", query), key)
        except RetriableError as error:
            if ref.kind == NEWS and error.status == 401:
                raise ForbiddenError(
                    f"{error}; before 4.1 the API doesn't show the files of news", status=401
                ) from None
            raise
        if integer(record.get("id")) not in {None, int(ref.id)}:
            raise UnexpectedBodyError(f"{ref}: the record of {record.get('id')} came in its place")
        return record

    async def _own_files(self, ref: EntityRef, item: Mapping[str, Any]) -> tuple[Attachment, ...]:
        """The files of an entity, apart from those in its custom fields."""
        if ref.kind in {ISSUE, NEWS, WIKI}:
            return attachments_in(item, ref)
        if ref.kind not in {PROJECT, VERSION} or not self._files:
            return ()
        project = project_of(item) if ref.kind == PROJECT else await self._project(str(number_in(item.get("project"))))
        if not project.has("files"):
            return ()
        part = await self._files_of_project(f"projects/{project.key}/files.json", project)
        return tuple(file for file in part.attachments if file.owner == ref)


async def together(calls: Iterable[Awaitable[T]]) -> list[T]:
    """The results of concurrent calls; raises the first failure once all have ended."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
