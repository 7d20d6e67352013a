"""TeamPulse as a target: files are added to work items that exist, or that a load creates."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, Draft, EntityDraft, EntityRef
from migrator.ports import Body, Target
from migrator.trackers.base import described
from migrator.trackers.lenient import as_html, text
from migrator.trackers.markers import MarkerIndex
from migrator.trackers.name_lookup import NameLookup
from migrator.trackers.strict import digits, number_in
from migrator.trackers.teampulse.client import Options, TeamPulse
from migrator.trackers.teampulse.parse import attachment_in, created_in, description_in
from migrator.wire import HttpClient, MultipartBody, Request, says_too_large

CREATABLE = ("Story", "Bug", "Issue", "Risk", "Feedback", "Feature")
"""Types that need only a name and a project. A Task also needs a Story."""


_NOT_IN_WINDOWS_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]|[. ](?=[. ]*$)')


class TeamPulseTarget(TeamPulse, Target):
    """TeamPulse as a target. The API adds files to work items, not to comments."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._markers = MarkerIndex(self._described_items)
        self._project = NameLookup("target.options.create_project", options.create_project, self._projects)

    @override
    def legal_name(self, name: str) -> str:
        """Replaces what Windows file names can't have, .NET cuts off, or IIS refuses in the file's address."""
        return _NOT_IN_WINDOWS_NAMES.sub("_", name) or "_"

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """The description is sent after the file; if that fails, the result has none."""
        path = f"workitems/{digits(owner.id)}/attachments"
        parts = MultipartBody({}, "files", draft.name, draft.media_type, body)
        query = {"type": self._options.upload_type}
        request = Request("POST", await self._path(path), query, {"Accept": "application/json"}, parts)
        try:
            record = created_in((await self._http.write(request)).body)
        except (errors.GoneError, errors.OutcomeUnknownError) as error:
            raise await self._refusal(owner, error) from None
        if not record:
            return None
        named = record if text(record.get("name")) else {**record, "name": draft.name}
        return await described(self, attachment_in(named, owner, self._http), draft.description)

    async def _refusal(self, owner: EntityRef, error: errors.RejectedError) -> errors.RejectedError:
        """For a file that is too large, ASP.NET answers 500, and IIS 404 (404.13, which is rarely shown)."""
        too_large = says_too_large(error)
        if isinstance(error, errors.GoneError) and not too_large:
            too_large = await self._owner(int(owner.id)) is not None
        return errors.RejectedError(f"{owner}: the file is too large for the server") if too_large else error

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        path = await self._path(f"attachments/{digits(remote.id)}")
        await self._http.send_json("PUT", path, {"description": description})

    @override
    async def delete(self, remote: Attachment) -> None:
        await self._http.send(Request("DELETE", await self._path(f"attachments/{digits(remote.id)}")))

    @override
    async def require_creating(self) -> None:
        await self._project.number()

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        kind = self._options.create_kind or (draft.kind if draft.kind in CREATABLE else CREATABLE[0])
        fields = {"Name": draft.title or "untitled", "Description": as_html(draft.marked)}
        item = {"type": kind, "projectId": await self._project.number(), "fields": fields}
        return await self._markers.created(draft.mark, self._create(kind, item))

    async def _create(self, kind: str, item: Mapping[str, Any]) -> EntityRef:
        answer = await self._http.write_json("POST", await self._path("workitems"), item)
        return EntityRef(kind, str(number_in(answer.json())))

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        """If the server can't filter descriptions, all work items are walked once."""
        items = await self._filtered(f"substringof('{draft.mark}',Description)", self._options.page_size)
        if items is None or any(draft.mark not in description_in(item) for item in items):
            return await self._markers.find(draft.mark)
        return self._entity(items[0]).ref if items else None

    async def _described_items(self) -> AsyncIterator[tuple[EntityRef, str]]:
        async for item in self._listing("workitems").all():
            yield self._entity(item).ref, description_in(item)

    async def _projects(self) -> Iterable[tuple[int, str]]:
        projects = await self._list("projects", {"$top": str(self._options.page_size)})
        return [(number_in(project), text(project.get("name"))) for project in projects]
