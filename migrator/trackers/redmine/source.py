"""Redmine as a source: its issues, and what the option `also` names.

Files that the list of issues does not show are requested issue by issue, so that no single issue spoils a page.

Beware: files in custom fields of issues come with the issues. If the list of custom fields is broken, a failure must
stand for them, and retrying it means walking the issues again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from typing_extensions import override

from migrator.errors import ForbiddenError, ItemFailedError, MigratorError, RejectedError
from migrator.model import Attachment, Cursor, Entity, EntityRef, Page, Unread
from migrator.ports import Source
from migrator.trackers.lenient import as_objects, integer
from migrator.trackers.prefetch import Prefetcher
from migrator.trackers.redmine.client import CAPABILITIES, Options, RedmineTracker, leniently
from migrator.trackers.redmine.containers import OTHER_STREAMS, Containers
from migrator.trackers.redmine.custom_fields import LIST, Fields
from migrator.trackers.redmine.parse import (
    ISSUE,
    KINDS,
    NEWS,
    PROJECT,
    VERSION,
    WIKI,
    entity_in,
    listed_files,
    ref_in,
)
from migrator.trackers.redmine.projects import Projects, some_names
from migrator.trackers.strict import number_in
from migrator.wire import HttpClient

KINDS_SHOWN_BY = {
    "issues": {ISSUE},
    "wiki": {WIKI},
    "news": {NEWS},
    "versions": {VERSION},
    "files": {PROJECT, VERSION},
    "custom_fields": set(KINDS),
}
"""The kinds whose files each stream shows. A kind that no stream shows is not read, so its files are never `gone`."""

ISSUES_MODULE = "issue_tracking"
"""The module of issues and versions."""


class RedmineSource(RedmineTracker, Source):
    """Issues in the order of their numbers, each with its files, and what `also` names."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        streams = ("issues", *(stream for stream in OTHER_STREAMS if stream in options.also))
        kinds = tuple(kind for kind in KINDS if any(kind in KINDS_SHOWN_BY[stream] for stream in streams))
        left_out = tuple(kind for kind in KINDS if kind not in kinds)
        super().__init__(http, options, replace(CAPABILITIES, streams=streams, kinds=kinds, left_out=left_out))
        self._prefetcher = Prefetcher(number_in)
        self._projects = Projects(self.api, options.project)
        self._fields = Fields(self.api, options.file_fields, wanted="custom_fields" in options.also)
        files = "files" in options.also
        self._containers = Containers(self.api, self._projects, self._fields, http.base, files=files)

    @override
    async def close(self) -> None:
        await self._prefetcher.close()
        await super().close()

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        if stream != "issues":
            return await self._containers.page(stream, cursor)
        try:
            listed = await self._prefetcher.wrap(self.issues(self._options.project, leniently)).read(cursor)
        except ForbiddenError:
            if await self._issues_are_off():
                return Page()
            raise
        page = await self._page(listed.items)
        return replace(page, unread=(*listed.unread, *page.unread), next=listed.next)

    async def _issues_are_off(self) -> bool:
        """Whether issues are disabled in the only project that is read, and in all its subprojects.

        `RejectedError` if a subproject has some: the list of the project's issues, which would show them, is refused.
        """
        if not self._options.project:
            return False
        known = await self._projects.all()
        enabled = [project for project in known if project.has(ISSUES_MODULE)]
        disabled = [project for project in known if not project.has(ISSUES_MODULE)]
        if enabled and any(project.is_called(self._options.project) for project in disabled):
            names = some_names(project.key for project in enabled)
            raise RejectedError(
                f"issues are off in {self._options.project}, so the list of its issues, which would show those of "
                f"{names}, can't be read"
            )
        return bool(known) and not enabled

    async def _page(self, issues: Sequence[Mapping[str, Any]]) -> Page:
        """A page of issues. An issue that doesn't show all of its files is put into `ask`."""
        entities = tuple(entity_in(issue, ISSUE, self._http.base) for issue in issues)
        listed = [listed_files(issue, entity.ref) for issue, entity in zip(issues, entities, strict=True)]
        broken = await self._unreadable_fields(issues)
        in_fields = [not broken and bool(await self._fields.numbers(issue, ISSUE)) for issue in issues]
        return Page(
            entities=entities,
            attachments=tuple(file for files in listed if files for file in files[0]),
            ask=tuple(
                entity
                for entity, files, has_more in zip(entities, listed, in_fields, strict=True)
                if files is None or has_more
            ),
            unread=(*broken, *(failure for files in listed if files for failure in files[1])),
            warnings=self._fields.warnings(issues),
        )

    async def _unreadable_fields(self, issues: Sequence[Mapping[str, Any]]) -> tuple[Unread, ...]:
        """A failure for these issues, if the list that says which of their values are files is broken."""
        if not any(map(self._fields.may_hold_files, issues)):
            return ()
        known = await self.api.result_or_final_error(LIST, self._fields.types())
        return (Unread(EntityRef(ISSUE, LIST), str(known)),) if isinstance(known, MigratorError) else ()

    @override
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """The entity that stands for an unreadable list has all files of that list."""
        if entity.ref != (ISSUE, LIST):
            return await self._containers.attachments_of(entity.ref)
        await self._fields.types()
        files: dict[str, Attachment] = {}
        async for issue in self.issues(self._options.project).all():
            in_fields = await self._fields.files(await self._fields.numbers(issue, ISSUE), ref_in(issue))
            files |= {file.id: file for file in in_fields}
        return tuple(files.values())

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        """Never by the file's own record, which is also a 404 while the storage is away."""
        return await self._containers.still_lists(attachment)

    @override
    async def oddities(self) -> tuple[str, ...]:
        """A list that can't be read is an oddity itself."""
        sentences: list[str] = []
        for part in (self._odd_issues, self._odd_projects, self._fields.unknowns):
            try:
                sentences += await part()
            except ItemFailedError as error:
                sentences.append(f"{error}: so this part can't be checked")
        return tuple(sentences)

    async def _odd_issues(self) -> Sequence[str]:
        answer, sentences = await self.api.first_issues(), []
        if integer(answer.get("total_count")) is None:
            sentences.append("lists have no `total_count`, so a list that was cut off looks like a complete one")
        numbers = [integer(issue.get("id")) or 0 for issue in as_objects(answer.get("issues"))]
        if numbers != sorted(numbers):
            sentences.append(
                "issues are not listed in the order of their numbers, although that is requested: if one is deleted "
                "during a run, the run may miss another"
            )
        return sentences

    async def _odd_projects(self) -> Sequence[str]:
        if not self._options.also:
            return ()
        seen = await self._projects.all(anew=True)
        no_project = "this account sees no project, so there is nothing to read"
        return self._projects.oddities if seen or self._projects.oddities else [no_project]
